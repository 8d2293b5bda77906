"""report.html and report.md from the sections: one file each, readable without a network."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import Path

import jinja2
from markupsafe import Markup

from reports.blocks import Block, Excerpt, Figure, Grid, Section, Text
from reports.sections import SECTIONS
from reports.tables import Table, plain, read, write_csv

_MOST_IN_CELL = 400  # characters; the rest stands in results.csv and, for reasons, in the incident's excerpt


def write(run: Path) -> tuple[Path, tuple[str, ...]]:
    """Write report.html, report.md and results.csv there. Raises as read.

    Returns the path of the page and a line for each stored result that could not be read.
    """
    table = read(run)
    sections = sections_of(table)
    write_csv(table, run / "results.csv")
    (run / "report.md").write_text(markdown(table.name, sections), encoding="utf-8")
    page = run / "report.html"
    page.write_text(html(table.name, sections), encoding="utf-8")
    return page, table.damaged


def sections_of(table: Table) -> list[Section]:
    return [section for make in SECTIONS if (section := make(table))]


def html(name: str, sections: Sequence[Section]) -> str:
    """One page with everything in it; all text is escaped, the figures' SVG alone is taken as it is."""
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(Path(__file__).parent),
        autoescape=True,
        trim_blocks=True,
        lstrip_blocks=True,
        undefined=jinja2.StrictUndefined,
    )
    environment.filters |= {"plain": plain, "clip": clip, "svg": Markup}
    environment.tests["text"] = lambda block: isinstance(block, Text)
    environment.tests["grid"] = lambda block: isinstance(block, Grid)
    environment.tests["figure"] = lambda block: isinstance(block, Figure)
    return environment.get_template("page.html.j2").render(name=name, sections=sections)


def clip(text: str, longest: int = _MOST_IN_CELL) -> str:
    return text if len(text) <= longest else f"{text[: longest - 1]}…"


def markdown(name: str, sections: Sequence[Section]) -> str:
    """The page without its drawings, for pull requests."""
    parts = [f"# Report: {_escaped(name)}"]
    for section in sections:
        parts.append(f"## {_escaped(section.title)}")
        parts += [_block(block) for block in section.blocks]
    return "\n\n".join(parts) + "\n"


def _block(block: Block) -> str:
    if isinstance(block, Text):
        text = _escaped(block.text)
        return f"**{text}**" if block.tone == "lead" else f"_{text}_" if block.tone == "note" else text
    if isinstance(block, Grid):
        return _table(block)
    if isinstance(block, Figure):
        return f"Figure (in report.html): {_escaped(block.alt)}"
    return _folded(block)


def _table(block: Grid) -> str:
    marks = ["---:" if index in block.numeric else "---" for index in range(len(block.heads))]
    rows = [_line([cell.text for cell in row]) for row in block.rows]
    caption = [f"_{_escaped(block.caption)}_\n"] if block.caption else []
    return "\n".join([*caption, _line(block.heads), f"| {' | '.join(marks)} |", *rows])


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(_escaped(clip(cell)) for cell in cells) + " |"


def _folded(block: Excerpt) -> str:
    text = plain(block.text)
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    link = f"\n\n[stacks.txt]({block.link})" if block.link else ""
    summary = f"<summary>{_escaped(block.title)}</summary>"
    return f"<details>{summary}\n\n{fence}text\n{text}\n{fence}{link}\n\n</details>"


def _escaped(text: str) -> str:
    """Text that Markdown shows as it is, on one line: no markup, no HTML, no mention of people or issues."""
    flat = " ".join(plain(text).split())
    flat = flat.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    flat = flat.replace("#", "&#35;").replace("@", "&#64;")
    return re.sub(r"([\\`*_{}\[\]|~$])", r"\\\1", flat)
