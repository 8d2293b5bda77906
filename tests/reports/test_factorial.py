"""Effects against hand-computed designs, scipy's t-tests and an independent solver."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from scipy import optimize, stats

from harness.result import Measurement, Outcome
from reports.factorial import Design, cell_means, design_of, interactions, main_effects
from reports.least_squares import Ratio
from reports.tables import table
from tests.data.make_runs import SHARED, broken, measured, point
from tests.reports.sweeps import plain


def design(measurements: Sequence[Measurement]) -> Design:
    found = design_of(table("run", Path(), measurements))
    assert found is not None
    return found


def square(rtfs: dict[tuple[int, str], float]) -> list[Measurement]:
    """Points over steps and precision, by RTF, measured in this order."""
    return [
        plain(rtf, minute=minute, avatar__steps=steps, avatar__precision=text)
        for minute, ((steps, text), rtf) in enumerate(rtfs.items())
    ]


def ratios(measurements: Sequence[Measurement]) -> dict[str, Ratio | None]:
    found, _ = main_effects(design(measurements))
    return {f"{effect.factor.name}={effect.factor.levels[effect.level]}": effect.ratio for effect in found}


def value(ratio: Ratio | None) -> float:
    assert ratio is not None
    return ratio.value


FULL = {(50, "fp32"): 8.0, (50, "fp16"): 4.0, (10, "fp32"): 6.0, (10, "fp16"): 1.0}


def first_levels(measurements: Sequence[Measurement]) -> list[str]:
    return [factor.levels[0] for factor in design(measurements).factors]


def test_a_main_effect_is_the_geometric_mean_of_its_ratios() -> None:
    found = ratios(square(FULL))
    assert value(found["precision=fp16"]) == pytest.approx(math.sqrt(4 / 8 * 1 / 6))
    assert value(found["steps=10"]) == pytest.approx(math.sqrt(6 / 8 * 1 / 4))


def test_fp32_and_eager_are_what_others_are_held_against_wherever_they_were_measured() -> None:
    points = [("fp16", "tensorrt"), ("fp32", "eager"), ("fp16", "eager"), ("fp32", "tensorrt")]
    runs = [plain(1.0, avatar__precision=precision, avatar__backend=name) for precision, name in points]
    assert sorted(first_levels(runs)) == ["eager", "fp32"]


def test_without_repeats_intervals_come_from_the_residual_of_the_model() -> None:
    found, error = main_effects(design(square(FULL)))
    # Each residual of a 2 x 2 design is a quarter of the interaction: log(8 * 1 / (4 * 6)) / 4. With 1
    # degree of freedom the variance is 4 of their squares, which is also that of a main effect: 2 means of 2.
    assert (error.kind, error.freedom) == ("residual", 1)
    half = 12.706 * 2 * abs(math.log(8 * 1 / (4 * 6)) / 4)
    for effect in found:
        assert effect.ratio is not None
        assert effect.ratio.high == pytest.approx(effect.ratio.value * math.exp(half), rel=1e-3)
        assert effect.ratio.low == pytest.approx(effect.ratio.value / math.exp(half), rel=1e-3)


def test_with_repeats_the_interval_is_that_of_scipys_pooled_t_test() -> None:
    slow, fast = [2.0, 2.2, 2.1], [1.0, 1.3, 1.1]
    runs = [plain(rtf, n, avatar__precision="fp32") for n, rtf in enumerate(slow)]
    runs += [plain(rtf, n, avatar__precision="fp16") for n, rtf in enumerate(fast)]
    found, error = main_effects(design(runs))
    interval = stats.ttest_ind(np.log(fast), np.log(slow)).confidence_interval(0.95)
    assert (error.kind, error.freedom) == ("repeats", 4)
    assert found[0].ratio is not None
    assert (found[0].ratio.low, found[0].ratio.high) == pytest.approx(
        (math.exp(interval.low), math.exp(interval.high)), rel=1e-3
    )


def test_where_nothing_is_left_over_there_is_no_interval() -> None:
    cells = {key: rtf for key, rtf in FULL.items() if key != (10, "fp16")}
    found, error = main_effects(design(square(cells)))
    assert (error.kind, error.freedom) == ("none", 0)
    assert [effect.ratio.low for effect in found if effect.ratio] == [None, None]
    assert value(ratios(square(cells))["precision=fp16"]) == pytest.approx(4 / 8)


def test_an_unbalanced_design_gives_what_another_solver_finds() -> None:
    cells = {(50, "fp32"): [8.0, 8.4], (25, "fp32"): [5.0], (50, "fp16"): [4.1], (10, "fp16"): [1.2, 1.1]}
    cells |= {(10, "bf16"): [1.3], (25, "bf16"): [2.6, 2.7]}
    runs = [
        plain(rtf, n, avatar__steps=steps, avatar__precision=text)
        for (steps, text), rtfs in cells.items()
        for n, rtf in enumerate(rtfs)
    ]
    rows = [(key, math.log(rtf)) for key, rtfs in cells.items() for rtf in rtfs]

    def misses(free: np.ndarray) -> list[float]:
        constant, by_steps, by_text = free[0], {50: 0.0, 25: free[1], 10: free[2]}, {"fp32": 0.0}
        by_text |= {"fp16": free[3], "bf16": free[4]}
        return [constant + by_steps[steps] + by_text[text] - log for (steps, text), log in rows]

    wanted = np.exp(optimize.least_squares(misses, np.zeros(5), xtol=1e-15, ftol=1e-15, gtol=1e-15).x)
    found = ratios(runs)
    assert value(found["precision=fp16"]) == pytest.approx(wanted[3], rel=1e-6)
    assert value(found["precision=bf16"]) == pytest.approx(wanted[4], rel=1e-6)


def test_an_interaction_is_a_ratio_of_ratios() -> None:
    [term] = interactions(design(square(FULL)))
    assert {term.factor.name, term.other.name} == {"steps", "precision"}
    assert term.ratio_of_ratios.value == pytest.approx((1 / 6) / (4 / 8))
    assert term.at_level.value / term.at_first.value == pytest.approx((1 / 6) / (4 / 8))


def test_the_effect_of_a_backend_is_told_by_resolution_and_not_the_other_way_round() -> None:
    cells = {("eager", "small"): 2.0, ("eager", "large"): 4.0, ("tensorrt", "small"): 0.5}
    cells |= {("tensorrt", "large"): 2.0}
    runs = [
        plain(rtf, minute=minute, workload__resolution=size, avatar__backend=name)
        for minute, ((name, size), rtf) in enumerate(cells.items())
    ]
    [term] = interactions(design(runs))
    assert (term.factor.name, term.other.name, term.other.levels) == (
        "backend",
        "resolution",
        ("small", "large"),
    )
    assert (term.at_first.value, term.at_level.value) == (pytest.approx(0.25), pytest.approx(0.5))


def test_parallel_effects_do_not_interact() -> None:
    cells = {(50, "fp32"): 8.0, (50, "fp16"): 4.0, (10, "fp32"): 2.0, (10, "fp16"): 1.0}
    [term] = interactions(design(square(cells)))
    assert term.ratio_of_ratios.value == pytest.approx(1.0)


def test_cell_means_of_a_complete_design_are_the_geometric_means() -> None:
    runs = [
        plain(rtf * factor, avatar__steps=steps, avatar__precision=text, workload__resolution=size)
        for (steps, text), rtf in FULL.items()
        for size, factor in (("small", 1.0), ("large", 9.0))
    ]
    found = design(runs)
    names = {factor.name: factor for factor in found.factors}
    means = cell_means(found, names["precision"], names["resolution"])
    at = dict(zip(names["resolution"].levels, means["fp16"], strict=True))
    assert at == {"small": pytest.approx(math.sqrt(4 * 1)), "large": pytest.approx(9 * math.sqrt(4 * 1))}


def test_a_missing_combination_does_not_bend_the_line_of_the_others() -> None:
    """fp16 was not measured at the slow 50 steps in small: its mean is what 50 steps would make of it."""
    cells = {(50, "fp32"): 8.0, (50, "fp16"): 4.0, (10, "fp32"): 2.0, (10, "fp16"): 1.0}
    runs = [
        plain(rtf, avatar__steps=steps, avatar__precision=text, workload__resolution=size)
        for (steps, text), rtf in cells.items()
        for size in ("small", "large")
        if (steps, text, size) != (50, "fp16", "small")
    ]
    found = design(runs)
    names = {factor.name: factor for factor in found.factors}
    means = cell_means(found, names["precision"], names["resolution"])
    assert means["fp16"] == [pytest.approx(2.0), pytest.approx(2.0)]


def test_settings_that_move_together_are_one_factor_and_named() -> None:
    runs = [plain(2.0, avatar__steps=50, avatar__overlap=10), plain(1.0, avatar__steps=10, avatar__overlap=5)]
    [factor] = design(runs).factors
    assert (factor.name, factor.followers) == ("steps", ("overlap",))


def test_levels_that_nothing_separates_are_not_estimated() -> None:
    both = [(steps, text) for steps in (50, 10) for text in ("fp32", "fp16")]
    apart = [(25, "int8"), (25, "fp8")]
    runs = [plain(1.0 + n, avatar__steps=s, avatar__precision=t) for n, (s, t) in enumerate(both + apart)]
    found = ratios(runs)
    untold = {name for name, ratio in found.items() if ratio is None}
    assert {"precision=int8", "precision=fp8"} <= untold
    assert found["precision=fp16"] is not None


def test_broken_points_are_missing_combinations_and_their_levels_are_named() -> None:
    runs = square(FULL)
    runs.append(broken(point("sequential", 1, avatar__precision="int8"), Outcome.SKIPPED, "no int8 here"))
    runs[3] = broken(
        point("sequential", 1, avatar__steps=10, avatar__precision="fp16"), Outcome.HUNG, "stuck"
    )
    found = design(runs)
    assert found.missing == 1
    assert found.lost == ("precision=int8 (skipped)",)


def test_executor_and_workers_alone_have_a_section_of_their_own() -> None:
    runs = [measured(point("sequential", 1)), measured(point("threads", 2), parts=SHARED)]
    assert design_of(table("run", Path(), runs)) is None
    assert design_of(table("run", Path(), runs[:1])) is None
