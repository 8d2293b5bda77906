"""One job through upstream's SDK: its parts timed in their threads, its sound, the stages of the executor."""

from __future__ import annotations

import math
import queue
import subprocess
import threading
import wave
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import soxr
from numpy.typing import NDArray

from engines.contract import Job, Piece, Watch

FRAMES_PER_S = 25
RATE = 16_000  # samples per second that upstream hears
_CHUNK, _HOP, _LEAD = 6480, 3200, 1920  # online: samples per call, between calls, and of silence in front
_MUX_S = 600


class Unwatched:
    """A Watch for work that is not measured."""

    def begin(self, stage: str, job: int) -> int:
        return 0

    def end(self, span: int, count: int = 0) -> None:
        pass

    def raised(self, span: int) -> None:
        pass

    def mark(self, kind: str, job: int, count: int = 1) -> None:
        pass


class Sound:
    """What is said, as it comes: kept as 16-bit samples for the file, and at 16 kHz for upstream.

    Upstream's users give it a 16-bit WAV that librosa resamples by soxr's HQ; this is the same in pieces.
    """

    def __init__(self) -> None:
        self.rate = 0
        self.samples = 0
        self._pieces: list[NDArray[np.int16]] = []
        self._resampler: Any = None
        self._heard = 0

    def add(self, piece: Piece) -> NDArray[np.float32]:
        """Float32 samples at 16 kHz that are new. Raises ValueError where the rate changes."""
        if not self.rate:
            self.rate = piece.rate
            self._resampler = soxr.ResampleStream(piece.rate, RATE, 1, dtype="float32", quality="HQ")
        if piece.rate != self.rate:
            raise ValueError(f"the speech changes from {self.rate} to {piece.rate} samples per second")
        whole = np.asarray(piece.data, np.float32).clip(-1.0, 1.0)
        self._pieces.append(np.round(whole * 32767).astype(np.int16))
        self.samples += len(whole)
        return self._resampled(self._pieces[-1], last=False)

    def end(self) -> NDArray[np.float32]:
        """The rest, so that all there is are ceil(samples * 16,000 / rate), as librosa makes it."""
        rest = self._resampled(np.zeros(0, np.int16), last=True)
        wanted = -(-self.samples * RATE // self.rate) - (self._heard - len(rest))
        self._heard += wanted - len(rest)
        return np.pad(rest, (0, max(0, wanted - len(rest))))[:wanted]

    @property
    def seconds(self) -> float:
        return self.samples / self.rate

    @property
    def frames(self) -> int:
        """Video frames that the sound wants: 25 a second, a begun one counts."""
        return -(-self.samples * FRAMES_PER_S // self.rate)

    def write(self, path: Path) -> None:
        with wave.open(str(path), "wb") as file:
            file.setnchannels(1)
            file.setsampwidth(2)
            file.setframerate(self.rate)
            file.writeframes(np.concatenate(self._pieces).tobytes())

    def _resampled(self, samples: NDArray[np.int16], last: bool) -> NDArray[np.float32]:
        made = samples.astype(np.float32) / 32768
        if self.rate != RATE:
            made = self._resampler.resample_chunk(made, last=last)
        self._heard += len(made)
        return np.asarray(made, np.float32)


@dataclass
class Run:
    """A job on its way through the SDK.

    at        setup, open, closing, closed
    wanted    frames of the whole sound, None until its end is known
    made      frames that reached the writer; the surplus behind the sound's end is not written
    thread    the job's own
    progress  one True per frame made, then None when close() is over
    """

    sdk: Any
    job: Job
    watch: Watch
    online: bool
    sound: Sound = field(default_factory=Sound)
    at: str = "setup"
    wanted: int | None = None
    made: int = 0
    written: int = 0
    failed_stage: str = ""
    error: BaseException | None = None
    thread: threading.Thread = field(default_factory=threading.current_thread)
    progress: queue.SimpleQueue[bool | None] = field(default_factory=queue.SimpleQueue)

    def timed(self, stage: str, call: Any, *given: Any, **named: Any) -> Any:
        """Do one call of a part in its own span, in whichever thread it is."""
        span = self.watch.begin(stage, self.job.index)
        try:
            made = call(*given, **named)
        except BaseException:
            self.watch.raised(span)
            self.failed_stage = self.failed_stage or stage
            raise
        self.watch.end(span, 1)
        return made

    def write(self, call: Any, *given: Any, **named: Any) -> None:
        """One frame to upstream's writer, or none where the sound is over."""
        if self.wanted is None or self.written < self.wanted:
            self.timed("write", call, *given, **named)
            self.written += 1
            self.watch.mark("frame", self.job.index)
        self.made += 1
        self.progress.put(True)


class Part:
    """Stands in front of a part of the SDK: calls of it go through `through`, all else is the part's own."""

    def __init__(self, part: Any, through: Any) -> None:
        object.__setattr__(self, "_part", part)
        object.__setattr__(self, "_through", through)

    def __call__(self, *given: Any, **named: Any) -> Any:
        return self._through(self._part, *given, **named)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._part, name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(self._part, name, value)


class Source:
    """Set-up with the portrait, once there is something to say: registration, and upstream's six threads."""

    name = "source"
    timer = None

    def __init__(self, run: Run, set_up: Any) -> None:
        self._run = run
        self._set_up = set_up

    def feed(self, piece: Piece) -> Iterator[Piece]:
        if piece.kind == "audio":
            if self._run.at == "setup":
                self._set_up(self._run)
                self._run.at = "open"
            yield piece

    def flush(self) -> Iterator[Piece]:
        if self._run.at == "setup":
            raise ValueError("there is no speech to make a video of")
        yield from ()


class Features:
    """Offline: all features when all is said. Online: a call per 0.2 s of speech, as it comes."""

    name = "features"
    timer = None

    def __init__(self, run: Run, fades: Mapping[str, int]) -> None:
        self._run = run
        self._fades = fades
        self._held = np.zeros(_LEAD if run.online else 0, np.float32)

    def feed(self, piece: Piece) -> Iterator[Piece]:
        self._held = np.concatenate([self._held, self._run.sound.add(piece)])
        while self._run.online and len(self._held) >= _CHUNK:
            yield self._chunk()

    def flush(self) -> Iterator[Piece]:
        run = self._run
        self._held = np.concatenate([self._held, run.sound.end()])
        run.wanted = run.sound.frames
        while run.online and len(self._held):
            yield self._chunk()
        if not run.online:
            length = math.ceil(len(self._held) / RATE * FRAMES_PER_S)  # as upstream rounds it, in floats
            run.sdk.setup_Nd(N_d=length, **self._fades)
            features = run.sdk.wav2feat.wav2feat(self._held)
            run.sdk.audio2motion_queue.put(features)
            yield Piece("features", None, len(features))

    def _chunk(self) -> Piece:
        chunk = self._held[:_CHUNK]
        self._run.sdk.run_chunk(np.pad(chunk, (0, _CHUNK - len(chunk))))
        self._held = self._held[_HOP:]
        return Piece("features", None, _HOP * FRAMES_PER_S // RATE)


class Render:
    """Waits for frames, which upstream's threads make. One that does not come in time breaks the limit."""

    name = "render"
    timer = None
    awaits = True

    def __init__(self, run: Run) -> None:
        self._run = run

    def feed(self, piece: Piece) -> Iterator[Piece]:
        while not self._run.progress.empty():
            self._run.progress.get()
            yield Piece("written", None)

    def flush(self) -> Iterator[Piece]:
        run = self._run
        run.at = "closing"
        threading.Thread(target=self._close, name=f"close of job {run.job.index}", daemon=True).start()
        while run.progress.get():
            yield Piece("written", None)
        run.at = "closed"
        if run.error is not None:
            if run.failed_stage:  # begun after this stage's own span, which is no place to look at
                run.watch.raised(run.watch.begin(run.failed_stage, run.job.index))
            raise run.error
        if not run.made:
            raise RuntimeError(f"upstream made no frame of {run.sound.seconds:.2f} s of sound; give it more")

    def _close(self) -> None:
        try:
            self._run.sdk.close()
        except BaseException as error:  # noqa: BLE001 - handed to the job's thread, which raises it
            self._run.error = error
        self._run.progress.put(None)


class Mux:
    """Sound and video into one file by ffmpeg, as upstream's inference.py does it."""

    name = "mux"
    timer = None

    def __init__(self, run: Run, ffmpeg: str, tally: dict[str, int]) -> None:
        self._run = run
        self._tally = tally
        self._ffmpeg = ffmpeg

    def feed(self, piece: Piece) -> Iterator[Piece]:
        yield from ()

    def flush(self) -> Iterator[Piece]:
        run, output = self._run, Path(self._run.job.output)
        video, sound = Path(run.sdk.tmp_output_path), output.with_name(f"{output.name}.wav")
        run.sound.write(sound)
        command = [self._ffmpeg, "-nostdin", "-loglevel", "error", "-y", "-i", str(video), "-i", str(sound)]
        command += ["-map", "0:v", "-map", "1:a", "-c:v", "copy", "-c:a", "aac", str(output)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=_MUX_S, check=False)
        if done.returncode:
            raise RuntimeError(f"ffmpeg ended with {done.returncode}: {done.stderr.strip()[-500:]}")
        video.unlink()
        sound.unlink()
        self._tally["made"] += run.made
        self._tally["written"] += run.written
        yield Piece(
            "video",
            {"path": str(output), "frames": run.written, "audio_s": run.sound.seconds},
            run.written,
        )
