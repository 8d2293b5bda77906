"""Nights in which a regression could slip through, on a made-up L4: each must be red, and stay so."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from reports import history
from reports.again import Measured
from reports.launches import Launch, Launched
from tests.reports.simulated_nights import Step, Truth, World, slower_point

STEP = 14  # the night of the regression, unless said otherwise


def codes(world: World, nights: int, allowed: Mapping[int, Sequence[str]] | None = None) -> list[int]:
    return [world.run(night, (allowed or {}).get(night, ())).exit_code() for night in range(nights)]


def hows(world: World) -> list[str]:
    return [change.how for change in history.read(world.folder / "nvidia-l4" / "nightly.jsonl").changes]


class Foggy(World):
    """Where measuring again proves nothing: launches then vary by 6 % about what they should be."""

    def measure(self, night: int) -> Callable[[str, str, int, float], Measured]:
        clear = super().measure(night)

        def again(point: str, commit: str, launches: int, left_min: float) -> Measured:
            sides = clear(point, commit, launches, left_min)
            assert sides.base is not None
            assert sides.new is not None
            fog = (0.94, 1.06, 1.0, 0.94, 1.06)
            drawn = tuple(
                replace(x, values={name: value * f for name, value in x.values.items()})
                for x, f in zip(sides.new.launches, fog, strict=True)
            )
            return Measured(sides.base, replace(sides.new, launches=drawn), "")

        return again


class Stuck(World):
    """Where tonight's code hangs in every launch when it is measured again."""

    def measure(self, night: int) -> Callable[[str, str, int, float], Measured]:
        ends = super().measure(night)

        def again(point: str, commit: str, launches: int, left_min: float) -> Measured:
            sides = ends(point, commit, launches, left_min)
            assert sides.new is not None
            hung = tuple(Launch(x.at, x.host, "hung", "no end", {}) for x in sides.new.launches)
            return Measured(sides.base, replace(sides.new, launches=hung), "")

        return again


class Weekly(World):
    """Where a commit comes every seventh night only: in the others the code is the same."""

    def launched(self, truth: Truth, night: int, commit: int, begun: Sequence[int], tag: int = 0) -> Launched:
        return super().launched(truth, night, commit // 7 * 7, begun, tag)


def test_with_a_commit_a_week_the_regression_is_red_on_its_night_and_stays_red(tmp_path: Path) -> None:
    world = Weekly([slower_point(Truth("p"), STEP, 1.05)], tmp_path, 1)
    assert codes(world, 22) == [0] * STEP + [10] * 8


def test_with_the_same_code_a_new_driver_is_learned_without_a_fault(tmp_path: Path) -> None:
    world = Weekly([Truth("p")], tmp_path, 1, drivers={0: "580", 10: "590"})
    assert codes(world, 14, {10: ["driver"]}) == [0] * 14
    known = history.read(tmp_path / "nvidia-l4" / "nightly.jsonl")
    assert not [row.night for row in known.nights[10:] if row.faults]


def test_a_regression_in_the_night_after_an_improvement_is_red(tmp_path: Path) -> None:
    """10 % less in one night, 18 % more in the next: 6 % more than ever before."""
    steps = (Step(STEP, "avatar.decode", 0.75), Step(STEP + 1, "avatar.decode", 1.6))
    assert 10 in codes(World([Truth("p", steps=steps)], tmp_path, 1), 24)


def test_a_regression_stays_red_behind_a_new_driver(tmp_path: Path) -> None:
    world = World([slower_point(Truth("p"), STEP, 1.08)], tmp_path, 1, drivers={0: "580", 17: "590"})
    assert codes(world, 20, {17: ["driver"]})[STEP:] == [10] * 6


def test_a_regression_that_comes_with_a_new_driver_is_red_for_longer_than_its_night(tmp_path: Path) -> None:
    drivers = {0: "580", STEP: "590"}
    world = World([slower_point(Truth("p"), STEP, 1.08)], tmp_path, 1, drivers=drivers)
    assert codes(world, 18, {STEP: ["driver"]})[STEP:] == [10] * 4


def test_a_regression_that_nobody_could_prove_or_refute_is_not_put_down_to_the_machine(
    tmp_path: Path,
) -> None:
    world = Foggy([slower_point(Truth("p"), STEP, 1.06)], tmp_path, 1)
    strict = [world.run(night).exit_code(strict=True) for night in range(22)]
    assert "machine" not in hows(world)
    assert strict[STEP:] == [11] * 8


def test_code_that_hangs_whenever_it_is_measured_again_is_not_green(tmp_path: Path) -> None:
    world = Stuck([slower_point(Truth("p"), STEP, 1.08)], tmp_path, 1)
    assert codes(world, STEP + 1)[-1] == 12


def test_a_point_that_stays_away_is_missing_until_it_is_back(tmp_path: Path) -> None:
    world = World([Truth("p"), Truth("q")], tmp_path, 1)
    assert codes(world, 3) == [0, 0, 0]
    world.truths = [Truth("p")]
    assert [world.run(night).exit_code() for night in range(3, 6)] == [12, 12, 12]


def test_a_level_that_is_accepted_as_the_machine_s_is_told(tmp_path: Path) -> None:
    """The machine gets 6 % slower for good: after four nights that were not confirmed it is accepted."""
    faults = dict.fromkeys(range(STEP, 30), 1.06)
    world = World([Truth("p")], tmp_path, 1, faults=faults)
    told = [line.text for night in range(20) for line in world.run(night).lines]
    assert "machine" in hows(world)
    assert [text for text in told if "machine" in text and "level" in text]


def test_a_level_that_fell_and_was_seen_looking_back_alone_is_told_and_is_no_alarm(tmp_path: Path) -> None:
    """6 % less from night 14 on, in nights in which nothing is measured again; the noise may add a night."""
    world = World([Truth("p", steps=(Step(STEP, "avatar.decode", 0.85),))], tmp_path, 1)
    nights = [world.run(night, measure=False) for night in range(22)]
    assert {statement.exit_code() for statement in nights} == {0}
    assert hows(world) == ["seen"]
    (note,) = (line for each in nights for line in each.lines if "looking back" in line.text)
    assert (note.point, note.metric, note.word) == ("p", "rtf_aggregate", "note")
    told = re.fullmatch(r"the level is lower from 2026-03-(\d+) on \(-(.+) %\), as looking .*", note.text)
    assert told
    assert abs(int(told[1]) - (STEP + 1)) <= 1
    assert float(told[2]) == pytest.approx(6.0, abs=0.5)
