"""Figures as inline SVG: lines over workers and stacked bars; the same data always gives the same bytes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes

from reports.drawing import (
    COLOURS,
    INK,
    MARKERS,
    canvas,
    label,
    legend,
    stage_colour,
    svg,
    wrapped,
    write,
)


@dataclass(frozen=True)
class Line:
    """One series over x; bounds are (low, high) per point or None where there is no interval."""

    label: str
    x: tuple[int, ...]
    y: tuple[float, ...]
    bounds: tuple[tuple[float, float] | None, ...] = ()


@dataclass(frozen=True)
class Miss:
    """An x without a value, and the outcome in a word."""

    x: int
    text: str


def lines(
    name: str,
    alt: str,
    series: Sequence[Line],
    labels: tuple[str, str],
    misses: Sequence[Miss] = (),
    ideal: bool = False,
) -> str:
    """Series over whole x; `ideal` draws y = x; misses are crosses at the foot with their word."""
    with canvas(name, 3.1) as (figure, axes):
        ticks = sorted({x for line in series for x in line.x} | {miss.x for miss in misses})
        if ideal:
            ends = [1, max(ticks)]
            axes.plot(ends, ends, color=INK, linestyle=(0, (2, 3)), linewidth=1, label="ideal")
        for index, line in enumerate(series):
            _draw_line(axes, line, index)
        axes.set_ylim(0, 1.06 * axes.get_ylim()[1])
        for x, words in _by_x(misses).items():
            write(axes, f"\u00d7 {words}", (x + 0.1, 0), (0, 5), rotation=90, va="bottom")
        axes.set_xticks(ticks)
        axes.set_xlim(min(ticks) - 0.4, max(ticks) + 0.4)
        axes.set_xlabel(labels[0])
        axes.set_ylabel(labels[1])
        axes.grid(axis="y")
        legend(axes)
        return svg(figure, name, alt)


def _draw_line(axes: Axes, line: Line, index: int) -> None:
    colour = COLOURS[index % len(COLOURS)]
    marker = MARKERS[index % len(MARKERS)]
    axes.plot(
        line.x, line.y, color=colour, marker=marker, markersize=5, linewidth=1.6, label=wrapped(line.label)
    )
    for x, bound in zip(line.x, line.bounds, strict=False):
        if bound:
            axes.vlines(x, *bound, color=colour, linewidth=1.2)


def _by_x(misses: Sequence[Miss]) -> dict[int, str]:
    found: dict[int, list[str]] = {}
    for miss in misses:
        found.setdefault(miss.x, []).append(label(miss.text))
    return {x: ", ".join(dict.fromkeys(words)) for x, words in found.items()}


def bars(
    name: str,
    alt: str,
    rows: Sequence[str],
    parts: Mapping[str, Sequence[float]],
    axis: str,
    hatched: str = "",
) -> str:
    """Horizontal stacked bars, a row each with its name above; the part `hatched` is not in the sum."""
    names, pitch_in = _named(rows, 0.46)
    bar = 0.42 * 0.46 / pitch_in
    with canvas(name, 0.9 + pitch_in * len(rows)) as (figure, axes):
        lefts, busy = [0.0] * len(rows), [0.0] * len(rows)
        places = [-float(index) for index in range(len(rows))]
        for index, (part, values) in enumerate(parts.items()):
            apart = part == hatched
            style: dict[str, Any] = {"color": stage_colour(part, index)}
            if apart:
                drawn = [0.5 if value else 0.0 for value in values]  # an empty bar would still show its edge
                style = {"color": "none", "edgecolor": INK, "hatch": "////", "linewidth": drawn}
            axes.barh(places, values, left=lefts, height=bar, label=label(part), **style)
            lefts = [left + value for left, value in zip(lefts, values, strict=True)]
            busy = busy if apart else [total + value for total, value in zip(busy, values, strict=True)]
        _name_bars(axes, names, places, lefts, bar / 2)
        for place, left, total in zip(places, lefts, busy, strict=True):
            write(axes, f"{total:.3g}", (left, place), (4, 0), va="center")
        axes.set_xlabel(axis)
        legend(axes)
        return svg(figure, name, alt)


def groups(
    name: str, alt: str, rows: Sequence[str], parts: Mapping[str, Sequence[float | None]], axis: str
) -> str:
    """Horizontal bars side by side, one group per row; None leaves a gap."""
    names, pitch_in = _named(rows, 0.56)
    thick = 0.52 * 0.56 / pitch_in
    height = thick / max(len(parts), 1)
    with canvas(name, 0.9 + pitch_in * len(rows)) as (figure, axes):
        for index, (part, values) in enumerate(parts.items()):
            places = [-row - height * (index - (len(parts) - 1) / 2) for row in range(len(rows))]
            known = [(at, value) for at, value in zip(places, values, strict=True) if value is not None]
            if not known:
                continue
            colour = COLOURS[index % len(COLOURS)]
            axes.barh(
                [at for at, _ in known],
                [value for _, value in known],
                height * 0.9,
                label=label(part),
                color=colour,
            )
            for place, value in known:
                write(axes, f"{value:.3g}", (value, place), (4, 0), va="center")
        ends = [max((parts[part][row] or 0.0 for part in parts), default=0.0) for row in range(len(rows))]
        _name_bars(axes, names, [-float(row) for row in range(len(rows))], ends, thick / 2)
        axes.set_xlabel(axis)
        legend(axes)
        return svg(figure, name, alt)


def lanes(
    name: str,
    alt: str,
    rows: Mapping[str, Sequence[tuple[float, float]]],
    ticks: Mapping[str, Sequence[float]],
    axis: str,
) -> str:
    """Time lines, one below the other: first of moments as ticks, then of intervals (begin, length)."""
    names = [*ticks, *rows]
    with canvas(name, 0.5 + 0.2 * len(names)) as (figure, axes):
        for index, moments in enumerate(ticks.values()):
            axes.vlines(moments, -index - 0.35, -index + 0.35, color=INK, linewidth=0.6)
        for index, (part, intervals) in enumerate(rows.items()):
            place = -index - len(ticks)
            axes.broken_barh(
                list(intervals), (place - 0.35, 0.7), color=stage_colour(part, index), linewidth=0.3
            )
        axes.set_yticks(
            [-index for index in range(len(names))], [label(row, 24) for row in names], fontsize=8
        )
        axes.set_ylim(-len(names) + 0.4, 0.6)
        axes.set_xlim(left=0)
        axes.set_xlabel(axis)
        axes.grid(axis="x")
        return svg(figure, name, alt)


def _named(rows: Sequence[str], pitch_in: float) -> tuple[list[str], float]:
    """Names over one to three lines each, and the inches that a row takes with the longest of them."""
    names = [wrapped(row, 64) for row in rows]
    most = max((name.count("\n") for name in names), default=0)
    return names, pitch_in + 0.14 * most


def _name_bars(
    axes: Axes, rows: Sequence[str], places: Sequence[float], ends: Sequence[float], above: float
) -> None:
    """Each name above its bar; `above` is half a bar, in rows."""
    for row, place in zip(rows, places, strict=True):
        write(axes, row, (0, place + above), (0, 3), va="bottom")
    axes.set_yticks([])
    axes.set_ylim(min(places) - 0.5, max(places) + 0.75)
    axes.set_xlim(0, (max(ends, default=0.0) or 1.0) * 1.12)
    axes.grid(axis="x")
