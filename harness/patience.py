"""Patience: a span that is late but moves is given more time, up to a bound, instead of being ended; one that
has ended while it was looked at tells more by how it did than by its breach.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from harness import tree
from harness.deadlines import Breach, key_of
from harness.recorder import RAISED
from harness.result import Outcome, Span
from harness.verdict import place

_LEAST_S = 1e-3  # less is an error of rounding


class Patience:
    """What was given to whom.

    limits  the point's; `moving` is how many times its limit a span may take that is seen to move
    """

    def __init__(self, limits: Mapping[str, Any]) -> None:
        self._most = float(limits.get("moving", 1.0))
        self.more_s: dict[tuple[int, int, int], float] = {}
        self.told: list[str] = []

    def gives(self, breach: Breach, has_moved: bool) -> bool:
        """Whether the span that broke its limit may go on; has_moved: it, or what it waits for."""
        span = breach.span
        if breach.outcome is not Outcome.HUNG or span is None or not has_moved:
            return False
        key = key_of(span)
        given_s = self.more_s.get(key, 0.0)
        more_s = min(breach.limit_s, (self._most - 1) * breach.limit_s - given_s)
        if more_s < _LEAST_S:
            return False
        self.more_s[key] = given_s + more_s
        self.told.append(f"{_late(breach, span)} but moved: {more_s:g} s more")
        return True

    def is_over(self, breach: Breach, spans: Sequence[Span]) -> bool:
        """Whether the span that broke its limit has ended since, was left by an exception, or has lost its
        process. A job that has ended was too slow all the same, and so is a point.

        spans  all so far, read after the look
        """
        span = breach.span
        if span is None or breach.limit == "total":
            return False
        now = next((one for one in spans if key_of(one) == key_of(span)), span)
        if now.end_ns and breach.outcome is Outcome.HUNG:
            self.told.append(f"{_late(breach, span)} but ended while it was looked at")
            return True
        return not now.end_ns and (now.count == RAISED or not tree.is_alive(now.pid))


def _late(breach: Breach, span: Span) -> str:
    return f"{place(span)} was late (limits.{breach.limit}={breach.limit_s:g} s)"
