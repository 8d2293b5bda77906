"""Progress: one live line while a point runs, one plain line when it has ended."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence

from rich.console import Console
from rich.live import Live
from rich.text import Text

from harness import marks
from harness.result import Outcome, PointResult, Span
from harness.verdict import place

log = logging.getLogger("harness")


class Progress:
    """Over the points of one sweep. On a terminal a live line; elsewhere only the line per finished point."""

    def __init__(self) -> None:
        self._console = Console(stderr=True)
        self._live: Live | None = None
        self._title = ""
        self._seconds: list[float] = []
        self._left = 0
        self._begun = 0.0

    def begin(self, number: int, total: int, title: str) -> None:
        """A point starts: the number-th of total, from 0; a total of 0 where nobody knows how many come."""
        self._title = f"point {number + 1} of {total}  {title}" if total else f"point {number + 1}  {title}"
        self._left = total - number
        self._begun = time.monotonic()
        if self._console.is_terminal:
            self._live = Live(Text(self._title), console=self._console, refresh_per_second=4, transient=True)
            self._live.start()
        else:
            log.info("%s ...", self._title)

    def update(self, spans: Sequence[Span], elapsed_s: float) -> None:
        """What is running now: the innermost open span of each worker."""
        if self._live:
            doing = place(max(spans, key=lambda span: span.start_ns)) if spans else "starting"
            self._live.update(Text(f"{self._title}  {clock(elapsed_s)}  {doing}{self._estimate(elapsed_s)}"))

    def end(self, result: PointResult, stored_at: str) -> None:
        """A point has ended; its line stays."""
        self.close()
        if result.outcome is not Outcome.SKIPPED:
            self._seconds.append(time.monotonic() - self._begun)
        self._left -= 1
        words = result.reason or self._numbers(result)
        if result.evidence.get("stacks"):
            words += f"; stacks in {stored_at}/stacks.txt"
        if told := marks.words(result):
            words += f"; {told}"
        log.info("%s  %s %s %.1f s  %s", self._title, result.id, result.outcome, result.duration_s, words)

    def close(self) -> None:
        """Give the terminal back, whatever happened to the point."""
        if self._live:
            self._live.stop()
            self._live = None

    def _estimate(self, elapsed_s: float) -> str:
        if not self._seconds or self._left < 1:
            return ""
        mean = sum(self._seconds) / len(self._seconds)
        left = max(0.0, mean - elapsed_s) + mean * (self._left - 1)
        return f"  about {clock(left)} left"

    @staticmethod
    def _numbers(result: PointResult) -> str:
        if result.wall_s is None:
            return ""
        media_s = sum(job.media_s for job in result.jobs)
        return f"{len(result.jobs)} jobs, {media_s:.1f} s of video in {result.wall_s:.1f} s"


def clock(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02d}:{rest:02d}" if hours else f"{minutes}:{rest:02d}"
