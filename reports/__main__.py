"""python -m reports RUN: the report of a stored run; its commands compare, gate, pin and export."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

from harness.store import UnreadableResult
from reports import anchor, answers, formats, history
from reports.compare import Rule, compare
from reports.gate import Options, gate
from reports.gated import fails
from reports.launches import launched
from reports.page import write
from reports.statement import NOT_MEASURED, OPEN, REGRESSED, USAGE, Statement
from reports.suspects import Budget
from reports.tables import EmptyRun

BASELINES = Path("runs/baselines")
_CODES = f"""exit code: 0 nothing regressed, {REGRESSED} something did, {OPEN} open and --strict,
{NOT_MEASURED} not measured as asked (hung, failed, unlike), {USAGE} usage; never 1, which is a crash"""


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit code; a wrong setting, a missing run or a damaged file is one line and 2."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    command = _COMMANDS.get(given[0]) if given else None
    try:
        return command(given[1:]) if command else _report(given)
    except (FileNotFoundError, EmptyRun, UnreadableResult, history.DamagedHistory, ValueError) as error:
        sys.stderr.write(f"{error}\n")
        return USAGE


def _report(arguments: Sequence[str]) -> int:
    """0 written, 1 written without results that are damaged, 2 for a run that is missing or empty."""
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


def _compare(arguments: Sequence[str]) -> int:
    parser = _parser("compare", "Two stored runs, point by point, launch against launch: what got slower?")
    parser.add_argument("base", metavar="BASE", help="a run's name or folder")
    parser.add_argument("new", metavar="NEW", help="likewise; python -m harness.ab makes a pair of them")
    parser.add_argument("--allow-unpaired", action="store_true", help="though launches did not take turns")
    _add_rule(parser)
    given = parser.parse_args(arguments)
    rule = Rule(fails(given.fail), given.allow, given.allow_unpaired)
    statement = compare(launched(folder_of(given.base)), launched(folder_of(given.new)), rule)
    return _say(statement, given)


def _gate(arguments: Sequence[str]) -> int:
    parser = _parser("gate", "Tonight's run against its history; suspects are measured again by itself.")
    parser.add_argument("run", metavar="RUN", help="a run's name or folder; gate.md, .xml and .json go there")
    parser.add_argument(
        "--baselines", metavar="FOLDER", type=Path, default=BASELINES, help="of the histories"
    )
    parser.add_argument("--launches", metavar="N", type=int, default=5, help="a side, of a suspect (5)")
    parser.add_argument("--budget-min", metavar="MINUTES", type=float, default=60.0, help="of suspects (60)")
    parser.add_argument("--no-measure", action="store_true", help="leave suspects open")
    _add_rule(parser)
    given = parser.parse_args(arguments)
    if given.launches < 3 or given.budget_min <= 0:
        raise ValueError("--launches must be at least 3, below which nothing is decided; --budget-min over 0")
    run = folder_of(given.run)
    budget = Budget(given.launches, given.budget_min)
    options = Options(given.baselines, fails(given.fail), given.allow, budget, not given.no_measure)
    statement = gate(run, options)
    given.markdown = given.markdown or run / "gate.md"
    given.junit, given.json = given.junit or run / "gate.xml", given.json or run / "gate.json"
    return _say(statement, given)


def _anchor(arguments: Sequence[str]) -> int:
    """0 moved and committed, 2 if not."""
    about = "Pin the level of a night, as a commit for review: slow creep and open regressions count from it."
    parser = argparse.ArgumentParser(prog="python -m reports anchor", description=about)
    parser.add_argument("sweep", metavar="SWEEP", help="name of the history, as nightly")
    parser.add_argument("--night", metavar="DATE", required=True, help="of the history: 2026-11-26")
    parser.add_argument("--reason", metavar="TEXT", required=True, help="why; it is in the commit's message")
    parser.add_argument("--gpu", metavar="NAME", help="folder under runs/baselines, where there are several")
    parser.add_argument("--baselines", metavar="FOLDER", type=Path, default=BASELINES)
    given = parser.parse_args(arguments)
    found = sorted(given.baselines.glob(f"{given.gpu or '*'}/{given.sweep}.jsonl"))
    if len(found) != 1:
        what = f"{len(found)} histories" if found else "no history"
        names = ", ".join(path.parent.name for path in found or given.baselines.glob("*/*.jsonl")) or "none"
        raise ValueError(f"{given.sweep}: {what} in {given.baselines}; choose with --gpu: {names}")
    known = history.read(found[0])
    message = anchor.move(known, anchor.pinned(known, given.night, given.reason))
    sys.stdout.write(f"{message}\n")
    return 0


def _changes(arguments: Sequence[str]) -> int:
    return answers.main(list(arguments), sys.stdin, sys.stdout)


def _parser(name: str, about: str) -> argparse.ArgumentParser:
    return argparse.ArgumentParser(prog=f"python -m reports {name}", description=about, epilog=_CODES)


def _add_rule(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--fail", metavar="METRIC:N%", action="append", default=[], help="least change that matters: rtf:5%%"
    )
    parser.add_argument(
        "--allow", metavar="KEY", action="append", default=[], help="may differ: driver, workload.seed, …"
    )
    parser.add_argument("--strict", action="store_true", help=f"exit with {OPEN} for what is open")
    for name, what in (("markdown", "for a pull request"), ("junit", "JUnit XML"), ("json", "everything")):
        parser.add_argument(f"--{name}", metavar="FILE", type=Path, help=what)


def _say(statement: Statement, given: argparse.Namespace) -> int:
    """Print it, write the files that were asked for, and give the exit code."""
    code = statement.exit_code(given.strict)
    sys.stdout.write(formats.text(statement) + "\n")
    made = ((given.markdown, formats.markdown(statement)), (given.junit, formats.junit(statement)))
    for path, text in (*made, (given.json, formats.as_json(statement, code))):
        if path:
            path.write_text(text, encoding="utf-8")
    return code


def folder_of(run: str) -> Path:
    """The folder runs/RUN where it exists, else RUN as a path."""
    named = Path("runs") / run
    return named if named.is_dir() else Path(run)


_COMMANDS: dict[str, Callable[[Sequence[str]], int]] = {
    "compare": _compare,
    "gate": _gate,
    "anchor": _anchor,
    "changes": _changes,
}

if __name__ == "__main__":
    sys.exit(main())
