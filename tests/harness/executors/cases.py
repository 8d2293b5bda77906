"""Pipelines with something in them that breaks, drawn by a number."""

from __future__ import annotations

import random
from dataclasses import dataclass, field, replace
from typing import Any

from tests.harness.executors.breaking import FINISHED, FLUSH, FRAMES_PER_PIECE, STAGES, Break
from tests.harness.executors.loads import executor

PLACES = [("tts", "say"), ("tts", "polish"), ("avatar", "draw"), ("avatar", "write")]


@dataclass
class Case:
    """A pipeline with what breaks in it, drawn by a number."""

    number: int
    breaks: list[Break] = field(default_factory=list)

    def __post_init__(self) -> None:
        draw = random.Random(self.number)
        self.workers = draw.randint(1, 3)
        self.jobs = draw.randint(1, 8)
        self.pieces = draw.randint(0, 4)
        self.pause_s = draw.choice([0.0, 0.0, 0.0001])
        self.options: dict[str, Any] = {
            **executor("pipelined"),
            "workers": self.workers,
            "timing": "events",
            "depth": draw.randint(1, 3),
            "split": draw.choice(["component", "stage"]),
            "share": draw.choice(["locked", "own"]),
            "shared": draw.choice([["tts"], ["avatar"], ["tts", "avatar"]]),
            "loading": draw.choice(["serial", "parallel"]),
        }
        every_ms = draw.choice([0.01, 1.0])
        self.traffic: dict[str, Any] = draw.choice(
            [
                {"kind": "closed"},
                {"kind": "poisson", "rate_per_min": 60_000 / every_ms, "seed": self.number},
                {"kind": "burst", "size": 3, "every_s": every_ms / 1e3},
            ]
        )
        self._draw = draw

    def break_somewhere(self) -> Break:
        component, stage = self._draw.choice(PLACES)
        job = self._draw.randrange(self.jobs)
        pieces = self.pieces * (FRAMES_PER_PIECE if stage == "write" else 1)
        at = self._draw.choice([*range(pieces), FLUSH, STAGES, FINISHED])
        return Break(FINISHED if at == FINISHED else component, stage, job, at)


def broken(number: int) -> Case:
    """One or two things break; two in about a third of the cases."""
    case = Case(number)
    case.breaks = [case.break_somewhere() for _ in range(1 + (number % 3 == 0))]
    return case


def apart(number: int) -> Break:
    """What breaks in a pipeline whose avatars are processes; each third dies and says nothing."""
    case = Case(number)
    found = case.break_somewhere()
    while found.component == FINISHED or found.job > 3 or (isinstance(found.at, int) and found.at > 1):
        found = case.break_somewhere()
    dies = number % 3 == 0
    return replace(found, how=["sigkill", "exit 0", "exit 7"][number // 3 % 3]) if dies else found
