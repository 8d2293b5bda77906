"""Stored runs as launches, and two of them compared through the command."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from harness.result import Measurement, Outcome
from reports.__main__ import main
from reports.compare import Rule, compare
from reports.statement import Line, Statement
from reports.stored import launched
from tests.data.make_runs import ENVIRONMENT, broken, measured, point, save
from tests.reports.sides import BASE_MIN, NEAR_ONE, NEW_MIN

RULE = Rule({})


def rtf(statement: Statement) -> Line:
    (line,) = (line for line in statement.lines if line.metric == "rtf_aggregate")
    return line


def only(statement: Statement) -> Line:
    (line,) = statement.lines
    return line


def stored(
    run: Path, scale: float, minutes: Sequence[int], clip_s: float = 4.0, texts: Sequence[str] = ("One.",)
) -> Path:
    """Five launches; a clip of twice the length takes twice the time."""
    return save(run, [
        resized(
            measured(
                point("sequential", 1, workload__texts=list(texts)), repeat,
                scale=scale * clip_s / 4 * near, started_at=f"2026-11-20T02:{minute:02d}:00+00:00",
            ),
            clip_s,
        )
        for repeat, (minute, near) in enumerate(zip(minutes, NEAR_ONE, strict=True))
    ])  # fmt: skip


def resized(m: Measurement, clip_s: float) -> Measurement:
    return replace(
        m, result=replace(m.result, jobs=tuple(replace(job, media_s=clip_s) for job in m.result.jobs))
    )


def test_a_stored_run_is_read_as_launches_with_figures_per_second_of_video(tmp_path: Path) -> None:
    (found,) = launched(stored(tmp_path / "run", 1.0, BASE_MIN))
    # 8 s a job of a clip of 4 s: gpt 2, warp 5 on the host and 4 on the device, write 1.
    values = found.launches[1].values
    assert values["rtf_aggregate"] == pytest.approx(2.0)
    assert values["stage.tts.gpt"] == pytest.approx(0.5)
    assert values["stage.avatar.warp"] == pytest.approx(1.0)
    assert (found.commit, found.fingerprint["torch"], found.fingerprint["cpu"]) == (
        ENVIRONMENT["commit"], "2.11.0", "Example CPU",
    )  # fmt: skip


def test_launches_are_in_the_order_of_time_whatever_their_number(tmp_path: Path) -> None:
    (found,) = launched(stored(tmp_path / "run", 1.0, (8, 6, 5, 3, 0)))
    assert [each.values["rtf_aggregate"] for each in found.launches] == pytest.approx(
        [1.996, 2.004, 2.01, 2.0, 1.99]
    )


def test_a_longer_text_changes_no_verdict_on_figures_per_second_of_video(tmp_path: Path) -> None:
    base = launched(stored(tmp_path / "base", 1.0, BASE_MIN))
    new = launched(stored(tmp_path / "new", 1.0, NEW_MIN, 12.0, ["Three times as long."]))
    assert [line.word for line in compare(base, new, RULE).lines] == ["unlike"]
    statement = compare(base, new, Rule({}, ["workload"]))
    assert rtf(statement).word == "same"
    assert rtf(statement).figures["decision"]["ratio"] == pytest.approx(1.0)


def test_ten_percent_more_through_the_command_names_the_stages_and_exits_with_10(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    base, new = stored(tmp_path / "base", 1.0, BASE_MIN), stored(tmp_path / "new", 1.1, NEW_MIN)
    assert main(["compare", str(base), str(new)]) == 10
    said = capsys.readouterr().out
    assert "sequential x1: rtf_aggregate: slower: 2.00 -> 2.20, 1.100 times BASE" in said
    assert "avatar.warp +1" in said
    assert not list(new.glob("*.xml"))  # only what is asked for is written


def test_a_damaged_result_is_no_missing_launch(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    base, new = stored(tmp_path / "base", 1.0, BASE_MIN), stored(tmp_path / "new", 1.0, NEW_MIN)
    damaged = sorted(new.glob("*/*/result.json"))[2]
    damaged.write_text('{"schema": 99}')
    assert main(["compare", str(base), str(new)]) == 2
    assert f"{damaged}: schema 99" in capsys.readouterr().err


@pytest.mark.parametrize("outcome", [x for x in Outcome if x is not Outcome.OK])
def test_every_other_outcome_in_new_is_its_own_word_and_exits_with_12(
    outcome: Outcome, tmp_path: Path
) -> None:
    base = launched(stored(tmp_path / "base", 1.0, BASE_MIN))
    made = broken(point("sequential", 1), outcome, "as it went")
    statement = compare(base, launched(save(tmp_path / "new", [made])), RULE)
    assert ([line.word for line in statement.lines], statement.exit_code()) == ([str(outcome)], 12)
    assert only(statement).text == f"{outcome}: as it went (BASE: ok)"


def test_a_point_that_hangs_before_it_can_say_its_weights_is_hung_and_not_unlike(tmp_path: Path) -> None:
    made = point("sequential", 1, tts__weights="/models/xtts", avatar__weights="/models/ditto")
    base = measured(made)
    parts = {name: {"weights": f"checkpoint {name}"} for name in ("tts", "avatar")}
    base = replace(base, result=replace(base.result, attestation={"worker 0": parts}))
    runs = save(tmp_path / "base", [base]), save(tmp_path / "new", [broken(made, Outcome.HUNG, "load")])
    old, new = map(launched, runs)
    assert only(compare(old, new, RULE)).word == "hung"
