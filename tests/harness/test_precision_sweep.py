"""Sweeps that go on until a figure is known: what is repeated, in which order, and when it ends."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
from omegaconf import DictConfig, OmegaConf

from harness import rounds, settings, store
from harness.precision import half_width
from harness.result import Outcome, PointResult
from harness.rounds import Asked
from harness.settings import SettingError
from tests.data.make_runs import measured, point
from tests.harness.conf import composed
from tests.harness.noisy import factor
from tests.harness.typed import harness

ASKED = Asked(repeats=3, target=0.1, metric="rtf_aggregate", most=8, budget_s=60.0)
QUIET, NOISY = "engines.simulated.Simulated", "tests.harness.noisy.Noisy"
SWEEP = [
    f"avatar._target_={QUIET},{NOISY}", "name=until", "precision_target=0.5", "precision_most=7",
    "avatar.stages.motion.sleep_s=0.03", "tts.stages.speak.sleep_s=0", "tts.load_s=0", "avatar.load_s=0",
]  # fmt: skip


def by_time(here: Path) -> list[PointResult]:
    return sorted(store.results(here / "runs/until"), key=lambda one: one.started_ns)


def kind(one: PointResult) -> str:
    return "noisy" if one.point["avatar"]["_target_"] == NOISY else "quiet"


@pytest.mark.slow
def test_a_sweep_repeats_its_noisy_point_longer_than_the_quiet_one_and_in_turns(here: Path) -> None:
    # What is drawn for the noisy one, beside 0.05 s that are spent in any case.
    assert half_width([0.05 + 4 * 0.03 * factor(launch) for launch in range(7)]) > 0.8
    code, errors = harness(here, *SWEEP)
    assert code == 0, errors
    assert "precision: repeats=3, for fewer have no interval" in errors
    found = by_time(here)
    assert [kind(one) for one in found] == ["quiet", "noisy"] * 6 + ["noisy"]
    assert [one.repeat for one in found if kind(one) == "noisy"] == list(range(7))
    begun = [line for line in errors.splitlines() if line.startswith("precision: round")]
    assert len(begun) == 4
    assert "2 of 2 points once more" in begun[0]
    assert f"1 of 2 points once more: sequential x 1 {found[-1].id}" in begun[-1]
    last = errors.splitlines()[-1]
    assert "1 of 2 ok points is within ±50 %; too wide with precision_most=7 reached: sequential x 1" in last
    assert found[-1].id in last


@pytest.mark.slow
def test_a_budget_ends_the_rounds_and_the_same_command_goes_on_until_there_is_nothing_left(
    here: Path,
) -> None:
    code, errors = harness(here, *SWEEP, "precision_budget_min=0")
    assert code == 0, errors
    last = errors.splitlines()[-1]
    assert (
        "0 of 2 ok points is within ±50 %; not settled with precision_budget_min=0 spent: sequential x 1 "
        in last
    )
    first = by_time(here)
    assert [kind(one) for one in first] == ["quiet", "noisy"] * 3
    assert harness(here, *SWEEP)[0] == 0
    whole = by_time(here)
    assert (whole[:6], len(whole)) == (first, 13)
    code, errors = harness(here, *SWEEP)
    assert (code, errors.count("stored before"), by_time(here)) == (0, 13, whole)
    code, errors = harness(here, *SWEEP, "force=true")
    again = by_time(here)
    assert (code, errors.count("stored before"), len(again)) == (0, 0, 13)
    assert again[0].started_ns > whole[-1].started_ns


def keep(run: Path, repeat: int, scale: float, outcome: Outcome = Outcome.OK) -> None:
    """A stored repeat of one point; its aggregate RTF is 2 * scale."""
    made = measured(point("sequential", 1), repeat, scale=scale)
    folder = store.folder(run, made.result.id, repeat)
    folder.mkdir(parents=True)
    store.save(replace(made, result=replace(made.result, outcome=outcome)), folder)


def look(run: Path, asked: Asked = ASKED) -> rounds.Look | None:
    planned = settings.Planned(point("sequential", 1), run, 0, 1, False, None)
    return rounds.look(planned, ["avatar.steps=50", "repeat=0"], asked)


def seen(run: Path, asked: Asked = ASKED) -> rounds.Look:
    found = look(run, asked)
    assert found is not None
    return found


def test_a_point_as_it_is_stored_says_what_to_measure_next(tmp_path: Path) -> None:
    for repeat, scale in enumerate((1.0, 1.1, 1.21)):
        keep(tmp_path, repeat, scale)
    found = seen(tmp_path)
    assert (found.standing.state, found.standing.n, found.repeat) == ("wide", 3, 3)
    assert found.standing.half_width == pytest.approx(0.23898, abs=1e-5)  # as in test_precision.py
    assert (found.more, found.overrides) == (5, ("avatar.steps=50",))
    keep(tmp_path, 4, 1.0)
    assert (seen(tmp_path).standing.n, seen(tmp_path).repeat) == (4, 3)


@pytest.mark.parametrize("outcome", [Outcome.HUNG, Outcome.TIMEOUT, Outcome.SKIPPED, Outcome.INVALID])
def test_a_point_of_which_a_repeat_was_not_ok_is_not_repeated_for_precision(
    tmp_path: Path, outcome: Outcome
) -> None:
    assert look(tmp_path) is None
    for repeat in range(3):
        keep(tmp_path, repeat, 1.0 + repeat)
    assert look(tmp_path) is not None
    keep(tmp_path, 3, 1.0, outcome)
    assert look(tmp_path) is None


def test_a_figure_that_is_not_measured_ends_the_rounds_and_is_named(tmp_path: Path) -> None:
    for repeat in range(3):
        keep(tmp_path, repeat, 1.0)
    asked = replace(ASKED, metric="rtf_request_p95")  # needs 59 jobs, and these have 4
    found = seen(tmp_path, asked)
    assert found.standing.state == "unmeasured"
    assert rounds.ending([found], asked) == (
        "precision: rtf_request_p95 of 0 of 1 ok points is within ±10 %; "
        f"not measured at sequential x 1 {point('sequential', 1).id}"
    )


def test_a_round_takes_what_is_expected_to_end_within_the_budget(tmp_path: Path) -> None:
    for repeat, scale in enumerate((1.0, 1.1, 1.21)):
        keep(tmp_path, repeat, scale)
    looks = [
        replace(seen(tmp_path), title=name, last_s=last_s)
        for name, last_s in zip("abc", (30, 50, 20), strict=True)
    ]
    assert [one.title for one in rounds.fitting(looks, 55.0)] == ["a", "c"]
    assert rounds.fitting(looks, 19.0) == []
    assert rounds.fitting(looks, float("inf")) == looks
    line = rounds.beginning(2, looks, looks[:1], ASKED)
    assert line.startswith(
        "precision: round 2 for rtf_aggregate within ±10 %, 3 of 3 points once more, 1 of them before the "
        "budget ends: a ±24 % after 3 (projection: 5 more), b "
    )


WRONG = {
    "repeats=abc": "repeats=abc: must be a whole number",
    "precision_target=0": "precision_target=0: must be at least 0.001; 0.03 is 3 % on either side",
    "precision_target=3": "precision_target=3: must be at most 1.0; 0.03 is 3 % on either side",
    "precision_metric=rtf_agregate": "precision_metric=rtf_agregate: no figure of a measurement; use rtf_ag",
    "precision_metric=bottleneck": "precision_metric=bottleneck: no figure of a measurement; use ",
    "precision_most=2": "precision_most=2: must be at least 3",
    "precision_budget_min=-1": "precision_budget_min=-1: must be at least 0",
}


@pytest.fixture(scope="module")
def config() -> DictConfig:
    return composed()


def asked_of(config: DictConfig, *overrides: str) -> Asked:
    """As a sweep with these overrides would ask."""
    given = OmegaConf.merge(config, OmegaConf.from_dotlist(list(overrides)))
    assert isinstance(given, DictConfig)
    return rounds.asked({key: given[key] for key in rounds.SETTINGS}, config.rules)


@pytest.mark.parametrize("override", WRONG)
def test_a_wrong_setting_is_one_line(config: DictConfig, override: str) -> None:
    with pytest.raises(SettingError) as caught:
        asked_of(config, override)
    assert str(caught.value).startswith(WRONG[override])
    assert "\n" not in str(caught.value)


def test_without_a_target_there_are_the_repeats_and_no_more(config: DictConfig) -> None:
    assert (asked_of(config).repeats, asked_of(config).target) == (1, None)
    known = asked_of(config, "precision_target=0.03")
    assert (known.repeats, known.target, known.budget_s) == (3, 0.03, 3600.0)
    more = asked_of(config, "precision_target=0.03", "repeats=5", "precision_budget_min=null")
    assert (more.repeats, more.budget_s) == (5, float("inf"))


def test_what_is_one_for_the_sweep_takes_no_two_values() -> None:
    with pytest.raises(
        SettingError, match=r"^precision_target: is one for the whole sweep; give it a single"
    ):
        rounds.check_swept(["avatar.steps", "precision_target"])


def test_points_in_words_are_six_and_the_number_of_the_others(tmp_path: Path) -> None:
    keep(tmp_path, 0, 1.0)
    one = seen(tmp_path)
    assert Counter(rounds.ending([one] * 8, ASKED).split())["±?"] == 6
    assert rounds.ending([one] * 8, ASKED).endswith(" and 2 more")
