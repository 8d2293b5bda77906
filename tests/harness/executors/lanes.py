"""A component that must be called in its lane, as one with a CUDA stream of its own must."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, contextmanager
from typing import Any

from engines.contract import Job, Piece, Stage
from engines.simulated import Simulated


class Laned(Simulated):
    """Raises where a call of it, or of one of its stages, comes from outside of its lane."""

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self._inside = threading.local()

    def lane(self, device: int | None, own_queue: bool) -> Callable[[], AbstractContextManager[object]]:
        return self._enter

    @contextmanager
    def _enter(self) -> Iterator[None]:
        self.entered += 1
        try:
            yield
        finally:
            self.entered -= 1

    @property
    def entered(self) -> int:
        return int(getattr(self._inside, "depth", 0))

    @entered.setter
    def entered(self, depth: int) -> None:
        self._inside.depth = depth

    def must_be_inside(self) -> None:
        if self.entered != 1:
            raise RuntimeError(f"{self.role}: called in {self.entered} lanes by {threading.current_thread()}")

    def load(self) -> None:
        self.must_be_inside()

    def warm_up(self, job: Job) -> None:
        self.must_be_inside()

    def attest(self) -> Mapping[str, Any]:
        self.must_be_inside()
        return super().attest()

    def memory(self) -> Mapping[str, float]:
        self.must_be_inside()
        return super().memory()

    def stages(self, job: Job) -> Sequence[Stage]:
        self.must_be_inside()
        return [LanedStage(stage, self) for stage in super().stages(job)]


class LanedStage:
    timer = None

    def __init__(self, stage: Stage, owner: Laned) -> None:
        self.name = stage.name
        self._stage = stage
        self._owner = owner

    def feed(self, piece: Piece) -> Iterator[Piece]:
        return self._watched(self._stage.feed(piece))

    def flush(self) -> Iterator[Piece]:
        return self._watched(self._stage.flush())

    def _watched(self, made: Iterator[Piece]) -> Iterator[Piece]:
        self._owner.must_be_inside()
        for piece in made:
            yield piece
            self._owner.must_be_inside()
