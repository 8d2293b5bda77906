"""Whatever breaks, and wherever: the pipeline raises it at once, and nobody stays behind."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import threading
from collections import Counter, deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass, field
from pathlib import Path
from typing import Any

import pytest

from engines.contract import Job
from harness.executors import pipelined, processes, segments
from harness.executors.arrivals import Coming, Requests
from harness.executors.crew import Channel, Item
from harness.executors.job import Placed, WorkerDied
from harness.point import Point
from harness.recorder import RAISED, Recorder
from harness.result import Measurement
from tests.harness.executors.breaking import (
    FINISHED,
    FLUSH,
    FRAMES_PER_PIECE,
    STAGES,
    Breaking,
    Injected,
)
from tests.harness.executors.cases import Case, apart, broken
from tests.harness.executors.loads import here, in_time, loaded, read
from tests.harness.points import avatar, environment, speaker, wait_until

BREAKING = "tests.harness.executors.breaking.Breaking"
LIMIT_S = 1.0


class Watched(Channel[Item]):
    """A channel that tells when more lies in it than there is room for."""

    overfull: list[int]

    def __init__(self, *given: Any, **named: Any) -> None:
        super().__init__(*given, **named)
        watched = self

        class Items(deque[Any]):
            def append(self, item: Any) -> None:
                super().append(item)
                if len(self) > watched.depth:
                    Watched.overfull.append(len(self))

        self._items = Items()


@dataclass
class Told:
    """What came of a run."""

    error: BaseException | None = None
    frames: dict[int, int] = field(default_factory=dict)
    twice: list[int] = field(default_factory=list)


@pytest.fixture
def overfull(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """How much lay in channels that had no room for it."""
    Watched.overfull = []
    monkeypatch.setattr(segments, "Channel", Watched)
    monkeypatch.setattr(pipelined, "Channel", Watched)
    return Watched.overfull


@pytest.fixture
def run(tmp_path: Path, overfull: list[int]) -> Iterator[Callable[[Case], Told]]:
    """Runs a case in threads of this process."""
    recorder = Recorder(tmp_path)
    yield lambda case: _run(case, recorder)


def _run(case: Case, recorder: Recorder) -> Told:
    told, Injected.raised = Told(), []
    jobs = [
        Job(number, "text", "en", "", "", 64, 64, f"out/job{number}.mp4", number, None)
        for number in range(case.jobs)
    ]

    class Build:
        names = ("tts", "avatar")

        def __call__(self, name: str, worker: int) -> Placed:
            settings = {"role": name, "load_s": 0, "warm_up_s": 0, "stages": {}, "pause_s": case.pause_s}
            return Placed(Breaking(case.breaks, case.pieces, **settings), worker=worker)

    def finished(job: Job, worker: int, video: Mapping[str, Any]) -> None:
        for each in case.breaks:
            if (each.at, each.job) == (FINISHED, job.index):
                each.strike()
        told.twice += [job.index] if job.index in told.frames else []
        told.frames[job.index] = video["frames"]

    def work() -> None:
        requests = Requests(jobs, case.traffic, recorder, lambda *late: None)
        pipelined.run(Build(), requests, recorder, case.options, finished)

    try:
        in_time(work, LIMIT_S)
    except Exception as error:  # noqa: BLE001 - what it raises is what is looked at
        told.error = error
    return told


def is_first(error: BaseException | None, case: Case) -> bool:
    """Whether it was injected here and nothing had been before; two within the same moment are both first."""
    own = [each for each in Injected.raised if any(each.args[0] is one for one in case.breaks)]
    return isinstance(error, Injected) and error in own and error.at_s - own[0].at_s < 0.005


def left_behind() -> list[str]:
    """Threads of a pipeline, or of one that has not returned, which are still there."""
    ours = ("worker ", "run", "load ")
    return [thread.name for thread in threading.enumerate() if thread.name.startswith(ours)]


@pytest.mark.parametrize("numbers", [range(100), pytest.param(range(100, 1100), marks=pytest.mark.slow)])
def test_the_first_error_is_raised_at_once_and_no_thread_stays(
    run: Callable[[Case], Told], overfull: list[int], numbers: Sequence[int]
) -> None:
    wrong = []
    for number in numbers:
        case = broken(number)
        told = run(case)
        if not is_first(told.error, case):
            wrong.append((case, told))
        if number % 50 == 49 and wait_until(lambda: not left_behind(), 1.0) is False:
            wrong.append((case, left_behind()))
    assert wrong == []
    assert overfull == []


@pytest.mark.parametrize("numbers", [range(50), pytest.param(range(50, 500), marks=pytest.mark.slow)])
def test_where_nothing_breaks_every_job_is_done_once_and_whole(
    run: Callable[[Case], Told], overfull: list[int], numbers: Sequence[int]
) -> None:
    for case in map(Case, numbers):
        told = run(case)
        assert (told.error, told.twice) == (None, []), case
        assert told.frames == dict.fromkeys(range(case.jobs), case.pieces * FRAMES_PER_PIECE), case
        assert left_behind() == []
    assert overfull == []


def test_threads_begin_nothing_more_once_one_has_failed(tmp_path: Path) -> None:
    fault = {"kind": "raise", "component": "avatar", "stage": "draw", "job": 0}
    made = loaded("threads", 3, 60, share="own", speak_s=0.01, draw_s=0.01, fault=fault)
    with pytest.raises(RuntimeError, match="raised on purpose"):
        here(made, tmp_path / "run")
    assert wait_until(lambda: not left_behind(), 1.0)
    begun = [span for span in read(made, tmp_path / "run", []).spans if span.phase == "job"]
    assert len(begun) <= 6  # of each worker the job at hand, and perhaps one more


@pytest.mark.parametrize("number", [0, 2, *(pytest.param(n, marks=pytest.mark.slow) for n in range(3, 31))])
def test_with_avatars_in_processes_the_right_one_is_named_soon(
    measured: Callable[[Point], Measurement], number: int
) -> None:
    broken = apart(number)
    streaming = {"_target_": BREAKING, "breaks": [list(astuple(broken))], "pieces": 2}
    components = {"tts": speaker(**streaming), "avatar": avatar(**streaming)}
    made = loaded("pipelined", 1 + number % 2, 8, stages="processes", components=components)
    result = measured(made).result
    dead = "worker [01]" if broken.component == "avatar" else "the measured process"
    said = {
        "raise": re.escape(f"Injected: {broken}"),
        "sigkill": f"{dead} was killed by SIGKILL",
        "exit 0": f"{dead} ended with exit code 0 and no result",
        "exit 7": f"{dead} ended with exit code 7 and no result",
    }[broken.how]
    assert (result.outcome, result.reason) == (
        "failed" if broken.how == "raise" else "crashed", result.reason
    )  # fmt: skip
    assert re.search(said, result.reason)
    if broken.at != STAGES:  # nobody is at a stage yet
        assert (result.component, result.stage, result.job) == (broken.component, broken.stage, broken.job)
    assert result.duration_s < 4


@pytest.mark.parametrize(
    ("executor", "settings"),
    [("pipelined", {"stages": "processes"}), pytest.param("processes", {}, marks=pytest.mark.slow)],
)
def test_a_worker_that_dies_while_it_has_nothing_to_do_is_named(
    measured: Callable[[Point], Measurement], executor: str, settings: dict[str, Any]
) -> None:
    dying = {"avatar": avatar(_target_="tests.harness.executors.breaking.DyingIdle")}
    traffic = {"kind": "constant", "rate_per_min": 120}
    result = measured(loaded(executor, 1, 3, components=dying, traffic=traffic, **settings)).result
    assert result.outcome == "crashed"
    assert "worker 0 was killed by SIGKILL" in result.reason
    assert [job.job for job in result.jobs] == [0]


def test_a_request_for_workers_that_have_all_died_meanwhile_names_one(tmp_path: Path) -> None:
    todo, todo_in = os.pipe()
    os.close(todo)
    dead = {3: subprocess.Popen([sys.executable, "-c", "raise SystemExit(5)"])}
    with pytest.raises(WorkerDied, match="worker 3 exited with code 5"):
        processes._hand(Coming(0, 0), dead, todo_in)
    os.close(todo_in)


@pytest.mark.parametrize("use", ["hear(line)", "say(line, 1)", "say(line, bytes(10**7))"])
def test_a_worker_whose_parent_is_gone_ends_without_a_word(use: str) -> None:
    """What it would tell of is no reason why the point ended."""
    program = (
        "import socket; from multiprocessing.connection import Connection\n"
        "from harness.executors.spawn import hear, say\n"
        "here, there = socket.socketpair(); line = Connection(here.detach()); there.close()\n"
        f"{use}; print('goes on')"
    )
    ended = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, env=environment(), check=False
    )
    assert (ended.returncode, ended.stdout, ended.stderr) == (1, b"", b"")


STAGES_OF_THE_PIPELINE = [("tts", "speak"), ("avatar", "motion"), ("avatar", "render"), ("avatar", "write")]


@pytest.mark.parametrize("split", ["component", "stage"])
@pytest.mark.parametrize("at", [0, FLUSH])
@pytest.mark.parametrize(("component", "stage"), STAGES_OF_THE_PIPELINE)
def test_an_error_of_any_stage_at_a_piece_or_at_the_end_is_raised_and_marked(
    tmp_path: Path, component: str, stage: str, at: int | str, split: str
) -> None:
    settings = {"_target_": BREAKING, "breaks": [[component, stage, 1, at]]}
    components = {"tts": speaker(**settings), "avatar": avatar(**settings)}
    made = loaded("pipelined", 1, 4, split=split, components=components)
    with pytest.raises(Injected):
        here(made, tmp_path / "run")
    spans = read(made, tmp_path / "run", []).spans
    marked = {(s.phase, s.component, s.stage, s.job) for s in spans if s.count == RAISED}
    assert marked == {("job", "", "", 1), ("stage", component, stage, 1)}


@pytest.mark.parametrize("settings", [{"split": "component"}, {"split": "stage"}, {"stages": "processes"}])
def test_the_end_goes_through_every_stage_once_and_last(tmp_path: Path, settings: dict[str, str]) -> None:
    components = {"tts": speaker(), "avatar": avatar()}
    run = here(loaded("pipelined", 1, 3, components=components, **settings), tmp_path / "run")
    calls = Counter((s.component, s.stage) for s in run.spans if s.phase == "stage" and s.job == 1)
    frames = run.jobs[1].frames
    # once for each piece that is given, or made at the end, and once for the end of each of these
    assert calls == {
        ("tts", "speak"): 3, ("avatar", "motion"): frames + 2,
        ("avatar", "render"): 2 * frames + 1, ("avatar", "write"): frames + 2,
    }  # fmt: skip
    ends = [max(s.end_ns for s in run.spans if (s.stage, s.job) == (stage, 1)) for _, stage in
            STAGES_OF_THE_PIPELINE]  # fmt: skip
    assert ends == sorted(ends)
