"""What a report section is made of: sentences, tables, figures and excerpts, without a format."""

from __future__ import annotations

import math
from dataclasses import dataclass

from reports.points import Estimate


@dataclass(frozen=True)
class Text:
    """A sentence or two. tone: "" plain, "lead" the first sentence, "good", "bad", "warn" or "note"."""

    text: str
    tone: str = ""


@dataclass(frozen=True)
class Cell:
    """tone is an outcome's name, a colour beside the text, or ""; detail is shown on request."""

    text: str
    tone: str = ""
    detail: str = ""


@dataclass(frozen=True)
class Grid:
    """A table. heads carry their unit; numeric columns are set right; rows come in the order shown."""

    heads: tuple[str, ...]
    rows: tuple[tuple[Cell, ...], ...]
    numeric: frozenset[int] = frozenset()
    caption: str = ""


@dataclass(frozen=True)
class Figure:
    """A drawing as inline SVG; alt says in words what it shows."""

    svg: str
    alt: str
    caption: str = ""


@dataclass(frozen=True)
class Excerpt:
    """Preformatted text such as a stack, folded away; link is a path relative to the report."""

    title: str
    text: str
    link: str = ""


@dataclass(frozen=True)
class Card:
    """One incident at a glance: what happened, where, and what to do; the evidence is folded away.

    tone     an outcome's name
    facts    (word, text) in reading order
    command  to type, "" for none
    folded   whether the card itself starts closed
    """

    title: str
    tone: str
    lead: str
    facts: tuple[tuple[str, str], ...]
    todo: str
    command: str
    evidence: tuple[Excerpt, ...]
    folded: bool = False


Block = Text | Grid | Figure | Excerpt | Card


@dataclass(frozen=True)
class Section:
    anchor: str
    title: str
    blocks: tuple[Block, ...]


def grid(heads: str, rows: list[list[str | Cell]], caption: str = "") -> Grid:
    """heads separated by |; a head that ends in > is numeric: `point|wall, s>`."""
    names = heads.split("|")
    numeric = frozenset(index for index, name in enumerate(names) if name.endswith(">"))
    cells = tuple(tuple(cell if isinstance(cell, Cell) else Cell(cell) for cell in row) for row in rows)
    return Grid(tuple(name.rstrip(">") for name in names), cells, numeric, caption)


def num(value: object, missing: str = "-") -> str:
    """Three significant digits, thousands apart; whole from 100 on; a dash where nothing was measured."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return missing if value is None else str(value)
    if not math.isfinite(value):
        return str(value)
    if value == 0 or abs(value) >= 99.95 or isinstance(value, int):
        return f"{value:,.0f}"
    if abs(value) < 0.0005:
        return f"{value:.1e}"
    return f"{value:.{2 - math.floor(math.log10(abs(float(f'{value:.3g}'))))}f}"


def spread(estimate: Estimate | None, unit: str = "") -> str:
    """`0.812 [0.79, 0.83], n=3`; without repeats `0.812, n=1 run, no interval`."""
    if estimate is None:
        return "not measured"
    value = f"{num(estimate.value)}{unit}"
    if estimate.low is None or estimate.high is None:
        return f"{value} (n=1 run, no interval)"
    return f"{value} (95 % interval {num(estimate.low)} to {num(estimate.high)}, n={estimate.n} runs)"


def short(estimate: Estimate | None) -> str:
    """A cell: `0.812`, or with repeats `0.812 [0.790, 0.834]`."""
    if estimate is None:
        return "-"
    if estimate.timed_out:
        return estimate.note if estimate.bound is not None else f"{num(estimate.value)}, {estimate.note}"
    value, low, high = num(estimate.value), num(estimate.low), num(estimate.high)
    return value if estimate.low is None or value == low == high else f"{value} [{low}, {high}]"
