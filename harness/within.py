"""Within: calls that may never come back, as of a driver or of /proc of a stuck process, each with a limit.

Standard library only.
"""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable
from typing import Any, TypeVar

Given = TypeVar("Given")


class Call:
    """Begins at once, in a thread of its own, which is left behind if it does not come back."""

    def __init__(self, name: str, limit_s: float, look: Callable[[], Any]) -> None:
        self._name, self._ends = name, time.monotonic() + limit_s
        self._limit_s = limit_s
        self._found: queue.SimpleQueue[tuple[Any, str]] = queue.SimpleQueue()
        threading.Thread(target=self._run, args=(look,), name=f"call {name}", daemon=True).start()

    def given(self, otherwise: Given, failed: list[str]) -> Given:
        """What it came to, or `otherwise` and a line in `failed`. Waits until its limit."""
        try:
            found, wrong = self._found.get(timeout=max(0.0, self._ends - time.monotonic()))
        except queue.Empty:
            found, wrong = otherwise, f"no answer within {self._limit_s:g} s"
        if wrong:
            failed.append(f"{self._name}: {wrong}")
            return otherwise
        return found  # type: ignore[no-any-return]

    def _run(self, look: Callable[[], Any]) -> None:
        try:
            self._found.put((look(), ""))
        except Exception as error:  # noqa: BLE001 - in the middle of an incident: the others go on
            self._found.put((None, f"{type(error).__name__}: {error}"))
