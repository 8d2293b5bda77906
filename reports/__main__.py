"""python -m reports RUN: report.html, report.md and results.csv of a stored run."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from reports.page import write
from reports.tables import EmptyRun


def main(arguments: list[str] | None = None) -> int:
    """0 written, 1 written without results that are damaged, 2 for a run that is missing or empty."""
    parser = argparse.ArgumentParser(
        prog="python -m reports", description="Write the report of a stored run."
    )
    parser.add_argument("run", metavar="RUN", help="a name under runs/, or the path of a run's folder")
    run = parser.parse_args(arguments).run
    try:
        page, damaged = write(folder_of(run))
    except (FileNotFoundError, EmptyRun) as error:
        sys.stderr.write(f"{error}\n")
        return 2
    for line in damaged:
        sys.stderr.write(f"{line}\n")
    sys.stdout.write(f"report: {page}\n")
    return 1 if damaged else 0


def folder_of(run: str) -> Path:
    """The folder runs/RUN where it exists, else RUN as a path."""
    named = Path("runs") / run
    return named if named.is_dir() else Path(run)


if __name__ == "__main__":
    sys.exit(main())
