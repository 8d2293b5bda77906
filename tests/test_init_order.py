"""Does anything hang while it loads, and in which order? The matrix, real and with planted hangs."""

from __future__ import annotations

import itertools
import subprocess
import sys
import threading
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from engines.simulated import Simulated
from harness import settings, store, supervisor
from harness.point import Point
from harness.result import Measurement, PointResult
from tests.harness.conf import composed
from tests.harness.points import ROOT, avatar, environment, point, speaker

ORDERS = list(itertools.permutations(("tts", "asr", "avatar")))
APART = [
    order
    for order in sorted(set(itertools.permutations(("tts", "asr", "avatar", "avatar"))))
    if "avatar, avatar" not in ", ".join(order)
]


class Speaker(Simulated):
    """Leaves something behind in its process, as a library does."""

    was_loaded = False

    def load(self) -> None:
        Speaker.was_loaded = True


class StuckBesideTts(Simulated):
    """Loads well, but never where a TTS was loaded before it in the same process."""

    def load(self) -> None:
        if Speaker.was_loaded:
            threading.Event().wait()


@pytest.fixture(scope="module")
def token() -> str:
    return supervisor.start_guard()


def results(points: Mapping[Any, Point], folder: Path, token: str) -> dict[Any, PointResult]:
    return {name: supervisor.measure(made, folder / made.id, token).result for name, made in points.items()}


def ended(result: PointResult) -> tuple[str, str, str, int]:
    return str(result.outcome), result.phase, result.component, result.worker


def ordered(made: Point, order: Sequence[str], **options: Any) -> Point:
    return replace(made, executor={**made.executor, "order": list(order), "loading": "serial", **options})


def simulated(executor: str, workers: int, **given: Any) -> Point:
    """A point whose hangs are told soon."""
    asr = {
        "_target_": "engines.simulated.Simulated",
        "role": "asr",
        "load_s": 0,
        "warm_up_s": 0,
        "stages": {},
    }
    parts = {"tts": speaker(), "avatar": avatar(), "asr": asr, "limits": {"load": 0.6}}
    return point(executor, workers, **{**parts, **given})


SHARING = {"share": "locked", "shared": ["tts", "asr"]}


def test_a_hang_that_needs_an_order_is_found_in_that_order_and_place_alone(
    tmp_path: Path, token: str
) -> None:
    here = "tests.test_init_order"
    asr = {"_target_": f"{here}.StuckBesideTts", "role": "asr", "load_s": 0, "warm_up_s": 0, "stages": {}}
    threads = simulated("threads", 1, asr=asr, tts=speaker(_target_=f"{here}.Speaker"))
    found = results(
        {
            "before": ordered(threads, ("asr", "tts", "avatar"), **SHARING),
            "behind": ordered(threads, ("avatar", "tts", "asr"), **SHARING),
        },
        tmp_path,
        token,
    )
    assert ended(found["before"]) == ("ok", "", "", -1)
    assert ended(found["behind"]) == ("hung", "load", "asr", -1)
    stacks = (tmp_path / found["behind"].id / "stacks.txt").read_text()
    assert "test_init_order.py" in stacks  # where it is stuck


def test_a_hang_of_the_second_avatar_is_found_where_there_are_two(tmp_path: Path, token: str) -> None:
    fault = {"kind": "hang", "component": "avatar", "phase": "load", "worker": 1}
    order = ("avatar", "tts", "avatar", "asr")
    found = results(
        {
            workers: ordered(simulated("threads", workers, fault=fault), order, **SHARING)
            for workers in (1, 2)
        },
        tmp_path,
        token,
    )
    assert ended(found[1]) == ("ok", "", "", -1)
    assert ended(found[2]) == ("hung", "load", "avatar", 1)


def test_the_real_recogniser_loads_between_two_avatars_and_hears_each_job(
    tmp_path: Path, token: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    config = composed(
        "tts=simulated", "avatar=simulated", "asr=faster_whisper", "size=tiny", "asr.use=transcribe",
        "executor=threads", "executor.order=[avatar,asr,avatar,tts]", f"cache={tmp_path / 'cache'}",
        "workload=tiny3",
    )  # fmt: skip
    measurement = supervisor.measure(settings.read(config).point, tmp_path / "point", token)
    assert measurement.result.outcome == "ok", measurement.result.reason
    assert loads(measurement) == [("avatar", 0), ("asr", -1), ("avatar", 1), ("tts", -1)]
    heard = [span for span in measurement.spans if (span.component, span.stage) == ("asr", "transcribe")]
    assert {span.job: span.count for span in heard if span.count} == dict.fromkeys(range(8), 32)
    attested = measurement.result.attestation["shared"]["asr"]
    assert (attested["weights"], attested["stages"]["transcribe"]["device"]) == ("random", "cpu")


def loads(measurement: Measurement) -> list[tuple[str, int]]:
    return [(span.component, span.worker) for span in measurement.spans if span.phase == "load"]


def swept(here: Path, *options: str) -> int:
    command = [sys.executable, "-m", "harness", "+sweep=init_order", "device=cpu", "size=tiny", *options]
    return subprocess.run(command, cwd=here, env=environment(), timeout=3600, check=False).returncode


@pytest.fixture
def here(tmp_path: Path) -> Path:
    (tmp_path / "media").symlink_to(ROOT / "media")
    return tmp_path


def by_cell(here: Path) -> dict[tuple[str, int, tuple[str, ...]], Measurement]:
    found = {}
    for measurement in store.load_run(here / "runs/init_order"):
        executor = measurement.result.point["executor"]
        found[executor["name"], executor["workers"], tuple(executor["order"])] = measurement
    return found


def expected_loads(executor: str, workers: int, order: Sequence[str]) -> list[tuple[str, int]]:
    """In processes all of a worker's, one worker after the other; in threads TTS and recogniser once."""
    if executor == "processes":
        return [(name, worker) for worker in range(workers) for name in order]
    free, found = iter(range(workers)), []
    for name in order:
        count = workers if name == "avatar" and order.count("avatar") == 1 else 1
        found += [(name, next(free) if name == "avatar" else -1) for _ in range(count)]
    return found


@pytest.mark.slow
def test_the_whole_matrix_of_real_components_loads_in_every_order(here: Path) -> None:
    """30 points of the real networks at their small size: 14 minutes on 2 cores that others used as well."""
    apart = ",".join(f"[{','.join(order)}]" for order in APART)
    assert swept(here, "report=false") == 0
    assert swept(here, "executor=threads", "executor.workers=2", f"executor.order={apart}") == 0
    found = by_cell(here)
    assert found.keys() == {
        *itertools.product(("threads", "processes"), (1, 2), ORDERS),
        *(("threads", 2, order) for order in APART),
    }
    for cell, measurement in found.items():
        assert measurement.result.outcome == "ok", (cell, measurement.result.reason)
        assert loads(measurement) == expected_loads(*cell), cell
        assert len(measurement.result.jobs) == 8
    report = (here / "runs/init_order/report.md").read_text()
    assert "Init does not hang: 30 of 30 points loaded everything, in 12 orders" in report


@pytest.mark.slow
def test_a_planted_hang_of_the_real_recogniser_stands_in_its_cells_alone(here: Path) -> None:
    fault = ("fault.kind=hang", "fault.component=asr", "fault.phase=load", "fault.worker=1", "limits.load=5")
    assert swept(here, "tts=simulated", "avatar=simulated", *fault) == 1
    found = by_cell(here)
    assert len(found) == 24
    for (executor, workers, order), measurement in found.items():
        if (executor, workers) == ("processes", 2):  # elsewhere no worker 1 has a recogniser of its own
            assert ended(measurement.result) == ("hung", "load", "asr", 1), order
        else:
            assert ended(measurement.result) == ("ok", "", "", -1), (executor, workers, order)
    report = (here / "runs/init_order/report.md").read_text()
    assert report.count("| hung in load of asr on worker 1 |") == 6
    assert "Init hangs (planted: fault.kind=hang): 6 of 24 points, in load of asr on worker 1" in report
