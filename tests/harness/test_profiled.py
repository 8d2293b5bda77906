"""A pass of each kind over real points: every executor, and every way in which a point ends."""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from harness import __main__ as main
from harness import gpu, profiles, supervisor
from harness.point import Point
from harness.result import Outcome
from tests.harness.conf import planned
from tests.harness.executors.loads import complete
from tests.harness.points import avatar, point, speaker
from tests.harness.typed import harness

HERE = "tests.harness.profiled_component"
PRODUCTS = 6  # as that module has it; it imports torch, which tests of the harness do not

Profiled = Callable[[str, Point], dict[str, Any]]


@pytest.fixture
def profiled(token: str, tmp_path: Path) -> Profiled:
    """Takes one pass in tmp_path/run/profile-KIND, with two jobs for each worker."""

    def take(kind: str, made: Point) -> dict[str, Any]:
        folder = profiles.folder(tmp_path, "run", kind)
        measured = supervisor.measure(profiles.shortened(made, 2), folder, token, profile=kind)
        return profiles.keep(kind, measured.result, folder)

    return take


ALL: list[Any] = [
    ("sequential", 1, {}),
    pytest.param("threads", 2, {}, marks=pytest.mark.slow),
    pytest.param("queue", 2, {}, marks=pytest.mark.slow),
    pytest.param("processes", 2, {}, marks=pytest.mark.slow),
    pytest.param("pipelined", 2, {}, marks=pytest.mark.slow),
    pytest.param("pipelined", 2, {"split": "stage", "share": "own"}, marks=pytest.mark.slow),
    pytest.param("pipelined", 2, {"stages": "processes"}, marks=pytest.mark.slow),
]


@pytest.mark.parametrize(("executor", "workers", "options"), ALL)
def test_torch_sees_all_that_the_jobs_compute_and_no_warm_up(
    profiled: Profiled, tmp_path: Path, executor: str, workers: int, options: dict[str, Any]
) -> None:
    multiplying = avatar(_target_=f"{HERE}.Multiplying")
    found = profiled("torch", complete(point(executor, workers, avatar=multiplying), **options))
    assert (found["outcome"], found["reason"], found["problems"]) == ("ok", "", [])
    with (tmp_path / "run/profile-torch/kernels.csv").open(newline="") as file:
        calls = {row["name"]: int(row["calls"]) for row in csv.DictReader(file)}
    assert calls["aten::mm"] == 2 * workers * PRODUCTS
    assert "aten::sub" not in calls


@pytest.mark.parametrize(
    ("executor", "workers"), [("threads", 2), pytest.param("processes", 2, marks=pytest.mark.slow)]
)
def test_memray_sees_the_load_of_every_worker(profiled: Profiled, executor: str, workers: int) -> None:
    holding = speaker(_target_="tests.harness.components.Allocating")  # 200 MiB each
    found = profiled("memory", complete(point(executor, workers, tts=holding), share="own"))
    assert (found["outcome"], found["problems"]) == ("ok", [])
    largest = next(line for line in found["top"] if " in all at " in line)
    assert largest.startswith(f"{200 * workers:.1f} MiB in all at load:")


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["py_spy", "memory"])
def test_a_point_that_hangs_leaves_what_was_seen_until_then(profiled: Profiled, kind: str) -> None:
    hang = {"kind": "hang", "component": "avatar"}
    computes = speaker(
        stages={"speak": {"compute_s": 0.6}}
    )  # before it; who waits for ever is not seen to work
    found = profiled(kind, complete(point("threads", 2, fault=hang, limits={"stage": 0.2}, tts=computes)))
    assert (found["outcome"], found["problems"]) == ("hung", [])
    assert found["top"]


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["py_spy", "torch", "memory"])
def test_a_point_that_fails_leaves_its_profile(profiled: Profiled, kind: str) -> None:
    raising = {"kind": "raise", "component": "avatar", "job": 1}
    multiplying = avatar(_target_=f"{HERE}.Multiplying")
    found = profiled(kind, complete(point("threads", 2, avatar=multiplying, fault=raising)))
    assert (found["outcome"], found["problems"]) == ("failed", [])
    assert found["files"]


def test_a_pass_is_kept_beside_the_measurements_and_has_no_result(profiled: Profiled, tmp_path: Path) -> None:
    found = profiled("py_spy", point())
    folder = tmp_path / "run/profile-py_spy"
    assert json.loads((folder / "profile.json").read_bytes()) == found
    assert not (folder / "result.json").exists()
    assert found["outcome"] == Outcome.OK


def test_a_command_that_asks_for_a_profile_measures_first_and_then_looks(here: Path) -> None:
    code, said = harness(here, "profile=py_spy", "avatar.stages.motion.sleep_s=0.2")
    assert code == 0, said
    [kept] = (here / "runs/points").glob("*/profile-py_spy/profile.json")
    assert json.loads(kept.read_bytes())["files"] == ["flamegraph.svg", "profile.speedscope.json"]
    assert len(list((here / "runs/points").glob("*/*/result.json"))) == 1
    assert f"profile=py_spy in {kept.parent.relative_to(here)}: " in said
    again, said = harness(here, "profile=py_spy", "avatar.stages.motion.sleep_s=0.2", "profile_jobs=2")
    where = kept.parent.relative_to(here)
    assert again == 0
    assert f"profile=py_spy stored before in {where}; force=true makes it again" in said


def test_a_pass_of_which_no_line_was_seen_tells_how_it_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    seen = {"outcome": "crashed", "reason": "worker 0 was killed by SIGKILL", "problems": [], "top": []}
    monkeypatch.setattr(supervisor, "measure", lambda *given, **options: SimpleNamespace(result=None))
    monkeypatch.setattr(profiles, "keep", lambda *given: seen)
    caplog.set_level("INFO", "harness")
    main._profile(replace(planned("profile=py_spy"), run=tmp_path))
    assert caplog.messages[0].endswith("/profile-py_spy: crashed, worker 0 was killed by SIGKILL")
    caplog.clear()
    seen |= {"outcome": "ok", "reason": ""}
    main._profile(replace(planned("profile=py_spy"), run=tmp_path))
    assert caplog.messages[0].endswith("/profile-py_spy: ok")


def test_no_profile_is_taken_on_a_gpu_in_quarantine(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    (tmp_path / "quarantine.json").write_text('{"0": {"point": "first", "leak_mib": 500, "level_mib": 3}}')
    monkeypatch.setattr(gpu, "handles", lambda: [None])
    monkeypatch.setattr(gpu, "readings", lambda index: {"used_mib": 503.0})
    plan = planned("profile=py_spy", "avatar=ditto", "avatar.device=cuda")
    main._profile(replace(plan, run=tmp_path))
    [said] = caplog.messages
    assert "profile=py_spy left out: GPU 0 is in quarantine: 500 MiB that point first left there" in said
    assert [path.name for path in tmp_path.iterdir()] == ["quarantine.json"]
