"""The harness itself is killed at any moment: what was finished stays, and the same command goes on."""

from __future__ import annotations

import hashlib
import random
import subprocess
from pathlib import Path

import pytest

from tests.harness.points import command, environment, processes_with, wait_until

SWEEP = ("executor=sequential,threads,processes", "executor.workers=1", "repeats=2", "name=killed")
NUM_RESULTS = 6


def finished(run: Path) -> dict[str, str]:
    """What is stored, by its place."""
    return {
        str(file.relative_to(run)): hashlib.sha256(file.read_bytes()).hexdigest()
        for file in run.glob("*/*/result.json")
    }


def killed_after(here: Path, seconds: float) -> bool:
    """Start the sweep and kill the harness alone; whether it was still running."""
    with subprocess.Popen(
        command(*SWEEP),
        cwd=here,
        env=environment() | {"TMPDIR": str(here / "tmp")},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    ) as running:
        try:
            assert running.wait(seconds) == 0
        except subprocess.TimeoutExpired:
            running.kill()
            return True
    return False


def left_of(here: Path) -> tuple[list[int], list[str]]:
    """Its processes and its temporary files."""
    return processes_with(str(here)), [str(path) for path in (here / "tmp").rglob("*")]


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(10))
def test_a_harness_killed_at_random_moments_loses_nothing_and_goes_on(here: Path, seed: int) -> None:
    """Twenty kills for each seed: the sweep begins anew whenever it is complete."""
    draw, kills, number = random.Random(seed), 0, 0
    (here / "tmp").mkdir()
    while kills < 20:
        run = here / "runs" / "killed"
        before = finished(run)
        if len(before) == NUM_RESULTS:
            number += 1
            run.rename(here / "runs" / f"complete{number}")
            before = {}
        kills += killed_after(here, draw.uniform(0.05, 6.0))
        after = finished(run)
        assert before.items() <= after.items()
        wait_until(lambda: left_of(here) == ([], []), 10)
        assert left_of(here) == ([], [])
    ended = subprocess.run(
        command(*SWEEP),
        cwd=here,
        env=environment() | {"TMPDIR": str(here / "tmp")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert ended.returncode == 0, ended.stderr
    assert len(finished(here / "runs" / "killed")) == NUM_RESULTS
