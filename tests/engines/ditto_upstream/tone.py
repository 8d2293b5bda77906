"""A TTS for tests that says a tone of a given length."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

import numpy as np

from engines.contract import Job, Piece
from engines.simulated import Simulated, SimulatedStage


class Tone(Simulated):
    """A TTS that says `seconds` of a tone, whatever the text, in pieces of 0.5 s with a pause before each."""

    def __init__(self, seconds: float = 10.0, rate: int = 24_000, pause_s: float = 0.0, **_: Any) -> None:
        super().__init__("tts", 0.0, 0.0, {"speak": {}})
        self._said = {"seconds": seconds, "rate": rate, "pause_s": pause_s}

    def stages(self, job: Job) -> list[Any]:
        return [ToneStage("speak", "tts", job, self._said, 0, 1)]


class ToneStage(SimulatedStage):
    def feed(self, piece: Piece) -> Iterator[Piece]:
        rate = self._work["rate"]
        turns = 220 * np.arange(round(self._work["seconds"] * rate)) / rate
        sound = (0.3 * np.sin(2 * np.pi * turns)).astype(np.float32)
        for at in range(0, len(sound), rate // 2):
            time.sleep(self._work["pause_s"])
            part = sound[at : at + rate // 2]
            yield Piece("audio", part, len(part), rate)
