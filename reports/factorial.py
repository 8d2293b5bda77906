"""A sweep as a factorial: what varied, its main effects on the RTF, and how they depend on each other.

The model of reports/least_squares.py with one term per level of each factor, against its first level: an
effect is a geometric mean over the other factors, adjusted where combinations are missing. A term for a pair
of levels beside it is a ratio of ratios.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from reports.least_squares import Column, Error, Fit, Ratio, Row
from reports.points import PointRows
from reports.tables import Table

Read = Callable[[PointRows], list[float]]
# The level that others are held against where it was measured; else the one measured first.
_PLAIN = ("sequential", "eager", "fp32")
_FOLLOWERS = ("jobs", "texts")  # columns that the sweep sets, not the user
_MOST_POINTS, _MOST_FACTORS = 600, 12  # for the search over pairs, which would take minutes beyond
_ABSENT = "absent"  # a point that does not have the setting at all


@dataclass(frozen=True)
class Factor:
    """What was varied. followers: columns that this one decides; their effects are within its own."""

    name: str
    levels: tuple[str, ...]
    followers: tuple[str, ...] = ()


@dataclass(frozen=True)
class Design:
    """The ok points of a run as rows of a factorial.

    points    with a level per factor, by index, in `levels`
    missing   combinations of these levels that have no ok point
    lost      level texts, `factor=level`, without any ok point, with how their points ended
    """

    factors: tuple[Factor, ...]
    points: tuple[PointRows, ...]
    levels: tuple[tuple[int, ...], ...]
    missing: int
    lost: tuple[str, ...]


@dataclass(frozen=True)
class Effect:
    """A factor's level against its first one; ratio is None where other factors moved along."""

    factor: Factor
    level: int
    ratio: Ratio | None
    num_points: int


@dataclass(frozen=True)
class Interaction:
    """How the effect of a level depends on another factor's level.

    ratio_of_ratios   effect at (other, other_level) over the effect at the other's first level
    """

    factor: Factor
    level: int
    other: Factor
    other_level: int
    ratio_of_ratios: Ratio
    at_first: Ratio
    at_level: Ratio


def rtf(point: PointRows) -> list[float]:
    return point.numbers("rtf_aggregate")


def design_of(table: Table) -> Design | None:
    """None where the ok points differ in executor and workers alone, which have a section of their own."""
    fit = {point.id for point in table.ok}
    points = tuple(point for point in table.points if point.id in fit and rtf(point) and min(rtf(point)) > 0)
    texts = [_levels(point) for point in points]
    varied = [name for name in _names(texts) if len({text.get(name) for text in texts}) > 1]
    if not set(varied) - {"executor", "workers", *_FOLLOWERS}:
        return None
    factors = tuple(_factors(varied, texts))
    levels = tuple(
        tuple(factor.levels.index(text.get(factor.name, _ABSENT)) for factor in factors) for text in texts
    )
    cells = math.prod(len(factor.levels) for factor in factors)
    return Design(factors, points, levels, cells - len(set(levels)), tuple(_lost(table, points)))


def _levels(point: PointRows) -> dict[str, str]:
    axes = {name: word(value) for name, value in point.axes.items()}
    return {"executor": point.executor, "workers": str(point.workers), **axes}


def word(value: object) -> str:
    """A value as on the command line, at most 40 characters."""
    text = "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)
    return text if len(text) <= 40 else f"{text[:37]}..."


def _names(texts: Sequence[Mapping[str, str]]) -> list[str]:
    """Columns in their order; those that the sweep sets come last, so that they follow and do not lead."""
    names = dict.fromkeys(name for text in texts for name in text)
    return sorted(names, key=lambda name: name in _FOLLOWERS)


def _factors(varied: Sequence[str], texts: Sequence[Mapping[str, str]]) -> Iterator[Factor]:
    """One per column, but for those that another column decides: they follow it."""
    values = {name: [text.get(name, _ABSENT) for text in texts] for name in varied}
    leads: dict[str, list[str]] = {}
    for name in sorted(varied, key=lambda name: (-len(set(values[name])), varied.index(name))):
        leader = next((lead for lead in leads if _decides(values[lead], values[name])), None)
        if leader is None:
            leads[name] = []
        else:
            leads[leader].append(name)
    for name in varied:
        if name in leads:
            levels = sorted(dict.fromkeys(values[name]), key=lambda text: text not in _PLAIN)
            yield Factor(name, tuple(levels), tuple(leads[name]))


def _decides(one: Sequence[str], other: Sequence[str]) -> bool:
    """Whether each level of one goes with a single level of the other."""
    return len(set(zip(one, other, strict=True))) == len(set(one))


def _lost(table: Table, points: Sequence[PointRows]) -> Iterator[str]:
    kept: dict[str, set[str]] = {}
    for point in points:
        for name, text in _levels(point).items():
            kept.setdefault(name, set()).add(text)
    ended: dict[str, dict[str, None]] = {}
    for point in table.points:
        for name, text in _levels(point).items():
            if point.fault == "none" and text not in kept.get(name, set()):
                ended.setdefault(f"{name}={text}", {})[point.outcome_text()] = None
    return (f"{level} ({', '.join(outcomes)})" for level, outcomes in ended.items())


def _rows(design: Design, read: Read) -> list[Row]:
    return [
        (index, levels, value)
        for index, (point, levels) in enumerate(zip(design.points, design.levels, strict=True))
        for value in read(point)
    ]


def main_columns(design: Design) -> list[Column]:
    single = [((f, level),) for f, x in enumerate(design.factors) for level in range(1, len(x.levels))]
    return [(), *single]


def main_effects(design: Design, read: Read = rtf) -> tuple[list[Effect], Error]:
    """Every level but the first of every factor, in their order, and what the intervals rest on."""
    fit = Fit(_rows(design, read), main_columns(design))
    found = []
    for index, factor in enumerate(design.factors):
        for level in range(1, len(factor.levels)):
            num_points = sum(levels[index] == level for levels in design.levels)
            found.append(Effect(factor, level, fit.ratio(((index, level),)), num_points))
    return found, fit.error


def interactions(design: Design) -> list[Interaction]:
    """Of each pair of factors the strongest term that the design tells, the strongest pair first."""
    if len(design.points) > _MOST_POINTS or len(design.factors) > _MOST_FACTORS:
        return []
    pairs = itertools.combinations(range(len(design.factors)), 2)
    found = [term for f, g in pairs if (term := _strongest(design, *_acting(design, f, g)))]
    return sorted(found, key=lambda term: -abs(math.log(term.ratio_of_ratios.value)))


# Conditions rather than choices: an interaction reads as "the choice's effect at this condition".
_CONDITIONS = ("device", "size", "workload", "resolution", "language", "portrait", "voice", "seconds", "text")


def _acting(design: Design, f: int, g: int) -> tuple[int, int]:
    """The pair with the condition behind, if only one of the two is a condition."""
    first, second = (design.factors[index].name.rpartition(".")[2] in _CONDITIONS for index in (f, g))
    return (g, f) if first and not second else (f, g)


def _strongest(design: Design, f: int, g: int) -> Interaction | None:
    terms = _pair_columns(design, f, g)
    if not terms:
        return None
    fit = Fit(_rows(design, rtf), [*main_columns(design), *terms])
    found = []
    for (_, a), (_, b) in terms:
        alone, both = ((f, a),), ((f, a), (g, b))
        ratio, first, there = fit.ratio(both), fit.ratio(alone), fit.ratio(alone, both)
        if ratio and first and there:
            found.append(Interaction(design.factors[f], a, design.factors[g], b, ratio, first, there))
    return max(found, key=lambda term: abs(math.log(term.ratio_of_ratios.value)), default=None)


def _pair_columns(design: Design, f: int, g: int) -> list[Column]:
    """The products of their levels that some point has."""
    cells = sorted({(levels[f], levels[g]) for levels in design.levels})
    return [((f, a), (g, b)) for a, b in cells if a and b]


def cell_means(design: Design, factor: Factor, other: Factor) -> dict[str, list[float | None]]:
    """Level of factor -> RTF at each level of the other by the model with both; None: no point.

    The remaining factors are averaged over their levels, so that missing combinations do not bend the lines;
    in a complete design these are the geometric means.
    """
    f, g = design.factors.index(factor), design.factors.index(other)
    pairs = _pair_columns(design, f, g)
    fit = Fit(_rows(design, rtf), [*main_columns(design), *pairs])
    rest: dict[Column, float] = {
        ((h, level),): 1 / len(x.levels)
        for h, x in enumerate(design.factors)
        for level in range(1, len(x.levels))
        if h not in (f, g)
    }
    measured = {(levels[f], levels[g]) for levels in design.levels}
    found: dict[str, list[float | None]] = {}
    for a, name in enumerate(factor.levels):
        own: list[dict[Column, float]] = [
            {(): 1.0, ((f, a),): 1.0, ((g, b),): 1.0, ((f, a), (g, b)): 1.0} for b in range(len(other.levels))
        ]
        found[name] = [
            fit.mean({**rest, **weights}) if (a, b) in measured else None for b, weights in enumerate(own)
        ]
    return found
