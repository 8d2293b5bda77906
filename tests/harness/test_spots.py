"""Spots: what the lines of a frame take, over the source of the standard library."""

from __future__ import annotations

import ast
import dis
import random
import sys
import sysconfig
import time
import types
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from harness import spots
from harness.branches import Place

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
    "perhaps_both": ["fifth", "sixth?", "seventh", "eighth?"],
    "with_eighth": ["fifth", "sixth?", "seventh", "eighth"],
    "again": ["fifth", "sixth?", "seventh", "eighth"],
}


def held_at(source: str, name: str, folder: Path) -> list[str]:
    """What is taken where a function reads a name, "?" behind what may not be."""
    (folder / "held.py").write_text(source)
    code = next(codes(compile(source, str(folder / "held.py"), "exec").co_consts[0]))
    places = [one.offset for one in dis.get_instructions(code) if one.argval == name]
    held, *of_copies = [  # a `finally` is there several times
        [ast.unparse(lock) + "?" * (not is_sure) for lock, is_sure in spots.above(frame(code, at))]
        for at in places
    ]
    assert all(one == held for one in of_copies)
    return held


@pytest.mark.parametrize("name", HELD)
def test_what_is_held_at_a_line_is_what_was_taken_above_it(tmp_path: Path, name: str) -> None:
    assert held_at(SOURCE, name, tmp_path) == HELD[name]


# By the place that is meant, `here`: what is held there.
BRANCHES = {
    "a branch that returns": ("""
        lock.acquire()
        if error:
            lock.release()
            return
        here
    """, ["lock"]),
    "a branch that goes on": ("""
        lock.acquire()
        if error:
            lock.release()
        here
    """, ["lock?"]),
    "a branch that raises by one of its own": ("""
        lock.acquire()
        if error:
            lock.release()
            if late:
                raise Late
            else:
                return
        here
    """, ["lock"]),
    "both branches": ("""
        lock.acquire()
        if error:
            lock.release()
        else:
            lock.release()
        here
    """, []),
    "the other branch": ("""
        if limit is None:
            lock.acquire()
        elif limit < 0:
            lock.acquire()
        else:
            here
    """, []),
    "a condition behind the other branch": ("""
        if limit is None:
            lock.acquire()
        elif here:
            lock.acquire()
    """, []),
    "one branch or another": ("""
        if limit is None:
            lock.acquire()
        elif limit > 0:
            second.acquire(timeout=limit)
        here
    """, ["lock?", "second?"]),
    "either branch": ("""
        if limit is None:
            lock.acquire()
        else:
            lock.acquire(timeout=limit)
        here
    """, ["lock?"]),
    "a release of what may have been had": ("""
        had = lock.acquire(timeout=limit)
        work()
        if had:
            lock.release()
        here
    """, []),
    "had or returned": ("""
        if not lock.acquire(timeout=limit):
            return
        here
    """, ["lock"]),
    "one of two conditions": ("""
        if running and lock.acquire(timeout=limit):
            here
    """, ["lock"]),
    "none of two conditions": ("""
        if stopped or not lock.acquire(timeout=limit):
            return
        here
    """, ["lock"]),
    "a condition with a name": ("""
        if had := lock.acquire(timeout=limit):
            here
    """, ["lock"]),
    "an assertion": ("""
        assert lock.acquire(timeout=limit)
        here
    """, ["lock"]),
    "a body": ("""
        lock.acquire()
        try:
            here
        except Error:
            lock.release()
            raise
        finally:
            lock.release()
    """, ["lock"]),
    "behind a handler that raises": ("""
        lock.acquire()
        try:
            work()
        except Error:
            lock.release()
            raise
        here
    """, ["lock"]),
    "behind a handler that goes on": ("""
        lock.acquire()
        try:
            work()
        except Error:
            lock.release()
        here
    """, ["lock?"]),
    "behind a handler and an else": ("""
        try:
            lock.acquire()
        except Error:
            return
        else:
            lock.release()
        here
    """, []),
    "an else": ("""
        try:
            lock.acquire()
        except Error:
            lock.release()
            raise
        else:
            here
    """, ["lock"]),
    "a handler": ("""
        lock.acquire()
        try:
            second.acquire()
            work()
        except Error:
            here
    """, ["lock", "second?"]),
    "the second handler": ("""
        lock.acquire()
        try:
            work()
        except Error:
            lock.release()
            raise
        except here:
            pass
    """, ["lock"]),
    "a handler of what has released": ("""
        try:
            lock.acquire()
            try:
                work()
            finally:
                lock.release()
        except Error:
            here
    """, []),
    "a handler of a handler": ("""
        try:
            lock.acquire()
            try:
                work()
            except:
                lock.release()
                raise
        except Error:
            here
    """, []),
    "a finally": ("""
        lock.acquire()
        try:
            second.acquire()
            work()
        finally:
            here
            lock.release()
    """, ["lock", "second?"]),
    "a finally behind a return": ("""
        try:
            if early:
                return
            lock.acquire()
        finally:
            here
    """, ["lock?"]),
    "behind a finally": ("""
        lock.acquire()
        try:
            work()
        finally:
            lock.release()
        here
    """, []),
    "a loop that goes on": ("""
        for one in all:
            lock.acquire()
            if one:
                lock.release()
                continue
            here
            lock.release()
    """, ["lock"]),
    "a loop that ends": ("""
        while True:
            lock.acquire()
            if one:
                lock.release()
                break
            here
    """, ["lock"]),
    "behind a loop that ends": ("""
        while True:
            lock.acquire()
            if one:
                break
            lock.release()
        here
    """, ["lock"]),
    "behind a loop that goes on by a finally": ("""
        for one in all:
            lock.acquire()
            try:
                if one:
                    continue
                if two:
                    break
            finally:
                lock.release()
        here
    """, []),
    "behind a loop that may not have begun": ("""
        for one in all:
            lock.acquire()
        here
    """, ["lock?"]),
    "behind a loop that found nothing": ("""
        for one in all:
            if lock.acquire(False):
                break
        else:
            here
    """, []),
    "behind a loop that found one": ("""
        for one in all:
            if lock.acquire(False):
                break
        else:
            return
        here
    """, ["lock"]),
    "behind a loop of asking": ("""
        lock.acquire()
        while one:
            lock.release()
            work()
            lock.acquire()
        here
    """, ["lock"]),
    "a case": ("""
        match one:
            case 1:
                lock.acquire()
            case 2:
                second.acquire()
                here
    """, ["second"]),
    "a guard": ("""
        match one:
            case 1 if lock.acquire(False):
                here
    """, ["lock"]),
    "behind cases": ("""
        lock.acquire()
        match one:
            case 1:
                lock.release()
                return
            case 2:
                second.acquire()
        here
    """, ["lock", "second?"]),
    "behind all cases": ("""
        match one:
            case 1:
                lock.acquire()
            case _:
                lock.acquire()
        here
    """, ["lock"]),
    "behind a with that returns": ("""
        lock.acquire()
        with log:
            if error:
                lock.release()
                return
        here
    """, ["lock"]),
    "behind a with that hides": ("""
        with suppress(Error):
            lock.acquire()
            raise Error
        here
    """, ["lock?"]),
}  # fmt: skip


@pytest.mark.parametrize("name", BRANCHES)
def test_a_branch_counts_by_how_it_ends(tmp_path: Path, name: str) -> None:
    source, held = BRANCHES[name]
    assert held_at(f"def function():{source}", "here", tmp_path) == held


@pytest.mark.skipif(sys.version_info < (3, 11), reason="has no except*")
def test_a_group_of_exceptions_is_caught_as_one(tmp_path: Path) -> None:
    body = "lock.acquire()\n try: work()\n except* Error: lock.release(); raise\n here"
    assert held_at(f"def function():\n {body}", "here", tmp_path) == ["lock"]


def test_a_long_function_of_many_branches_takes_no_time(tmp_path: Path) -> None:
    branch = ["try: work()", "except Error:", " if error: lock.release(); return"]
    lines = ["lock.acquire()", *branch * 1000, "here"]
    began = time.thread_time()
    assert held_at("def function():\n " + "\n ".join(lines), "here", tmp_path) == ["lock"]
    assert time.thread_time() - began < 2.0


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

    def lines(code: types.CodeType) -> Iterator[Place]:
        return (Place(line or 0, -1, line or 0, -1) for line, *_ in code.co_positions())

    monkeypatch.setattr(spots, "_places", lines)
    for name in HELD:
        test_what_is_held_at_a_line_is_what_was_taken_above_it(tmp_path, name)
    for name in BRANCHES:
        test_a_branch_counts_by_how_it_ends(tmp_path, name)
    test_every_with_of_the_library_is_entered_at_its_own_instruction("threading")
    test_at_no_instruction_of_the_library_it_raises("queue")
