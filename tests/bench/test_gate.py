"""What a night's decision may cost. `make bench` runs these; each says what it found."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import numpy as np
from pytest_benchmark.fixture import BenchmarkFixture

from reports import anchor, gate, history
from reports.again import Measured
from reports.gate import Options, Tonight
from reports.history import History, Night
from reports.launches import Launch, Launched
from reports.stored import launched
from reports.suspects import Budget
from tests.bench.test_budgets import Capture, say
from tests.data.make_runs import ENVIRONMENT, measured, point, save

POINTS, NIGHTS, GATE_S = 200, 365, 10.0
METRICS = ("rtf_aggregate", "rtf_request_p50", "ttfa_s", "peak_vram_mib")
STAGES = tuple(f"stage.avatar.{name}" for name in ("warp", "decode", "motion", "write"))
PRINTS = {"gpu": "NVIDIA L4", "driver": "580.95.05", "torch": "2.11.0", "cpu": "Example CPU"}
FIRST = datetime(2026, 1, 1, 2, 0, tzinfo=timezone.utc)


def date(number: int, minute: int = 0) -> str:
    return (FIRST + timedelta(days=number, minutes=minute)).isoformat()


def figures(rng: np.random.Generator) -> dict[str, tuple[float, ...]]:
    """Three launches of each figure, 0.4 % about a night that is 0.8 % about 1."""
    tonight = 0.008 * rng.standard_normal()
    return {
        name: tuple(math.exp(tonight + 0.004 * x) for x in rng.standard_normal(3))
        for name in (*METRICS, *STAGES)
    }


def nights(rng: np.random.Generator, points: list[Launched]) -> Iterator[Night]:
    key = history.key_of(points[0].fingerprint)
    for number in range(NIGHTS):
        for each in points:
            sha, drawn = f"{number:040x}", figures(rng)
            yield Night(date(number), each.id, date(number), sha, sha[-12:], key, "ok", "", drawn)


def written(folder: Path, points: list[Launched], gpu: str) -> History:
    """A year of these points, with an anchor at its first night."""
    path = history.file_of(folder, gpu, "nightly")
    known: list[tuple[str, dict[str, Any]]] = [
        (
            "fingerprint",
            {"key": history.key_of(points[0].fingerprint), "values": dict(points[0].fingerprint)},
        ),
        *(("point", {"id": x.id, "label": x.label, "config": dict(x.config)}) for x in points),
    ]
    rows = history.lines_of(nights(np.random.default_rng(1), points))
    history.append(history.read(path), {"sweep": "nightly", "gpu": gpu}, [*known, *rows])
    whole = history.read(path)
    anchor.write(whole, anchor.pinned(whole, date(0), "first"))
    return whole


def synthetic(rng: np.random.Generator, index: int) -> Launched:
    drawn = figures(rng)
    launches = tuple(
        Launch((date(NIGHTS, 10 * n), n), "l4", "ok", "", {name: drawn[name][n] for name in drawn})
        for n in range(3)
    )
    config = {"avatar.steps": index, **{f"avatar.key{n}": n for n in range(40)}}
    name, sha = f"{index:012x}", f"{NIGHTS:040x}"
    return Launched(name, f"point {index}", {}, config, PRINTS, sha, sha[-12:], True, launches)


def test_a_night_of_two_hundred_points_against_a_year_takes_ten_seconds_at_most(
    benchmark: BenchmarkFixture, tmp_path: Path, capsys: Capture
) -> None:
    rng = np.random.default_rng(0)
    points = [synthetic(rng, index) for index in range(POINTS)]
    path = written(tmp_path, points, "NVIDIA L4").path
    tonight = Tonight(date(NIGHTS), tuple(points), {}, {"sweep": "nightly", "gpu": "NVIDIA L4"})
    options = Options(tmp_path, {}, (), Budget(5, 600.0))

    def again(name: str, commit: str, launches: int, left_min: float) -> Measured:
        one = next(each for each in points if each.id == name)
        return Measured(one, one, "")

    def decide() -> None:
        known = history.read(path)
        gate.decide(tonight, known, anchor.read(known), options, again)

    benchmark.pedantic(decide, rounds=1)
    took_s = benchmark.stats.stats.median
    say(
        capsys,
        f"{POINTS} points against {NIGHTS} nights, {path.stat().st_size >> 20} MiB: {took_s:.1f} s",
    )
    assert took_s < GATE_S


def test_a_stored_run_of_two_hundred_points_takes_ten_seconds_at_most(
    benchmark: BenchmarkFixture, tmp_path: Path, capsys: Capture
) -> None:
    run = tmp_path / "nightly"
    for index in range(POINTS):
        made = point("sequential", 1, avatar__steps=index + 1)
        save(run, [
            measured(
                made, repeat, started_at=date(NIGHTS, repeat),
                environment={**ENVIRONMENT, "gpus": [], "code": f"{NIGHTS:012x}"},
            )
            for repeat in range(3)
        ])  # fmt: skip
    begun_s = time.monotonic()
    points = launched(run)
    read_s = time.monotonic() - begun_s
    path = written(tmp_path, points, "Example CPU").path
    options = Options(tmp_path, {}, measure=False)
    before = path.read_bytes()

    benchmark.pedantic(lambda: gate.gate(run, options), rounds=1)
    took_s = benchmark.stats.stats.median
    say(
        capsys, f"the same of {3 * POINTS} stored launches: {took_s:.1f} s, {read_s:.1f} s of it to read them"
    )
    assert path.read_bytes().startswith(before)
    assert took_s < GATE_S
