"""Sparklines: the course of figures over nights, one small line each below the other, as inline SVG."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from reports.blocks import num
from reports.drawing import COLOURS, INK, LINE, WIDTH_IN, bare, drawn, svg, wrapped, write

_ROW_IN = 0.78
_SLOWER, _FASTER, _LEVEL, _ANCHOR = COLOURS[5], COLOURS[2], COLOURS[0], COLOURS[3]


@dataclass(frozen=True)
class Marked:
    """A change at that night; up where it is slower."""

    at: int
    up: bool


@dataclass(frozen=True)
class Course:
    """One figure over nights 0, 1, …

    dots     (night, value); hollow: those of them that were not confirmed
    levels   (first night, last night, value or None)
    crosses  nights without a value; breaks: nights on which the environment was another than before
    """

    label: str
    dots: tuple[tuple[int, float], ...]
    hollow: frozenset[int] = frozenset()
    levels: tuple[tuple[int, int, float | None], ...] = ()
    marks: tuple[Marked, ...] = ()
    crosses: tuple[int, ...] = ()
    breaks: tuple[int, ...] = ()
    anchor: float | None = None


def sparklines(name: str, alt: str, courses: Sequence[Course]) -> str:
    """All of them in one drawing; each has a scale of its own, with its last value at its end."""
    with drawn():
        figure = Figure(figsize=(WIDTH_IN, 0.25 + _ROW_IN * len(courses)))
        for index, course in enumerate(courses):
            axes = figure.add_subplot(len(courses), 1, index + 1)
            bare(figure, axes)
            _draw(axes, course)
        top = 1 - 0.2 / (1 + len(courses))
        figure.subplots_adjust(left=0.02, right=0.88, top=top, bottom=0.04, hspace=0.9)
        return svg(figure, name, alt)


def _draw(axes: Axes, course: Course) -> None:
    solid = [dot for dot in course.dots if dot[0] not in course.hollow]
    hollow = [dot for dot in course.dots if dot[0] in course.hollow]
    low, high = _span([value for _, value in solid] or [value for _, value in course.dots], course.anchor)
    for dots, face in ((solid, INK), (hollow, "none")):
        at = [x for x, _ in dots], [min(max(y, low), high) for _, y in dots]
        axes.scatter(*at, s=5, facecolors=face, edgecolors=INK, linewidths=0.5, clip_on=False)
    for start, end, value in course.levels:
        if value is not None:
            axes.hlines(value, start - 0.4, end + 0.4, color=_LEVEL, linewidth=1.4)
    if course.anchor is not None:
        axes.axhline(course.anchor, color=_ANCHOR, linewidth=0.9, linestyle=(0, (1, 2)))
    for at_break in course.breaks:
        axes.axvline(at_break - 0.5, color=LINE, linewidth=1)
    _mark(axes, course, low, high)
    axes.set_ylim(low, high)
    axes.set_xticks([])
    axes.set_yticks([])
    axes.spines["bottom"].set_visible(False)
    axes.set_title(wrapped(course.label, 78, 1), fontsize=8, loc="left", pad=3)
    last, value = course.dots[-1]
    write(axes, num(value), (last, min(max(value, low), high)), (6, 0), va="center")


def _mark(axes: Axes, course: Course, low: float, high: float) -> None:
    foot, head = low + 0.08 * (high - low), high - 0.08 * (high - low)
    for mark in course.marks:
        shape, colour, y = ("^", _SLOWER, foot) if mark.up else ("v", _FASTER, head)
        axes.scatter([mark.at], [y], marker=shape, s=22, color=colour, linewidths=0)
    if course.crosses:
        at = list(course.crosses), [foot] * len(course.crosses)
        axes.scatter(*at, marker="x", s=14, color=_SLOWER, linewidths=1)


def _span(numbers: Sequence[float], anchor: float | None) -> tuple[float, float]:
    """What is drawn: all confirmed values and the anchor; what was not confirmed is cut at the edge."""
    known = [*numbers, *([anchor] if anchor is not None else [])]
    low, high = min(known), max(known)
    margin = 0.15 * (high - low) or 0.02 * abs(high) or 1.0
    return low - margin, high + margin
