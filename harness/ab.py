"""`python -m harness.ab RUN --base COMMIT`: measures stored points again, this code and COMMIT in turn.

Launches go A B B A B A A B: what drifts meanwhile meets both alike. Each is a process tree of its own, driven
by the harness of its own commit; packages and machine are the same. `python -m reports compare` decides.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import logging
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from harness import store
from harness.point import COMPONENTS
from harness.result import Outcome

log = logging.getLogger("harness")

ROOT = Path(__file__).resolve().parent.parent
BASE, NEW = "base", "new"
ENOUGH = 2  # launches of a side that do not end ok, after which its session ends


class Refused(ValueError):
    """A session that cannot begin; one line with what to do."""


@dataclass(frozen=True)
class Session:
    """What to measure where: the folder of results, and the checkout of each side."""

    out: Path
    checkouts: Mapping[str, Path]
    launches: int
    until: float  # of time.monotonic(); no launch begins later
    commit: str  # of the base; its launches must say that they ran it


def order(launches: int, sides: Collection[str] = (BASE, NEW)) -> list[tuple[str, int]]:
    """(side, number), each side `launches` times, never three of one side in a row.

    Pairs AB, BA, BA, AB, repeated: a drift that is linear in time, and one that bends once, cancel.
    """
    turns = [(BASE, NEW) if pair % 4 in (0, 3) else (NEW, BASE) for pair in range(launches)]
    return [(side, number) for number, turn in enumerate(turns) for side in turn if side in sides]


def points_of(run: Path, ids: Sequence[str]) -> dict[str, dict[str, Any]]:
    """The stored configurations of these points, of all if none is named. Raises Refused."""
    if not run.is_dir():
        raise Refused(f"{run}: no such run; measure it with python -m harness name={run.name}")
    stored = {result.id: result for result in store.results(run)}
    wrong = next((each for each in stored if not re.fullmatch("[0-9a-f]{12}", each)), None)
    if wrong is not None:  # it becomes a folder's name
        raise Refused(f"{run}: {wrong!r} is no point's id; this is not a run of the harness")
    found = {name: result.point for name, result in stored.items() if result.outcome is not Outcome.SKIPPED}
    unknown = [each for each in ids if each not in found]
    if unknown or not found:
        what = f"no point {unknown[0]}" if unknown else "no results to measure again"
        raise Refused(f"{run}: {what}; it has {', '.join(found) or 'none'}")
    return {each: found[each] for each in (ids or found)}


def emptied(out: Path) -> Path:
    """The folder, without what an earlier session left. Raises Refused for one that holds anything else."""
    strange = [path.name for path in out.glob("*") if path.name not in (BASE, NEW) and path.suffix != ".json"]
    if out.exists() and (strange or not out.is_dir()):
        what = f"holds {strange[0]}" if strange else "is a file"
        raise Refused(f"--out {out}: {what}, so it is not of an earlier session; give a new folder")
    shutil.rmtree(out, ignore_errors=True)
    out.mkdir(parents=True)
    return out


@contextlib.contextmanager
def checkout(commit: str) -> Iterator[Path]:
    """A work tree of that commit for as long as it is needed. Raises Refused for one that is not there."""
    folder = Path(tempfile.mkdtemp(prefix="harness-ab-"))
    try:
        _git("worktree", "add", "--detach", "--force", str(folder / "tree"), commit)
        yield folder / "tree"
    finally:
        with contextlib.suppress(Refused):  # it may never have been made
            _git("worktree", "remove", "--force", str(folder / "tree"))
        shutil.rmtree(folder, ignore_errors=True)


def _git(*arguments: str) -> str:
    try:
        done = subprocess.run(
            ["git", "-C", str(ROOT), *arguments], capture_output=True, text=True, check=False
        )
    except OSError as error:
        raise Refused(f"git: {error.strerror}; comparing commits needs git and this repository") from error
    if done.returncode:
        said = done.stderr.strip().splitlines() or ["it failed"]
        raise Refused(
            f"git {arguments[0]}: {said[-1]}; the commit must be in this repository, with its history"
        )
    return done.stdout.strip()


def measure(session: Session, point_id: str, point: Mapping[str, Any]) -> str:
    """All launches of one point; "" or why it was not measured to its end."""
    for side, tree in session.checkouts.items():
        lacking = _lacking(tree, point)
        if lacking:
            return f"the {side} side could not be measured: it has no {lacking}"
    file = session.out / f"{point_id}.json"
    file.write_text(json.dumps(_placed(point, session.checkouts.get(BASE, ROOT))))
    failed_launches = dict.fromkeys(session.checkouts, 0)
    for side, number in order(session.launches, session.checkouts):
        if time.monotonic() > session.until:
            return f"the budget ended after {number} of {session.launches} launches a side"
        folder = store.folder(session.out / side, point_id, number)
        log.info("%s %s launch %d of %d", point_id, side, number + 1, session.launches)
        failed = _launch(session.checkouts[side], file, folder, number) or _other(session, side, folder)
        if failed:
            return f"the {side} side could not be measured: {failed}"
        ended = store.load_result(folder)
        failed_launches[side] += ended.outcome is not Outcome.OK
        if failed_launches[side] == ENOUGH:  # the others would take their time, and end alike
            return f"{ENOUGH} launches of the {side} side did not end ok: {ended.outcome}, {ended.reason}"
    return ""


def _lacking(tree: Path, point: Mapping[str, Any]) -> str:
    """A module that the measuring there needs and that is not there: an installed one, of this checkout,
    would be taken for it without a word.
    """
    targets = [str(point[name].get("_target_", "")) for name in COMPONENTS]
    ours = [target.rpartition(".")[0] for target in targets if target.startswith("engines.")]
    for module in ("harness.once", *ours):
        path = tree / module.replace(".", "/")
        if not (path.with_suffix(".py").is_file() or (path / "__init__.py").is_file()):
            return module
    return ""


def _placed(point: Mapping[str, Any], tree: Path) -> dict[str, Any]:
    """The point with one cache for both checkouts (entries are named by what they are made of), and with
    files that lie here and not in the other's tree by their full path.
    """

    def place(key: str, value: Any) -> Any:
        if isinstance(value, dict):
            return {name: place(name, each) for name, each in value.items()}
        is_path = isinstance(value, str) and 0 < len(value) < 4096 and "\0" not in value
        if key == "cache" or (is_path and (ROOT / value).exists() and not (tree / value).exists()):
            return str(ROOT / value)
        return value

    parts = {name: place("", point[name]) for name in (*COMPONENTS, "workload") if name in point}
    return {**point, **parts}


def _launch(tree: Path, file: Path, folder: Path, number: int) -> str:
    """Why there is no result, "" if there is one."""
    command = [sys.executable, "-m", "harness.once", str(file), str(folder), str(number)]
    done = subprocess.run(command, cwd=tree, capture_output=True, text=True, check=False)
    if store.is_stored(folder.parent.parent, folder.parent.name, number):
        return ""
    return (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]


def _other(session: Session, side: str, folder: Path) -> str:
    """That the base side ran other code than it should, in words: its result says which it was."""
    ran = store.load_result(folder).environment
    if side == BASE and (ran["commit"] != session.commit or ran["changed_files"]):
        shutil.rmtree(folder)  # nobody may take it for what it is not
        return f"it ran {ran['commit'] or 'an unknown commit'} instead of {session.commit}"
    return ""


def main(arguments: list[str] | None = None) -> int:
    """0 measured to the end, 2 wrong settings, 3 at least one point was not, in words; 130 interrupted."""
    given = _parser().parse_args(arguments)
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    run = Path("runs") / given.run if (Path("runs") / given.run).is_dir() else Path(given.run)
    try:
        if given.launches < 1 or not given.budget_min > 0:
            raise Refused("--launches and --budget-min must be more than 0")
        points = points_of(run, given.point)
        out = (given.out or run / "ab").absolute()
        with contextlib.ExitStack() as until_done:
            sides, commit = {NEW: ROOT}, ""
            if not given.alone:
                commit = _git("rev-parse", "--verify", f"{given.base}^{{commit}}")
                sides[BASE] = until_done.enter_context(checkout(commit))
            emptied(out)
            until = time.monotonic() + 60 * given.budget_min
            session = Session(out, sides, given.launches, until, commit)
            ended = {point_id: measure(session, point_id, point) for point_id, point in points.items()}
    except Refused as error:
        log.error("%s", error)
        return 2
    except KeyboardInterrupt:
        log.error("interrupted; the launches so far are stored in %s", out)
        return 130
    for point_id, why in ended.items():
        if why:
            log.error("%s: %s", point_id, why)
    log.info("decide with: python -m reports compare %s %s", out / BASE, out / NEW)
    return 3 if any(ended.values()) else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m harness.ab", description=__doc__)
    parser.add_argument("run", metavar="RUN", help="a name under runs/, or the path of a run's folder")
    base = parser.add_mutually_exclusive_group(required=True)
    base.add_argument("--base", metavar="COMMIT", help="what to measure against; HEAD: A against A")
    base.add_argument("--alone", action="store_true", help="this checkout alone, where there is no base")
    parser.add_argument(
        "--point", metavar="ID", action="append", default=[], help="only this one; may be repeated"
    )
    parser.add_argument(
        "--launches", metavar="N", type=int, default=5, help="a side (5; under 3 decide nothing)"
    )
    parser.add_argument(
        "--budget-min", metavar="MINUTES", type=float, default=60.0, help="no launch begins later (60)"
    )
    parser.add_argument("--out", metavar="FOLDER", type=Path, help="results, emptied first (RUN/ab)")
    return parser


def _end_by_signal(number: int, frame: object) -> None:
    """As by Ctrl-C: the work tree is removed, and what is measured ends with its parent."""
    raise KeyboardInterrupt


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, _end_by_signal)
    sys.exit(main())
