"""Launches: what is compared between builds and nights - a point's figures, a set for each process tree.

A repeat of a point is a launch: a process tree of its own. Launches are the unit of every decision here, not
the jobs in them, which share all that a start decides.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from harness.result import Outcome


@dataclass(frozen=True)
class Launch:
    """One measurement: when (started_at, started_ns), on which host, how it ended, and its figures by name.

    values  the metrics of GATED, and `stage.<component>.<stage>`: busy seconds per second of video
    signature  of a hang, what joins it to the same one elsewhere; "" for what did not hang
    """

    at: tuple[str, int]
    host: str
    outcome: str
    reason: str
    values: Mapping[str, float]
    signature: str = ""

    @property
    def ok(self) -> bool:
        return self.outcome == Outcome.OK


@dataclass(frozen=True)
class Launched:
    """A point on one side of a comparison, with its launches in the order of time.

    label        what a reader calls it; axes: what varied in its run
    config       dotted keys of the resolved configuration -> value, executor and workers among them
    fingerprint  what must be alike for two to be compared, as text by name: gpu, driver, torch, …
    is_foreign   whether code is measured that lies outside of this repository, as a checkout of upstream's
    code         hash over the sources that ran; equal where only documents changed between commits
    """

    id: str
    label: str
    axes: Mapping[str, Any]
    config: Mapping[str, Any]
    fingerprint: Mapping[str, str]
    commit: str
    code: str
    on_gpu: bool
    launches: tuple[Launch, ...]
    is_foreign: bool = False

    @property
    def ok(self) -> bool:
        return bool(self.launches) and all(launch.ok for launch in self.launches)

    @property
    def complaint(self) -> str:
        """Of the first launch that is not ok, `hung: <reason>`; "" where all are."""
        wrong = next((launch for launch in self.launches if not launch.ok), None)
        return f"{wrong.outcome}: {wrong.reason}" if wrong else ""

    def numbers(self, metric: str) -> list[float]:
        return [launch.values[metric] for launch in self.launches if metric in launch.values]
