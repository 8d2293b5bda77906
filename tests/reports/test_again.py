"""Measuring again: how the harness is asked, and what is read of what it leaves."""

from __future__ import annotations

import io
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import Any

import pytest

from reports import again
from tests.data.make_runs import measured, point, save

POINT = point("sequential", 1)
COMMIT = "0123456789abcdef0123456789abcdef01234567"


class Session:
    """A process that has ended with this code, and what it said."""

    def __init__(self, code: int, said: str) -> None:
        self.returncode, self.stderr = code, io.StringIO(said)
        self.ended: list[str] = []

    def __enter__(self) -> Session:
        return self

    def __exit__(self, kind: type[BaseException] | None, what: object, where: TracebackType | None) -> None:
        self.stderr.close()

    def terminate(self) -> None:
        self.ended.append("terminated")

    def wait(self) -> int:
        self.ended.append("waited for")
        return self.returncode


def ends(monkeypatch: pytest.MonkeyPatch, code: int, said: str, *sides: str) -> list[list[str]]:
    """The harness ends so, having stored these sides; the list fills with its commands."""
    asked: list[list[str]] = []

    def begin(command: list[str], **given: Any) -> Session:
        asked.append(command)
        out = Path(command[command.index("--out") + 1])
        for side in sides:
            save(out / side, [measured(POINT)])
        return Session(code, said)

    monkeypatch.setattr(subprocess, "Popen", begin)
    return asked


def test_the_harness_is_asked_for_that_point_and_that_commit_in_a_folder_of_theirs(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    asked = ends(monkeypatch, 0, "decide with: …", "base", "new")
    found = again.measure(tmp_path, POINT.id, COMMIT, 5, 12.5)
    assert found.base is not None
    assert found.new is not None
    assert (found.base.id, found.new.id, found.problem) == (POINT.id, POINT.id, "")
    ((python, *command),) = asked
    assert python == sys.executable
    assert command[:5] == ["-m", "harness.ab", str(tmp_path), "--point", POINT.id]
    assert command[5:7] == ["--out", str(tmp_path / "ab" / f"{POINT.id}-0123456789ab")]
    assert command[7:] == ["--launches", "5", "--budget-min", "12.500000", "--base", COMMIT]


def test_without_a_commit_this_code_is_measured_alone(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    asked = ends(monkeypatch, 0, "", "new")
    found = again.measure(tmp_path, POINT.id, "", 3, 1.0)
    assert found.base is None
    assert found.new is not None
    assert asked[0][-1] == "--alone"
    assert str(tmp_path / "ab" / f"{POINT.id}-alone") in asked[0]


def test_what_could_not_be_measured_is_the_last_line_but_one(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    ends(
        monkeypatch,
        3,
        "base launch 1 of 5\nthe base side could not be measured: why\ndecide with: …\n",
        "new",
    )
    found = again.measure(tmp_path, POINT.id, COMMIT, 5, 1.0)
    assert (found.base, found.problem) == (None, "the base side could not be measured: why")
    assert found.new is not None


@pytest.mark.parametrize("code", [1, 2, 130, -9])
def test_what_an_earlier_session_left_is_not_read_when_this_one_did_not_begin(
    code: int, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    ends(monkeypatch, code, "git rev-parse: no such commit", "base", "new")
    found = again.measure(tmp_path, POINT.id, COMMIT, 5, 1.0)
    assert (found.base, found.new, found.problem) == (None, None, "git rev-parse: no such commit")


def test_a_harness_that_ends_without_a_word_is_told_by_its_code(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    ends(monkeypatch, -9, "")
    assert again.measure(tmp_path, POINT.id, COMMIT, 5, 1.0).problem == "exit code -9"


def test_what_the_harness_says_is_passed_on_as_it_says_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ends(monkeypatch, 0, "base launch 1 of 5\ndecide with: …\n", "base", "new")
    again.measure(tmp_path, POINT.id, COMMIT, 5, 1.0)
    assert capsys.readouterr().err == "base launch 1 of 5\ndecide with: …\n"


def test_a_gate_that_is_interrupted_ends_the_session_and_waits_for_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    session = Session(130, "")

    class Interrupted(io.StringIO):
        def __iter__(self) -> Iterator[str]:  # type: ignore[override]
            raise KeyboardInterrupt

    session.stderr = Interrupted()
    monkeypatch.setattr(subprocess, "Popen", lambda *command, **given: session)
    with pytest.raises(KeyboardInterrupt):
        again.measure(tmp_path, POINT.id, COMMIT, 5, 1.0)
    assert session.ended == ["terminated", "waited for"]
