"""Components that break where they are told to: at a piece, at the end, or when asked for their stages."""

from __future__ import annotations

import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

from engines.contract import Job, Piece, Stage
from engines.simulated import FRAMES_PER_S, SAMPLE_RATE, Simulated

FLUSH, STAGES, FINISHED = "flush", "stages", "finished"
FRAMES_PER_PIECE = 2


class Injected(Exception):
    """Raised on purpose. raised: all of them, in order."""

    raised: ClassVar[list[Injected]] = []

    def __init__(self, what: Break) -> None:
        super().__init__(what)
        self.at_s = time.monotonic()
        Injected.raised.append(self)


@dataclass(frozen=True)
class Break:
    """What happens where. at: the number of a piece that a stage is given, or makes where it makes more than
    it is given; "flush", "stages", or "finished", which is none of a component.
    """

    component: str
    stage: str
    job: int
    at: int | str
    how: str = "raise"

    def strike(self) -> None:
        kinds: dict[str, Callable[[], object]] = {
            "raise": self._raise,
            "sigkill": lambda: os.kill(os.getpid(), signal.SIGKILL),
            "exit 0": lambda: os._exit(0),
            "exit 7": lambda: os._exit(7),
            "hang": lambda: time.sleep(60),
        }
        kinds[self.how]()

    def _raise(self) -> None:
        raise Injected(self)


class Breaking(Simulated):
    """The simulated component, or with `pieces` one that streams: a TTS that says as many pieces of a text
    and an avatar that draws 2 frames of each; breaks: as those of Break, in plain data.
    """

    def __init__(
        self,
        breaks: Sequence[Break | Sequence[Any]] = (),
        pieces: int | None = None,
        pause_s: float = 0.0,
        **settings: Any,
    ) -> None:
        super().__init__(**settings)
        self._breaks = [each if isinstance(each, Break) else Break(*each) for each in breaks]
        self._pieces = pieces
        self._pause_s = pause_s

    def stages(self, job: Job) -> Sequence[Stage]:
        here = [each for each in self._breaks if (each.component, each.job) == (self.role, job.index)]
        for each in here:
            if each.at == STAGES:
                each.strike()
        return [
            BreakingStage(stage, [each for each in here if each.stage == stage.name], self._pause_s)
            for stage in self._whole(job)
        ]

    def _whole(self, job: Job) -> Sequence[Stage]:
        if self._pieces is None:
            return super().stages(job)
        return [Say(self._pieces), Polish()] if self.role == "tts" else [Draw(), Write()]


class BreakingStage:
    """A stage that breaks. A pause before each piece lets the threads meet in many ways."""

    timer = None

    def __init__(self, stage: Stage, breaks: Sequence[Break], pause_s: float) -> None:
        self.name = stage.name
        self._stage = stage
        self._breaks = breaks
        self._pause_s = pause_s
        self._given = self._made = 0

    def feed(self, piece: Piece) -> Iterator[Piece]:
        if self.name != "say":
            self._look(self._given)
        self._given += 1
        for made in self._stage.feed(piece):
            if self.name == "say":
                self._look(self._made)
            self._made += 1
            yield made

    def flush(self) -> Iterator[Piece]:
        self._look(FLUSH)
        yield from self._stage.flush()

    def _look(self, at: int | str) -> None:
        if self._pause_s:
            time.sleep(self._pause_s)
        for each in self._breaks:
            if each.at == at:
                each.strike()


class Say:
    name, timer = "say", None

    def __init__(self, pieces: int) -> None:
        self._pieces = pieces

    def feed(self, piece: Piece) -> Iterator[Piece]:
        for _ in range(self._pieces):
            yield Piece("audio", None, SAMPLE_RATE * FRAMES_PER_PIECE // FRAMES_PER_S, SAMPLE_RATE)

    def flush(self) -> Iterator[Piece]:
        yield from ()


class Polish:
    name, timer = "polish", None

    def feed(self, piece: Piece) -> Iterator[Piece]:
        yield piece

    def flush(self) -> Iterator[Piece]:
        yield from ()


class Draw:
    name, timer = "draw", None

    def feed(self, piece: Piece) -> Iterator[Piece]:
        for _ in range(FRAMES_PER_PIECE):
            yield Piece("frame", None)

    def flush(self) -> Iterator[Piece]:
        yield from ()


class Write:
    name, timer = "write", None

    def __init__(self) -> None:
        self._frames = 0

    def feed(self, piece: Piece) -> Iterator[Piece]:
        self._frames += 1
        yield from ()

    def flush(self) -> Iterator[Piece]:
        told = {"path": "", "frames": self._frames, "audio_s": self._frames / FRAMES_PER_S}
        yield Piece("video", told, self._frames)


class DyingIdle(Simulated):
    """Its process is killed a quarter of a second after it was loaded, whatever it does then."""

    def warm_up(self, job: Job) -> None:
        killer = threading.Timer(0.25, os.kill, (os.getpid(), signal.SIGKILL))
        killer.daemon = True
        killer.start()
