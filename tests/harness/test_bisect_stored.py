"""`python -m harness +sweep=bisect of=POINT`: what it refuses, and stored points taken apart."""

from __future__ import annotations

import json
import math
import shutil
import subprocess
import sys
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from hydra import initialize_config_dir

from harness import bisect_stored, store
from harness.point import Point
from harness.result import Outcome, PointResult
from harness.settings import Planned, SettingError
from tests.harness.cases import some_now
from tests.harness.conf import CONF, composed
from tests.harness.points import ROOT, environment, point
from tests.harness.typed import harness

STORED = ROOT / "tests/data/every_outcome"
OLD, OK, SKIPPED, INVALID = "f1e955195959", "165cd36df204", "cfc11fd40e0a", "b2bc54e31817"


def speaking(voice: str) -> Point:
    media = {"voice": voice, "portrait": "media/portrait.png"}
    return replace(point("threads", 2), workload={**point("threads", 2).workload, **media})


# Of this version, as every point that can be measured again.
TODAY, MUTE = speaking("media/voice_3s.wav"), speaking("media/gone.wav")
HUNG = TODAY.id


def bisected(here: Path, *arguments: str) -> tuple[int, list[str]]:
    """Exit code and the lines on stderr."""
    command = [sys.executable, "-m", "harness", "+sweep=bisect", "report=false", *arguments]
    done = subprocess.run(command, cwd=here, env=environment(), capture_output=True, text=True, check=False)
    return done.returncode, done.stderr.splitlines()


def asked(of: str | None, *overrides: str) -> bisect_stored.Asked:
    config = composed("+sweep=bisect", *overrides)
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return bisect_stored.asked(config, of)


def store_of(run: Path, variant: Point, repeat: int, outcome: Outcome, **place: Any) -> None:
    """A result as if it had been measured, in its folder."""
    stored = PointResult(
        variant.id, repeat, outcome, asdict(variant), "2026-11-27T00:00:00+00:00", 1.5, **place
    )
    folder = store.folder(run, variant.id, repeat)
    folder.mkdir(parents=True, exist_ok=True)
    store.save_result(stored, folder)


@pytest.fixture
def there(here: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working directory with runs/points, which has every outcome, and hangs of this version."""
    shutil.copytree(STORED, here / "runs/points")
    for each in (TODAY, MUTE):
        store_of(here / "runs/points", each, 0, Outcome.HUNG, phase="load", component="avatar")
    monkeypatch.chdir(here)
    return here


def test_the_first_digits_name_a_point_that_failed(there: Path) -> None:
    known = asked(HUNG[:3], "bisect.tries=3", "bisect.budget_min=0.5")
    assert (known.point.id, known.failed.id, known.failed.outcome) == (HUNG, HUNG, "hung")
    assert (known.run, known.tries, known.budget_s) == (Path("runs/points"), 3, 30.0)
    assert asked(HUNG, "bisect.budget_min=null").budget_s == math.inf


WRONG = [
    (None, (), "of=null: which point of runs/points? give its id, or its first digits, as of="),
    ("77", (), "of=77: no such point in runs/points; it has 05d05615013d, 165cd36df204, "),
    ("b", (), f"of=b: 2 points of runs/points begin so, {INVALID}, bc6e63255aa2; give more"),
    ("hung", (), "of=hung: does not have the right form; give the id of a point"),
    ("../ab", (), "of=../ab: does not have the right form"),
    (OK, (), f"of={OK}: it ended ok; give a point of runs/points that failed"),
    (SKIPPED, (), f"of={SKIPPED}: it ended skipped; give a point of runs/points that failed"),
    (HUNG, ("name=nowhere",), "name=nowhere: there is no such run; see the folders of runs/"),
    (HUNG, ("name=.",), "name=.: there is no such run"),
    (HUNG, ("bisect.tries=0",), "bisect.tries=0: must be at least 1"),
    (HUNG, ("bisect.tries=two",), "bisect.tries=two: must be a whole number"),
    (HUNG, ("bisect.budget_min=-1",), "bisect.budget_min=-1: must be at least 0"),
    (HUNG, ("force=often",), "force=often: choose from true, false"),
    (HUNG, ("comparability.again=-1",), "comparability.again=-1: must be at least 0"),
]


@pytest.mark.parametrize("case", some_now(WRONG), ids=lambda case: case[2][:40])
def test_what_cannot_be_bisected_is_told(there: Path, case: tuple[str | None, tuple[str, ...], str]) -> None:
    of, overrides, line = case
    with pytest.raises(SettingError) as told:
        asked(of, *overrides)
    assert str(told.value).startswith(line)


def test_a_run_without_any_point_says_so(there: Path) -> None:
    shutil.rmtree(there / "runs/points")
    (there / "runs/points").mkdir()
    with pytest.raises(SettingError, match="of=12: no such point in runs/points; it has none"):
        asked("12")


def changed(there: Path, **changes: Any) -> None:
    file = there / "runs/points" / HUNG / "0/result.json"
    data = json.loads(file.read_text())
    file.write_text(json.dumps({**data, "point": {**data["point"], **changes}}))


@pytest.mark.parametrize(
    "changes", [{"novel": 1}, {"workload": {"jobs": 3}}, {"executor": None}, {"limits": {}}]
)
def test_a_point_that_is_not_what_its_id_says_is_not_run(there: Path, changes: dict[str, Any]) -> None:
    changed(there, **changes)
    with pytest.raises(SettingError, match=f"of={HUNG}: stored by another version of the harness; measure"):
        asked(HUNG)


@pytest.mark.parametrize("schema", ["schema_1", "schema_2", "schema_3"])
def test_a_point_of_an_older_format_is_measured_again_first(there: Path, schema: str) -> None:
    shutil.copytree(ROOT / "tests/data" / schema, there / "runs/old")
    told = f"of={OLD}: stored by another version of the harness; measure it again, give its new id"
    with pytest.raises(SettingError, match=told):
        asked(OLD[:4], "name=old")


def test_a_damaged_result_is_named(there: Path) -> None:
    (there / "runs/points" / HUNG / "0/result.json").write_text("{")
    with pytest.raises(store.UnreadableResult, match=f"{HUNG}/0/result.json: not a stored result"):
        asked(HUNG)


def test_a_damaged_result_of_any_other_point_is_named_before_anything_is_measured(there: Path) -> None:
    (there / "runs/points" / INVALID / "0/result.json").write_text("{")
    with pytest.raises(store.UnreadableResult, match=f"{INVALID}/0/result.json: not a stored result"):
        asked(HUNG)
    assert asked(HUNG, "force=true").point.id == HUNG  # it is not read, but measured anew


class Measuring:
    """Stores the outcome that it is told of what is to be measured, and counts."""

    def __init__(self, outcome: Outcome) -> None:
        self.outcome, self.count = outcome, 0

    def __call__(self, planned: Planned, title: str, number: int) -> str:
        if not store.is_stored(planned.run, planned.point.id, planned.repeat) or planned.force:
            self.count += 1
            place = {"phase": "load", "component": "avatar"}
            store_of(planned.run, planned.point, planned.repeat, self.outcome, **place)
        return str(self.outcome)


def searched(measuring: Measuring, *overrides: str) -> Outcome:
    config = composed("+sweep=bisect", f"of={HUNG}", *overrides)
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return bisect_stored.run(config, measuring)


def test_when_the_time_is_over_what_is_stored_is_enough_but_for_what_is_to_be_measured_anew(
    there: Path,
) -> None:
    assert searched(first := Measuring(Outcome.HUNG)) is Outcome.OK
    assert first.count > 1
    assert searched(again := Measuring(Outcome.HUNG), "bisect.budget_min=0") is Outcome.OK
    assert searched(again, "bisect.budget_min=0", "force=true") is Outcome.HUNG
    impatient = replace(TODAY, limits={**TODAY.limits, "load": 1.0})
    store_of(there / "runs/points", impatient, 1, Outcome.HUNG, phase="load", component="avatar")
    assert searched(again, "bisect.budget_min=0") is Outcome.HUNG
    assert again.count == 0


TYPED = {
    ("of=77",): "of=77: no such point in runs/points",
    (f"of={OK}",): f"of={OK}: it ended ok",
    ("of=f1,b2",): "of: a bisect looks at one point; give a single value",
    (f"of={HUNG}", "executor=threads"): "executor: a bisect takes the point as it is stored; leave it out",
    (f"of={OLD}",): f"of={OLD}: stored by another version of the harness; measure it again",
    (f"of={MUTE.id}",): "workload.voice=media/gone.wav: ",
    (f"of={HUNG}", "name=nowhere"): "name=nowhere: there is no such run",
    ("of=1e5",): "of=1e5: no such point in runs/points",  # a number, were it not for what it is
}


@pytest.mark.parametrize("case", some_now(TYPED), ids=" ".join)
def test_a_wrong_command_is_one_line_and_exit_code_2_and_nothing_is_written(
    there: Path, case: tuple[str, ...]
) -> None:
    before = sorted(there.rglob("*"))
    code, [line] = bisected(there, *case)
    assert code == 2
    assert line.startswith(TYPED[case])
    assert sorted(there.rglob("*")) == before


def failing(here: Path, *options: str) -> str:
    """Measure a point that fails; its id."""
    code, errors = harness(here, *options)
    assert code == 1, errors
    [point_id] = [result.id for result in store.results(here / "runs/points")]
    return point_id


def answer_of(here: Path, point_id: str, *options: str) -> dict[str, Any]:
    code, errors = bisected(here, f"of={point_id[:5]}", *options)
    assert code == 0, errors
    found: dict[str, Any] = json.loads((here / f"runs/points/bisect-{point_id}.json").read_text())
    page = (here / f"runs/points/bisect-{point_id}.md").read_text()
    for line in found["sentences"]:
        assert line in errors
        assert line.split("(")[0].split("_")[0] in page
    return found


FAULT = ("fault.kind=raise", "fault.phase=load")


def test_a_failing_recogniser_is_what_it_needs_and_one_job_is_enough(here: Path) -> None:
    point_id = failing(here, "asr=simulated", *FAULT, "fault.component=asr")
    found = answer_of(here, point_id, "bisect.tries=1")
    assert found["needs"] == ["Simulated as asr"]
    assert found["not_needed"] == ["4 jobs"]
    run = here / "runs/points"
    passing = store.load_result(store.folder(run, found["first_passing"]["id"], 0))
    assert (passing.outcome, passing.point["asr"], passing.point["workload"]["jobs"]) == ("ok", {}, 1)
    smallest = store.load_result(store.folder(run, found["smallest"], 0))
    assert (smallest.outcome, smallest.phase, smallest.component) == ("failed", "load", "asr")
    again = [result.repeat for result in store.results(run) if result.id == point_id]
    assert again == [0, 1]  # as it was, and once more


@pytest.mark.slow
def test_without_time_nothing_is_measured_and_there_is_no_answer(here: Path) -> None:
    point_id = failing(here, *FAULT, "fault.component=tts")
    code, errors = bisected(here, f"of={point_id}", "bisect.budget_min=0")
    assert code == 1
    assert "the budget ended before it had failed again; give more bisect.budget_min" in errors
    assert [(result.id, result.repeat) for result in store.results(here / "runs/points")] == [(point_id, 0)]


@pytest.mark.slow
def test_a_hang_of_the_second_worker_needs_two_workers_and_nothing_else(here: Path) -> None:
    hang = ("fault.kind=hang", "fault.phase=load", "fault.component=avatar", "fault.worker=1")
    point_id = failing(
        here, "executor=threads", "executor.workers=2", "executor.lazy=true", "asr=simulated", *hang
    )
    found = answer_of(here, point_id)
    assert found["needs"] == ["2 workers"]
    assert found["not_needed"] == ["Simulated as asr", "8 jobs", "threads", "lazy load"]
    assert found["first_passing"]["change"] == "executor.workers=1"
    files = sorted((here / "runs/points").glob("*/*/result.json"))
    stored = [file.read_text() for file in files]
    code, errors = bisected(here, f"of={point_id}")
    assert code == 0
    assert (
        len([line for line in errors if "stored before" in line]) == len(files) - 1
    )  # all but what was asked
    assert sorted((here / "runs/points").glob("*/*/result.json")) == files
    assert [file.read_text() for file in files] == stored


@pytest.mark.slow
def test_a_hang_of_a_shared_tts_needs_that_it_is_shared(here: Path) -> None:
    hang = ("fault.kind=hang", "fault.component=tts", "fault.worker=-1", "executor.lazy=true")
    point_id = failing(here, "executor=queue", "executor.workers=2", *hang)
    found = answer_of(here, point_id, "bisect.tries=1")
    assert found["needs"] == ["queue", "shared tts"]
    assert found["not_needed"] == ["8 jobs", "2 workers", "lazy load"]


@pytest.mark.slow
def test_a_race_is_held_against_a_reference_of_each_variants_own(here: Path) -> None:
    racy = ("tts.racy=true", "workload.jobs=8")
    code, errors = harness(here, "executor=sequential", *racy)
    assert code == 0, errors
    code, errors = harness(here, "executor=threads", "executor.workers=2", "executor.share=unlocked", *racy)
    assert code == 1, errors
    [failed] = [one for one in store.results(here / "runs/points") if one.outcome == "invalid"]
    found = answer_of(here, failed.id)
    compared = [one.compared for one in store.results(here / "runs/points")]
    assert not [words for words in compared if words.startswith("not compared")]
    assert found["needs"][1:] == ["2 workers", "threads", "shared tts", "no lock"]
    assert found["needs"][0].endswith(" jobs")


@pytest.mark.slow
def test_a_point_that_does_not_fail_again_is_exit_code_1_and_told(here: Path) -> None:
    late = ("limits.stage=0.05", "limits.load=5")
    point_id = failing(here, "avatar.stages.motion.sleep_s=1", *late)
    file = here / "runs/points" / point_id / "0/result.json"
    data = json.loads(file.read_text())
    data["point"]["limits"]["stage"] = 5.0  # as on a machine that is quicker now; limits are not in the id
    file.write_text(json.dumps(data))
    code, errors = bisected(here, f"of={point_id}")
    assert code == 1
    told = "it did not fail again the same way: in 0 of 2 tries (ok); a rare failure needs more bisect.tries"
    assert told in errors
