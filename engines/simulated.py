"""A component without a model: its stages sleep, compute and allocate as told. Standard library only.

For tests, documentation and CI: every part of the harness can be seen at work in milliseconds.
"""

from __future__ import annotations

import hashlib
import math
import random
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from engines.contract import Job, Piece

SAMPLE_RATE = 24_000
FRAMES_PER_S = 25
TOKENS_PER_S = 22_050 / 1024  # XTTS-v2's, so that a text has the same length as with the real engine


class Simulated:
    """Stands in for a TTS, an avatar or an ASR.

    role      "tts" turns text into audio of num_tokens tokens, "avatar" audio into frames, "asr" is only
              loaded
    load_s, warm_up_s   seconds slept in each
    stages    {name: {sleep_s, compute_s, alloc_mib, per, spread}} in order; per is "job" or "frame" (avatar
              only); spread "exponential" draws the sleep by the job's seed, with sleep_s as the mean,
              "fivefold" between sleep_s and five times that, anew for each piece
    racy      a TTS that keeps the text of the running job in one attribute, as engines do: two jobs at once
              say each other's
    """

    def __init__(
        self,
        role: str,
        load_s: float,
        warm_up_s: float,
        stages: Mapping[str, Mapping[str, Any]],
        racy: bool = False,
        **_: Any,
    ) -> None:
        if role not in ("tts", "avatar", "asr"):
            raise ValueError(f"role={role}: a simulated component is tts, avatar or asr")
        self.role = role
        self.load_s = load_s
        self.warm_up_s = warm_up_s
        self.work = stages
        self.racy = racy
        self.text = ""

    def load(self) -> None:
        time.sleep(self.load_s)

    def warm_up(self, job: Job) -> None:
        time.sleep(self.warm_up_s)

    def stages(self, job: Job) -> Sequence[SimulatedStage]:
        names = list(self.work)
        return [
            SimulatedStage(
                name, self.role, job, self.work[name], place, len(names), self if self.racy else None
            )
            for place, name in enumerate(names)
        ]

    def attest(self) -> Mapping[str, Any]:
        stages = {name: {"backend": "simulated", "dtype": "none", "device": "cpu"} for name in self.work}
        return {
            "weights": "none",
            "device": "cpu",
            "size": "simulated",
            "stages": stages,
            "parameters": 0,
            "ran": {},
        }

    def memory(self) -> Mapping[str, float]:
        return {}


class SimulatedStage:
    """One step of a simulated component for one job."""

    timer = None

    def __init__(
        self,
        name: str,
        role: str,
        job: Job,
        work: Mapping[str, Any],
        place: int,
        num_stages: int,
        shared: Simulated | None = None,
    ) -> None:
        """shared  whose attribute holds the text, where that is not this job's own"""
        self.name = name
        self._shared = shared
        self._said = ""
        self._role = role
        self._job = job
        self._work = work
        self._first = place == 0
        self._last = place == num_stages - 1
        # What comes before the stage that finishes frames is no frame yet.
        self._makes = "frame" if place >= num_stages - 2 else "motion"
        self._audio_s = 0.0
        self._frames = 0
        self._held: list[bytearray] = []

    def feed(self, piece: Piece) -> Iterator[Piece]:
        if piece.kind == "audio":
            self._audio_s += piece.count / piece.rate
            self._said += str(piece.data)
        if self._role == "tts":
            if self._shared and self._first:
                self._shared.text = piece.data
            self._do()
            yield self._speech(piece.data) if self._last else piece
        elif piece.kind in ("motion", "frame"):
            yield from self._frame(piece)
        elif not self._first:
            yield piece  # audio passes through to the writer at the end

    def flush(self) -> Iterator[Piece]:
        if self._role == "avatar" and self._first:
            yield from self._all_frames()
        if self._role == "avatar" and self._last:
            if self._work.get("per") != "frame":
                self._do()
            made = {"path": "", "frames": self._frames, "audio_s": self._seconds(), "digest": self._digest()}
            yield Piece("video", made, self._frames)

    def _all_frames(self) -> Iterator[Piece]:
        if self._work.get("per") != "frame":
            self._do()
        num_frames = math.ceil(self._audio_s * FRAMES_PER_S - 1e-9)
        for _ in range(num_frames):
            yield from self._frame(Piece("motion", self._said))

    def _frame(self, piece: Piece) -> Iterator[Piece]:
        if self._work.get("per") == "frame":
            self._do()
        self._said = piece.data
        self._frames += 1
        if not self._last:
            yield Piece(self._makes, piece.data)

    def _seconds(self) -> float:
        return self._audio_s or self._frames / FRAMES_PER_S

    def _digest(self) -> str:
        """Of what is said and by which seed: where no file is written, what tells outputs apart."""
        return hashlib.sha256(f"{self._job.seed} {self._said}".encode()).hexdigest()

    def _speech(self, text: str) -> Piece:
        tokens = self._job.num_tokens or len(self._job.text)
        said = self._shared.text if self._shared else text
        return Piece("audio", said, count=round(tokens / TOKENS_PER_S * SAMPLE_RATE), rate=SAMPLE_RATE)

    def _do(self) -> None:
        self._held.append(bytearray(int(self._work.get("alloc_mib", 0) * 2**20)))
        time.sleep(self._sleep_s())
        end = time.thread_time() + self._work.get("compute_s", 0.0)
        while time.thread_time() < end:
            pass

    def _sleep_s(self) -> float:
        mean_s = float(self._work.get("sleep_s", 0.0))
        if mean_s and self._work.get("spread") == "fivefold":
            return mean_s * random.uniform(1, 5)
        if mean_s and self._work.get("spread") == "exponential":
            draw = random.Random(f"{self._job.seed} {self.name}")
            return draw.expovariate(1 / mean_s)
        return mean_s
