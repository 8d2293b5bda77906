"""Threads that work together, and bounded channels between them which never keep them from stopping."""

from __future__ import annotations

import queue
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Iterator
from typing import Any, Generic, TypeVar

_LOOK_EVERY_S = 0.05

Item = TypeVar("Item")

# For whoever asks how full they are while a job is stuck; a channel is in it as long as it lives.
_channels: weakref.WeakSet[Any] = weakref.WeakSet()


def depths() -> list[dict[str, Any]]:
    """How full the channels of this process are: name, number of items, depth, writers left."""
    return [channel.told() for channel in list(_channels)]


class Stopped(Exception):
    """Another thread of the crew has failed: what this one waited for will not come."""


class Crew:
    """Threads of one executor. The first exception of any of them stops the others where they wait."""

    def __init__(self) -> None:
        self.stop = threading.Event()
        self._ended: queue.SimpleQueue[BaseException | None] = queue.SimpleQueue()
        self._threads: list[threading.Thread] = []

    def add(self, name: str, work: Callable[[], object]) -> None:
        # Daemons: a stuck one must not keep the process from ending once another has failed.
        self._threads.append(threading.Thread(target=self._run, args=(work,), name=name, daemon=True))

    def run(self) -> None:
        """Start them all, and wait until they have ended. Raises the first exception at once, without waiting
        for the others.
        """
        try:
            for thread in self._threads:
                thread.start()
            for _ in self._threads:
                error = self._ended.get()
                if error is not None:
                    raise error
        finally:
            self.stop.set()

    def _run(self, work: Callable[[], object]) -> None:
        try:
            work()
        except BaseException as error:  # noqa: BLE001 - handed to the thread that waits, which raises it
            self._ended.put(error)
        else:
            self._ended.put(None)


class Channel(Generic[Item]):
    """A bounded queue of a crew. What waits for it raises Stopped once the crew is stopped.

    depth    how many items may lie in it
    writers  how many threads put into it; it ends when all have closed it
    name     what it leads from and to
    """

    def __init__(self, depth: int, stop: threading.Event, writers: int = 1, name: str = "") -> None:
        self._items: deque[tuple[int, Item]] = deque()
        self._name = name
        self.depth = depth
        self.stop = stop
        self._writers = writers
        self._changed = threading.Condition()
        _channels.add(self)

    def told(self) -> dict[str, Any]:
        """Without waiting for a lock: somebody may be stuck with it."""
        return {"name": self._name, "items": len(self._items), "depth": self.depth, "writers": self._writers}

    def offer(self, item: Item) -> bool:
        """Put it in if there is room now."""
        with self._changed:
            if len(self._items) >= self.depth:
                return False
            self._items.append((time.monotonic_ns(), item))
            self._changed.notify_all()
            return True

    def put(self, item: Item) -> None:
        with self._changed:
            self._until(lambda: len(self._items) < self.depth)
            self._items.append((time.monotonic_ns(), item))
            self._changed.notify_all()

    def close(self) -> None:
        """This thread will put nothing more; those who get take what is left."""
        with self._changed:
            self._writers -= 1
            self._changed.notify_all()

    def get(self) -> tuple[int, Item] | None:
        """When the next item was put, CLOCK_MONOTONIC ns, and the item; None at the end."""
        with self._changed:
            self._until(lambda: bool(self._items) or not self._writers)
            if not self._items:
                return None
            found = self._items.popleft()
            self._changed.notify_all()
            return found

    def __iter__(self) -> Iterator[Item]:
        while (found := self.get()) is not None:
            yield found[1]

    def _until(self, is_so: Callable[[], bool]) -> None:
        while not is_so():
            if self.stop.is_set():
                raise Stopped
            self._changed.wait(_LOOK_EVERY_S)  # a stop wakes nobody up: nothing to forget when one is made
        if self.stop.is_set():
            raise Stopped
