"""Calls that do not come back, in real processes."""

from __future__ import annotations

import subprocess
import sys
import threading
import time

from harness.within import Call
from tests.harness.points import environment

STUCK = """
import os, threading
from harness import stacks
stacks.process_state = lambda pid: threading.Event().wait()  # as of /proc of one stuck in the kernel
stacks._REST_S = 0.2
[dump] = stacks.dump([os.getpid()], 0.1, ())
print(dump.source, dump.text)
"""


def test_what_it_came_to_is_given() -> None:
    failed: list[str] = []
    assert Call("GPU", 5.0, lambda: 7).given(0, failed) == 7
    assert failed == []


def test_one_that_raises_leaves_a_line() -> None:
    failed: list[str] = []
    assert Call("GPU", 5.0, lambda: [][1]).given(3, failed) == 3
    assert failed == ["GPU: IndexError: list index out of range"]


def test_the_limit_counts_from_the_begin_and_one_that_does_not_come_back_leaves_a_line() -> None:
    never, failed = threading.Event(), list[str]()
    began = time.monotonic()
    calls = [Call(f"look {number}", 0.2, never.wait) for number in range(3)]
    assert [call.given("nothing", failed) for call in calls] == ["nothing"] * 3
    assert 0.2 <= time.monotonic() - began < 0.5
    assert failed == [f"look {number}: no answer within 0.2 s" for number in range(3)]
    never.set()


def test_a_look_that_never_comes_back_does_not_keep_the_interpreter_from_ending() -> None:
    answer = subprocess.run(
        [sys.executable, "-c", STUCK],
        env=environment(),
        capture_output=True,
        text=True,
        timeout=20,
        check=True,
    )
    assert answer.stdout == "nothing stacks: no answer within 0.2 s\n"
