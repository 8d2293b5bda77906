"""Patience: a span that is late but moves is given more time, up to a bound, instead of being ended."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from harness.deadlines import Breach, key_of
from harness.result import Outcome
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
        """Whether the span that broke its limit may go on. One that has ended while it was looked at may."""
        span = breach.span
        if breach.outcome is not Outcome.HUNG or span is None or not has_moved:
            return False
        key = key_of(span)
        given_s = self.more_s.get(key, 0.0)
        more_s = min(breach.limit_s, (self._most - 1) * breach.limit_s - given_s)
        if more_s < _LEAST_S:
            return False
        self.more_s[key] = given_s + more_s
        limit = f"limits.{breach.limit}={breach.limit_s:g} s"
        self.told.append(f"{place(span)} was late ({limit}) but moved: {more_s:g} s more")
        return True
