"""Rules: what each kind says against a value; none waits for a pipe or reads a device."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from harness import rules

EACH = {"each": {"min": 0.1, "max": 2.0}}
WORD = {"each": {"pattern": "[a-z]+"}, "or_one": True}
FILE = {"path": "file"}
SIZE = {"pattern": "([0-9]+)x([0-9]+)", "numbers": {"min": 10, "max": 100}}


@pytest.mark.parametrize(
    ("value", "rule", "words"),
    [
        ([0.1, 2], EACH, ""),
        ([0.1, 3], EACH, "3 must be at most 2.0"),
        ([float("nan")], EACH, "nan must be a finite number"),
        ([None], EACH, "null must be a number"),
        ([], EACH, "must not be empty"),
        (1.0, EACH, "must be a list, like [1,2]"),
        ("ab", EACH, "must be a list, like [1,2]"),
        (None, EACH, "must be a list, like [1,2]"),
        (None, EACH | {"optional": True}, ""),
        ("en", WORD, ""),
        (["en", "es"], WORD, ""),
        ("EN", WORD, "does not have the right form"),
        (["en", "E S"], WORD, "E S does not have the right form"),
        ("a\nb", WORD, "does not have the right form"),
        (["a\nb"], WORD, "a\\nb does not have the right form"),
        ("10x100", SIZE, ""),
        ("9x100", SIZE, "9 must be at least 10"),
        ("10x101", SIZE, "101 must be at most 100"),
        ("10x", SIZE, "does not have the right form"),
        (["one"], {"texts": True, "max_characters": 3}, ""),
        (["four"], {"texts": True, "max_characters": 3}, "text 0 has 4 characters, 3 at most; split it"),
        ("random", {"path_or": ["random"], "folder_with": ["a"]}, ""),
    ],
)
def test_a_rule_says_what_it_has_against_a_value(value: Any, rule: dict[str, Any], words: str) -> None:
    said = rules.complaint(value, rule)
    assert said.startswith(words)
    assert bool(said) == bool(words)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("file", ""),
        ("link", ""),
        ("missing", "not found"),
        ("loop", "not found"),
        ("folder", "is not a file"),
        ("pipe", "is not a file"),
        ("/dev/zero", "is not a file"),
        ("nul\0byte", "not found"),
        ("n" * 5000, "not found"),
        ("", "is not a file"),
    ],
)
def test_only_a_file_is_a_file(name: str, words: str, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "folder").mkdir()
    (tmp_path / "link").symlink_to("file")
    (tmp_path / "loop").symlink_to("loop")
    os.mkfifo(tmp_path / "pipe")
    said = rules.complaint(str(tmp_path / name), FILE)
    assert said.startswith(words)
    assert bool(said) == bool(words)


@pytest.mark.parametrize("value", [None, 5, True, ["a"], {"a": 1}])
def test_what_is_no_path_is_not_found(value: Any) -> None:
    assert rules.complaint(value, FILE).startswith("not found")


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read every file")
def test_a_file_that_may_not_be_read_is_told(tmp_path: Path) -> None:
    (tmp_path / "closed").touch(mode=0)
    assert rules.complaint(str(tmp_path / "closed"), FILE) == "may not be read; see its permissions"


def size_complaint(path: Path, rule: dict[str, Any]) -> str:
    """What a rule's `content` may name."""
    return "" if path.stat().st_size <= rule["most"] else "is too large"


def test_a_rule_may_name_a_function_that_looks_into_the_file(tmp_path: Path) -> None:
    rule = {"path": "file", "content": "tests.harness.test_rules.size_complaint", "most": 3}
    (tmp_path / "file").write_bytes(b"abc")
    assert rules.complaint(str(tmp_path / "file"), rule) == ""
    (tmp_path / "file").write_bytes(b"abcd")
    assert rules.complaint(str(tmp_path / "file"), rule) == "is too large"
    assert rules.complaint(str(tmp_path), rule) == "is not a file"


def test_a_folder_may_be_one_that_is_still_to_be_made(tmp_path: Path) -> None:
    rule = {"folder": True}
    assert rules.complaint(str(tmp_path), rule) == ""
    assert rules.complaint(str(tmp_path / "new/er"), rule) == ""
    (tmp_path / "file").touch()
    assert rules.complaint(str(tmp_path / "file"), rule) == "is not a folder"
    assert rules.complaint(str(tmp_path / "file/in"), rule) == f"{tmp_path}/file is not a folder"
    for value in (None, 5, "a" * 5000, "nul\0"):
        assert rules.complaint(value, rule) == "is no folder; use runs/.cache"


def test_a_wrong_path_is_told_with_the_words_that_do_as_well() -> None:
    rule = {"path_or": [None, "auto"], "path": "file"}
    assert (
        rules.complaint("no/such", rule)
        == "not found; give null or auto or the path of something that exists"
    )
    assert rules.complaint(None, rule) == ""


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain, caf\u00e9 \u4eca", "plain, caf\u00e9 \u4eca"),
        ("two\nlines\r\t", r"two\nlines\r\t"),
        ("\x1b[2J", r"\x1b[2J"),
        ("caf\udce9", r"caf\udce9"),
        ("a\u2028b", r"a\u2028b"),
    ],
)
def test_what_breaks_a_line_or_a_terminal_is_shown_as_an_escape(text: str, shown: str) -> None:
    assert rules.one_line(text) == shown
    assert rules.word(text) == shown
