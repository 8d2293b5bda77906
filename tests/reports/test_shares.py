"""A stage's share of the stages' time, and what it shows that the machine's noise hides."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from reports import gate, history
from reports.gate import Options
from reports.shares import share
from reports.suspects import Budget
from reports.tonight import Tonight
from tests.reports.simulated_nights import Step, Truth, World

WARP = "stage.avatar.warp"


def test_the_share_is_the_median_over_launches_of_own_time_over_all_stages() -> None:
    values = {WARP: (1.0, 2.0, 3.0), "stage.tts.gpt": (3.0, 2.0, 1.0), "rtf_aggregate": (9.0, 9.0, 9.0)}
    assert share(values, WARP) == 0.5  # of 1/4, 2/4 and 3/4


def test_a_machine_that_is_slower_changes_no_share() -> None:
    values = {WARP: (1.0, 1.1), "stage.tts.gpt": (3.0, 3.3)}
    assert share({name: tuple(2 * x for x in each) for name, each in values.items()}, WARP) == pytest.approx(
        0.25
    )


def test_what_is_no_stage_or_the_only_one_has_no_share() -> None:
    assert share({"rtf_aggregate": (1.0,)}, "rtf_aggregate") is None
    assert share({WARP: (1.0,)}, WARP) is None
    assert share({}, WARP) is None


def test_a_stage_that_only_some_launches_have_does_not_count() -> None:
    assert share({WARP: (1.0, 1.0), "stage.tts.gpt": (1.0, 1.0), "stage.avatar.source": (5.0,)}, WARP) == 0.5


class Noisy(World):
    """A machine whose nights vary by 7 %: no figure of one night shows 15 % of a stage there."""

    def run_gated(self, night: int, stage: str) -> list[tuple[str, str]]:
        points = tuple(self.launched(truth, night, night, (0, 10, 20)) for truth in self.truths)
        known = history.read(history.file_of(self.folder, "NVIDIA L4", "nightly"))
        tonight = Tonight(points[0].launches[0].at[0], points, {}, {"sweep": "nightly", "gpu": "NVIDIA L4"})
        options = Options(self.folder, {stage: 0.08}, (), Budget(5, 600.0))
        said = gate.decide(tonight, known, None, options, self.measure(night))
        return [(line.word, line.text) for line in said.lines if line.metric == stage]


def noisy(folder: Path, *steps: Step) -> Noisy:
    return Noisy([Truth("p", steps=steps)], folder, 1, night_sd=0.07, launch_sd=0.02)


def test_on_a_machine_of_noisy_nights_a_stage_that_takes_15_percent_more_is_found_by_its_share(
    tmp_path: Path,
) -> None:
    world = noisy(tmp_path, Step(14, "avatar.warp", 1.15))
    told = [world.run_gated(night, WARP) for night in range(15)]
    assert {word for night in told[:14] for word, _ in night} <= {"learning", "fine", "not confirmed"}
    assert [word for word, _ in told[14]] == ["slower"]
    assert "its share of all stages' time is" in told[14][0][1]


def test_a_share_that_grew_because_another_stage_got_quicker_is_no_regression(tmp_path: Path) -> None:
    world = noisy(tmp_path, Step(14, "avatar.decode", 0.6))
    told = [world.run_gated(night, WARP) for night in range(15)]
    assert [word for word, _ in told[14]] == ["not confirmed"]
    known = history.read(history.file_of(tmp_path, "NVIDIA L4", "nightly"))
    assert replace(known.nights[-1], values={}).faults == ()  # the figure itself is sound
