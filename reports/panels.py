"""Figures over settings: small multiples of interactions, and speed against quality."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from matplotlib.axes import Axes
from matplotlib.font_manager import FontProperties
from matplotlib.ticker import FuncFormatter, NullFormatter, NullLocator

from reports.drawing import (
    COLOURS,
    MARKERS,
    canvas,
    label,
    legend,
    svg,
    wrapped,
    write,
)

_MOST_LINES = 8


@dataclass(frozen=True)
class Panel:
    """One pair of settings: a line per level of the first over the levels of the second; None: no point."""

    title: str
    axis: str
    ticks: Sequence[str]
    lines: Mapping[str, Sequence[float | None]]


def interaction(name: str, alt: str, panel: Panel, axis: str, ends: tuple[float, float]) -> str:
    """One of several small multiples on one logarithmic scale: parallel lines are equal ratios."""
    with canvas(name, 2.2) as (figure, axes):
        for index, (level, values) in enumerate(list(panel.lines.items())[:_MOST_LINES]):
            known = [(x, y) for x, y in enumerate(values) if y is not None]
            axes.plot(
                [x for x, _ in known], [y for _, y in known], label=label(level), linewidth=1.6, markersize=5,
                color=COLOURS[index % len(COLOURS)], marker=MARKERS[index % len(MARKERS)],
            )  # fmt: skip
        axes.set_yscale("log")
        axes.set_ylim(ends[0] / 1.1, ends[1] * 1.1)
        _plain_scale(axes)
        _name_axes(axes, panel, axis)
        return svg(figure, name, alt)


def _name_axes(axes: Axes, panel: Panel, axis: str) -> None:
    axes.set_xticks(range(len(panel.ticks)), [wrapped(tick, 14) for tick in panel.ticks])
    axes.set_xlim(-0.3, len(panel.ticks) - 0.7)
    axes.set_xlabel(label(panel.axis))
    axes.set_ylabel(axis)
    axes.grid(axis="y")
    legend(axes)
    handles = axes.get_legend()
    if handles is not None:
        handles.set_title(label(panel.title, 60), FontProperties(size=8))
        handles.set_alignment("left")


def _plain_scale(axes: Axes) -> None:
    """Ticks at 1, 2 and 5 of each decade, at more where that gives fewer than two, in plain figures."""
    low, high = axes.get_ylim()
    decades = [10.0**power for power in range(-9, 10)]
    for steps in ((1, 2, 5), tuple(range(1, 10)), tuple(step / 10 for step in range(10, 100))):
        inside = [n * decade for decade in decades for n in steps if low <= n * decade <= high]
        if len(inside) > 1:
            break
    axes.set_yticks(inside)
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.yaxis.set_minor_locator(NullLocator())
    axes.yaxis.set_minor_formatter(NullFormatter())


def scatter(
    name: str,
    alt: str,
    points: Sequence[tuple[float, float]],
    others: Sequence[tuple[float, float]],
    labels: tuple[str, str],
) -> str:
    """Points (x, y) joined by a line and numbered from 1 in their order; the others are small dots."""
    with canvas(name, 3.1) as (figure, axes):
        if others:
            style: dict[str, Any] = {
                "linestyle": "none",
                "marker": ".",
                "markersize": 5,
                "color": COLOURS[-1],
            }
            axes.plot(
                [x for x, _ in others], [y for _, y in others], label="beaten by a numbered one", **style
            )
        style = {"marker": MARKERS[0], "markersize": 6, "color": COLOURS[0], "linewidth": 0.8}
        axes.plot([x for x, _ in points], [y for _, y in points], label="beaten by none", **style)
        for number, place in enumerate(points, 1):
            write(axes, str(number), place, (-4, 6), ha="right")
        axes.margins(0.1)
        axes.set_xlim(left=0)
        axes.set_xlabel(labels[0])
        axes.set_ylabel(labels[1])
        axes.grid()
        legend(axes)
        return svg(figure, name, alt)
