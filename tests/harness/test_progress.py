"""Progress: plain lines where nobody watches, a live line on a terminal."""

from __future__ import annotations

import io
import logging
from dataclasses import replace
from typing import Any

import pytest
from rich.console import Console

from harness.progress import Progress, clock
from harness.result import Outcome, PointResult, Span

HUNG = PointResult(
    id="0123456789ab",
    repeat=0,
    outcome=Outcome.HUNG,
    point={},
    started_at="",
    duration_s=61.25,
    reason="load of avatar did not end",
    evidence={"stacks": "stacks.txt"},
)
OPEN = Span(1, "stage", "avatar", "warp", 0, 3, 0, 5, 0)


def test_without_a_terminal_a_point_has_one_line_at_each_end(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "harness")
    progress = Progress()
    progress._console = Console(file=io.StringIO(), force_terminal=False)
    progress.begin(2, 9, "threads x 2")
    progress.update([OPEN], 12.0)
    progress.end(HUNG, "runs/workers/0123456789ab/0")
    assert caplog.messages == [
        "point 3 of 9  threads x 2 ...",
        "point 3 of 9  threads x 2  0123456789ab hung 61.2 s  load of avatar did not end; "
        "stacks in runs/workers/0123456789ab/0/stacks.txt",
    ]


def test_where_nobody_knows_how_many_points_there_will_be_none_is_the_last(
    caplog: pytest.LogCaptureFixture,
) -> None:
    caplog.set_level(logging.INFO, "harness")
    progress = Progress()
    progress._console = Console(file=io.StringIO(), force_terminal=False)
    for number in range(2):
        progress.begin(number, 0, "threads x 2")
        progress.end(HUNG, "")
    assert [message for message in caplog.messages if message.endswith("...")] == [
        "point 1  threads x 2 ...",
        "point 2  threads x 2 ...",
    ]
    assert progress._estimate(1.0) == ""


def test_on_a_terminal_the_line_says_what_is_running(monkeypatch: pytest.MonkeyPatch) -> None:
    shown: list[str] = []
    progress = Progress()
    progress._console = Console(file=io.StringIO(), force_terminal=True)
    progress.begin(0, 2, "threads x 2")
    assert progress._live is not None
    monkeypatch.setattr(progress._live, "update", lambda text: shown.append(text.plain))
    progress.update([replace(OPEN, stage="earlier", start_ns=1), OPEN], 75.0)
    progress.update([], 1.0)
    progress.end(HUNG, "")
    assert shown == [
        "point 1 of 2  threads x 2  1:15  stage avatar.warp of job 3 on worker 0",
        "point 1 of 2  threads x 2  0:01  starting",
    ]


def test_the_time_that_is_left_comes_from_the_points_that_ran(monkeypatch: pytest.MonkeyPatch) -> None:
    now: Any = {"s": 0.0}
    monkeypatch.setattr("harness.progress.time.monotonic", lambda: now["s"])
    progress = Progress()
    for number, took in enumerate((60.0, 100.0)):
        progress.begin(number, 5, "x")
        now["s"] += took
        progress.end(HUNG, "")
    progress.begin(2, 5, "x")
    assert progress._estimate(20.0) == "  about 3:40 left"  # 80 s each: 60 s of this one, two more


@pytest.mark.parametrize(("seconds", "text"), [(0, "0:00"), (59.9, "0:59"), (61, "1:01"), (3725, "1:02:05")])
def test_a_clock_reads_as_one(seconds: float, text: str) -> None:
    assert clock(seconds) == text
