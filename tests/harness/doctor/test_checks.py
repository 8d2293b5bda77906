"""A check that goes wrong is a line of its own, and never the end of the command."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from harness import tree
from harness.doctor import checks
from harness.doctor.checks import GPU, NEEDED, Check
from harness.doctor.line import OK, UNKNOWN, Line
from tests.harness.points import wait_until


def broken(function: str, limit_s: float = 5.0, group: str = NEEDED, turn: int = 2) -> Check:
    return Check(function, group, f"tests.harness.doctor.broken:{function}", limit_s, turn)


def found(*asked: Check) -> dict[str, list[Line]]:
    return {check.name: lines for check, lines in checks.run(asked)}


def test_one_that_raises_or_crashes_is_a_line_beside_those_of_the_others() -> None:
    nameless = "ends_by_a_signal_without_a_name"
    asked = ("raises", "crashes", nameless, "fine", "wants_a_package")
    lines = found(*map(broken, asked))
    assert lines == {
        "raises": [
            Line("raises", UNKNOWN, "the check failed: LookupError: the file has no such entry"),
        ],
        "crashes": [Line("crashes", UNKNOWN, "the check was ended by SIGABRT")],
        nameless: [Line(nameless, UNKNOWN, "the check was ended by signal 40")],
        "fine": [Line("fine", OK, "all is well")],
        "wants_a_package": [
            Line("wants_a_package", UNKNOWN, "not looked at: it needs the module no_such_package")
        ],
    }


def test_what_a_library_prints_is_no_answer() -> None:
    assert found(broken("talkative")) == {"talkative": [Line("talkative", OK, "all is well")]}


def test_one_that_hangs_is_ended_in_its_time_with_all_that_it_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HANGS", str(tmp_path / "sleeper"))
    begun_s = time.monotonic()
    lines = found(broken("hangs", 2.0), broken("fine"))
    assert time.monotonic() - begun_s < 4
    assert lines["hangs"] == [Line("hangs", UNKNOWN, "no answer within 2 s")]
    assert lines["fine"] == [Line("fine", OK, "all is well")]
    sleeper = int((tmp_path / "sleeper").read_text())
    assert wait_until(lambda: not tree.is_alive(sleeper))


def test_of_a_driver_that_does_not_answer_nothing_more_is_asked() -> None:
    lines = found(broken("raises", group=GPU, turn=1), broken("fine", group=GPU), broken("missing"))
    assert list(lines) == ["raises", "missing"]


def test_the_load_is_looked_at_alone_and_the_gpu_before_anything_of_ours_is_there() -> None:
    turns = {check.name: check.turn for check in checks.CHECKS}
    assert turns.pop("load") < turns.pop("GPU") < min(turns.values())


def test_all_together_they_have_less_than_fourteen_seconds_and_twelve_where_the_driver_hangs() -> None:
    turns = sorted({check.turn for check in checks.CHECKS})
    load, gpu, all_others = (max(c.limit_s for c in checks.CHECKS if c.turn == turn) for turn in turns)
    without_gpu = max(c.limit_s for c in checks.CHECKS if c.turn == turns[-1] and c.group != GPU)
    assert load + gpu + all_others < 14
    assert load + gpu + without_gpu <= 12
