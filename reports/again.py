"""Again: lets the harness measure suspects once more, tonight's code and an earlier commit in turn.

It runs in processes of its own, as the harness lets reports run: what is read here is what they stored.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from harness.store import UnreadableResult
from reports.launches import Launched
from reports.stored import launched
from reports.tables import EmptyRun


@dataclass(frozen=True)
class Measured:
    """Both sides of one point, as far as they came; problem says in words what did not."""

    base: Launched | None
    new: Launched | None
    problem: str


def measure(run: Path, point_id: str, commit: str, launches: int, budget_min: float) -> Measured:
    """Launches of a stored point in turn, this checkout against the commit; "" measures this checkout alone.

    Results lie in RUN/ab/<point>-<commit>/. No exception for what the measured code does.
    """
    out = run / "ab" / f"{point_id}-{commit[:12] or 'alone'}"
    command = [sys.executable, "-m", "harness.ab", str(run), "--point", point_id, "--out", str(out)]
    command += ["--launches", str(launches), "--budget-min", f"{budget_min:.6f}"]
    command += ["--base", commit] if commit else ["--alone"]
    code, text = _run(command)
    # 3: some launches could not be made, which the last but one line says; the last names what decides.
    said: Sequence[str] = text.strip().splitlines() or [f"exit code {code}"]
    problem = "" if code == 0 else said[-2 if code == 3 and len(said) > 1 else -1]
    if code not in (0, 3):  # what lies there may be of an earlier session
        return Measured(None, None, problem)
    return Measured(_side(out / "base"), _side(out / "new"), problem)


def _run(command: Sequence[str]) -> tuple[int, str]:
    """Exit code and what it said, which is passed on line by line. However this ends, so does the session."""
    said = []
    with subprocess.Popen(command, stdout=sys.stderr, stderr=subprocess.PIPE, text=True) as session:
        assert session.stderr is not None
        try:
            for line in session.stderr:
                sys.stderr.write(line)
                said.append(line)
        except BaseException:
            session.terminate()
            session.wait()  # until it has ended what it measures, and removed its work tree
            raise
    return session.returncode, "".join(said)


def _side(folder: Path) -> Launched | None:
    try:
        return next(iter(launched(folder)), None)
    except (FileNotFoundError, EmptyRun, UnreadableResult):
        return None
