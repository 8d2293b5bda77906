"""Figures as inline SVG: lines over workers and stacked bars; the same data always gives the same bytes."""

from __future__ import annotations

import html
import io
import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, cast

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

# Replaced in the SVG, so that figures follow the page's light or dark colours.
_INK, _LINE = "#123456", "#789abc"
_WIDTH_IN = 4.9  # narrow, so that 9 pt stays legible on a telephone
PIXEL = 1 / 900  # of the width: what is closer together is drawn as one
# Okabe and Ito's colours, which colour-blind readers tell apart; bright enough on white and on black.
_COLOURS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#8f7a00", "#7f7f7f")
_MARKERS = "osD^vPX*"
_STAGE_COLOURS = {
    "condition": "#9ecae1",
    "gpt": "#2b7bba",
    "vocoder": "#5a6fc0",
    "source": "#b8b04a",
    "features": "#009e73",
    "motion": "#7bc96f",
    "stitch": "#a6761d",
    "warp": "#e69f00",
    "decode": "#d55e00",
    "putback": "#cc79a7",
    "write": "#8e5aa8",
}
_STYLE: dict[str, Any] = {
    "svg.hashsalt": "report",
    "svg.fonttype": "none",
    "text.parse_math": False,
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 9,
    "text.color": _INK,
    "axes.labelcolor": _INK,
    "axes.edgecolor": _LINE,
    "xtick.color": _INK,
    "ytick.color": _INK,
    "grid.color": _LINE,
    "grid.linewidth": 0.4,
    "hatch.linewidth": 0.6,
}


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
    with _drawing(name, 3.1) as (figure, axes):
        ticks = sorted({x for line in series for x in line.x} | {miss.x for miss in misses})
        if ideal:
            ends = [1, max(ticks)]
            axes.plot(ends, ends, color=_INK, linestyle=(0, (2, 3)), linewidth=1, label="ideal")
        for index, line in enumerate(series):
            _draw_line(axes, line, index)
        axes.set_ylim(0, 1.06 * axes.get_ylim()[1])
        for x, words in _by_x(misses).items():
            _write(axes, f"\u00d7 {words}", (x + 0.1, 0), (0, 5), rotation=90, va="bottom")
        axes.set_xticks(ticks)
        axes.set_xlim(min(ticks) - 0.4, max(ticks) + 0.4)
        axes.set_xlabel(labels[0])
        axes.set_ylabel(labels[1])
        axes.grid(axis="y")
        _legend(axes)
        return _svg(figure, name, alt)


def _draw_line(axes: Axes, line: Line, index: int) -> None:
    colour = _COLOURS[index % len(_COLOURS)]
    marker = _MARKERS[index % len(_MARKERS)]
    axes.plot(
        line.x, line.y, color=colour, marker=marker, markersize=5, linewidth=1.6, label=label(line.label)
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
    with _drawing(name, 0.9 + 0.46 * len(rows)) as (figure, axes):
        lefts, busy = [0.0] * len(rows), [0.0] * len(rows)
        places = [-float(index) for index in range(len(rows))]
        for index, (part, values) in enumerate(parts.items()):
            apart = part == hatched
            style: dict[str, Any] = {"color": _colour(part, index)}
            if apart:
                drawn = [0.5 if value else 0.0 for value in values]  # an empty bar would still show its edge
                style = {"color": "none", "edgecolor": _INK, "hatch": "////", "linewidth": drawn}
            axes.barh(places, values, left=lefts, height=0.42, label=label(part), **style)
            lefts = [left + value for left, value in zip(lefts, values, strict=True)]
            busy = busy if apart else [total + value for total, value in zip(busy, values, strict=True)]
        _name_bars(axes, rows, places, lefts)
        for place, left, total in zip(places, lefts, busy, strict=True):
            _write(axes, f"{total:.3g}", (left, place), (4, 0), va="center")
        axes.set_xlabel(axis)
        _legend(axes)
        return _svg(figure, name, alt)


def groups(
    name: str, alt: str, rows: Sequence[str], parts: Mapping[str, Sequence[float | None]], axis: str
) -> str:
    """Horizontal bars side by side, one group per row; None leaves a gap."""
    height = 0.52 / max(len(parts), 1)
    with _drawing(name, 0.9 + 0.56 * len(rows)) as (figure, axes):
        for index, (part, values) in enumerate(parts.items()):
            places = [-row - height * (index - (len(parts) - 1) / 2) for row in range(len(rows))]
            known = [(at, value) for at, value in zip(places, values, strict=True) if value is not None]
            if not known:
                continue
            colour = _COLOURS[index % len(_COLOURS)]
            axes.barh(
                [at for at, _ in known],
                [value for _, value in known],
                height * 0.9,
                label=label(part),
                color=colour,
            )
            for place, value in known:
                _write(axes, f"{value:.3g}", (value, place), (4, 0), va="center")
        ends = [max((parts[part][row] or 0.0 for part in parts), default=0.0) for row in range(len(rows))]
        _name_bars(axes, rows, [-float(row) for row in range(len(rows))], ends)
        axes.set_xlabel(axis)
        _legend(axes)
        return _svg(figure, name, alt)


def lanes(
    name: str,
    alt: str,
    rows: Mapping[str, Sequence[tuple[float, float]]],
    ticks: Mapping[str, Sequence[float]],
    axis: str,
) -> str:
    """Time lines, one below the other: first of moments as ticks, then of intervals (begin, length)."""
    names = [*ticks, *rows]
    with _drawing(name, 0.5 + 0.2 * len(names)) as (figure, axes):
        for index, moments in enumerate(ticks.values()):
            axes.vlines(moments, -index - 0.35, -index + 0.35, color=_INK, linewidth=0.6)
        for index, (part, intervals) in enumerate(rows.items()):
            place = -index - len(ticks)
            axes.broken_barh(list(intervals), (place - 0.35, 0.7), color=_colour(part, index), linewidth=0.3)
        axes.set_yticks(
            [-index for index in range(len(names))], [label(row, 24) for row in names], fontsize=8
        )
        axes.set_ylim(-len(names) + 0.4, 0.6)
        axes.set_xlim(left=0)
        axes.set_xlabel(axis)
        axes.grid(axis="x")
        return _svg(figure, name, alt)


def _write(axes: Axes, text: str, at: tuple[float, float], offset: tuple[int, int], **style: Any) -> None:
    axes.annotate(
        text, at, xytext=offset, textcoords="offset points", fontsize=8, annotation_clip=False, **style
    )


def _name_bars(axes: Axes, rows: Sequence[str], places: Sequence[float], ends: Sequence[float]) -> None:
    for row, place in zip(rows, places, strict=True):
        _write(axes, label(row, 64), (0, place + 0.29), (0, 0), va="bottom")
    axes.set_yticks([])
    axes.set_ylim(min(places) - 0.5, max(places) + 0.75)
    axes.set_xlim(0, (max(ends, default=0.0) or 1.0) * 1.12)
    axes.grid(axis="x")


def _colour(part: str, index: int) -> str:
    return _STAGE_COLOURS.get(part.rpartition(".")[2], _COLOURS[index % len(_COLOURS)])


def label(text: str, longest: int = 40) -> str:
    """Text that the drawing font has: one line of Latin-1, cut at `longest` characters."""
    flat = " ".join(text.split())
    known = "".join(c if c.isprintable() and ord(c) < 256 else "?" for c in flat)
    return known if len(known) <= longest else f"{known[: longest - 3]}..."


@contextmanager
def _drawing(name: str, height_in: float) -> Iterator[tuple[Figure, Axes]]:
    with mpl.rc_context(cast("Any", _STYLE)):
        figure = Figure(figsize=(_WIDTH_IN, height_in))
        axes = figure.add_subplot()
        figure.patch.set_visible(False)
        axes.patch.set_visible(False)
        axes.set_axisbelow(True)
        axes.spines[["top", "right", "left"]].set_visible(False)
        axes.tick_params(length=0)
        yield figure, axes


def _legend(axes: Axes) -> None:
    """Above the drawing, in as many columns as fit its width: about 70 characters with their marks."""
    handles, names = axes.get_legend_handles_labels()
    if not handles:
        return
    columns = min(len(names), max(1, 70 // (max(map(len, names)) + 6)))
    place: dict[str, Any] = {"loc": "lower left", "bbox_to_anchor": (-0.02, 1.0), "borderaxespad": 0.2}
    axes.legend(handles, names, ncols=columns, frameon=False, fontsize=8, handlelength=1.4, **place)


def _svg(figure: Figure, name: str, alt: str) -> str:
    """The <svg> element alone: named ids, a title, no date, no size but the view box, colours of the page."""
    buffer = io.StringIO()
    empty = {"Date": None, "Creator": None, "Format": None, "Type": None}
    figure.savefig(buffer, format="svg", metadata=empty, bbox_inches="tight", pad_inches=0.05)
    text = buffer.getvalue()
    text = re.sub(r"<style.*?</style>", "", text, flags=re.DOTALL)
    text = re.sub(r"<metadata>.*?</metadata>", "", text[text.index("<svg") :], flags=re.DOTALL)
    text = re.sub(r'(\bid="|url\(#|href="#)', rf"\g<1>{name}-", text)
    text = text.replace(_INK, "currentColor").replace(_LINE, "var(--line)")
    text = re.sub(r"font: ([\d.]+px) [^;\"]*", r"font: \1 sans-serif", text)
    head, _, body = text.partition(">")
    head = re.sub(r'\s(width|height|version)="[^"]*"', "", head)
    spoken = html.escape(alt, quote=True)
    return f'{head} role="img" aria-label="{spoken}"><title>{spoken}</title>{body}'
