"""A stored run with thirty nights behind it, each decided: `python -m tests.reports.stored_nights`."""

from __future__ import annotations

import math
import shutil
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any
from unittest import mock

from harness.result import Measurement, Outcome
from reports import anchor, gate, history
from reports.again import Measured
from reports.gate import Options
from reports.gated import GATED
from reports.launches import Launch, Launched
from reports.page import write
from tests.data.make_runs import ENVIRONMENT, broken, measured, point, save

FIRST = datetime(2026, 10, 1, 2, 0, tzinfo=timezone.utc)
SLOWER, FAULT, HANG, DRIVER, NIGHTS = 16, 12, 22, 26, 30
L4 = {"name": "NVIDIA L4", "driver": "580.95.05", "power_limit_w": 72.0, "sm_mhz_max": 2040, "persistence": 1}


def make(runs: Path) -> Path:
    """Write runs/nightly and its history; the run's folder. 8 % slower from night 16 on, a fault
    of the machine, a hang, another driver, an anchor.
    """
    for night in range(NIGHTS):
        shutil.rmtree(runs / "nightly", ignore_errors=True)
        save(runs / "nightly", _measurements(night))
        with mock.patch.object(gate.again, "measure", lambda *_, now=night: _in_turn(now)):
            gate.gate(runs / "nightly", Options(runs / "baselines", {}, ["driver"]))
        if night == 8:
            known = history.read(history.file_of(runs / "baselines", "NVIDIA L4", "nightly"))
            anchor.write(known, anchor.pinned(known, "2026-10-09", "release 0.2"))
    return runs / "nightly"


def _measurements(night: int) -> list[Measurement]:
    found = []
    for executor, workers, level in (("sequential", 1, 1.0), ("processes", 2, 0.6)):
        made = point(executor, workers, tts__device="cuda", avatar__device="cuda")
        for repeat in range(3):
            at = (FIRST + timedelta(days=night, minutes=10 * repeat)).isoformat()
            if executor == "processes" and night == HANG and repeat == 1:
                one = broken(made, Outcome.HUNG, "stage avatar.warp of job 3 did not end")
                one = replace(one, result=replace(one.result, repeat=1))
            else:
                one = measured(made, repeat, scale=level * _ratio(executor, night, repeat))
            found.append(replace(one, result=replace(one.result, started_at=at, **_here(night, one))))
    return found


def _ratio(executor: str, night: int, launch: int) -> float:
    wave = 0.006 * math.sin(2.4 * night) + 0.004 * math.sin(5.1 * night + launch)
    step = 1.08 if executor == "sequential" and night >= SLOWER else 1.0
    return (1 + wave) * step * (1.25 if night == FAULT else 1.0)


def _here(night: int, one: Measurement) -> Mapping[str, Any]:
    gpu = L4 | ({"driver": "590.10.01"} if night >= DRIVER else {})
    commit = f"{night:040x}"
    environment = {**ENVIRONMENT, "gpus": [gpu], "commit": commit, "code": commit[-12:]}
    parts = {
        worker: {name: {**part, "device": "cuda"} for name, part in components.items()}
        for worker, components in one.result.attestation.items()
    }
    return {"environment": environment, "attestation": parts}


def _in_turn(night: int) -> Measured:
    """Launches of the first point's both commits: only the step of night 16 is of the code."""
    sides = []
    for side in (0, 1):
        level = 2.0 * (1.25 if night == FAULT else 1.0) * (1.08 if side and night == SLOWER else 1.0)
        warp = level * 0.5 * (1.16 if side and night == SLOWER else 1.0)
        launches = [
            Launch((FIRST.isoformat(), 2 * n + side), "l4", "ok", "", _values(level * (1 + 0.002 * n), warp))
            for n in range(5)
        ]
        sides.append(Launched("x", "x", {}, {}, {}, "c", "c", True, tuple(launches)))
    return Measured(sides[0], sides[1], "")


def _values(level: float, warp: float) -> dict[str, float]:
    return {**{name: level for name, *_ in GATED}, "stage.avatar.warp": warp, "stage.tts.gpt": 0.5}


if __name__ == "__main__":
    page, _ = write(make(Path("runs/stored_nights")))
    print(page)
