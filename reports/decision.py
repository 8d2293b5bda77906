"""Decisions between two sets of launches: slower, faster, same or inconclusive, with an interval."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray
from scipy.special import stdtr, stdtrit  # type: ignore[import-untyped]

Array = NDArray[np.float64]
Launches = Sequence[Sequence[float]]

FEWEST = 3  # launches a side below which nothing is decided
# Of a side's samples, in robust standard deviations from its median: a hiccup, unless the launch is all so.
HICCUP = 5.0
# Launches a side from which their own spread is enough; below it that of earlier launches is added.
ENOUGH, EARLIER = 5, 20
POWER = 0.8
MOST = 1000  # launches a side, beyond which nobody would go
# Relative: below the clock's resolution, and above the rounding of logarithms of equal figures.
LEAST_ERROR = 1e-9


@dataclass(frozen=True)
class Decision:
    """B against A for one figure; ratios are new / base, above 1 is worse where lower is better.

    verdict           slower, faster, same or inconclusive
    low, high         95 % interval of the ratio; None below two launches a side
    n_base, n_new     launches
    p                 two-sided, of 'no difference'; None likewise
    needed            launches a side that would show a change of min_effect, with 80 % power; None if
                      unknown, or if these show it
    visible           smallest relative change that this comparison would have reported with 80 %
    why               one plain sentence
    """

    verdict: str
    ratio: float | None
    low: float | None
    high: float | None
    n_base: int
    n_new: int
    p: float | None
    needed: int | None
    visible: float | None
    why: str


@dataclass(frozen=True)
class _Difference:
    """Of two means of logarithms: estimate, its standard error, degrees of freedom."""

    log: float
    error: float
    freedom: float

    def interval(self, confidence: float) -> tuple[float, float]:
        reach = float(stdtrit(self.freedom, (1 + confidence) / 2)) * self.error
        return self.log - reach, self.log + reach

    @property
    def p(self) -> float:
        return min(1.0, 2 * float(stdtr(self.freedom, -abs(self.log) / self.error)))


def decide(
    base: Launches,
    new: Launches,
    min_effect: float,
    higher_is_better: bool = False,
    accept: float | None = None,
    earlier: Sequence[float] = (),
) -> Decision:
    """Whether `new` differs from `base`, each a list of launches with one sample or more.

    A t-test on logarithms, a number for each launch: samples of one launch share what its start decided, so
    more of them prove nothing. slower: the 95 % interval is above 1 and the ratio at least 1 + accept (by
    default min_effect); faster: the mirror image; same: the 90 % interval lies within min_effect of 1.

    earlier  deviations of logarithms of launches of the same kind from their sets' means: from 20 on they
             help to judge the spread where a side has fewer than 5 launches, but never make it smaller
    Raises ValueError for samples that have no logarithm, and for launches without samples.
    """
    if not (math.isfinite(min_effect) and min_effect > 0):
        raise ValueError(f"min_effect={min_effect}: a positive fraction, such as 0.03")
    sides = launch_values(base, "base"), launch_values(new, "new")
    counts = sides[0].size, sides[1].size
    wanted = min_effect if accept is None else accept
    if min(counts) == 0:
        return Decision("inconclusive", None, None, None, *counts, None, None, None, _too_few(counts))
    if min(counts) < 2:
        ratio = math.exp(float(sides[1].mean() - sides[0].mean()))
        return Decision("inconclusive", ratio, None, None, *counts, None, None, None, _too_few(counts))
    found = _difference(*sides, earlier)
    verdict, why = _verdict(found, min_effect, wanted, higher_is_better)
    if min(counts) < FEWEST:
        verdict, why = "inconclusive", _too_few(counts)
    low, high = (math.exp(bound) for bound in found.interval(0.95))
    return Decision(
        verdict, math.exp(found.log), low, high, *counts, found.p,
        needed=_needed(found, counts, min_effect), visible=_visible(found, wanted), why=why,
    )  # fmt: skip


def launch_values(launches: Launches, side: str = "launch") -> Array:
    """The logarithm of each launch's median sample, hiccups left out."""
    for index, launch in enumerate(launches):
        if not len(launch):
            raise ValueError(f"{side}: launch {index} has no sample")
        wrong = next((value for value in launch if not (math.isfinite(value) and value > 0)), None)
        if wrong is not None:
            raise ValueError(f"{side}: launch {index} has the sample {wrong}; only positive numbers compare")
    logs = [np.log(np.asarray(launch, dtype=float)) for launch in launches]
    if not logs:
        return np.empty(0)
    together = np.concatenate(logs)
    middle = np.median(together)
    limit = HICCUP * 1.4826 * float(np.median(np.abs(together - middle)))
    kept = (launch[np.abs(launch - middle) <= limit] for launch in logs)
    return np.array(
        [np.median(some if some.size else launch) for some, launch in zip(kept, logs, strict=True)]
    )


def _too_few(counts: tuple[int, int]) -> str:
    return f"fewer than {FEWEST} launches a side: {counts[0]} of the base, {counts[1]} of the new"


def _difference(base: Array, new: Array, earlier: Sequence[float]) -> _Difference:
    """Student's for as many launches on both sides, where it holds for unequal spreads too; else Welch's."""
    variances = float(base.var(ddof=1)), float(new.var(ddof=1))
    shares = variances[0] / base.size, variances[1] / new.size
    error, freedom = math.sqrt(sum(shares)), float(base.size + new.size - 2)
    if base.size != new.size and error > 0:
        squares = shares[0] ** 2 / (base.size - 1) + shares[1] ** 2 / (new.size - 1)
        freedom = sum(shares) ** 2 / squares
    if len(earlier) >= EARLIER and min(base.size, new.size) < ENOUGH:
        known = float(np.mean(np.square(earlier)))
        own = ((base.size - 1) * variances[0] + (new.size - 1) * variances[1]) / (base.size + new.size - 2)
        pooled = (len(earlier) * known + freedom * own) / (len(earlier) + freedom)
        error = max(error, math.sqrt(pooled * (1 / base.size + 1 / new.size)))
        freedom += len(earlier)
    return _Difference(float(new.mean() - base.mean()), max(error, LEAST_ERROR), freedom)


def _verdict(found: _Difference, min_effect: float, accept: float, higher_is_better: bool) -> tuple[str, str]:
    low, high = found.interval(0.95)
    worse, better = ("faster", "slower") if higher_is_better else ("slower", "faster")
    size = f"{math.expm1(found.log):+.1%}"
    edge = math.log1p(accept) - 1e-12
    if low > 0 and found.log >= edge:
        return worse, f"{size}, and the 95 % interval is above no change"
    if high < 0 and found.log <= -edge:
        return better, f"{size}, and the 95 % interval is below no change"
    narrow = found.interval(0.90)
    if max(abs(bound) for bound in narrow) < math.log1p(min_effect):
        return "same", f"the 90 % interval lies within {min_effect:.1%} of no change"
    if low > 0 or high < 0:
        return "inconclusive", f"{size} is a change, but may be smaller than {accept:.1%}"
    return "inconclusive", f"{size}, and the 95 % interval holds no change as well as {min_effect:.1%}"


def _visible(found: _Difference, accept: float) -> float:
    """The change whose estimate passes both hurdles, interval and `accept`, four times in five."""
    chance = float(stdtrit(found.freedom, POWER))
    hurdle = max(math.log1p(accept), float(stdtrit(found.freedom, 0.975)) * found.error)
    return math.expm1(hurdle + chance * found.error)


def _needed(found: _Difference, counts: tuple[int, int], min_effect: float) -> int | None:
    """Launches a side from which the interval of a change of min_effect excludes no change, with 80 %."""
    variance = found.error**2 / (1 / counts[0] + 1 / counts[1])
    for launches in _numbers(FEWEST):
        freedom = 2 * (launches - 1)
        reach = float(stdtrit(freedom, 0.975)) + float(stdtrit(freedom, POWER))
        if reach * math.sqrt(2 * variance / launches) <= math.log1p(min_effect):
            return launches if launches > min(counts) else None
    return None


def _numbers(first: int) -> Iterator[int]:
    """Up to MOST, by steps that grow with the number: nobody plans 412 launches and not 400."""
    number = first
    while number <= MOST:
        yield number
        number += max(1, number // 20)


def control(decisions: Sequence[Decision], q: float = 0.05) -> list[Decision]:
    """The decisions with false findings kept to a share q, by Benjamini and Hochberg's rule over all p."""
    ranked = sorted(decision.p for decision in decisions if decision.p is not None)
    passed = [p for rank, p in enumerate(ranked, 1) if p <= q * rank / len(ranked)]
    limit = max(passed, default=-1.0)
    return [
        _withdrawn(decision, len(ranked)) if _fails(decision, limit) else decision for decision in decisions
    ]


def _fails(decision: Decision, limit: float) -> bool:
    return decision.verdict in ("slower", "faster") and (decision.p is None or decision.p > limit)


def _withdrawn(decision: Decision, compared: int) -> Decision:
    why = f"{decision.verdict} on its own, but among {compared} comparisons that can be chance"
    return replace(decision, verdict="inconclusive", why=why)
