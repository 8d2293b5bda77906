"""Comparison of two sides: joining, alternation, verdicts, and what is refused by name."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from reports.compare import Rule, Unjoinable, compare, is_alternating, join
from reports.launches import Launch, Launched
from reports.statement import Line, Statement
from tests.reports.sides import BASE_MIN, NEAR_ONE, NEW_MIN, PRINTS, about, launch, rtfs, side

RULE = Rule({})


def on(axes: dict[str, Any], name: str) -> Launched:
    return side(about(1.0), name, axes={"executor": "sequential", "workers": 1, **axes})


def only(statement: Statement) -> Line:
    (line,) = statement.lines
    return line


# Joining


def test_points_are_joined_by_their_id_whatever_their_order_and_labels() -> None:
    base = [on({"steps": 10}, "a"), on({"steps": 50}, "b")]
    new = [on({"steps": 50}, "b"), on({"steps": 10}, "a")]
    assert [(x.id, y.id) for x, y in join(base, new)] == [("b", "b"), ("a", "a")]


def test_points_of_other_ids_are_joined_by_what_both_runs_varied() -> None:
    base = [on({"steps": 10, "seed": 0}, "a"), on({"steps": 50, "seed": 0}, "b")]
    new = [on({"steps": 50, "batch": 1}, "c"), on({"steps": 10, "batch": 1}, "d")]
    assert [(x.id, y.id) for x, y in join(base, new)] == [("b", "c"), ("a", "d")]


def test_two_points_that_agree_in_all_that_both_runs_varied_are_refused_by_their_labels() -> None:
    base = [on({"steps": 10}, "ten steps"), on({"steps": 50}, "fifty steps")]
    with pytest.raises(Unjoinable, match=r"ten steps and fifty steps agree in all .*\(executor, workers\)"):
        join(base, [on({}, "other")])
    with pytest.raises(Unjoinable, match="ten steps and fifty steps agree"):
        join([on({}, "other")], base)


def test_points_on_one_side_alone_are_told_and_only_a_missing_one_is_an_error() -> None:
    both = side(about(1.0), "both")
    old, fresh = on({"workers": 2}, "old"), on({"workers": 3}, "fresh")
    statement = compare(
        [both, old], [replace(both, launches=tuple(about(1.0, minutes=NEW_MIN))), fresh], RULE
    )
    assert [(x.point, x.word, x.text) for x in statement.lines if not x.metric] == [
        ("old", "missing", "only in BASE"),
        ("fresh", "new", "only in NEW"),
    ]
    assert statement.exit_code() == 12
    assert compare([both], [both, fresh], RULE).exit_code() == 0


def test_two_runs_that_have_nothing_in_common_are_no_success() -> None:
    statement = compare([on({"workers": 2}, "old")], [on({"workers": 3}, "fresh")], RULE)
    assert "nothing was compared" in next(line.text for line in statement.lines if not line.point)
    assert statement.exit_code() == 12


# Alternation


@pytest.mark.parametrize("order", ["ABBAAB", "ABABAB", "AABBAABB", "BAAB", "ABBABAABAB"])
def test_launches_that_take_turns_are_paired(order: str) -> None:
    assert is_alternating(*turns(order))


@pytest.mark.parametrize("order", ["AAABBB", "ABBBAA", "AABBBA", "ABABAAA"])
def test_three_launches_of_a_side_in_a_row_are_no_turns(order: str) -> None:
    assert not is_alternating(*turns(order))


def turns(order: str) -> tuple[Launched, Launched]:
    minutes = {name: [at for at, turn in enumerate(order) if turn == name] for name in "AB"}
    base, new = (rtfs([1.0] * len(minutes[name]), minutes[name]) for name in "AB")
    return side(base), side(new)


def test_two_hosts_are_no_pair_even_if_their_launches_take_turns() -> None:
    base, new = about(1.0), [replace(each, host="other") for each in about(1.0, minutes=NEW_MIN)]
    assert not is_alternating(side(base), side(new))


def test_what_was_measured_one_side_after_the_other_is_open_whatever_it_shows() -> None:
    base, new = side(about(1.0)), side(about(1.2, minutes=(10, 11, 12, 13, 14)))
    statement = compare([base], [new], RULE)
    line = only(statement)
    assert line.word == "unpaired"
    assert line.text.startswith("would be slower, but launches did not take turns, see python -m harness.ab")
    assert (statement.exit_code(), statement.exit_code(strict=True)) == (0, 11)


def test_unpaired_launches_decide_where_that_is_allowed() -> None:
    base, new = side(about(1.0)), side(about(1.2, minutes=(10, 11, 12, 13, 14)))
    statement = compare([base], [new], Rule({}, allow_unpaired=True))
    assert (only(statement).word, statement.exit_code()) == ("slower", 10)


# Verdicts


def paired(level: float, new_level: float, **changes: Any) -> tuple[list[Launched], list[Launched]]:
    return [side(about(level))], [side(about(new_level, minutes=NEW_MIN), **changes)]


def test_five_percent_more_on_a_gpu_is_slower_with_its_size_and_its_interval() -> None:
    statement = compare(*paired(0.8, 0.84), RULE)
    line = only(statement)
    assert (line.word, statement.exit_code()) == ("slower", 10)
    # Of the launches 0.0038, so of a difference of two means of five 0.0024; t of 8 is 2.306.
    assert line.text.startswith(
        "0.800 -> 0.840, 1.050 times BASE (95 % interval 1.044 to 1.056, 5 and 5 launches"
    )
    assert line.figures["decision"]["ratio"] == pytest.approx(1.05)
    assert (line.figures["base_id"], line.figures["new_commit"]) == ("point", "a" * 40)


def test_the_same_five_percent_do_not_matter_where_the_processor_does_the_work() -> None:
    base, new = paired(0.8, 0.84, on_gpu=False)
    assert only(compare(base, new, RULE)).word != "slower"
    assert only(compare(base, new, Rule({"rtf_aggregate": 0.03}))).word == "slower"


def test_five_percent_less_is_faster_and_half_a_percent_is_the_same() -> None:
    assert only(compare(*paired(0.84, 0.8), RULE)).word == "faster"
    assert only(compare(*paired(0.8, 0.804), RULE)).word == "same"
    assert compare(*paired(0.84, 0.8), RULE).exit_code(strict=True) == 0


@pytest.mark.parametrize("launches", [1, 2])
def test_fewer_than_three_launches_decide_nothing_however_large_the_difference(launches: int) -> None:
    base, new = side(about(1.0)[:launches]), side(about(3.0, minutes=NEW_MIN)[:launches])
    statement = compare([base], [new], RULE)
    assert only(statement).word == "inconclusive"
    assert "fewer than 3 launches a side" in only(statement).text
    assert (statement.exit_code(), statement.exit_code(strict=True)) == (0, 11)


def test_the_stage_that_took_the_more_is_named_with_its_share() -> None:
    """Warp 0.30 to 0.40 s per s of video, the others as they were: 10 % of 1 s, all of it there."""

    def launches(warp: float, minutes: Sequence[int]) -> list[Launch]:
        return [
            launch(minute, {
                "rtf_aggregate": (warp + 0.7) * near, "stage.avatar.warp": warp * near,
                "stage.avatar.decode": 0.5 * near, "stage.tts.gpt": 0.2 * near,
            })
            for minute, near in zip(minutes, NEAR_ONE, strict=True)
        ]  # fmt: skip

    statement = compare([side(launches(0.3, BASE_MIN))], [side(launches(0.4, NEW_MIN))], RULE)
    gained = "100 % of all that was gained; the rest as it was."
    assert only(statement).text.endswith(f"avatar.warp +33 % (0.300 to 0.400 s per s of video), {gained}")


def test_of_two_hundred_pairs_without_a_difference_hardly_any_is_called_slower() -> None:
    """One in forty is by chance beyond its interval; a least change of 0.01 % holds nothing back."""
    rng = np.random.default_rng(1)
    base, new = (
        [
            side(rtfs(np.exp(0.02 * rng.standard_normal(5)).tolist(), minutes), str(index))
            for index in range(200)
        ]
        for minutes in (BASE_MIN, NEW_MIN)
    )
    words = [line.word for line in compare(base, new, Rule({"rtf_aggregate": 0.0001})).lines]
    assert len(words) == 200
    assert words.count("slower") + words.count("faster") <= 2


def test_one_true_regression_among_two_hundred_pairs_is_still_found() -> None:
    base = [side(about(1.0), str(index)) for index in range(200)]
    new = [side(about(1.1 if index == 7 else 1.0, minutes=NEW_MIN), str(index)) for index in range(200)]
    statement = compare(base, new, RULE)
    assert [line.point for line in statement.lines if line.word == "slower"] == ["7"]
    assert statement.lines[0].point == "7"
    assert statement.lead == "200 points compared: 1 slower, 199 same."


# What has no figures to compare


def test_a_point_that_hangs_in_new_is_told_with_how_it_was_in_base() -> None:
    new = side([*about(1.0, minutes=NEW_MIN)[:4], launch(9, {}, "hung")])
    statement = compare([side(about(1.0))], [new], RULE)
    assert (only(statement).word, statement.exit_code()) == ("hung", 12)
    assert only(statement).text == "hung: avatar.warp did not end (BASE: ok)"


def test_a_point_that_hung_in_base_alone_is_fixed() -> None:
    base = side([launch(0, {}, "hung")])
    statement = compare([base], [side(about(1.0, minutes=NEW_MIN))], RULE)
    assert (only(statement).word, statement.exit_code(strict=True)) == ("fixed", 0)
    assert only(statement).text == "ok; BASE was hung: avatar.warp did not end"


def test_a_base_of_which_one_launch_hung_does_not_hide_a_regression() -> None:
    base = side([*about(1.0)[:4], launch(8, {}, "hung")])
    assert compare([base], [side(about(1.5, minutes=NEW_MIN))], RULE).exit_code() == 10


@pytest.mark.parametrize(
    ("changes", "told", "key"),
    [
        ({"fingerprint": PRINTS | {"driver": "590"}}, "driver: 580.95.05 in BASE, 590 in NEW", "driver"),
        ({"fingerprint": PRINTS | {"weights": "w2"}}, "weights: w1 in BASE, w2 in NEW", "weights"),
        ({"fingerprint": PRINTS | {"avatar.warp": "eager float16 cuda"}},
         "avatar.warp: eager float32 cuda in BASE, eager float16 cuda in NEW", "avatar.warp"),
        ({"config": {"workload.seed": 1}}, "workload.seed: 0 in BASE, 1 in NEW", "workload.seed"),
        ({"config": {"avatar.steps": 50}}, "avatar.steps: 10 in BASE, 50 in NEW", "avatar.steps"),
    ],
)  # fmt: skip
def test_unlike_things_are_refused_by_name_until_that_name_is_allowed(
    changes: dict[str, Any], told: str, key: str
) -> None:
    known = {"weights": "w1", "avatar.warp": "eager float32 cuda"}
    base = side(about(1.0), fingerprint=PRINTS | known, config={"workload.seed": 0, "avatar.steps": 10})
    new = side(about(1.0, minutes=NEW_MIN), **changes)
    statement = compare([base], [new], RULE)
    assert (only(statement).word, statement.exit_code()) == ("unlike", 12)
    assert only(statement).text.startswith(told)
    assert only(statement).text.endswith(f"if that is meant, --allow {key}")
    assert only(compare([base], [new], Rule({}, [key]))).word == "same"


def test_a_group_allows_all_of_its_keys_and_no_other() -> None:
    base = side(about(1.0), config={"workload.seed": 0, "workload.jobs": 4, "avatar.steps": 10})
    new = side(
        about(1.0, minutes=NEW_MIN), config={"workload.seed": 1, "workload.jobs": 8, "avatar.steps": 10}
    )
    assert only(compare([base], [new], Rule({}, ["workload"]))).word == "same"
    assert only(compare([base], [new], Rule({}, ["work"]))).word == "unlike"
    assert only(compare([base], [new], Rule({}, ["workload.seed"]))).figures["unlike"] == {
        "workload.jobs": ("4", "8")
    }
