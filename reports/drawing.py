"""What all figures share: size, colours, labels, and SVG whose bytes depend on the data alone."""

from __future__ import annotations

import html
import io
import re
import textwrap
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import matplotlib as mpl
from matplotlib.axes import Axes
from matplotlib.figure import Figure

# Replaced in the SVG, so that figures follow the page's light or dark colours.
INK, LINE = "#123456", "#789abc"
WIDTH_IN = 4.9  # narrow, so that 9 pt stays legible on a telephone
PIXEL = 1 / 900  # of the width: what is closer together is drawn as one
# Okabe and Ito's colours, which colour-blind readers tell apart; bright enough on white and on black.
COLOURS = ("#0072b2", "#e69f00", "#009e73", "#cc79a7", "#56b4e9", "#d55e00", "#8f7a00", "#7f7f7f")
MARKERS = "osD^vPX*"
STAGE_COLOURS = {
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
STYLE: Any = {
    "svg.hashsalt": "report",
    "svg.fonttype": "none",
    "text.parse_math": False,
    "font.family": "sans-serif",
    "font.sans-serif": ["DejaVu Sans"],
    "font.size": 9,
    "text.color": INK,
    "axes.labelcolor": INK,
    "axes.edgecolor": LINE,
    "xtick.color": INK,
    "ytick.color": INK,
    "grid.color": LINE,
    "grid.linewidth": 0.4,
    "hatch.linewidth": 0.6,
}


def write(axes: Axes, text: str, at: tuple[float, float], offset: tuple[int, int], **style: Any) -> None:
    axes.annotate(
        text, at, xytext=offset, textcoords="offset points", fontsize=8, annotation_clip=False, **style
    )


def stage_colour(part: str, index: int) -> str:
    return STAGE_COLOURS.get(part.rpartition(".")[2], COLOURS[index % len(COLOURS)])


def label(text: str, longest: int = 40) -> str:
    """Text that the drawing font has: one line of Latin-1, cut at `longest` characters."""
    flat = " ".join(text.split())
    known = "".join(c if c.isprintable() and ord(c) < 256 else "?" for c in flat)
    return known if len(known) <= longest else f"{known[: longest - 3]}..."


def wrapped(text: str, width: int = 60, most_lines: int = 3) -> str:
    """The same over several lines, broken at spaces; what is longer than most_lines is cut."""
    lines = textwrap.wrap(label(text, width * most_lines), width)
    return "\n".join(line if len(line) <= width else label(line, width) for line in lines[:most_lines])


def apart(labels: Sequence[str]) -> tuple[list[str], str]:
    """Labels without the parts (between commas) that all of them share, and those parts in words.

    A single label, and labels of which one has nothing of its own, stay whole.
    """
    parts = [text.split(", ") for text in labels]
    one, *others = parts or [[]]
    shared = [part for part in one if all(part in other for other in others)] if others else []
    own = [", ".join(part for part in each if part not in shared) for each in parts]
    if not shared or not all(own) or len(set(own)) < len(set(labels)):
        return list(labels), ""
    return own, f"All: {', '.join(shared)}."


def bare(figure: Figure, axes: Axes) -> None:
    """Without background, frame and tick marks: the page has its own."""
    figure.patch.set_visible(False)
    axes.patch.set_visible(False)
    axes.set_axisbelow(True)
    axes.spines[["top", "right", "left"]].set_visible(False)
    axes.tick_params(length=0)


@contextmanager
def drawn() -> Iterator[None]:
    """The style of all figures, while one is made."""
    with mpl.rc_context(STYLE):
        yield


@contextmanager
def canvas(name: str, height_in: float) -> Iterator[tuple[Figure, Axes]]:
    with drawn():
        figure = Figure(figsize=(WIDTH_IN, height_in))
        axes = figure.add_subplot()
        bare(figure, axes)
        yield figure, axes


def legend(axes: Axes) -> None:
    """Above the drawing, in as many columns as fit its width: about 70 characters with their marks."""
    handles, names = axes.get_legend_handles_labels()
    if not handles:
        return
    widest = max(len(line) for name in names for line in name.split("\n"))
    columns = min(len(names), max(1, 70 // (widest + 6)))
    place: dict[str, Any] = {"loc": "lower left", "bbox_to_anchor": (-0.02, 1.0), "borderaxespad": 0.2}
    axes.legend(handles, names, ncols=columns, frameon=False, fontsize=8, handlelength=1.4, **place)


def svg(figure: Figure, name: str, alt: str) -> str:
    """The <svg> element alone: named ids, a title, no date, no size but the view box, colours of the page."""
    buffer = io.StringIO()
    empty = {"Date": None, "Creator": None, "Format": None, "Type": None}
    figure.savefig(buffer, format="svg", metadata=empty, bbox_inches="tight", pad_inches=0.05)
    text = buffer.getvalue()
    text = re.sub(r"<style.*?</style>", "", text, flags=re.DOTALL)
    text = re.sub(r"<metadata>.*?</metadata>", "", text[text.index("<svg") :], flags=re.DOTALL)
    text = re.sub(r'(\bid="|url\(#|href="#)', rf"\g<1>{name}-", text)
    text = text.replace(INK, "currentColor").replace(LINE, "var(--line)")
    text = re.sub(r"font: ([\d.]+px) [^;\"]*", r"font: \1 sans-serif", text)
    head, _, body = text.partition(">")
    head = re.sub(r'\s(width|height|version)="[^"]*"', "", head)
    spoken = html.escape(alt, quote=True)
    return f'{head} role="img" aria-label="{spoken}"><title>{spoken}</title>{body}'
