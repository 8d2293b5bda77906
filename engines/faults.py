"""Breaks a component on purpose at a named phase, stage, worker and job: catching it can be tested."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

from engines.contract import Buildable, Closable, Component, Job, Piece, Stage


def wrap(component: Component, name: str, worker: int, fault: Mapping[str, Any]) -> Component:
    """The component itself, or one that breaks where `fault` says.

    fault  kind, component, phase (import, load, build, warm_up, attest, stage, shutdown), and worker, job and
           stage; None means any worker, any job, the first stage
    """
    if not _is_meant(name, worker, fault):
        return component
    _misdeeds()  # loaded by now, so that it strikes at once
    return Faulty(component, fault)


def strike_in(phase: str, name: str, worker: int, fault: Mapping[str, Any]) -> None:
    """Break here if this is the phase of this component that is meant: where there is no component yet."""
    if _is_meant(name, worker, fault) and fault["phase"] == phase:
        _misdeeds().strike(fault)


def _misdeeds() -> ModuleType:
    """Imported where a fault is meant: a process that is measured without one has none of it."""
    from engines import misdeeds

    return misdeeds


def _is_meant(name: str, worker: int, fault: Mapping[str, Any]) -> bool:
    return fault["kind"] != "none" and fault["component"] == name and fault["worker"] in (None, worker)


class Faulty:
    """A component with one fault; everything else is passed on."""

    def __init__(self, component: Component, fault: Mapping[str, Any]) -> None:
        self._component = component
        self._fault = fault

    def load(self) -> None:
        self._strike("load")
        self._component.load()

    def build(self) -> None:
        self._strike("build")
        if isinstance(self._component, Buildable):
            self._component.build()

    def warm_up(self, job: Job) -> None:
        self._strike("warm_up")
        self._component.warm_up(job)

    def stages(self, job: Job) -> Sequence[Stage]:
        stages = self._component.stages(job)
        if self._fault["phase"] != "stage" or self._fault["job"] not in (None, job.index):
            return stages
        names = [stage.name for stage in stages]
        if not names:
            raise ValueError(
                f"fault.component={self._fault['component']}: has no stages; use fault.phase=load"
            )
        wanted = self._fault["stage"] or names[0]
        if wanted not in names:
            raise ValueError(f"fault.stage={wanted}: choose from {', '.join(names)}")
        if self._fault["kind"] == "wrong":  # what a stage does is right, what it gives is not
            return [*stages[:-1], WrongStage(stages[-1])]
        return [FaultyStage(stage, self._fault) if stage.name == wanted else stage for stage in stages]

    def attest(self) -> Mapping[str, Any]:
        self._strike("attest")
        return {**self._component.attest(), "fault": self._fault["kind"]}

    def memory(self) -> Mapping[str, float]:
        return self._component.memory()

    def close(self) -> None:
        self._strike("shutdown")
        if isinstance(self._component, Closable):
            self._component.close()

    def _strike(self, phase: str) -> None:
        if self._fault["phase"] == phase:
            _misdeeds().strike(self._fault)


class _Stage:
    """A stage that passes everything on."""

    def __init__(self, stage: Stage) -> None:
        self.name = stage.name
        self.timer = stage.timer
        self.awaits = getattr(stage, "awaits", False)
        self._stage = stage

    def feed(self, piece: Piece) -> Iterator[Piece]:
        yield from self._stage.feed(piece)

    def flush(self) -> Iterator[Piece]:
        yield from self._stage.flush()


class FaultyStage(_Stage):
    """A stage that breaks at its first piece."""

    def __init__(self, stage: Stage, fault: Mapping[str, Any]) -> None:
        super().__init__(stage)
        self._fault = fault

    def feed(self, piece: Piece) -> Iterator[Piece]:
        _misdeeds().strike(self._fault)
        yield from super().feed(piece)


class WrongStage(_Stage):
    """A last stage whose video is not what it says: the file is cut short, or where there is none a frame
    is lost.
    """

    def flush(self) -> Iterator[Piece]:
        for piece in super().flush():
            yield replace(piece, data=_spoilt(piece.data)) if piece.kind == "video" else piece


def _spoilt(video: Mapping[str, Any]) -> dict[str, Any]:
    if not video["path"]:
        return {**video, "frames": video["frames"] - 1}
    os.truncate(video["path"], Path(video["path"]).stat().st_size // 2)
    return dict(video)
