"""Stored runs for the gate, night by night, and what it is asked and says; in the working folder."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import replace
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from harness.result import Measurement, Outcome
from reports import again, history
from reports.__main__ import main
from reports.again import Measured
from reports.history import Night
from tests.data.make_runs import ENVIRONMENT, broken, measured, point, save
from tests.reports.sides import BASE_MIN, NEAR_ONE, NEW_MIN, launch, side

FIRST = datetime(2026, 3, 1, 2, 0, tzinfo=timezone.utc)
HISTORY = Path("baselines/example-cpu/nightly.jsonl")
# Of three launches; their median is 1.
NEAR = (1.0, 0.998, 1.002)
SLOWER = 1.2


def environment(number: int, **changes: Any) -> dict[str, Any]:
    return {**ENVIRONMENT, "commit": f"{number:040x}", "code": f"{number:012x}", **changes}


def started(number: int, minute: int = 0) -> str:
    return (FIRST + timedelta(days=number, minutes=minute)).isoformat()


def launches(number: int, scale: float = 1.0, workers: int = 1, **changes: Any) -> list[Measurement]:
    """Three of a point in that night; its aggregate RTF is 2 * scale / workers. changes: of environment."""
    made = point("sequential" if workers == 1 else "threads", workers)
    return [
        measured(
            made, repeat, scale=scale * near, started_at=started(number, 10 * repeat + workers),
            environment=environment(number, **changes),
        )
        for repeat, near in enumerate(NEAR)
    ]  # fmt: skip


def ended(outcome: Outcome, number: int, workers: int = 1) -> Measurement:
    made = broken(point("sequential" if workers == 1 else "threads", workers), outcome, "warp did not end")
    result = replace(made.result, started_at=started(number, workers), environment=environment(number))
    return Measurement(result, made.spans, made.samples)


def store(*measurements: Sequence[Measurement]) -> Path:
    shutil.rmtree("runs/nightly", ignore_errors=True)
    return save(Path("runs/nightly"), [m for each in measurements for m in each])


def gate(*options: str) -> int:
    return main(["gate", "nightly", "--baselines", "baselines", *options])


def after_nights(count: int, *workers: int) -> None:
    """A history of so many nights of these points, as the first one gave it."""
    store(*(launches(0, workers=each) for each in workers or (1,)))
    assert gate() == 0
    known = history.read(HISTORY)
    rows = [_moved(row, number) for number in range(1, count) for row in known.nights]
    history.append(known, {}, history.lines_of(rows))


def _moved(row: Night, number: int) -> Night:
    """The same in another night, 0.2 % up and down in turn."""
    near, day = 1.002 if number % 2 else 0.998, (started(0)[:10], started(number)[:10])
    values = {name: tuple(near * x for x in each) for name, each in row.values.items()}
    moved = replace(row, night=row.night.replace(*day), at=row.at.replace(*day), values=values)
    return replace(moved, commit=f"{number:040x}", code=f"{number:012x}")


def gives(monkeypatch: pytest.MonkeyPatch, size: float) -> list[tuple[str, str]]:
    """What measuring again gives, five launches a side in turn; the list fills with point and commit."""
    asked: list[tuple[str, str]] = []

    def measure(run: Path, point_id: str, commit: str, launches: int, left_min: float) -> Measured:
        asked.append((point_id, commit))
        names = ("rtf_aggregate", "rtf_request_p50", "ttfa_s", "ttff_s", "peak_rss_mib")
        sides = [
            side(
                [
                    launch(m, dict.fromkeys(names, level * near))
                    for m, near in zip(minutes, NEAR_ONE, strict=True)
                ]
            )
            for level, minutes in ((1.0, BASE_MIN), (size, NEW_MIN))
        ]
        return Measured(sides[0], sides[1], "")

    monkeypatch.setattr(again, "measure", measure)
    return asked


def told(word: str = "") -> list[dict[str, Any]]:
    lines: list[dict[str, Any]] = json.loads(Path("runs/nightly/gate.json").read_text())["lines"]
    return [line for line in lines if not word or line["word"] == word]


def rows() -> list[str]:
    """The history's lines after the head."""
    return HISTORY.read_text().splitlines()[1:]
