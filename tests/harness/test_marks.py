"""Marks are kept with a result and told, and are reason enough to measure again, if that is asked for."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from harness import marks, store
from harness.point import Point
from harness.progress import Progress
from harness.result import Measurement, Outcome
from harness.settings import SettingError
from tests.harness.conf import planned
from tests.harness.disturbed import LIMITS, on_cpu
from tests.harness.points import ROOT, avatar, point
from tests.harness.typed import harness

QUIET, NOISY = on_cpu(), on_cpu(host_cpu_pct=76.0)
NOISE = "foreign CPU: 1.01 of 2 cores were busy with other processes, limit 0.3"
TIRING = "tests.harness.components.Tiring"
DRIFT_ALONE = dict.fromkeys(LIMITS) | {"drift_pct": 10}


def asked(again: int, **limits: Any) -> dict[str, Any]:
    return {**LIMITS, "again": again, **limits}


def in_turn(*found: Measurement) -> Callable[[], Measurement]:
    """Measures one after the other, and fails if it is asked for more."""
    left: Iterator[Measurement] = iter(found)
    return lambda: next(left)


def test_marks_and_the_limits_that_they_are_by_are_kept_in_the_evidence() -> None:
    evidence = marks.judged(NOISY, LIMITS).result.evidence
    assert evidence["marks"] == [{"kind": "foreign CPU", "text": NOISE}]
    assert evidence["mark_limits"] == {name: limit for name, limit in LIMITS.items() if name != "again"}
    assert marks.judged(QUIET, LIMITS).result.evidence["marks"] == []


def test_other_evidence_stays_and_outcome_and_figures_too() -> None:
    m = replace(NOISY, result=replace(NOISY.result, evidence={"survivors": ["7 (D)"]}))
    result = marks.judged(m, LIMITS).result
    assert result.evidence["survivors"] == ["7 (D)"]
    assert replace(result, evidence={}) == NOISY.result


def test_nothing_is_measured_again_unless_asked_for() -> None:
    result = marks.measured(in_turn(NOISY), asked(0)).result
    assert marks.words(result) == f"marked: {NOISE}"
    assert "measured_again" not in result.evidence


def test_a_marked_point_is_measured_again_until_it_is_quiet() -> None:
    result = marks.measured(in_turn(NOISY, NOISY, QUIET), asked(5)).result
    assert marks.words(result) == "measured again 2 times"
    assert result.evidence["marks"] == []
    again = result.evidence["measured_again"]
    assert again == {"times": 2, "marks": [[{"kind": "foreign CPU", "text": NOISE}]] * 2}


def test_after_as_many_tries_as_allowed_the_last_is_kept_with_its_marks() -> None:
    last = on_cpu(host_cpu_pct=90.0)
    result = marks.measured(in_turn(NOISY, last), asked(1)).result
    assert marks.words(result) == f"marked: {NOISE.replace('1.01', '1.29')}; measured again 1 time"


def test_a_point_that_does_not_end_ok_is_not_measured_again() -> None:
    hung = replace(NOISY, result=replace(NOISY.result, outcome=Outcome.HUNG))
    assert marks.measured(in_turn(hung), asked(3)).result.outcome is Outcome.HUNG
    assert marks.measured(in_turn(NOISY, hung), asked(3)).result.outcome is Outcome.HUNG


def test_the_line_of_a_result_says_what_disturbed_it(caplog: pytest.LogCaptureFixture) -> None:
    progress = Progress()
    progress.begin(0, 1, "sequential x 1")
    with caplog.at_level("INFO", "harness"):
        progress.end(marks.measured(in_turn(NOISY, NOISY), asked(1)).result, "runs/x")
    line = "ok 11.0 s  5 jobs, 5.0 s of video in 5.0 s"
    assert caplog.messages[-1].endswith(f"{line}; marked: {NOISE}; measured again 1 time")


def test_tries_of_an_earlier_command_count() -> None:
    result = marks.measured(in_turn(NOISY, NOISY), asked(1)).result
    assert not marks.is_wanting(result, 1)
    assert marks.is_wanting(result, 2)
    assert len(marks.tries(result)) == 2
    then = marks.measured(in_turn(QUIET), asked(2), marks.tries(result)).result
    assert marks.words(then) == "measured again 2 times"


def saved(m: Measurement, folder: Path) -> Path:
    folder.mkdir()
    store.save(m, folder)
    return folder


def test_a_stored_result_is_judged_by_the_limits_of_now_and_keeps_its_history(tmp_path: Path) -> None:
    folder = saved(marks.measured(in_turn(NOISY, NOISY), asked(1)), tmp_path / "0")
    found = marks.stored(folder, asked(1, foreign_cpu_cores=None))
    assert marks.words(found) == "measured again 1 time"
    assert store.load_result(folder) == found
    assert marks.stored(folder, LIMITS).evidence["marks"] == [{"kind": "foreign CPU", "text": NOISE}]


def test_a_result_of_before_there_were_marks_gets_them_from_its_samples(tmp_path: Path) -> None:
    assert marks.words(marks.stored(saved(NOISY, tmp_path / "0"), LIMITS)) == f"marked: {NOISE}"


def test_a_stored_result_whose_samples_are_damaged_keeps_its_marks(tmp_path: Path) -> None:
    folder = saved(marks.judged(NOISY, LIMITS), tmp_path / "0")
    (folder / "samples.parquet").write_bytes(b"damaged")
    found = marks.stored(folder, asked(0, foreign_cpu_cores=None))
    assert marks.words(found) == f"marked: {NOISE}"


def test_jobs_that_get_slower_and_slower_are_marked_as_drifting_and_measured_again_until_they_do_not(
    measured: Callable[[Point], Measurement], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TEST_SCRATCH", str(tmp_path))
    tiring = point(jobs=8, avatar=avatar(_target_=TIRING))
    result = marks.measured(lambda: measured(tiring), {**DRIFT_ALONE, "again": 2}).result
    assert marks.words(result) == "measured again 1 time"
    [[mark]] = result.evidence["measured_again"]["marks"]
    assert mark["kind"] == "drift"
    assert "rises by" in mark["text"]
    assert "over 8 jobs" in mark["text"]


@pytest.mark.slow
def test_the_command_tells_of_marks_and_does_not_keep_a_marked_result_if_another_is_asked_for(
    here: Path,
) -> None:
    others = [f"comparability.{name}=null" for name in LIMITS if name not in ("drift_pct", "again")]
    tiring = [f"avatar._target_={TIRING}", "workload.jobs=9", *others]  # three of each text
    _, first = harness(here, *tiring)
    assert "; marked: drift: a job's own time per second of media rises by " in first
    _, second = harness(here, *tiring, "comparability.again=1")
    assert second.splitlines()[-1].endswith("; measured again 1 time")
    [file] = (here / "runs/points").glob("*/0/result.json")
    evidence = json.loads(file.read_text())["evidence"]
    assert (evidence["marks"], evidence["measured_again"]["times"]) == ([], 1)


@pytest.mark.parametrize(
    ("override", "said"),
    [
        ("comparability.drift_pct=-1", "comparability.drift_pct=-1: must be at least 0"),
        ("comparability.throttled_pct=101", "comparability.throttled_pct=101: must be at most 100.0"),
        ("comparability.again=0.5", "comparability.again=0.5: must be a whole number"),
        ("comparability.again=null", "comparability.again=null: must be a whole number"),
        ("comparability=5", "comparability=5: holds keys; give one of them, as comparability.KEY=VALUE"),
    ],
)
def test_a_wrong_limit_is_told_in_one_line(override: str, said: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    with pytest.raises(SettingError) as caught:
        planned(override)
    assert str(caught.value) == said


def test_limits_travel_beside_the_point_and_are_no_part_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    plan = planned("comparability.drift_pct=null", "comparability.again=2")
    assert plan.point.id == planned().point.id
    assert (plan.comparability["drift_pct"], plan.comparability["again"]) == (None, 2)
    assert planned().comparability == LIMITS
