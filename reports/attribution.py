"""Attribution: which stages of a point took the more, or the less, and which did not change."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

from reports.blocks import num
from reports.decision import Decision, decide
from reports.gated import STAGE
from reports.launches import Launched

_LEAST_SHARE = 0.1  # of all that the stages gained or lost, for a stage to be named


@dataclass(frozen=True)
class Part:
    """A stage on both sides: busy seconds per second of video, mean over launches."""

    stage: str
    base: float
    new: float
    decision: Decision

    @property
    def change(self) -> float:
        return self.new - self.base

    @property
    def moved(self) -> bool:
        return self.decision.verdict in ("slower", "faster")


def explains(metric: str) -> bool:
    """Whether stages add up to that figure."""
    return metric.startswith("rtf")


def parts(base: Launched, new: Launched, min_effect: float) -> list[Part]:
    """The stages that both sides have, those that changed most first."""
    names = [name for name in _stages(base) if name in _stages(new)]
    found = [_part(name, base.numbers(name), new.numbers(name), min_effect) for name in names]
    return sorted(found, key=lambda part: -abs(part.change))


def _stages(side: Launched) -> list[str]:
    named = (name for launch in side.launches for name in launch.values if name.startswith(STAGE))
    return [name for name in dict.fromkeys(named) if min(side.numbers(name)) > 0]


def _part(name: str, base: Sequence[float], new: Sequence[float], min_effect: float) -> Part:
    decision = decide([[value] for value in base], [[value] for value in new], min_effect)
    return Part(name.removeprefix(STAGE), fmean(base), fmean(new), decision)


def words(found: Sequence[Part]) -> str:
    """`avatar.warp +12 % (0.71 to 0.80 s per s of video), 97 % of all that was gained; …`."""
    moved = [part for part in found if part.moved and _share(part, found) >= _LEAST_SHARE]
    if not found:
        return "no stage was timed on both sides"
    if not moved:
        return "no single stage is clearly another"
    told = ", ".join(_told(part, found) for part in moved)
    rest = [part for part in found if part not in moved]
    large = [part for part in rest if _share(part, found) >= _LEAST_SHARE]
    unclear = [part for part in large if part.decision.verdict == "inconclusive"]
    if unclear:
        return f"{told}; not resolved: {', '.join(f'{part.stage} {_percent(part)}' for part in unclear)}"
    return f"{told}; the rest as it was" if rest else told


def _share(part: Part, found: Sequence[Part]) -> float:
    """Of all changes in the same direction."""
    alike = sum(abs(other.change) for other in found if other.change * part.change > 0)
    return abs(part.change) / alike if alike else 0.0


def _told(part: Part, found: Sequence[Part]) -> str:
    what = "gained" if part.change > 0 else "saved"
    times = f"{num(part.base)} to {num(part.new)} s per s of video"
    share = f"{100 * _share(part, found):.0f} % of all that was {what}"
    return f"{part.stage} {_percent(part)} ({times}), {share}"


def _percent(part: Part) -> str:
    return f"{100 * (part.new / part.base - 1):+.0f} %"
