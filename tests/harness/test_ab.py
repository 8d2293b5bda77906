"""Two commits measured in turn: each by its own code, in a work tree that is gone afterwards."""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness import ab, store
from reports import history
from reports.compare import Rule, compare
from reports.history import Night
from reports.stored import launched, machine
from tests.data.make_runs import measured, save
from tests.harness.points import ROOT, avatar, point, processes_with, wait_until

# A motion stage of 0.1 s in a job of 0.464 s of video; the clone's second commit sleeps three times as long.
POINT = point(
    jobs=1, avatar=avatar(stages={"motion": {"sleep_s": 0.1}, "render": {"per": "frame"}, "write": {}})
)
SLEEP = "time.sleep(self._sleep_s())"


def test_launches_take_turns_so_that_a_drift_meets_both_sides_alike() -> None:
    letters = ["A" if side == ab.BASE else "B" for side, _ in ab.order(6)]
    assert "".join(letters) == "ABBABAABABBA"
    assert [number for _, number in ab.order(3)] == [0, 0, 1, 1, 2, 2]


@pytest.mark.parametrize("launches", range(1, 20))
def test_each_side_has_as_many_launches_and_never_three_in_a_row(launches: int) -> None:
    letters = "".join("A" if side == ab.BASE else "B" for side, _ in ab.order(launches))
    assert letters.count("A") == letters.count("B") == launches
    assert "AAA" not in letters
    assert "BBB" not in letters


@pytest.mark.parametrize("launches", [4, 8, 12])
def test_the_places_of_both_sides_have_the_same_mean_and_the_same_mean_square(launches: int) -> None:
    places: dict[str, list[int]] = {ab.BASE: [], ab.NEW: []}
    for place, (side, _) in enumerate(ab.order(launches)):
        places[side].append(place)
    assert sum(places[ab.BASE]) == sum(places[ab.NEW])
    assert sum(x * x for x in places[ab.BASE]) == sum(x * x for x in places[ab.NEW])


def test_one_side_alone_is_measured_as_often_as_asked() -> None:
    assert ab.order(3, [ab.NEW]) == [(ab.NEW, 0), (ab.NEW, 1), (ab.NEW, 2)]


# Refusals, before anything is measured


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return save(tmp_path / "run", [measured(POINT)])


def refused(caplog: pytest.LogCaptureFixture, *arguments: str) -> str:
    assert ab.main(list(arguments)) == 2
    (line,) = [record.getMessage() for record in caplog.records]
    assert "\n" not in line
    return line


def test_an_unknown_run_point_or_commit_is_one_line_and_2(
    run: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert "no such run; measure it with" in refused(caplog, str(tmp_path / "none"), "--base", "HEAD")
    caplog.clear()
    line = refused(caplog, str(run), "--base", "HEAD", "--point", "unknown")
    assert line.endswith(f"no point unknown; it has {POINT.id}")
    caplog.clear()
    line = refused(caplog, str(run), "--base", "no-such-commit")
    assert line.startswith("git rev-parse: ")
    assert line.endswith("the commit must be in this repository, with its history")
    assert not (run / "ab").exists()


@pytest.mark.parametrize("arguments", [["--launches", "0"], ["--budget-min", "0"], ["--budget-min", "nan"]])
def test_no_launches_and_no_budget_are_one_line_and_2(
    arguments: list[str], run: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert "must be more than 0" in refused(caplog, str(run), "--alone", *arguments)


def test_an_option_in_place_of_a_commit_is_no_option_of_git(
    run: Path, caplog: pytest.LogCaptureFixture
) -> None:
    assert refused(caplog, str(run), "--base=--git-dir").startswith("git rev-parse: ")


def test_without_git_it_is_one_line_and_2(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    line = refused(caplog, str(run), "--base", "HEAD")
    assert line == "git: No such file or directory; comparing commits needs git and this repository"


def test_a_folder_that_holds_something_else_is_not_emptied(
    run: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    precious = tmp_path / "precious"
    precious.mkdir()
    (precious / "thesis.txt").write_text("years of work")
    line = refused(caplog, str(run), "--alone", "--out", str(precious))
    assert line.endswith("precious: holds thesis.txt, so it is not of an earlier session; give a new folder")
    assert (precious / "thesis.txt").read_text() == "years of work"
    caplog.clear()
    assert "thesis.txt: is a file" in refused(caplog, str(run), "--alone", "--out", f"{precious}/thesis.txt")


# Sessions


def git(clone: Path, *arguments: str) -> str:
    who = ["-c", "user.name=Somebody", "-c", "user.email=somebody@example.com", "-c", "commit.gpgsign=false"]
    done = subprocess.run(
        ["git", "-C", str(clone), *who, *arguments], capture_output=True, text=True, check=True
    )
    return done.stdout.strip()


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """This code as three commits: one whose launches cannot begin, as it is, and with a simulated stage that
    sleeps three times as long.
    """
    folder = tmp_path_factory.mktemp("clone") / "bench"
    command = ["git", "clone", "--local", "--quiet", "--no-tags", str(ROOT), str(folder)]
    subprocess.run(command, check=True, capture_output=True)
    for name in ("harness", "engines", "reports"):
        shutil.copytree(
            ROOT / name, folder / name, dirs_exist_ok=True, ignore=shutil.ignore_patterns("__pycache__")
        )
    once = folder / "harness" / "once.py"
    intact = once.read_text()
    once.write_text('raise RuntimeError("no such driver")\n')
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", "cannot begin")
    once.write_text(intact)
    git(folder, "commit", "--quiet", "--all", "--message", "as it is")
    file = folder / "engines" / "simulated.py"
    assert SLEEP in file.read_text()
    file.write_text(file.read_text().replace(SLEEP, f"{SLEEP[:-1]} * 3)"))
    git(folder, "commit", "--quiet", "--all", "--message", "three times as long")
    return folder


@pytest.fixture
def session(clone: Path, tmp_path: Path) -> Iterator[list[str]]:
    """The command, on a stored run of POINT; afterwards no work tree is left."""
    save(tmp_path / "run", [measured(POINT)])
    yield [sys.executable, "-m", "harness.ab", str(tmp_path / "run")]
    assert len(git(clone, "worktree", "list").splitlines()) == 1
    assert not list(tmp_path.glob("harness-ab-*"))


def begin(command: list[str], clone: Path, tmp_path: Path) -> subprocess.Popen[str]:
    """In the clone, as it would be used: nothing of this process's tells Python where the code lies."""
    rest = {key: value for key, value in os.environ.items() if key != "PYTHONPATH"}
    env = {**rest, "TMPDIR": str(tmp_path), "OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        command, cwd=clone, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


@pytest.mark.slow
def test_each_side_runs_the_code_of_its_own_commit_in_turn(
    session: list[str], clone: Path, tmp_path: Path
) -> None:
    ran = begin([*session, "--base", "HEAD~1", "--launches", "3"], clone, tmp_path)
    _, said = ran.communicate(timeout=60)
    assert ran.returncode == 0, said
    out = tmp_path / "run" / "ab"
    ((base,), (new,)) = launched(out / "base"), launched(out / "new")
    assert (base.commit, new.commit) == (git(clone, "rev-parse", "HEAD~1"), git(clone, "rev-parse", "HEAD"))
    assert base.code != new.code
    # 0.1 and 0.3 s of 0.464 s of video.
    assert min(base.numbers("stage.avatar.motion")) == pytest.approx(0.2155, abs=0.03)
    assert min(new.numbers("stage.avatar.motion")) == pytest.approx(0.6466, abs=0.03)
    statement = compare([base], [new], Rule({}))
    assert statement.exit_code() == 10
    (line,) = [line for line in statement.lines if line.metric == "rtf_aggregate"]
    assert line.word == "slower"
    assert "avatar.motion" in line.text
    assert f"decide with: python -m reports compare {out / 'base'} {out / 'new'}" in said


def test_a_session_that_is_ended_from_outside_leaves_neither_work_tree_nor_process(
    session: list[str], clone: Path, tmp_path: Path
) -> None:
    ran = begin([*session, "--base", "HEAD~1", "--launches", "50"], clone, tmp_path)
    out = tmp_path / "run" / "ab"
    assert wait_until(lambda: list(out.glob("*/*/*/result.json")), 20)
    ran.send_signal(signal.SIGTERM)
    _, said = ran.communicate(timeout=20)
    assert ran.returncode == 130
    assert f"interrupted; the launches so far are stored in {out}" in said
    assert wait_until(lambda: not processes_with(str(out)))
    assert list(store.results(out / "base"))


def test_a_gate_that_is_ended_in_a_session_leaves_neither_work_tree_nor_process_nor_night(
    session: list[str], clone: Path, tmp_path: Path
) -> None:
    run, ten_nights = tmp_path / "run", _ten_nights(tmp_path, git(clone, "rev-parse", "HEAD~1"))
    before = ten_nights.read_bytes()
    options = ["--baselines", str(tmp_path / "baselines"), "--launches", "50"]
    ran = begin([sys.executable, "-m", "reports", "gate", str(run), *options], clone, tmp_path)
    assert wait_until(lambda: list(run.glob("ab/*/*/*/*/result.json")), 20)
    ran.send_signal(signal.SIGTERM)
    _, said = ran.communicate(timeout=20)
    assert (ran.returncode, said.splitlines()[-1]) == (130, "interrupted")
    assert len(git(clone, "worktree", "list").splitlines()) == 1  # as soon as the gate has ended
    assert not processes_with(str(run))
    assert ten_nights.read_bytes() == before


def _ten_nights(folder: Path, commit: str) -> Path:
    """A history of that commit, in which the stored run's RTF of 2 is 20 % more than ever."""
    (one,) = launched(folder / "run")
    known = history.read(history.file_of(folder / "baselines", machine([one]), "run"))
    key = history.key_of(one.fingerprint)
    rows = [
        Night(at, one.id, at, commit, str(day), key, "ok", "", {"rtf_aggregate": (1.666,)})
        for day in range(10)
        for at in (f"2020-01-{day + 1:02d}T02:00:00+00:00",)
    ]
    lines = [
        ("fingerprint", {"key": key, "values": one.fingerprint}),
        ("point", {"id": one.id, "label": one.label, "config": one.config}),
        *history.lines_of(rows),
    ]
    history.append(known, {"sweep": "run", "gpu": "cpu"}, lines)
    return known.path


def test_a_base_that_cannot_be_measured_is_told_with_its_last_words(
    session: list[str], clone: Path, tmp_path: Path
) -> None:
    ran = begin([*session, "--base", "HEAD~2", "--launches", "3"], clone, tmp_path)
    _, said = ran.communicate(timeout=60)
    assert ran.returncode == 3
    why = "the base side could not be measured: RuntimeError: no such driver"
    assert f"{POINT.id}: {why}" in said


def test_when_the_budget_has_ended_no_launch_begins(session: list[str], clone: Path, tmp_path: Path) -> None:
    ran = begin([*session, "--base", "HEAD~1", "--budget-min", "1e-9"], clone, tmp_path)
    _, said = ran.communicate(timeout=60)
    assert ran.returncode == 3
    assert f"{POINT.id}: the budget ended after 0 of 5 launches a side" in said
    assert not list(tmp_path.glob("run/ab/*/*/*/result.json"))
