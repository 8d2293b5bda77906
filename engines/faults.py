"""Breaks a component on purpose at a named phase, stage, worker and job: catching it can be tested."""

from __future__ import annotations

import ctypes
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

from engines.contract import Buildable, Component, Job, Piece, Stage


def wrap(component: Component, name: str, worker: int, fault: Mapping[str, Any]) -> Component:
    """The component itself, or one that breaks where `fault` says.

    fault  kind, component, phase (load, build, warm_up, stage), and stage, worker, job, where None means any
    """
    applies = fault["kind"] != "none" and fault["component"] == name and fault["worker"] in (None, worker)
    if applies:
        return Faulty(component, fault)
    return component


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
        wanted = self._fault["stage"] or names[0]
        if wanted not in names:
            raise ValueError(f"fault.stage={wanted}: choose from {', '.join(names)}")
        return [FaultyStage(stage, self._fault) if stage.name == wanted else stage for stage in stages]

    def attest(self) -> Mapping[str, Any]:
        return {**self._component.attest(), "fault": self._fault["kind"]}

    def memory(self) -> Mapping[str, float]:
        return self._component.memory()

    def _strike(self, phase: str) -> None:
        if self._fault["phase"] == phase:
            strike(self._fault)


class FaultyStage:
    """A stage that breaks at its first piece."""

    def __init__(self, stage: Stage, fault: Mapping[str, Any]) -> None:
        self.name = stage.name
        self.timer = stage.timer
        self.awaits = getattr(stage, "awaits", False)
        self._stage = stage
        self._fault = fault

    def feed(self, piece: Piece) -> Iterator[Piece]:
        strike(self._fault)
        yield from self._stage.feed(piece)

    def flush(self) -> Iterator[Piece]:
        yield from self._stage.flush()


def strike(fault: Mapping[str, Any]) -> None:
    """Do what fault.kind says, here and now. Raises ValueError for a kind it does not know."""
    kinds: dict[str, Callable[[], object]] = {
        "hang": _hang,
        "raise": _raise,
        "exit": lambda: os._exit(7),
        "sigkill": lambda: os.kill(os.getpid(), signal.SIGKILL),
        "gil": _hold_the_gil,
        "oom": _out_of_memory,
        "fork": _fork_after_openmp,
        "slow": lambda: time.sleep(fault["seconds"]),
    }
    if fault["kind"] not in kinds:
        raise ValueError(f"fault.kind={fault['kind']}: choose from none, {', '.join(kinds)}")
    kinds[fault["kind"]]()


def _hang() -> None:
    threading.Event().wait()  # the event that nobody sets


def _raise() -> None:
    raise RuntimeError("raised on purpose by fault.kind=raise")


def _hold_the_gil() -> None:
    # PyDLL keeps the GIL during the call, as a badly written extension does: no other Python thread runs.
    ctypes.PyDLL(None).sleep(86_400)


def _out_of_memory() -> None:
    raise MemoryError("raised on purpose by fault.kind=oom")


def _fork_after_openmp() -> None:
    """The hang that nobody plants: libgomp's threads do not survive a fork, the child waits for them for
    ever.
    """
    import torch

    torch.set_num_threads(2)
    square = torch.ones(512, 512)
    torch.mm(square, square)
    child = os.fork()
    if child == 0:
        torch.mm(square, square)
        os._exit(0)
    os.waitpid(child, 0)
