"""Unseen: who has a lock although no line that a thread is at tells so: one with an ExitStack that entered
it, or a generator or coroutine that is suspended inside of its `with`.

Runs no code of the program that it looks at. Standard library only.
"""

from __future__ import annotations

import contextlib
import functools
import gc
import sys
import types
from collections.abc import Callable
from types import FrameType

from harness import spots
from harness.frames import short

_STACKS = (contextlib.ExitStack, contextlib.AsyncExitStack)
_KINDS = {
    types.GeneratorType: ("gi", "generator"),
    types.CoroutineType: ("cr", "coroutine"),
    types.AsyncGeneratorType: ("ag", "generator"),
}


class Unseen:
    """Of one moment; what there is is looked for once, and only where an owner is not known otherwise."""

    def thread_of(self, lock: object) -> int:
        """The ident of the thread that has an ExitStack which will let go of it; 0 for none."""
        return next((ident for ident, held in self._entered if held is lock), 0)

    def suspended(self, lock: object, inner: Callable[[object], object]) -> str:
        """The generator or coroutine that has it, in words, "" for none.

        inner  gives what is locked of a thing, as the lock of a condition
        """
        for what, frame in self._suspended:
            if any(inner(spots.value(taken.lock, frame)) is lock for taken in spots.above(frame)):
                place = short(f"{frame.f_code.co_name} ({frame.f_code.co_filename}:{frame.f_lineno})")
                return f"{place}, a {what} that is suspended"
        return ""

    @functools.cached_property
    def _entered(self) -> list[tuple[int, object]]:
        return [
            (ident, getattr(callback, "__self__", None))
            for ident, frame in sys._current_frames().items()
            for one in spots.outwards(frame)
            for value in one.f_locals.values()
            if type(value) in _STACKS
            for _, callback in vars(value)["_exit_callbacks"]
        ]

    @functools.cached_property
    def _suspended(self) -> list[tuple[str, FrameType]]:
        found = []
        for one in [one for one in gc.get_objects() if type(one) in _KINDS]:
            prefix, what = _KINDS[type(one)]
            frame = getattr(one, f"{prefix}_frame")
            if frame is not None and not getattr(one, f"{prefix}_running"):
                found.append((what, frame))
        return found
