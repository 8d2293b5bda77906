"""Texts before anything is loaded: what nobody can say is refused, every script and emoji is let through."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from harness import inputs
from harness.child import jobs_of
from tests.harness.points import point


@pytest.mark.parametrize(
    "text",
    [
        "Plain words.",
        "two\nlines\tand a tab\r\n",
        "مرحبا بالعالم",  # right to left
        "漢字とかな, Ελληνικά, हिन्दी",
        "😀👩‍👩‍👧🏽",  # with joiners and a skin tone
        "e\u0301",  # an accent of its own
        "...",
        "x" * 200,
        "𝔘𝔫𝔦𝔠𝔬𝔡𝔢 🄰",  # beyond 16 bits
        "'; DROP TABLE jobs; -- ${oc.env:HOME} $(id)",
    ],
)
def test_any_script_is_a_text(text: str) -> None:
    assert inputs.texts_complaint([text], 200) == ""


@pytest.mark.parametrize(
    ("texts", "words"),
    [
        ([], "must not be empty"),
        ("hello", "must be a list, like [one,two]"),
        (5, "must be a list, like [one,two]"),
        (None, "must be a list, like [one,two]"),
        ({"a": "b"}, "must be a list, like [one,two]"),
        ([""], "text 0 must not be empty; give at least one word"),
        (["a", " \n\t"], "text 1 must not be empty"),
        (["\u200b\u2060\ufeff"], "text 0 must not be empty"),  # spaces without a width
        (["\u202e"], "text 0 must not be empty"),  # a change of direction alone
        (["\u0301"], "text 0 must not be empty"),  # an accent without a letter
        ([None], "text 0 is no text; put it in quotes, like ['5']"),
        (["a", 5], "text 1 is no text"),
        ([True], "text 0 is no text"),
        ([["a"]], "text 0 is no text"),
        (["a\0b"], "text 0 has U+0000 at character 1, which nobody can say; remove it"),
        (["\x1b[31mred"], "text 0 has U+001B at character 0"),
        (["bell\x07"], "text 0 has U+0007 at character 4"),
        (["a\x85b"], "text 0 has U+0085 at character 1"),
        (["ok", "a\uffff"], "text 1 has U+FFFF at character 1"),
        (["caf\udce9"], "text 0 is not valid Unicode at character 3; save it as UTF-8"),  # Latin-1 as UTF-8
        (["\ud83d"], "text 0 is not valid Unicode at character 0"),  # half an emoji
        (["a" * 201], "text 0 has 201 characters, 200 at most; split it, 120 are a good size"),
    ],
)
def test_what_nobody_can_say_is_named_with_its_place(texts: object, words: str) -> None:
    said = inputs.texts_complaint(texts, 200)
    assert said.startswith(words)
    assert said.isprintable()


@pytest.mark.parametrize("language", ["en", ["en", "es"]])
def test_one_language_for_all_texts_or_one_for_each_is_right(language: object) -> None:
    inputs.check({"workload": {"language": language, "texts": ["a", "b"]}})


@pytest.mark.parametrize("language", [["en"], ["en", "es", "fr"]])
def test_another_number_of_languages_than_of_texts_is_refused(language: object) -> None:
    with pytest.raises(ValueError, match=r"workload\.language=\[en.*\]: \d languages for 2 texts; give one"):
        inputs.check({"workload": {"language": language, "texts": ["a", "b"]}})


@pytest.mark.parametrize(
    ("language", "expected"),
    [("en", ["en", "en", "en", "en"]), (["en", "zh-cn", "es"], ["en", "zh-cn", "es", "en"])],
)
def test_every_job_has_the_language_of_its_text(
    language: object, expected: list[str], tmp_path: Path
) -> None:
    simple = point(jobs=4)
    workload = simple.workload | {"texts": ["one", "two", "three"], "language": language}
    jobs = jobs_of(replace(simple, workload=workload), tmp_path)
    assert [job.text for job in jobs] == ["one", "two", "three", "one"]
    assert [job.language for job in jobs] == expected
