"""Running one job: TTS stages, then avatar stages, each call of a stage timed alone."""

from __future__ import annotations

import contextlib
import math
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from engines.contract import Component, DeviceTimer, Job, Piece, Stage
from harness.executors.arrivals import Request
from harness.recorder import Recorder

SHARED = -1  # the worker number of a component that all workers use
DELIVERED = ("audio", "frame")  # kinds of pieces that a viewer waits for
_END = Piece("end", None)

Lane = Callable[[], contextlib.AbstractContextManager[object]]
# Takes what a job produced: job, worker, data of the last piece, {path, frames, audio_s}.
Finished = Callable[[Job, int, Mapping[str, Any]], None]


@dataclass(frozen=True)
class Placed:
    """A component that is ready to run. lane: around each call of it, its GPU and its own queue there."""

    component: Component
    lane: Lane = contextlib.nullcontext
    worker: int = SHARED


class Build(Protocol):
    """Imports, constructs, loads and warms up one component for one worker, each in its own span."""

    names: Sequence[str]

    def __call__(self, name: str, worker: int) -> Placed: ...


class Parts(Protocol):
    """The components of a worker; see harness.executors.parts."""

    names: Sequence[str]

    def __call__(self, name: str, worker: int) -> tuple[Placed, threading.Lock | None]: ...


class WorkerDied(Exception):
    """A worker process ended before its work did."""

    def __init__(self, worker: int, code: int) -> None:
        how = f"killed by signal {-code}" if code < 0 else f"exited with code {code}"
        super().__init__(f"worker {worker} {how}")
        self.worker = worker
        self.code = code


def checked_video(last: Piece) -> dict[str, Any]:
    """What the parent reads of a job's video; told here, where a wrong one belongs to the component."""
    if last.kind != "video":
        raise RuntimeError(f"the avatar's last piece is {last.kind}, not a video")
    data = last.data
    wrong = [key for key in ("path", "frames", "audio_s") if key not in data]
    if wrong or not math.isfinite(data["audio_s"]):
        raise RuntimeError(f"the avatar's video has no {' and no '.join(wrong) or 'finite audio_s'}")
    told = {"path": str(data["path"]), "frames": int(data["frames"]), "audio_s": float(data["audio_s"])}
    return {**told, "digest": str(data["digest"])} if "digest" in data else told


@dataclass(frozen=True)
class Step:
    """A stage in a job: its number with the recorder, its lane, and the worker whose time it takes."""

    stage: Stage
    name: int
    lane: Lane
    worker: int


class JobRun:
    """One job on one worker. Raises whatever a stage raises, with the stage's span marked."""

    def __init__(self, recorder: Recorder, request: Request, worker: int, timing: str) -> None:
        self.job = request.job
        self.worker = worker
        self._recorder = recorder
        self._due_ns = request.due_ns
        self._timing = timing
        self._gpu_marks: list[tuple[DeviceTimer, int, Any, Any]] = []
        self._maker: dict[str, int] = {}
        self._open = -1

    def begin(self) -> None:
        """From now on the job is being worked at."""
        if self._due_ns:
            self._recorder.mark("due", self.worker, self.job.index, at_ns=self._due_ns)
        self._open = self._recorder.begin("job", self._recorder.name("", ""), self.worker, self.job.index)

    def end(self) -> None:
        """The job is done."""
        self._recorder.end(self._open)
        self.settle()

    def settle(self) -> None:
        """Add the device's own times to the spans; afterwards, so that no stage waits for the device."""
        for timer, slot, start, end in self._gpu_marks:
            self._recorder.set_gpu_ns(slot, timer.elapsed_ns(start, end))

    def raised(self) -> None:
        """Leave the job open, marked as one that an exception passed through."""
        self._recorder.raised(self._open)

    def text(self) -> Piece:
        """What the TTS starts from."""
        return Piece("text", self.job.text, len(self.job.text))

    def whole(self, parts: Parts) -> Iterator[dict[str, Any] | None]:
        """The whole job: None after each call of a stage, its video at the end.

        Pieces go depth first: a frame is written before the next one is made, and with a TTS and an avatar
        that stream, before the rest is said.
        """
        self.begin()
        try:
            for _ in self.listen(parts):
                yield None
            speech = self._through("tts", parts, iter([self.text()]))
            last = Piece("nothing", {})
            for piece in self._through("avatar", parts, speech):
                last = piece or last
                yield None
            video = checked_video(last)
        except BaseException:
            self.raised()
            raise
        self.end()
        yield video

    def listen(self, parts: Parts) -> Iterator[None]:
        """What a recogniser does for this job before anything is said; nothing where it is idle."""
        if "asr" in parts.names:
            for _ in self._through("asr", parts, iter([Piece("voice", self.job.voice)])):
                yield None

    def run(self, parts: Parts) -> dict[str, Any]:
        """The whole job without a break: its video."""
        video: dict[str, Any] = {}
        for made in self.whole(parts):
            video = made or video
        return video

    def _through(self, name: str, parts: Parts, pieces: Iterator[Piece | None]) -> Iterator[Piece | None]:
        """Through all stages of a component. One with a lock waits for it, in a span of its own, and makes
        everything before it is released.
        """
        placed, lock = parts(name, self.worker)
        if lock is None:
            yield from self.drive(self.steps(name, placed), pieces)
            return
        given = [piece for piece in pieces if piece]  # made first: no lock is waited for with another in hand
        with self.waiting(name):
            lock.acquire()
        try:
            made = [piece for piece in self.drive(self.steps(name, placed), given) if piece]
        finally:
            lock.release()
        yield from made

    @contextlib.contextmanager
    def waiting(self, name: str, stage: str = "") -> Iterator[None]:
        """A span in which the job stands in line for a component. It ends however the wait does: what stops
        a wait has happened elsewhere.
        """
        slot = self._recorder.begin("wait", self._recorder.name(name, stage), self.worker, self.job.index)
        try:
            yield
        finally:
            self._recorder.end(slot)

    def waited(self, since_ns: int, name: str, stage: str = "") -> None:
        """The same for a wait that has just ended."""
        place = self._recorder.name(name, stage)
        self._recorder.end(self._recorder.begin("wait", place, self.worker, self.job.index, since_ns))

    def worker_at(self, owner: int) -> int:
        """Whose time it is that the component of a worker takes for this job."""
        return owner if self.worker == SHARED else self.worker

    def steps(self, name: str, placed: Placed) -> list[Step]:
        """Fresh stages of a component for this job."""
        worker = self.worker_at(placed.worker)
        with placed.lane():
            stages = placed.component.stages(self.job)
        return [Step(stage, self._recorder.name(name, stage.name), placed.lane, worker) for stage in stages]

    def drive(self, steps: Sequence[Step], pieces: Iterable[Piece | None]) -> Iterator[Piece | None]:
        """Pieces through stages, depth first: what the last one makes, and None after each call."""
        yield from self._drain(steps, 0, iter(pieces))
        for place, step in enumerate(steps):
            yield from self._drain(steps, place + 1, self._timed(step, step.stage.flush()))

    def _drain(
        self, steps: Sequence[Step], place: int, made: Iterator[Piece | None]
    ) -> Iterator[Piece | None]:
        """All that `made` gives through the stages from `place` on."""
        behind = [made]
        while behind:
            piece = next(behind[-1], _END)
            at = place + len(behind) - 1
            if piece is _END:
                behind.pop()
                yield None
            elif piece is None or at == len(steps):
                yield piece
            else:
                behind.append(self._timed(steps[at], steps[at].stage.feed(piece)))
                yield None

    def _timed(self, step: Step, work: Iterator[Piece]) -> Iterator[Piece]:
        """Each next() is one span: a stage's own work, without that of the stages before and behind it."""
        recorder, timer = self._recorder, step.stage.timer
        phase = "await" if getattr(step.stage, "awaits", False) else "stage"
        while True:
            with step.lane():
                slot = recorder.begin(phase, step.name, step.worker, self.job.index)
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
                self._notice(piece, step)
            yield piece

    def _notice(self, piece: Piece, step: Step) -> None:
        """Mark each piece of audio and each frame where it first appears; later stages may pass it on."""
        if self._maker.setdefault(piece.kind, step.name) == step.name:
            self._recorder.mark(piece.kind, step.worker, self.job.index, piece.count)
