"""`python -m harness` as people type it: exit codes, one-line errors, resuming, interruptions."""

from __future__ import annotations

import csv
import json
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from harness import store
from tests.harness.conf import planned
from tests.harness.points import ROOT, command, environment, processes_with, wait_until, without_lines
from tests.harness.typed import BROKEN, end, harness, start


def results(here: Path, run: str) -> list[dict[str, Any]]:
    return [json.loads(path.read_text()) for path in sorted((here / "runs" / run).glob("*/*/result.json"))]


def nothing_is_left_of(here: Path, seconds: float = 3.0) -> bool:
    """No process that was started with this test's mark, by whichever way it descends from the command."""
    return bool(wait_until(lambda: not processes_with(f"TEST_MARK={here}"), seconds))


@pytest.fixture(scope="module", autouse=True)
def hanging(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[subprocess.Popen[str], Path]]:
    """The whole sweep over executors and workers with worker 1's avatar stuck in its load.

    It mostly waits, so it runs beside the tests before the ones that look at it.
    """
    folder = tmp_path_factory.mktemp("hang")
    (folder / "media").symlink_to(ROOT / "media")
    running = start(folder, "+sweep=workers", "fault.kind=hang", "fault.phase=load", *BROKEN)
    yield running, folder
    if running.returncode is None:  # no test has waited for it
        running.kill()
        running.communicate()


@pytest.fixture(scope="module")
def hang_at_load(hanging: tuple[subprocess.Popen[str], Path]) -> tuple[int, str, Path]:
    running, folder = hanging
    return (*end(running), folder)


def test_the_command_of_the_readme_finds_the_hang(here: Path) -> None:
    code, errors = harness(
        here, "executor=threads", "executor.workers=2", "fault.kind=hang", "fault.phase=load", *BROKEN
    )
    [one] = results(here, "points")
    assert (code, one["outcome"], one["phase"], one["worker"]) == (1, "hung", "load", 1)
    assert nothing_is_left_of(here)
    assert "Traceback" not in errors


@pytest.mark.slow
def test_every_fault_in_one_sweep_gets_its_own_outcome(here: Path) -> None:
    kinds = {"raise": "failed", "exit": "crashed", "sigkill": "crashed", "gil": "hung", "oom": "oom"}
    code, _ = harness(
        here,
        "executor=processes",
        "executor.workers=2",
        f"fault.kind={','.join(kinds)}",
        "name=kinds",
        *BROKEN,
    )
    found = results(here, "kinds")
    assert code == 1
    assert {one["point"]["fault"]["kind"]: one["outcome"] for one in found} == kinds
    assert {one["worker"] for one in found} == {1}
    assert {one["stage"] for one in found} == {"motion"}
    assert nothing_is_left_of(here)


TWICE = ["repeats=2", "name=twice", "avatar.load_s=0,0.01"]


@pytest.fixture(scope="module")
def twice(tmp_path_factory: pytest.TempPathFactory) -> tuple[subprocess.CompletedProcess[str], Path]:
    """Two points measured two times, with its report, and what the parent imported for it."""
    folder = tmp_path_factory.mktemp("twice")
    (folder / "media").symlink_to(ROOT / "media")
    with_report = [argument for argument in command(*TWICE) if argument != "report=false"]
    timed = [sys.executable, "-X", "importtime", *with_report[1:]]
    done = subprocess.run(timed, cwd=folder, env=environment(), capture_output=True, text=True, check=False)
    return done, folder


def test_points_that_work_are_exit_code_0_and_a_report(
    twice: tuple[subprocess.CompletedProcess[str], Path],
) -> None:
    done, folder = twice
    assert done.returncode == 0
    assert done.stdout == "report: runs/twice/report.html\n"
    with (folder / "runs/twice/results.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [(row["repeat"], row["outcome"]) for row in rows] == [("0", "ok"), ("1", "ok")] * 2


def test_repeats_go_over_all_points_again_and_again(
    twice: tuple[subprocess.CompletedProcess[str], Path],
) -> None:
    files = (twice[1] / "runs/twice").glob("*/*/result.json")
    found = [json.loads(file.read_text()) for file in sorted(files, key=lambda file: file.stat().st_mtime_ns)]
    order = [(one["repeat"], one["point"]["avatar"]["load_s"]) for one in found]
    assert order == [(0, 0), (0, 0.01), (1, 0), (1, 0.01)]


def test_the_parent_never_imports_torch(twice: tuple[subprocess.CompletedProcess[str], Path]) -> None:
    lines = [line for line in twice[0].stderr.splitlines() if line.startswith("import time:")]
    imported = {line.rpartition("|")[2].strip() for line in lines}
    assert "harness.supervisor" in imported
    assert not {name.split(".")[0] for name in imported} & {"torch", "TTS", "transformers", "cv2", "engines"}


def test_what_is_stored_is_not_measured_again_unless_forced(
    twice: tuple[subprocess.CompletedProcess[str], Path],
) -> None:
    folder = twice[1]
    files = sorted((folder / "runs/twice").glob("*/*/result.json"))
    before = [file.read_text() for file in files]
    code, errors = harness(folder, *TWICE)
    assert (code, errors.count("stored before")) == (0, 4)
    assert [file.read_text() for file in files] == before
    code, errors = harness(folder, "name=twice", "avatar.load_s=0", "force=true")
    assert (code, errors.count("stored before")) == (0, 0)
    now = [json.loads(file.read_text()) for file in files]
    anew = [
        one
        for one, text in zip(now, before, strict=True)
        if one["started_ns"] != json.loads(text)["started_ns"]
    ]
    assert [(one["repeat"], one["point"]["avatar"]["load_s"]) for one in anew] == [(0, 0)]


def test_a_damaged_result_is_named_and_not_measured_over(here: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(here)
    options = [argument for argument in command()[3:] if argument != "report=false"]
    file = here / "runs/points" / planned(*options).point.id / "0/result.json"
    file.parent.mkdir(parents=True)
    file.write_text("{")
    code, errors = harness(here)
    assert code == 2
    assert errors.splitlines()[-1].startswith(f"{file.relative_to(here)}: not a stored result")
    assert file.read_text() == "{"


SWEEP = ["executor=processes", "executor.workers=2", "avatar.load_s=0,0.01", "name=cut"]  # two points


@pytest.mark.parametrize(
    "number",
    [
        signal.SIGKILL,
        *(pytest.param(each, marks=pytest.mark.slow) for each in (signal.SIGINT, signal.SIGTERM)),
    ],
)
def test_an_interrupted_sweep_leaves_no_process_and_goes_on_where_it_was(
    here: Path, number: signal.Signals
) -> None:
    running, run = start(here, *SWEEP, "avatar.stages.motion.sleep_s=0.15"), here / "runs/cut"
    assert wait_until(lambda: len(list(run.glob("*/0/events.jsonl"))) == 2, 30)  # in the second point
    measured = [pid for pid in processes_with(f"TEST_MARK={here}") if pid != running.pid]
    assert measured
    running.send_signal(number)
    code, errors = end(running)
    if number == signal.SIGKILL:
        assert code == -signal.SIGKILL
    else:
        assert code == 130
        assert errors.splitlines()[-1].startswith("interrupted; finished points are stored")
        assert "Traceback" not in errors
    assert nothing_is_left_of(here)
    [stored] = store.load_run(run)  # whole, with its spans and samples
    assert (stored.result.outcome, len(stored.result.jobs)) == ("ok", 8)
    assert stored.spans
    if number == signal.SIGTERM:
        return  # what comes next is the same after every signal, and takes its time
    code, errors = harness(here, *SWEEP, "avatar.stages.motion.sleep_s=0.15")
    assert (code, errors.count("stored before")) == (0, 1)
    goes_on = {one.result.id: one.result for one in store.load_run(run)}
    assert len(goes_on) == 2
    assert goes_on[stored.result.id] == stored.result


def test_a_grandchild_in_a_session_of_its_own_does_not_outlive_a_killed_harness(here: Path) -> None:
    target = "tests.harness.components.WithSleeper"
    running = start(here, f"avatar._target_={target}", "limits.load=60")
    assert wait_until((here / "grandchild").exists, 20)
    grandchild = int((here / "grandchild").read_text())
    running.kill()
    running.communicate()
    assert wait_until(lambda: not Path(f"/proc/{grandchild}").exists(), 3)
    assert nothing_is_left_of(here)


def test_help_names_every_group_and_every_option(here: Path) -> None:
    told = subprocess.run(
        [sys.executable, "-m", "harness", "--help"],
        cwd=here,
        env=environment(),
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    for group in ("tts", "avatar", "asr", "executor", "workload", "limits", "sweep"):
        [line] = re.findall(rf"^{group}: (.*)$", told, re.MULTILINE)
        files = {path.stem for path in (ROOT / "conf" / group).glob("*.yaml")}
        assert set(line.split(", ")) == files
    assert list(here.iterdir()) == [here / "media"]


def test_a_hang_at_load_in_a_sweep_is_a_row_and_the_other_points_run(
    hang_at_load: tuple[int, str, Path],
) -> None:
    code, _, folder = hang_at_load
    found = results(folder, "workers")
    outcomes = {(one["point"]["executor"]["name"], one["point"]["executor"]["workers"]): one for one in found}
    assert code == 1
    assert {key: one["outcome"] for key, one in outcomes.items()} == {
        ("sequential", 1): "ok", ("sequential", 2): "skipped", ("sequential", 3): "skipped",
        ("threads", 1): "ok", ("threads", 2): "hung", ("threads", 3): "hung",
        ("processes", 1): "ok", ("processes", 2): "hung", ("processes", 3): "hung",
    }  # fmt: skip
    for one in found:
        if one["outcome"] == "hung":
            assert (one["phase"], one["component"], one["worker"]) == ("load", "avatar", 1)
            assert without_lines(one["reason"]) == (
                "load of avatar on worker 1 did not end within limits.load=1 s;"
                " event: the main thread waits in _hang (engines/misdeeds.py) for an event that nobody has"
                " set"
            )
            assert 0 < one["evidence"]["detected_after_s"] < 1
            assert one["duration_s"] < 5
            stacks = (folder / "runs/workers" / one["id"] / "0/stacks.txt").read_text()
            assert re.search(r"_hang \(.*engines/misdeeds\.py:\d+\)", stacks)
            assert re.search(r"_hang \(.*engines/misdeeds\.py:\d+\)", one["evidence"]["excerpt"])


def test_a_hang_leaves_a_line_with_its_place_and_no_process(hang_at_load: tuple[int, str, Path]) -> None:
    _, errors, folder = hang_at_load
    [line] = [line for line in errors.splitlines() if "threads x 2" in line and " hung " in line]
    assert re.search(
        r"load of avatar on worker 1 .*; stacks in runs/workers/[0-9a-f]{12}/0/stacks\.txt", line
    )
    assert nothing_is_left_of(folder)
