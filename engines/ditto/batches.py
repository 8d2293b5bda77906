"""Frames that pass the networks together, and those of them that are under way on the device."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

Launched = TypeVar("Launched")


@dataclass(frozen=True)
class Batch:
    """Consecutive frames of a clip, between two stages.

    frames  their numbers, at least one
    last    no further frame can be drawn before more motion comes, so nothing may be held back behind this
    data    keypoints: (x_s, x_d) on the device; feature_3d: f_3d there; both may have more rows than frames,
            which are to be ignored. crop: faces (n, 3, S, S) on the device, or (n, S, S, 3) on the host
    """

    frames: range
    last: bool
    data: Any


def ranges(first: int, frames: int, batch: int) -> Iterator[tuple[range, bool]]:
    """So many frames in batches, the last one as short as it is: (their numbers, whether the last one)."""
    end = first + frames
    for start in range(first, end, batch):
        stop = min(start + batch, end)
        yield range(start, stop), stop == end


class InFlight(Generic[Launched]):
    """Work that was launched on the device and whose results nobody has waited for, oldest first.

    limit  batches of them; 1: each is given out at once. With 2 the device draws one batch while the frames
           of the one before are encoded
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._launched: deque[Launched] = deque()

    def add(self, work: Launched, last: bool) -> Iterator[Launched]:
        """Take a batch that was just launched; give out what has to be waited for now: all, where it is the
        last one before more motion comes, else as much as is above the limit.
        """
        self._launched.append(work)
        while len(self._launched) >= (1 if last else self.limit):
            yield self._launched.popleft()
