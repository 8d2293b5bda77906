"""Sixty nights of a made-up L4, night by night: drift, bimodal noise, faults, steps, a driver, a hang."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import pytest

from reports.statement import Line, Statement
from tests.reports.simulated_nights import Step, Truth, World, slower_point

THREE, EIGHT, FASTER, HANG, DRIVER, ALLOWED = 20, 33, 27, 44, 52, 53
PINNED = {9: 8, 30: 29, 41: 40}  # in the night: to the night
FAULTS = {12: 1.2, 13: 1.1, 38: 1.3}  # all points, for a night


@dataclass
class Told:
    codes: dict[int, int] = field(default_factory=dict)
    statements: dict[int, Statement] = field(default_factory=dict)

    def lines(self, night: int, word: str) -> list[Line]:
        return [line for line in self.statements[night].lines if line.word == word]


def sixty(folder: Path, seed: int) -> Told:
    truths = (
        slower_point(Truth("three"), THREE, 1.03),
        slower_point(Truth("eight"), EIGHT, 1.08),
        Truth("faster", steps=(Step(FASTER, "avatar.decode", 0.85),)),
        Truth("bimodal", bimodal=0.02, hangs=frozenset({HANG})),
        Truth("steady"),
    )
    world = World(truths, folder, seed, 0.0004, FAULTS, {0: "580.95.05", DRIVER: "590.10.01"})
    told = Told()
    for night in range(60):
        if night in PINNED:
            world.pin(PINNED[night])
        statement = world.run(night, ["driver"] if night == ALLOWED else [])
        told.statements[night], told.codes[night] = statement, statement.exit_code()
    return told


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> Told:
    return sixty(tmp_path_factory.mktemp("nights"), 1)


def red(told: Told) -> list[int]:
    return [night for night, code in told.codes.items() if code == 10]


def test_each_regression_is_red_until_the_anchor_is_moved_and_nothing_else_is(told: Told) -> None:
    assert red(told) == [*range(THREE, 30), *range(EIGHT, 41)]


def test_the_regression_of_3_percent_is_found_with_its_stage_and_its_size(told: Told) -> None:
    (line,) = told.lines(THREE, "slower")
    assert line.point == "three"
    assert "avatar.warp +10 %" in line.text
    assert "the rest as it was" in line.text
    assert line.figures["session"]["ratio"] == pytest.approx(1.03, abs=0.01)


def test_the_regression_of_8_percent_is_found_on_its_night(told: Told) -> None:
    (line,) = told.lines(EIGHT, "slower")
    assert (line.point, line.figures["session"]["launches"]) == ("eight", (5, 5))
    assert line.figures["session"]["ratio"] == pytest.approx(1.08, abs=0.01)


def test_it_then_says_since_when_it_stands_and_how_it_ends(told: Told) -> None:
    (line,) = told.lines(EIGHT + 3, "still slower")
    assert "since 2026-04-03" in line.text  # night 33 of those that begin on March 1st
    assert "mended, or the anchor is moved" in line.text


def test_the_improvement_is_told_and_is_no_alarm(told: Told) -> None:
    (line,) = told.lines(FASTER, "faster")
    assert line.point == "faster"
    assert "avatar.decode -15 %" in line.text


def test_faults_of_the_machine_are_measured_again_and_not_confirmed(told: Told) -> None:
    assert [told.codes[night] for night in (12, 13)] == [0, 0]
    assert len(told.lines(12, "not confirmed")) == 5
    assert not told.lines(38, "slower")


def test_the_hang_is_its_own_code_and_the_next_night_is_fine(told: Told) -> None:
    assert (told.codes[HANG], told.codes[HANG + 1]) == (12, 0)
    (line,) = told.lines(HANG, "hung")
    assert line.text.startswith("1 of 3 launches: stage avatar.warp did not end; it was ok on")


def test_another_driver_is_refused_by_name_until_it_is_allowed(told: Told) -> None:
    assert (told.codes[DRIVER], told.codes[ALLOWED]) == (12, 0)
    assert len(told.lines(DRIVER, "unlike")) == 5
    assert "driver: 580.95.05, tonight 590.10.01" in told.lines(DRIVER, "unlike")[0].text
    assert told.statements[DRIVER].facts["appended"] is False


def test_behind_the_new_driver_the_commit_is_compared_with_the_last_good_one(told: Told) -> None:
    assert len(told.lines(ALLOWED, "not confirmed")) == 5
    assert "this environment is new" in told.lines(ALLOWED, "not confirmed")[0].text
    assert [told.codes[night] for night in range(ALLOWED + 1, 60)] == [0] * 6


@pytest.mark.slow
def test_with_other_noise_nothing_else_is_red_and_3_percent_take_a_night_more_at_times(
    tmp_path: Path,
) -> None:
    begun = []
    for seed in range(20):
        told = sixty(tmp_path / str(seed), seed)
        begun.append(red(told)[0])
        assert red(told) == [*range(begun[-1], 30), *range(EIGHT, 41)]
        assert [night for night, code in told.codes.items() if code == 12] == [HANG, DRIVER]
    assert sum(night <= THREE + 1 for night in begun) >= 0.8 * len(begun)
    assert sum(night <= THREE + 3 for night in begun) >= 0.9 * len(begun)
