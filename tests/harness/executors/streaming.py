"""A TTS that speaks in pieces and an avatar that shows frames meanwhile; the child imports them by name."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence

from engines.contract import Job, Piece
from engines.simulated import Simulated

RATE = 24_000
PIECES = 4
FRAMES_PER_PIECE = 5  # of 0.2 s


class Speaking(Simulated):
    """`say` takes 10 ms for each of 4 pieces of 0.2 s; `polish` passes them on; one speaker at a time."""

    def load(self) -> None:
        self.speaking = 0

    def stages(self, job: Job) -> Sequence[Say | Polish]:
        return [Say(self), Polish()]


class Say:
    name = "say"
    timer = None

    def __init__(self, owner: Speaking) -> None:
        self._owner = owner

    def feed(self, piece: Piece) -> Iterator[Piece]:
        self._owner.speaking += 1
        if self._owner.speaking > 1:
            raise RuntimeError("two texts at once")
        for _ in range(PIECES):
            time.sleep(0.01)
            yield Piece("audio", None, RATE // 5, RATE)
        self._owner.speaking -= 1

    def flush(self) -> Iterator[Piece]:
        yield from ()


class Polish:
    name = "polish"
    timer = None

    def feed(self, piece: Piece) -> Iterator[Piece]:
        yield piece

    def flush(self) -> Iterator[Piece]:
        yield from ()


class Following(Simulated):
    """`draw` makes 5 frames of each piece of audio; `write` counts them."""

    def stages(self, job: Job) -> Sequence[Draw | Write]:
        return [Draw(), Write()]


class Draw:
    name = "draw"
    timer = None

    def feed(self, piece: Piece) -> Iterator[Piece]:
        for _ in range(FRAMES_PER_PIECE):
            yield Piece("frame", None)

    def flush(self) -> Iterator[Piece]:
        yield from ()


class Write:
    name = "write"
    timer = None

    def __init__(self) -> None:
        self._frames = 0

    def feed(self, piece: Piece) -> Iterator[Piece]:
        self._frames += 1
        yield from ()

    def flush(self) -> Iterator[Piece]:
        audio_s = self._frames / 25
        yield Piece("video", {"path": "", "frames": self._frames, "audio_s": audio_s}, self._frames)
