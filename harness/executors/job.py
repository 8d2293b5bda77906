"""Running one job: TTS stages, then avatar stages, each timed alone."""

from __future__ import annotations

import math
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any, Protocol

from engines.contract import Component, DeviceTimer, Job, Piece, Stage
from harness.recorder import Recorder

SHARED = -1  # the worker number of a component that all workers use
DELIVERED = ("audio", "frame")  # kinds of pieces that a viewer waits for


class Build(Protocol):
    """Imports, constructs, loads and warms up one component for one worker, each in its own span."""

    names: Sequence[str]

    def __call__(self, name: str, worker: int) -> Component: ...


class Finished(Protocol):
    """Takes what a job produced: data of the last piece, {path, frames, audio_s}."""

    def __call__(self, job: Job, worker: int, video: Mapping[str, Any]) -> None: ...


class WorkerDied(Exception):
    """A worker process ended before its work did."""

    def __init__(self, worker: int, code: int) -> None:
        how = f"killed by signal {-code}" if code < 0 else f"exited with code {code}"
        super().__init__(f"worker {worker} {how}")
        self.worker = worker
        self.code = code


def _checked_video(last: Piece) -> dict[str, Any]:
    """What the parent reads of a job's video; told here, where a wrong one belongs to the component."""
    if last.kind != "video":
        raise RuntimeError(f"the avatar's last piece is {last.kind}, not a video")
    data = last.data
    wrong = [key for key in ("path", "frames", "audio_s") if key not in data]
    if wrong or not math.isfinite(data["audio_s"]):
        raise RuntimeError(f"the avatar's video has no {' and no '.join(wrong) or 'finite audio_s'}")
    return {"path": str(data["path"]), "frames": int(data["frames"]), "audio_s": float(data["audio_s"])}


class JobRun:
    """One job on one worker. Raises whatever a stage raises, with the stage's span marked."""

    def __init__(self, recorder: Recorder, job: Job, worker: int, timing: str) -> None:
        self._recorder = recorder
        self._job = job
        self._worker = worker
        self._timing = timing
        self._gpu_marks: list[tuple[DeviceTimer, int, Any, Any]] = []
        self._maker: dict[str, int] = {}

    def run(
        self, tts: Component, avatar: Component, tts_lock: threading.Lock | None = None
    ) -> Mapping[str, Any]:
        """The data of the last piece.

        Pieces are pulled from the end: a frame is written before the next one is made, and with a TTS and an
        avatar that stream, before the rest is said. With tts_lock the job waits for it, in a span of its own,
        and all is said before it is released.
        """
        with self._recorder.span("job", "", "", self._worker, self._job.index):
            speech = self._chain("tts", tts, [Piece("text", self._job.text, len(self._job.text))])
            if tts_lock:
                with self._holding(tts_lock):
                    speech = iter(list(speech))
            last = Piece("nothing", {})
            for piece in self._chain("avatar", avatar, speech):
                last = piece
            video = _checked_video(last)
        for timer in {id(mark[0]): mark[0] for mark in self._gpu_marks}.values():
            timer.synchronize()
        for timer, slot, start, end in self._gpu_marks:
            self._recorder.set_gpu_ns(slot, timer.elapsed_ns(start, end))
        return video

    @contextmanager
    def _holding(self, lock: threading.Lock) -> Iterator[None]:
        with self._recorder.span("wait", "tts", "", self._worker, self._job.index):
            lock.acquire()
        try:
            yield
        finally:
            lock.release()

    def _chain(self, name: str, component: Component, pieces: Iterable[Piece]) -> Iterator[Piece]:
        """Pull pieces through the component's stages, depth first: a frame is written before the next is
        drawn.
        """
        flow: Iterator[Piece] = iter(pieces)
        for stage in component.stages(self._job):
            flow = self._through(name, stage, flow)
        return flow

    def _through(self, component: str, stage: Stage, pieces: Iterator[Piece]) -> Iterator[Piece]:
        name = self._recorder.name(component, stage.name)
        for piece in pieces:
            yield from self._timed(name, stage, stage.feed(piece))
        yield from self._timed(name, stage, stage.flush())

    def _timed(self, name: int, stage: Stage, work: Iterator[Piece]) -> Iterator[Piece]:
        """Each next() is one span: a stage's own work, without that of the stages before and behind it."""
        recorder, timer = self._recorder, stage.timer
        phase = "await" if getattr(stage, "awaits", False) else "stage"
        while True:
            slot = recorder.begin(phase, name, self._worker, self._job.index)
            try:
                start = timer.mark() if timer else None
                piece = next(work, None)
                if timer:
                    self._gpu_marks.append((timer, slot, start, timer.mark()))
                    if self._timing == "sync":
                        timer.synchronize()
            except BaseException:
                recorder.raised(slot)
                raise
            recorder.end(slot, piece.count if piece else 0)
            if piece is None:
                return
            if piece.kind in DELIVERED:
                self._notice(piece, name)
            yield piece

    def _notice(self, piece: Piece, stage: int) -> None:
        """Mark each piece of audio and each frame where it first appears; later stages may pass it on."""
        if self._maker.setdefault(piece.kind, stage) == stage:
            self._recorder.mark(piece.kind, self._worker, self._job.index, piece.count)
