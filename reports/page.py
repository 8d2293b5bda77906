"""report.html and report.md from the sections: one file each, readable without a network."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

import jinja2
from markupsafe import Markup

from reports.blocks import Card, Figure, Grid, Section, Text
from reports.command import folder_of
from reports.markdown import markdown
from reports.sections import SECTIONS
from reports.tables import Table, read, write_csv
from reports.text import clip, plain


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
    environment.tests["card"] = lambda block: isinstance(block, Card)
    return environment.get_template("page.html.j2").render(name=name, sections=sections)


def main(arguments: Sequence[str]) -> int:
    """0 written, 1 written without results that are damaged. Raises as read."""
    more = "Commands: compare BASE NEW, gate RUN, anchor SWEEP, changes, export RUN; each has its --help."
    parser = argparse.ArgumentParser(
        prog="python -m reports", description="Write the report of a stored run.", epilog=more
    )
    parser.add_argument("run", metavar="RUN", help="a name under runs/, or the path of a run's folder")
    page, damaged = write(folder_of(parser.parse_args(arguments).run))
    for line in damaged:
        sys.stderr.write(f"{line}\n")
    sys.stdout.write(f"report: {page}\n")
    return 1 if damaged else 0
