"""Every fault, at every place, under every executor: `python -m tests.chaos`, or `make chaos`.

Each cell is a real point of simulated components in real processes, measured as any other. It must end
within its deadline + 2 s with the right outcome, phase, stage and worker, and what hangs must get the right
class; nothing of it may be left. Prints a table and what was wrong; exit code 1 if a cell was wrong, or more
than 5 % of the classes.
"""

from __future__ import annotations

import argparse
import collections
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from harness import supervisor
from harness.point import Point
from harness.result import PointResult
from tests.harness.points import avatar, point, processes_with

EXECUTORS = ("sequential", "threads", "processes", "queue", "pipelined")
PLACES = ("load", "first", "later", "shutdown")
# What a kind must end as, and for a hang its class; `hung: thread` is one that shows at the interpreter's
# end alone.
EXPECTED = {
    "hang": "hung event",
    "sleep": "hung sleeping",
    "busy": "hung spinning",
    "lock": "hung lock",
    "lock_order": "hung deadlock",
    "import_lock": "hung import_lock",
    "queue_full": "hung queue",
    "hidden": "hung queue",
    "gil": "hung gil",
    "child": "hung child",
    "network": "hung io",
    "writer_died": "hung io",
    "sigstop": "hung stopped",
    "thread": "hung event",
    "stdin": "failed",
    "disk_full": "failed",
    "raise": "failed",
    "oom": "oom",
    "segfault": "crashed",
    "abort": "crashed",
    "exit": "crashed",
    "sigkill": "crashed",
    "grandchild": "ok",
    "slow": "ok",
    "crawl": "ok",
    "wrong": "invalid",
}
LIMIT_S, ALLOWED_S = 0.8, 2.0
_LINE = "{:<12} {:<17} {:>5} {:>5} {:>12} {:>14}\n"
_LIMITS = {**dict.fromkeys(("load", "stage", "shutdown", "idle"), LIMIT_S), "moving": 4.0}
_SHARING = {"share": "locked", "shared": ["tts", "asr"]}
_OPTIONS: dict[str, dict[str, Any]] = {
    "threads": _SHARING,
    "queue": _SHARING,
    "pipelined": {
        **_SHARING,
        "order": None,
        "loading": "serial",
        "depth": 1,
        "split": "component",
        "stages": "threads",
    },
}


@dataclass(frozen=True)
class Cell:
    """One fault at one place under one executor."""

    kind: str
    place: str
    executor: str

    def point(self) -> Point:
        where: dict[str, Any] = {
            "phase": "stage",
            "stage": "motion",
            "job": {"first": 0, "later": 3}.get(self.place),
        }
        if self.place in ("load", "shutdown"):
            where = {"phase": self.place, "worker": 0 if self.executor == "sequential" else 1}
        fault = {
            "kind": self.kind,
            "component": "avatar",
            "seconds": 1.5 * LIMIT_S if self.kind == "crawl" else 0.1,
        }
        moving = avatar(stages={"motion": {"sleep_s": 0.02}, "render": {"per": "frame"}, "write": {}})
        return whole(self.executor, limits=_LIMITS, fault=fault | where, avatar=moving)

    def complaints(self, result: PointResult) -> list[str]:
        """What is wrong with how it ended; [] where all is right."""
        outcome = EXPECTED[self.kind].partition(" ")[0]
        found = (
            [] if result.outcome == outcome else [f"{result.outcome} instead of {outcome}: {result.reason}"]
        )
        # A process is stopped as a whole, and its threads one after the other: which of them sent it is not
        # to be seen.
        is_told = self.kind != "sigstop" or self.executor not in ("threads", "pipelined")
        if not found and outcome not in ("ok", "invalid") and is_told:
            found += self._misplaced(result)
        late_s = result.evidence.get("ended_after_s", 0.0)
        if late_s > ALLOWED_S:
            found.append(f"ended {late_s:.2f} s after its deadline")
        if left := processes_with(f".{result.id}.") or result.evidence.get("survivors"):
            found.append(f"left behind: {left}")
        return found

    def _misplaced(self, result: PointResult) -> list[str]:
        phase = {"load": "load", "shutdown": "shutdown"}.get(self.place, "stage")
        wanted: dict[str, Any] = {"phase": phase, "component": "avatar"}
        if self.kind == "thread":
            wanted = {"phase": "shutdown", "component": ""}
        elif phase == "stage":
            wanted |= {"stage": "motion", "job": {"first": 0, "later": 3}[self.place]}
        if phase != "stage" and self.kind != "thread":
            wanted["worker"] = 0 if self.executor == "sequential" else 1
        return [
            f"{key} {getattr(result, key)!r} instead of {value!r}"
            for key, value in wanted.items()
            if getattr(result, key) != value
        ]

    def is_class_right(self, result: PointResult) -> bool | None:
        """None where nothing hangs."""
        _, _, kind = EXPECTED[self.kind].partition(" ")
        return result.evidence.get("diagnosis", {}).get("kind") == kind if kind else None


def whole(executor: str, **given: Any) -> Point:
    """A point of six jobs with all the settings of its executor, and two workers where there can be two."""
    made = point(executor, 1 if executor == "sequential" else 2, jobs=6, **given)
    return replace(made, executor=made.executor | _OPTIONS.get(executor, {}))


def cells(kinds: Sequence[str] = (), executors: Sequence[str] = EXECUTORS) -> list[Cell]:
    """All that make sense: what a stage gives can be wrong in a job alone."""
    return [
        Cell(kind, place, executor)
        for kind in kinds or EXPECTED
        for place in PLACES
        for executor in executors
        if kind != "wrong" or place in ("first", "later")
    ]


def run(cell: Cell, folder: Path, token: str) -> PointResult:
    return supervisor.measure(
        cell.point(), folder / f"{cell.kind}-{cell.place}-{cell.executor}/id/0", token
    ).result


def _measured(todo: Sequence[Cell], at_once: int) -> Iterator[tuple[Cell, PointResult]]:
    token = supervisor.start_guard()
    with tempfile.TemporaryDirectory() as folder, ThreadPoolExecutor(at_once) as pool:
        yield from zip(todo, pool.map(lambda cell: run(cell, Path(folder), token), todo), strict=True)


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.chaos", description=__doc__)
    parser.add_argument("--kinds", nargs="*", default=[], choices=list(EXPECTED))
    parser.add_argument("--executors", nargs="*", default=EXECUTORS, choices=EXECUTORS)
    parser.add_argument("--at-once", type=int, default=3, help="points measured at the same time")
    asked = parser.parse_args()
    began, todo = time.monotonic(), cells(asked.kinds, asked.executors)
    rows: dict[str, dict[str, int]] = collections.defaultdict(lambda: collections.defaultdict(int))
    wrong: list[str] = []
    for cell, result in _measured(todo, asked.at_once):
        row, told = rows[cell.kind], cell.complaints(result)
        right = cell.is_class_right(result)
        row["cells"] += 1
        row["right"] += not told
        row["hangs"] += right is not None
        row["class right"] += bool(right)
        row["late_ms"] = max(row["late_ms"], round(1e3 * result.evidence.get("ended_after_s", 0.0)))
        if right is False:
            diagnosis = result.evidence.get("diagnosis", {})
            told.append(f"class {diagnosis.get('kind')} ({diagnosis.get('sentence')})")
        wrong += [f"{cell.kind}, {cell.place}, {cell.executor}: {one}" for one in told]
    return _print(rows, wrong, time.monotonic() - began)


def _print(rows: dict[str, dict[str, int]], wrong: Sequence[str], seconds: float) -> int:
    write = sys.stdout.write
    heads = ("fault", "expected", "cells", "right", "class right", "latest end, s")
    write(_LINE.format(*heads))
    for kind, row in rows.items():
        classes = f"{row['class right']} of {row['hangs']}" if row["hangs"] else "-"
        late = f"{row['late_ms'] / 1e3:.2f}" if row["late_ms"] else "-"
        write(_LINE.format(kind, EXPECTED[kind], row["cells"], row["right"], classes, late))
    total = {
        key: sum(row[key] for row in rows.values()) for key in ("cells", "right", "hangs", "class right")
    }
    cells_right = f"{total['right']} of {total['cells']} cells right"
    write(f"{cells_right}, {total['class right']} of {total['hangs']} classes, {seconds:.0f} s\n")
    write("".join(f"  {one}\n" for one in wrong))
    good = total["right"] == total["cells"] and total["class right"] >= 0.95 * total["hangs"]
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
