"""Anchor: the pinned level that nights are held against; moving it is a commit, which somebody reviews."""

from __future__ import annotations

import argparse
import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from reports.command import BASELINES
from reports.gated import GATED
from reports.history import DamagedHistory, History, Night, rounded, slug
from reports.history import read as read_history
from reports.statement import Refused

SCHEMA = 1


@dataclass(frozen=True)
class Anchor:
    """A night of the history, pinned. values: point id -> metric -> figure at that night."""

    night: str
    commit: str
    reason: str
    values: Mapping[str, Mapping[str, float]]
    fingerprints: Mapping[str, str]


def path_of(history: History) -> Path:
    return history.path.with_suffix(".anchor.json")


def read(history: History) -> Anchor | None:
    """None where none is pinned. Raises DamagedHistory."""
    path = path_of(history)
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
        if data.pop("schema") != SCHEMA:
            raise ValueError("of another schema")
        values = {str(point): _figures(each) for point, each in data["values"].items()}
        texts = {name: str(data[name]) for name in ("night", "commit", "reason")}
        return Anchor(**texts, values=values, fingerprints=dict(data["fingerprints"]))
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise DamagedHistory(f"{path}: not an anchor ({error}); restore it from git") from error


def _figures(data: Mapping[str, Any]) -> dict[str, float]:
    return {str(metric): float(value) for metric, value in data.items()}


def pinned(history: History, night: str, reason: str) -> Anchor:
    """The anchor at the last night that begins so (`2026-11-26`). Raises Refused."""
    chosen = [row for row in history.nights if row.night.startswith(night)]
    last = max((row.night for row in chosen), default="")
    rows = [row for row in chosen if row.night == last]
    good = [row for row in rows if row.outcome == "ok"]
    if not good:
        known = ", ".join(sorted({row.night for row in history.nights})[-3:]) or "none"
        what = f"no point was ok in {last}" if rows else "there is no such night"
        raise Refused(f"--night {night}: {what} in {history.path}; the last ones are {known}")
    if not reason.strip():
        raise Refused("--reason: must say why the level moves; it becomes the commit's message")
    return Anchor(last, good[0].commit, reason.strip(), _values(good), {x.point: x.fingerprint for x in good})


def _values(rows: Sequence[Night]) -> dict[str, dict[str, float]]:
    names = [name for name, *_ in GATED]
    return {
        row.point: {
            name: rounded(median(row.values[name]))
            for name in names
            if row.values.get(name) and name not in row.faults
        }
        for row in rows
    }


def moves(old: Anchor | None, new: Anchor, history: History) -> list[str]:
    """What the move accepts, a line per figure: `sequential x1 rtf_aggregate: 0.81 -> 0.88 (+8.6 %)`."""
    told = []
    for point, figures in new.values.items():
        for metric, value in figures.items():
            before = old.values.get(point, {}).get(metric) if old else None
            change = (
                f"{before:g} -> {value:g} ({100 * (value / before - 1):+.1f} %)" if before else f"{value:g}"
            )
            told.append(f"{history.label(point)} {metric}: {change}")
    return told


def write(history: History, new: Anchor) -> None:
    """Write or replace the file, by rename."""
    path = path_of(history)
    data: dict[str, Any] = {"schema": SCHEMA, **vars(new)}
    temporary = path.with_suffix(".tmp")
    temporary.write_text(json.dumps(data, indent=1, sort_keys=True) + "\n", encoding="utf-8")
    temporary.replace(path)


def move(history: History, new: Anchor) -> str:
    """Write the anchor and commit that file alone; the commit's message, with every figure that moves.

    Raises OSError; Refused where git refuses: the file is then written all the same, to be committed by
    hand.
    """
    path, old = path_of(history), read(history)
    write(history, new)
    since = f"from {old.night} to {new.night}" if old else f"to {new.night}"
    title = f"baselines: move the anchor of {path.name.removesuffix('.anchor.json')} {since}"
    message = "\n".join([title, "", new.reason, "", *moves(old, new, history)])
    for arguments in (
        ["add", "--force", path.name],
        ["commit", "--quiet", "--message", message, "--", path.name],
    ):
        _git(path, *arguments)
    return message


def _git(path: Path, *arguments: str) -> None:
    command = ["git", "-C", str(path.parent.resolve()), *arguments]
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError as error:
        raise Refused(f"git: {error.strerror}; commit {path} by hand") from error
    if done.returncode:
        said = (done.stderr or done.stdout).strip().splitlines() or ["it failed"]
        raise Refused(f"git {arguments[0]}: {said[-1]}; commit {path} by hand")


def main(arguments: Sequence[str]) -> int:
    """0 moved and committed. Raises Refused if not, DamagedHistory, OSError."""
    about = "Pin the level of a night, as a commit for review: slow creep and open regressions count from it."
    parser = argparse.ArgumentParser(prog="python -m reports anchor", description=about)
    add = parser.add_argument
    add("sweep", metavar="SWEEP", help="name of the history, as nightly")
    add("--night", metavar="DATE", required=True, help="of the history: 2026-11-26")
    add("--reason", metavar="TEXT", required=True, help="why; it is in the commit's message")
    add("--gpu", metavar="NAME", help="folder under runs/baselines, where there are several")
    add("--baselines", metavar="FOLDER", type=Path, default=BASELINES, help="of the histories")
    given = parser.parse_args(arguments)
    known = _only(given.baselines, given.sweep, given.gpu)
    sys.stdout.write(f"{move(known, pinned(known, given.night, given.reason))}\n")
    return 0


def _only(baselines: Path, sweep: str, gpu: str | None) -> History:
    found = sorted(baselines.glob(f"{slug(gpu) if gpu else '*'}/{sweep}.jsonl"))
    if len(found) != 1:
        what = f"{len(found)} histories" if found else "no history"
        names = ", ".join(path.parent.name for path in found or baselines.glob("*/*.jsonl")) or "none"
        raise Refused(f"{sweep}: {what} in {baselines}; choose with --gpu: {names}")
    return read_history(found[0])
