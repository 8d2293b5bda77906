"""Nights of a made-up L4: points with true levels by commit, noise of nights and launches, faults.

Noise is that of a real L4's history: 0.8 % from night to night with a memory of half of the last one, 0.4 %
from launch to launch. A fault of the machine, and its drift, meets both sides of a session alike.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta, timezone
from pathlib import Path

import numpy as np

from reports import anchor, gate, history
from reports.again import Measured
from reports.gate import Options, Tonight
from reports.launches import Launch, Launched
from reports.statement import Statement
from reports.suspects import Budget

FIRST = datetime(2026, 3, 1, 2, 0, tzinfo=timezone.utc)
SHARES = {"avatar.warp": 0.3, "avatar.decode": 0.4, "tts.gpt": 0.2, "avatar.write": 0.1}


@dataclass(frozen=True)
class Step:
    """From that night's commit on, a stage of a point takes `ratio` times as long."""

    night: int
    stage: str
    ratio: float


@dataclass(frozen=True)
class Truth:
    """A point: seconds per second of video at night 0, its steps, and how it behaves."""

    name: str
    level: float = 0.8
    steps: tuple[Step, ...] = ()
    bimodal: float = 0.0  # a launch is slower by this in one of three cases
    hangs: frozenset[int] = frozenset()


@dataclass
class World:
    """The machine and what runs on it. drift: per night, relative; faults: night -> ratio, of all points."""

    truths: Sequence[Truth]
    folder: Path
    seed: int = 0
    drift: float = 0.0
    faults: Mapping[int, float] = field(default_factory=dict)
    drivers: Mapping[int, str] = field(default_factory=lambda: {0: "580.95.05"})
    night_sd: float = 0.008
    launch_sd: float = 0.004
    sessions: int = 0
    _state: dict[tuple[str, int], float] = field(default_factory=dict)

    def night_of(self, truth: Truth, night: int) -> float:
        """What the machine adds that night, as a logarithm: noise with a memory, drift, a fault."""
        if night < 0:
            return 0.0
        key = (truth.name, night)
        if key not in self._state:
            rng = np.random.default_rng([self.seed, night, zlib.crc32(truth.name.encode())])
            before = self._state.get((truth.name, night - 1), 0.0)
            self._state[key] = 0.5 * before + np.sqrt(0.75) * self.night_sd * rng.standard_normal()
        return self._state[key] + night * self.drift + float(np.log(self.faults.get(night, 1.0)))

    def launched(self, truth: Truth, night: int, commit: int, begun: Sequence[int], tag: int = 0) -> Launched:
        """That commit, on that night's machine, a launch at each of these minutes."""
        rng = np.random.default_rng([self.seed, night, commit, tag, zlib.crc32(truth.name.encode())])
        launches = []
        for index, minute in enumerate(begun):
            at = ((FIRST + timedelta(days=night, minutes=minute)).isoformat(), night * 10**6 + minute)
            if night in truth.hangs and commit == night and index == 1:
                launches.append(Launch(at, "l4", "hung", "stage avatar.warp did not end", {}))
                continue
            noise = self.night_of(truth, night) + self.launch_sd * rng.standard_normal()
            noise += float(np.log1p(truth.bimodal)) * (rng.random() < 1 / 3)
            launches.append(Launch(at, "l4", "ok", "", _values(truth, commit, float(np.exp(noise)))))
        driver = self.drivers[max(first for first in self.drivers if first <= night)]
        prints = {"gpu": "NVIDIA L4", "driver": driver, "torch": "2.11.0"}
        config = {"avatar.name": truth.name, "executor.workers": 1}
        sha = f"{commit:040x}"
        return Launched(truth.name, truth.name, {}, config, prints, sha, sha[-12:], True, tuple(launches))

    def measure(self, night: int) -> Callable[[str, str, int, float], Measured]:
        """As harness.ab does: A B B A B A A B A B."""

        def again(point: str, commit: str, launches: int, left_min: float) -> Measured:
            self.sessions += 1
            truth = next(each for each in self.truths if each.name == point)
            turns = ["AB", "BA", "BA", "AB"] * launches
            minutes: dict[str, list[int]] = {"A": [], "B": []}
            for index, side in enumerate("".join(turns[:launches])):
                minutes[side].append(120 + index)
            base = self.launched(truth, night, int(commit, 16), minutes["A"], 1)
            return Measured(base, self.launched(truth, night, night, minutes["B"], 2), "")

        return again

    def run(self, night: int, allowed: Sequence[str] = (), measure: bool = True) -> Statement:
        """Measure all points in a night, decide, and store."""
        points = tuple(self.launched(truth, night, night, (0, 10, 20)) for truth in self.truths)
        known = history.read(history.file_of(self.folder, "NVIDIA L4", "nightly"))
        head = {"sweep": "nightly", "gpu": "NVIDIA L4"}
        tonight = Tonight(points[0].launches[0].at[0], points, {}, head)
        options = Options(self.folder, {}, allowed, Budget(5, 600.0))
        again = self.measure(night) if measure else None
        return gate.decide(tonight, known, anchor.read(known), options, again)

    def pin(self, night: int) -> None:
        """Move the anchor to that night, as the command does but for the commit."""
        known = history.read(history.file_of(self.folder, "NVIDIA L4", "nightly"))
        moved = anchor.pinned(known, date_of(night), "measured and meant to be so")
        anchor.write(known, moved)


def _values(truth: Truth, commit: int, factor: float) -> dict[str, float]:
    parts = {stage: truth.level * share * factor for stage, share in SHARES.items()}
    for step in truth.steps:
        if commit >= step.night:
            parts[step.stage] *= step.ratio
    total = sum(parts.values())
    return {"rtf_aggregate": total, **{f"stage.{stage}": value for stage, value in parts.items()}}


def date_of(night: int) -> str:
    return (FIRST + timedelta(days=night)).date().isoformat()


def slower_point(truth: Truth, night: int, ratio: float) -> Truth:
    """The point with a step of its whole RTF at that commit, all of it in the warp."""
    share = SHARES["avatar.warp"]
    return replace(truth, steps=(*truth.steps, Step(night, "avatar.warp", 1 + (ratio - 1) / share)))
