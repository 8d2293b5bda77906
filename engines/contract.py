"""What an engine must offer: components made of stages through which pieces flow. Standard library only."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable


class NotApplicable(Exception):
    """The configuration is well-formed but cannot be run here: a `skipped` row with this text."""


@dataclass(frozen=True)
class Job:
    """One request, text to video.

    index       counts from 0 over the whole point
    num_tokens  GPT tokens to force with random weights; None lets a real model stop by itself
    portrait    image file, shown at `width` x `height` px
    output      MP4 file to write
    """

    index: int
    text: str
    language: str
    voice: str
    portrait: str
    width: int
    height: int
    output: str
    seed: int
    num_tokens: int | None


@dataclass(frozen=True)
class Piece:
    """What flows between stages.

    kind   text, latents, audio, features, motion, keypoints, feature_3d, crop, frame or video; the executor
           looks at `audio` and `frame` for the time to the first of each, and at nothing else
    data   for audio: float32 mono samples in [-1, 1]; for a frame: (H, W, 3) uint8 RGB on the host, where the
           quality of a component is compared; otherwise private to the component
    count  how much it holds, in the stage's own unit (tokens, samples, frames)
    rate   samples per second where kind is audio
    """

    kind: str
    data: Any
    count: int = 1
    rate: int = 0


class DeviceTimer(Protocol):
    """Time stamps on the device's own queue, so that a stage's GPU time needs no synchronise per stage."""

    def mark(self) -> Any: ...

    def elapsed_ns(self, start: Any, end: Any) -> int: ...

    def synchronize(self) -> None: ...


class Stage(Protocol):
    """One named step for one job. The executor calls feed for each piece in order, then flush once.

    Both return iterators; work may be done lazily, inside next(). A stage times nothing itself: `timer` is
    that of the device where its work is done, None for the CPU. A stage with `awaits = True` only waits,
    for a clock or for work that its component times itself (SelfTimed): its time is no stage's work.
    """

    @property
    def name(self) -> str: ...

    @property
    def timer(self) -> DeviceTimer | None: ...

    def feed(self, piece: Piece) -> Iterator[Piece]: ...

    def flush(self) -> Iterator[Piece]: ...


class Component(Protocol):
    """A model with its stages. The constructor takes the keys of its file in conf/ and loads nothing.

    load and warm_up are called once, in this order, in a thread that need not be the one that uses the
    component later; between them build, where it has one (Buildable). Raises ValueError for a wrong setting,
    NotApplicable for what cannot run here.
    """

    def load(self) -> None: ...

    def warm_up(self, job: Job) -> None: ...

    def stages(self, job: Job) -> Sequence[Stage]:
        """Fresh stages for one job, in order; cheap, all heavy state lives in the component."""
        ...

    def attest(self) -> Mapping[str, Any]:
        """What really runs, read back from the loaded objects.

        Keys: weights ("random" or "checkpoint <hash>"), device, size, parameters (count),
        stages {name: {backend, dtype, device, and `meant` where the stage belongs on another device than its
        component}}, versions {package: version}, options {name: value}, and `ran`: for keys of the
        component's file in conf/, the values that are in force. Whatever differs there from what was asked
        makes the point invalid; so `ran` is read from models, sessions and encoders, not from the settings.
        These must hold from the load to the end of the run, and be equal for all workers; what counts or
        collects while jobs run has a key of its own. Plain JSON data.
        """
        ...

    def memory(self) -> Mapping[str, float]:
        """Peaks that only the process knows, in MiB: torch_allocated_mib, torch_reserved_mib, or {}."""
        ...


@runtime_checkable
class Buildable(Protocol):
    """A component that compiles, exports, builds engines or captures graphs: in `build`, and nowhere else."""

    def build(self) -> None: ...


@runtime_checkable
class Closable(Protocol):
    """A component that has something to end: called once, after the last job, in the `shutdown` phase."""

    def close(self) -> None: ...


@runtime_checkable
class OnDevice(Protocol):
    """A component that can be told on which of several GPUs it is, and whether it has a queue of its own."""

    def lane(self, device: int | None, own_queue: bool) -> Callable[[], AbstractContextManager[object]]:
        """Called once, before load. What it returns is entered around every call of the component, in every
        thread that calls it, and of its stages.

        device  number among the GPUs that this process sees; None: the current one
        """
        ...


class Watch(Protocol):
    """Takes the spans of work that a component does in threads of its own, where no executor sees it."""

    def begin(self, stage: str, job: int) -> int:
        """Open a span of a stage; the number is for end."""
        ...

    def end(self, span: int, count: int = 0) -> None: ...

    def raised(self, span: int) -> None:
        """Leave a span open as the place where an exception passed."""
        ...

    def mark(self, kind: str, job: int, count: int = 1) -> None:
        """A piece of this kind (audio, frame) is there."""
        ...


@runtime_checkable
class SelfTimed(Protocol):
    """A component that reports spans itself; `watch` is called once, before load."""

    def watch(self, spans: Watch) -> None: ...


@runtime_checkable
class Inspectable(Protocol):
    """A component that can say what it is at, from another thread, while a job is stuck in it."""

    def state(self) -> Mapping[str, Any]:
        """Queue sizes, events, hidden exceptions: plain JSON data, without waiting for any lock.

        `named`, where there, is one sentence that names a known incident.
        """
        ...
