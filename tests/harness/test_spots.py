"""Spots: what the lines of a frame take, over the source of the standard library."""

from __future__ import annotations

import ast
import dis
import random
import sysconfig
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from harness import spots

LIBRARY = Path(sysconfig.get_paths()["stdlib"])
NAMES = (
    "threading", "queue", "subprocess", "logging/__init__", "concurrent/futures/process", "urllib/request",
    "multiprocessing/managers", "importlib/_bootstrap", "tarfile", "shutil", "socketserver",
)  # fmt: skip


def codes(code: types.CodeType) -> Iterator[types.CodeType]:
    yield code
    for one in code.co_consts:
        if isinstance(one, types.CodeType):
            yield from codes(one)


def frame(code: types.CodeType, at: int) -> Any:
    """As one that is at an instruction."""
    return types.SimpleNamespace(f_code=code, f_lasti=at, f_locals={}, f_globals={}, f_back=None)


def place(node: ast.expr) -> tuple[int, int]:
    return node.lineno, node.col_offset


@pytest.mark.parametrize("name", NAMES)
def test_every_with_of_the_library_is_entered_at_its_own_instruction(name: str) -> None:
    path = LIBRARY / f"{name}.py"
    tree = ast.parse(path.read_text())
    withs = [node for node in ast.walk(tree) if isinstance(node, ast.With)]
    wanted = {place(item.context_expr) for node in withs for item in node.items}
    found = set()
    for code in codes(compile(tree, str(path), "exec")):
        for instruction in dis.get_instructions(code):
            if instruction.opname in ("SETUP_WITH", "BEFORE_WITH"):
                [entered] = spots.at(frame(code, instruction.offset))
                found.add(place(entered))
    assert found == wanted
    assert found


@pytest.mark.parametrize("name", NAMES)
def test_at_no_instruction_of_the_library_it_raises(name: str) -> None:
    path, luck, held = LIBRARY / f"{name}.py", random.Random(name), 0
    for code in codes(compile(path.read_text(), str(path), "exec")):
        for at in luck.sample(range(0, len(code.co_code), 2), min(12, len(code.co_code) // 2)):
            for node in spots.at(frame(code, at), "acquire", "get"):
                assert spots.value(node, frame(code, at)) is None  # there are no variables
            held += len(spots.above(frame(code, at)))
    assert held


SOURCE = """\
def function():
    before
    with first, second as name:
        inside
        with third: nested
        inside_again
    after
    fourth.acquire()
    try:
        with_fourth
    finally:
        fourth.release()
    at_the_end
    if not fifth.acquire(timeout=1):
        too_late
        fifth.acquire()
        at_last
    elif sixth.acquire():
        with_sixth
    else:
        without_sixth
    perhaps
    while not seventh.acquire(timeout=1):
        not_yet
    had = eighth.acquire(False)
    perhaps_both
    eighth.acquire()
    with_eighth
    eighth.acquire(False)
    again
"""
HELD = {
    "before": [],
    "inside": ["first", "second"],
    "nested": ["first", "second", "third"],
    "inside_again": ["first", "second"],
    "after": [],
    "with_fourth": ["fourth"],
    "at_the_end": [],
    "too_late": [],
    "at_last": ["fifth"],
    "with_sixth": ["fifth", "sixth"],
    "without_sixth": ["fifth"],
    "perhaps": ["fifth", "sixth?"],
    "not_yet": ["fifth", "sixth?"],
    "perhaps_both": ["fifth", "sixth?", "seventh?", "eighth?"],
    "with_eighth": ["fifth", "sixth?", "seventh?", "eighth"],
    "again": ["fifth", "sixth?", "seventh?", "eighth"],
}


@pytest.mark.parametrize("name", HELD)
def test_what_is_held_at_a_line_is_what_was_taken_above_it(tmp_path: Path, name: str) -> None:
    (tmp_path / "held.py").write_text(SOURCE)
    code = next(codes(compile(SOURCE, str(tmp_path / "held.py"), "exec").co_consts[0]))
    [at] = {one.offset for one in dis.get_instructions(code) if one.argval == name}
    held = [ast.unparse(lock) + "?" * (not is_sure) for lock, is_sure in spots.above(frame(code, at))]
    assert held == HELD[name]


@pytest.mark.parametrize("first", ["", "\n", "  \n", "    # said\n", "\t# said\n", "\f\n"])
def test_a_source_may_begin_with_any_empty_line(tmp_path: Path, first: str) -> None:
    source = first + "with lock:\n    inside\ntake = lambda: lock.acquire()\n"
    (tmp_path / "module.py").write_text(source)
    module, later = codes(compile(source, str(tmp_path / "module.py"), "exec"))
    [inside] = {one.offset for one in dis.get_instructions(module) if one.argval == "inside"}
    *_, call = [one.offset for one in dis.get_instructions(later) if one.opname.startswith("CALL")]
    assert [ast.unparse(lock) for lock, _ in spots.above(frame(module, inside))] == ["lock"]
    assert [ast.unparse(lock) for lock in spots.at(frame(later, call), "acquire")] == ["lock"]


def test_before_python_311_lines_have_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Which has no columns; the same of a 3.11 that was told to leave them out (-X no_debug_ranges)."""

    def lines(code: types.CodeType) -> Iterator[spots.Place]:
        return (spots.Place(line or 0, -1, line or 0, -1) for line, *_ in code.co_positions())

    monkeypatch.setattr(spots, "_places", lines)
    for name in HELD:
        test_what_is_held_at_a_line_is_what_was_taken_above_it(tmp_path, name)
    test_every_with_of_the_library_is_entered_at_its_own_instruction("threading")
    test_at_no_instruction_of_the_library_it_raises("queue")
