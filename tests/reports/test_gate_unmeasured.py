"""python -m reports gate on what was not measured as asked: hangs, what is gone, other machines."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from harness.result import Measurement, Outcome
from reports import again, anchor, history
from reports.again import Measured
from tests.data.make_runs import ENVIRONMENT
from tests.reports.gate_runs import (
    HISTORY,
    SLOWER,
    after_nights,
    ended,
    gate,
    gives,
    launches,
    started,
    store,
    told,
)


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder, empty; whatever is measured again fails the test."""

    def measure(*given: Any) -> Measured:
        raise AssertionError(f"measured again: {given}")

    monkeypatch.setattr(again, "measure", measure)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_a_point_that_hung_tonight_exits_with_12_and_says_how_it_was(here: Path) -> None:
    after_nights(3)
    store([*launches(3)[:2], replace_repeat(ended(Outcome.HUNG, 3), 2)])
    assert gate() == 12
    (line,) = told("hung")
    assert line["text"] == "1 of 3 launches: warp did not end; it was ok on 2026-03-03"
    row = history.read(HISTORY).nights[-1]
    assert (row.outcome, row.reason, row.values) == ("hung", "warp did not end", {})


def test_a_hang_is_joined_with_that_of_the_night_that_had_it(here: Path) -> None:
    after_nights(3)
    store([*launches(3)[:2], replace_repeat(hung(3, "1a2b3c4d5e"), 2)])
    assert gate() == 12
    assert told("hung")[0]["text"].endswith("; a hang that no night before had, signature 1a2b3c4d5e")
    assert history.read(HISTORY).nights[-1].signatures == ("1a2b3c4d5e",)
    store(launches(4))
    assert gate() == 0
    store([hung(5, "1a2b3c4d5e")])
    assert gate() == 12
    end = "; it was ok on 2026-03-05; hung as on night 4 (2026-03-04), signature 1a2b3c4d5e"
    assert told("hung")[0]["text"].endswith(end)
    store([hung(6, "ffffffffff")])
    assert gate() == 12
    assert "no night before had, signature ffffffffff" in told("hung")[0]["text"]


def test_every_launch_of_a_night_that_hung_is_joined_and_not_the_first_alone(here: Path) -> None:
    after_nights(3)
    store(
        [
            hung(3, "aaaaaaaaaa"),
            replace_repeat(hung(3, "bbbbbbbbbb"), 1),
            replace_repeat(hung(3, "aaaaaaaaaa"), 2),
        ]
    )
    assert gate() == 12
    said = told("hung")[0]["text"].split("; ")[-2:]
    assert said == [f"a hang that no night before had, signature {each * 10}" for each in "ab"]
    assert history.read(HISTORY).nights[-1].signatures == ("aaaaaaaaaa", "bbbbbbbbbb")
    store([hung(4, "bbbbbbbbbb"), replace_repeat(hung(4, "aaaaaaaaaa"), 1)])
    assert gate() == 12
    said = told("hung")[0]["text"].split("; ")[-2:]
    assert said == [f"hung as on night 4 (2026-03-04), signature {each * 10}" for each in "ba"]


def test_a_hang_behind_a_crash_of_the_same_night_is_known_in_the_next(here: Path) -> None:
    after_nights(3)
    store([ended(Outcome.CRASHED, 3), replace_repeat(hung(3, "aaaaaaaaaa"), 1)])
    assert gate() == 12
    assert told("crashed")[0]["text"].endswith("; a hang that no night before had, signature aaaaaaaaaa")
    store([hung(4, "aaaaaaaaaa")])
    assert gate() == 12
    assert told("hung")[0]["text"].endswith("; hung as on night 4 (2026-03-04), signature aaaaaaaaaa")


def hung(number: int, signature: str) -> Measurement:
    m = ended(Outcome.HUNG, number)
    return replace(m, result=replace(m.result, evidence={"signature": signature}))


def replace_repeat(m: Measurement, repeat: int) -> Measurement:
    return replace(m, result=replace(m.result, repeat=repeat))


@pytest.mark.parametrize("outcome", [x for x in Outcome if x not in (Outcome.OK, Outcome.SKIPPED)])
def test_a_night_of_which_no_point_came_to_its_end_is_no_success(outcome: Outcome, here: Path) -> None:
    store([ended(outcome, 0), ended(outcome, 0, 2)])
    assert gate() == 12
    assert [line["word"] for line in told() if line["word"] != "note"] == [str(outcome)] * 2


def test_a_regression_beside_a_hang_is_told_first_and_decides(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    after_nights(10, 1, 2)
    gives(monkeypatch, SLOWER)
    store(launches(10, SLOWER), [ended(Outcome.HUNG, 10, 2)])
    assert gate() == 10
    assert told()[0]["word"] == "slower"
    assert len(told("hung")) == 1


def test_a_point_of_the_last_night_that_is_not_there_tonight_is_missing(here: Path) -> None:
    after_nights(3, 1, 2)
    store(launches(3))
    assert gate() == 12
    (line,) = told("missing")
    assert (line["point"], line["text"]) == (
        "threads x2",
        "not measured tonight; it was on 2026-03-03. If it is gone for good, move the anchor",
    )


def test_a_point_that_stays_away_is_missing_for_seven_nights(here: Path) -> None:
    """Its last night, the third, is among the last seven before nights 3 to 9, and not before night 10."""
    after_nights(3, 1, 2)
    codes = []
    for number in range(3, 11):
        store(launches(number))
        codes.append(gate("--no-measure"))
    assert codes == [12] * 7 + [0]


def test_a_point_of_the_anchor_is_missing_until_the_anchor_is_moved_past_it(here: Path) -> None:
    after_nights(3, 1, 2)
    pin("2026-03-03")
    codes = []
    for number in range(3, 12):
        store(launches(number))
        codes.append(gate("--no-measure"))
    assert codes == [12] * 9
    pin("2026-03-12")
    store(launches(12))
    assert gate("--no-measure") == 0


def test_a_point_that_is_gone_is_forgotten_when_the_anchor_is_moved_past_its_last_night(here: Path) -> None:
    after_nights(3, 1, 2)
    store(launches(3))
    assert gate() == 12
    pin("2026-03-04")
    store(launches(4))
    assert gate() == 0


def pin(date: str) -> None:
    known = history.read(HISTORY)
    anchor.write(known, anchor.pinned(known, date, "measured and meant to be so"))


def test_a_result_that_is_left_over_from_an_earlier_night_is_not_tonight_s(here: Path) -> None:
    after_nights(3, 1, 2)
    store(launches(3, workers=1), launches(0, workers=2))
    assert gate() == 12
    (line,) = told("missing")
    assert (line["point"], line["text"]) == (
        "threads x2", "not measured tonight; what is stored is of an earlier night"
    )  # fmt: skip
    assert [row.night for row in history.read(HISTORY).nights][-1] == started(3, 1)
    assert len(history.read(HISTORY).nights) == 7


def test_another_torch_is_refused_by_name_stored_nowhere_and_begins_an_epoch_when_allowed(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    after_nights(10)
    before = HISTORY.read_bytes()
    packages = {**ENVIRONMENT["packages"], "torch": "2.12.0"}  # type: ignore[dict-item]
    store(launches(10, packages=packages))
    assert gate() == 12
    (line,) = told("unlike")
    assert line["text"].startswith("torch: 2.11.0, tonight 2.12.0; nothing is compared or stored")
    assert HISTORY.read_bytes() == before
    gives(monkeypatch, 1.0)
    assert gate("--allow", "torch") == 0
    assert "this environment is new" in told("not confirmed")[0]["text"]
    store(launches(11, packages=packages))
    assert gate() == 0
    assert {line["word"] for line in told()} == {"learning", "note"}


def test_a_sweep_whose_history_is_of_another_machine_is_unlike_and_begins_none(here: Path) -> None:
    """A machine whose GPU does not answer would else begin a history of its processor, and be green."""
    after_nights(3)
    before = HISTORY.read_bytes()
    store(launches(3, cpu="Other CPU"))
    assert gate() == 12
    (line,) = told()
    assert (line["word"], line["text"]) == (
        "unlike",
        "its history is of example-cpu, and this is other-cpu; if that is meant, --allow gpu begins one here",
    )
    assert [path.parent.name for path in here.glob("baselines/*/*.jsonl")] == ["example-cpu"]
    assert HISTORY.read_bytes() == before


def test_another_machine_begins_a_history_of_its_own_where_that_is_allowed_and_goes_on_with_it(
    here: Path,
) -> None:
    after_nights(3)
    store(launches(3, cpu="Other CPU"))
    assert gate("--allow", "gpu") == 0
    store(launches(4, cpu="Other CPU"))
    assert gate() == 0
    assert sorted(path.parent.name for path in here.glob("baselines/*/*.jsonl")) == [
        "example-cpu",
        "other-cpu",
    ]


def test_a_figure_that_is_no_longer_measured_is_told(here: Path) -> None:
    after_nights(10)
    bare = [
        replace(
            m, result=replace(m.result, jobs=tuple(replace(job, first_audio_s=None) for job in m.result.jobs))
        )
        for m in launches(10)
    ]
    store(bare)
    assert gate() == 12
    (line,) = told("missing")
    assert (line["metric"], line["text"]) == ("ttfa_s", "was measured on 2026-03-10 and is not tonight")
