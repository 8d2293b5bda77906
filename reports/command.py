"""What the commands share: where a run lies, how a rule is given, how a statement is said."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from reports import formats
from reports.statement import NOT_MEASURED, OPEN, REGRESSED, USAGE, Refused, Statement

BASELINES = Path("runs/baselines")
_CODES = f"""exit code: 0 nothing regressed, {REGRESSED} something did, {OPEN} open and --strict,
{NOT_MEASURED} not measured as asked (hung, failed, unlike), {USAGE} usage; never 1, which is a crash"""


def folder_of(run: str) -> Path:
    """The folder runs/RUN where it exists, else RUN as a path."""
    named = Path("runs") / run
    return named if named.is_dir() else Path(run)


def parser(name: str, about: str) -> argparse.ArgumentParser:
    """Of a command that decides: with the rule, and the files that its statement may be written to."""
    made = argparse.ArgumentParser(prog=f"python -m reports {name}", description=about, epilog=_CODES)
    add = made.add_argument
    add("--fail", metavar="METRIC:N%", action="append", default=[], help="least change that matters: rtf:5%%")
    add("--allow", metavar="KEY", action="append", default=[], help="may differ: driver, workload.seed, …")
    add("--strict", action="store_true", help=f"exit with {OPEN} for what is open")
    for option, what in (("markdown", "for a pull request"), ("junit", "JUnit XML"), ("json", "everything")):
        add(f"--{option}", metavar="FILE", type=Path, help=what)
    return made


def parsed(made: argparse.ArgumentParser, arguments: Sequence[str]) -> argparse.Namespace:
    """What was given. Raises Refused for a file that cannot be written: not after an hour of measuring."""
    given = made.parse_args(arguments)
    for path in (given.markdown, given.junit, given.json):
        if path and (path.is_dir() or not path.parent.is_dir()):
            what = "is a folder" if path.is_dir() else f"{path.parent} is no folder"
            raise Refused(f"{path}: {what}; name a file to write")
    return given


def say(statement: Statement, given: argparse.Namespace) -> int:
    """Print it, write the files that were asked for, and give the exit code."""
    code = statement.exit_code(given.strict)
    sys.stdout.write(formats.text(statement) + "\n")
    made = ((given.markdown, formats.markdown(statement)), (given.junit, formats.junit(statement)))
    for path, text in (*made, (given.json, formats.as_json(statement, code))):
        if path:
            path.write_text(text, encoding="utf-8")
    return code
