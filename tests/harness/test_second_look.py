"""Second look: what stays of a stack between two moments, and what moved."""

from __future__ import annotations

from pathlib import Path

import pytest

from harness import second_look, stacks
from harness.causes import Seen
from harness.kernel import Task
from harness.stacks import Dump, Stack

LOOP, JOB = "poll (/app/avatar.py:12)", "run (/app/job.py:3)"


def looks(monkeypatch: pytest.MonkeyPatch, *later: tuple[str, ...]) -> Seen:
    """What is seen of a busy thread that is in LOOP first, and is there and there later."""
    left = list(later)

    def dump(*given: object) -> list[Dump]:
        return [
            Dump(100, "py-spy --nonblocking", (Stack(100, "MainThread", True, left.pop(0), 100),), "", "")
        ]

    monkeypatch.setattr(stacks, "dump", dump)
    monkeypatch.setattr(second_look, "_BETWEEN_S", 0.0)
    first = Stack(100, "MainThread", True, ("PyEval (libpython.so)", "get (/lib/q.py:1)", LOOP, JOB), 100)
    process = Seen(
        100, 1, Dump(100, "py-spy --native", (first,), "", ""),
        {100: Task(100, "python", "R", "", -1, -1, 1.0)}, {100: 0.9},
    )  # fmt: skip
    return second_look.seen_again(process, 100, Path(), [])


def test_a_loop_that_calls_is_told_by_the_function_that_stays_whatever_it_is_in(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for elsewhere in (("put (/lib/q.py:9)",), ("time (/lib/clock.py:2)", "now (/lib/clock.py:9)"), ()):
        later = LOOP.replace("12", "14")
        seen = looks(monkeypatch, (*elsewhere, later, JOB))
        assert seen.moved == {100}
        assert seen.dump.stacks[0].frames == (LOOP, JOB)


def test_it_looks_some_times_for_one_that_is_in_the_same_function_twice(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    same = ("get (/lib/q.py:3)", LOOP, JOB)
    assert looks(monkeypatch, same, same, ("put (/lib/q.py:9)", LOOP, JOB)).moved == {100}
    spins = looks(monkeypatch, same, same, same)
    assert spins.moved == set()
    assert spins.dump.stacks[0].frames[1:] == ("get (/lib/q.py:1)", LOOP, JOB)


def test_a_stack_that_has_nothing_in_common_with_the_first_was_misread(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    same, misread = ("get (/lib/q.py:3)", LOOP, JOB), ("put (/lib/q.py:9)",)
    assert looks(monkeypatch, misread, same, same).moved == set()
    moved = looks(monkeypatch, misread, same, ("put (/lib/q.py:9)", LOOP, JOB))
    assert moved.moved == {100}
    assert moved.dump.stacks[0].frames == (LOOP, JOB)
