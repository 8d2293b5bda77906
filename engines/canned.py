"""A TTS that replays a recording: the avatar alone is measured, at lengths that are the same every time."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from engines import audio_file
from engines.checkpoint import sha256
from engines.contract import Job, Piece

SHORTEST_S, LONGEST_S = 0.04, 600.0  # of the recording; a frame has 0.04 s
CHOICES = {"mode": ("full", "stream"), "realtime": (False, True)}


class Canned:
    """Keys as in conf/tts/canned.yaml. Needs numpy, and soundfile for FLAC; the same bytes each time.

    seconds  lengths of the jobs, job k takes k mod n; None: as long as XTTS would speak the job's tokens
    """

    def __init__(
        self, file: str, seconds: Sequence[float] | None, mode: str, chunk_s: float, realtime: bool
    ) -> None:
        for key, value in (("mode", mode), ("realtime", realtime)):
            if value not in CHOICES[key]:
                raise ValueError(f"tts.{key}={value}: not offered; use {' or '.join(map(str, CHOICES[key]))}")
        self.file = file
        self.seconds = None if seconds is None else list(seconds)
        self.mode = mode
        self.chunk_s = chunk_s
        self.realtime = realtime
        for key, values in (("seconds", self.seconds or [1.0]), ("chunk_s", [chunk_s])):
            if min(values) <= 0:
                raise ValueError(f"tts.{key}={min(values)}: more than 0 seconds")

    def load(self) -> None:
        try:
            samples, self.rate = audio_file.read(self.file, SHORTEST_S, LONGEST_S)
        except ValueError as error:
            raise ValueError(f"tts.file={self.file}: {error}") from error
        self.samples = samples.clip(-1, 1)

    def warm_up(self, job: Job) -> None:
        """There is nothing to warm up."""

    def stages(self, job: Job) -> Sequence[Play]:
        return [Play(self, self._num_samples(job))]

    def _num_samples(self, job: Job) -> int:
        if self.seconds is not None:
            return max(1, round(self.seconds[job.index % len(self.seconds)] * self.rate))
        if job.num_tokens is None:
            raise ValueError("tts.seconds=null: the length comes from the tokens of the job, which has none")
        return max(1, round(spoken_s(job.num_tokens) * self.rate))

    def attest(self) -> Mapping[str, Any]:
        return {
            "weights": "none",
            "device": "cpu",
            "size": "canned",
            "stages": {"play": {"backend": "canned", "dtype": str(self.samples.dtype), "device": "cpu"}},
            "parameters": 0,
            "versions": {"numpy": np.__version__},
            "recording": {"sha256": sha256(Path(self.file)), "rate": self.rate, "samples": len(self.samples)},
            "ran": {"file": self.file},
        }

    def memory(self) -> Mapping[str, float]:
        return {}


class Play:
    """Yields the recording from its start, repeated where it is shorter than the job."""

    name = "play"
    timer = None

    def __init__(self, recording: Canned, num_samples: int) -> None:
        self.awaits = recording.realtime  # for the clock
        self._recording = recording
        self._num_samples = num_samples

    def feed(self, piece: Piece) -> Iterator[Piece]:
        """One piece, or chunks of chunk_s. In real time each comes when its last sample would sound."""
        canned = self._recording
        begun = time.monotonic()
        sound = np.resize(canned.samples, self._num_samples)
        chunk = max(1, round(canned.chunk_s * canned.rate)) if canned.mode == "stream" else len(sound)
        for at in range(0, len(sound), chunk):
            part = sound[at : at + chunk]
            if canned.realtime:
                end_s = (at + len(part)) / canned.rate
                time.sleep(max(0.0, begun + end_s - time.monotonic()))
            yield Piece("audio", part, count=len(part), rate=canned.rate)

    def flush(self) -> Iterator[Piece]:
        yield from ()


def spoken_s(num_tokens: int) -> float:
    """Seconds that XTTS speaks: floor(4 N x 24000 / 22050) blocks of 256 samples at 24 kHz."""
    return num_tokens * 4 * 24_000 // 22_050 * 256 / 24_000
