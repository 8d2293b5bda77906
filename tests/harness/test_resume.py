"""What a second command makes of what a first one has stored, and two commands at once."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from tests.harness.points import ROOT, command, environment, wait_until
from tests.harness.typed import end, harness, start


def the_result(here: Path) -> dict[str, Any]:
    [file] = (here / "runs" / "points").glob("*/*/result.json")
    return json.loads(file.read_text())


@pytest.mark.slow
def test_a_point_that_hung_is_measured_again_under_other_limits(here: Path) -> None:
    slow = "tts.load_s=4"  # its limit is 1 s, and what ends while it is looked at does not hang
    assert harness(here, slow)[0] == 1
    assert the_result(here)["outcome"] == "hung"
    _, same_limits = harness(here, slow)
    assert "hung  stored before" in same_limits
    code, _ = harness(here, slow, "limits.load=9")
    assert (code, the_result(here)["outcome"]) == (0, "ok")


@pytest.mark.slow
def test_a_stored_result_whose_portrait_has_changed_since_is_told(here: Path) -> None:
    portrait = here / "me.png"
    for suffix in (".png", ".json"):
        shutil.copy(ROOT / "media" / f"portrait{suffix}", portrait.with_suffix(suffix))
    harness(here, f"workload.portrait={portrait}")
    _, before = harness(here, f"workload.portrait={portrait}")
    assert "has changed since" not in before
    later = time.time() + 5
    os.utime(portrait, (later, later))
    _, touched = harness(here, f"workload.portrait={portrait}")
    assert "has changed since" not in touched
    portrait.write_bytes(portrait.read_bytes() + b" ")
    _, after = harness(here, f"workload.portrait={portrait}")
    assert f"and {portrait} has changed since" in after
    assert after.rstrip().endswith("; force=true measures again")


@pytest.mark.slow
def test_the_price_of_a_stored_result_follows_the_command(here: Path) -> None:
    harness(here, "price_usd_per_h=1")
    started_at = the_result(here)["started_at"]
    harness(here, "price_usd_per_h=null")
    assert (the_result(here)["price_usd_per_h"], the_result(here)["started_at"]) == (None, started_at)


def test_two_harnesses_do_not_measure_into_one_run(here: Path) -> None:
    first = start(here, "tts.load_s=0.9", "tts.warm_up_s=0.9")
    assert wait_until(lambda: list((here / "runs" / "points").glob("*/*/point.json")), 20)
    code, errors = harness(here)
    assert code == 2
    assert errors.splitlines() == [
        "name=points: another harness is measuring in runs/points; wait for it or use another name"
    ]
    assert end(first)[0] == 0


@pytest.mark.slow
def test_every_point_of_a_sweep_gets_the_same_jobs(here: Path) -> None:
    harness(here, "executor=threads", "executor.workers=1,2")
    files = (here / "runs" / "points").glob("*/*/point.json")
    assert [json.loads(file.read_text())["workload"]["jobs"] for file in files] == [8, 8]


@pytest.mark.slow
def test_an_old_result_comes_back_when_measuring_anew_is_interrupted(here: Path) -> None:
    harness(here, "tts.load_s=0.9")
    before = the_result(here)
    again = start(here, "tts.load_s=0.9", "force=true")
    assert wait_until(lambda: not list((here / "runs" / "points").glob("*/0/result.json")), 20)
    again.terminate()
    assert end(again)[0] == 130
    assert the_result(here) == before


def test_a_damaged_result_is_told_before_any_point_runs(here: Path) -> None:
    harness(here)
    [file] = (here / "runs" / "points").glob("*/*/result.json")
    file.write_text("{")
    code, errors = harness(here, "avatar.load_s=0.05,0.06")
    assert code == 2
    assert str(file.relative_to(here)) in errors
    assert len(list((here / "runs" / "points").glob("*/*"))) == 1


@pytest.mark.slow
def test_a_report_that_cannot_be_written_is_no_success(here: Path) -> None:
    (here / "runs" / "points" / "report.html").mkdir(parents=True)
    with_report = [argument for argument in command() if argument != "report=false"]
    done = subprocess.run(
        with_report, cwd=here, env=environment(), capture_output=True, text=True, check=False
    )
    assert done.returncode == 1
    assert the_result(here)["outcome"] == "ok"
