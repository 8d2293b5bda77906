"""The harness dies, and nothing of what it measured lives on: neither a process nor a temporary file."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness import tree
from tests.harness.points import ROOT, avatar, environment, point, processes_with, wait_until

TOKEN = "guarded"
# What carries the token only after a while, as any process does before its program has begun.
LATE = 'sleep "$0"; exec env HARNESS_TREE="$1" "$2" "$3"'
# Takes the place of the child's interpreter: the guard has looked for the last time when the token is seen.
VERY_LATE = f"""#!/bin/sh
exec env -u HARNESS_TREE sh -c 'sleep 3; HARNESS_TREE="$0" exec {sys.executable} "$@"' "$HARNESS_TREE" "$@"
"""
MEASURE = """
import sys
from pathlib import Path
from harness import supervisor
from harness.point import Point
supervisor.measure(Point.load(Path(sys.argv[1])), Path(sys.argv[2]), supervisor.start_guard())
"""


@pytest.fixture
def started(tmp_path: Path) -> Iterator[list[subprocess.Popen[bytes]]]:
    """Processes that a test starts; ended after it in any case, and whatever works in its folder."""
    processes: list[subprocess.Popen[bytes]] = []
    yield processes
    for process in processes:
        process.kill()
        process.wait()
    for pid in processes_with(str(tmp_path)):
        os.kill(pid, signal.SIGKILL)


def guarding(started: list[subprocess.Popen[bytes]]) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-S", "-m", "harness.guard", TOKEN]
    started.append(subprocess.Popen(command, stdin=subprocess.PIPE, env=environment()))
    return started[-1]


def let_go(guarding: subprocess.Popen[bytes]) -> None:
    """What happens when the harness dies."""
    assert guarding.stdin is not None
    guarding.stdin.close()


def test_it_waits_for_its_pipe_and_ends_what_has_the_token(started: list[subprocess.Popen[bytes]]) -> None:
    guarding_it = guarding(started)
    given = {**os.environ, tree.VARIABLE: f"{TOKEN}.1.0"}
    sleeper = subprocess.Popen(["/bin/sleep", "600"], env=given, start_new_session=True)
    started.append(sleeper)
    with pytest.raises(subprocess.TimeoutExpired):
        sleeper.wait(0.3)  # nothing happens while the pipe is open
    let_go(guarding_it)
    assert sleeper.wait(3) == -15
    assert guarding_it.wait(3) == 0


def test_it_ends_what_shows_its_token_only_later(started: list[subprocess.Popen[bytes]]) -> None:
    guarding_it = guarding(started)
    time.sleep(0.3)  # until it waits
    command = ["/bin/sh", "-c", LATE, "0.15", f"{TOKEN}.1.0", "/bin/sleep", "600"]
    sleeper = subprocess.Popen(command, start_new_session=True)
    started.append(sleeper)
    let_go(guarding_it)
    assert sleeper.wait(3) == -15
    assert guarding_it.wait(3) == 0


def test_a_child_that_begins_after_its_harness_has_died_ends_at_once(
    started: list[subprocess.Popen[bytes]], tmp_path: Path
) -> None:
    interpreter = tmp_path / "very_late"
    interpreter.write_text(VERY_LATE)
    interpreter.chmod(0o755)
    stages = {"motion": {"sleep_s": 60.0}, "write": {}}
    point(avatar=avatar(python=str(interpreter), stages=stages)).save(tmp_path / "point.json")
    folder, temporary = tmp_path / "point", tmp_path / "tmp"
    temporary.mkdir()
    given = environment() | {"TMPDIR": str(temporary)}
    command = [sys.executable, "-c", MEASURE, str(tmp_path / "point.json"), str(folder)]
    harness = subprocess.Popen(command, env=given, cwd=ROOT)
    started.append(harness)
    assert wait_until((folder / "child.log").exists, 10)
    assert wait_until(lambda: list(temporary.iterdir()))
    time.sleep(0.2)  # until the child's interpreter hides what it is
    harness.kill()
    harness.wait()
    told = f"process {harness.pid}, which started this one, is no more: so this one ends\n"
    assert wait_until(lambda: (folder / "child.log").read_text() == told, 10)
    assert wait_until(lambda: not processes_with(str(tmp_path)), 1.0)
    assert list(temporary.iterdir()) == []
    assert not (folder / "events.jsonl").exists()


def test_the_guard_of_this_process_is_still_there(token: str) -> None:
    from harness import supervisor

    assert supervisor._guards
    assert all(guarding.poll() is None for guarding in supervisor._guards)
