"""What each figure looks like tonight: fine, learning, suspect and against which night, or still slower."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest

from reports.anchor import Anchor
from reports.history import Change, Night, Session
from reports.launches import Launch
from reports.screening import Look, looks
from reports.series import series_of
from tests.reports.sides import CONFIG, PRINTS, change, date, history, night, session, side, tonight

RTF = "rtf_aggregate"


def ripple(number: int) -> float:
    return 1.004 if number % 2 else 0.996


def calm(count: int, level: float = 1.0) -> list[Night]:
    return [night(number, level * ripple(number)) for number in range(count)]


def look(
    nights: Sequence[Night],
    value: float,
    number: int | None = None,
    changes: Sequence[Change] = (),
    sessions: Sequence[Session] = (),
    anchor: Anchor | None = None,
    **point: Any,
) -> Look:
    """Of a single figure with this value in the night after the last one."""
    at = len(nights) if number is None else number
    (series,) = series_of([tonight(at, value, **point)], history(nights, sessions, changes))
    (found,) = looks(series, {}, anchor, date(at))
    return found


def anchored(number: int, value: float = 1.0) -> Anchor:
    return Anchor(date(number), "a", "", {"point": {RTF: value}}, {"point": "f"})


def why(found: Look) -> list[tuple[str, int]]:
    """Each suspicion with the number of the night to measure against."""
    return [(suspect.why, int(suspect.base.night[8:10]) - 1) for suspect in found.suspects]


# One night


@pytest.mark.parametrize("count", [0, 1, 7])
def test_below_eight_nights_the_history_is_learning_and_nothing_is_suspect(count: int) -> None:
    found = look(calm(count), 5.0)
    assert (found.word, found.suspects) == ("learning", ())
    assert f"night {count + 1} of this environment" in found.text


def test_a_night_as_usual_is_fine_with_what_would_have_been_suspect() -> None:
    """Median of ten nights 1.0; the limit is 2 % more, two thirds of 3 %, where nights vary by 0.4 %."""
    found = look(calm(10), 1.005)
    assert (found.word, found.suspects) == ("fine", ())
    assert found.text == "1.00, 1.005 times the median of 10 nights (1.00; suspect from 1.02)"


@pytest.mark.parametrize(("value", "words"), [(1.03, ["slow"]), (0.96, ["fast"]), (1.018, []), (0.985, [])])
def test_beyond_two_thirds_of_the_least_change_that_matters_a_night_is_suspect(
    value: float, words: list[str]
) -> None:
    found = look(calm(20), value)
    assert [suspect.why for suspect in found.suspects] == words


def test_a_slow_night_is_measured_against_the_last_one_on_the_far_side_of_the_level() -> None:
    """Nights 19 and 20 were above the middle already, as a step within the noise would be."""
    nights = [*calm(19), night(19, 1.015), night(20, 1.012)]
    assert why(look(nights, 1.04)) == [("slow", 18)]


def test_a_fast_night_is_measured_against_the_last_one_above_the_level() -> None:
    nights = [*calm(18), night(18, 1.004), night(19, 0.99)]
    assert why(look(nights, 0.96)) == [("fast", 18)]


def test_what_the_same_code_gave_is_known_to_be_the_machine() -> None:
    nights = calm(20)
    (suspect,) = look(nights, 1.1, code=nights[18].code).suspects
    assert suspect.base is not nights[19]
    assert suspect.same_code
    (suspect,) = look(nights, 1.1).suspects
    assert not suspect.same_code


def test_a_code_that_nobody_knows_is_not_the_same() -> None:
    nights = [replace(each, code="") for each in calm(20)]
    (suspect,) = look(nights, 1.1, code="").suspects
    assert not suspect.same_code


def test_a_figure_that_not_every_launch_has_is_not_looked_at() -> None:
    launches = [Launch((date(20), n), "l4", "ok", "", {RTF: 1.0} if n else {}) for n in range(3)]
    (series,) = series_of([side(launches)], history(calm(20)))
    assert looks(series, {}, None, date(20)) == []


@pytest.mark.parametrize(
    ("fail", "slow"), [({}, ["slow"]), ({RTF: 0.2}, []), ({"stage.avatar.warp": 0.01}, ["slow", "slow"])]
)
def test_what_fails_is_chosen_by_figure_and_stages_may_be_among_them(
    fail: Mapping[str, float], slow: list[str]
) -> None:
    stage = "stage.avatar.warp"
    nights = [replace(each, values={**each.values, stage: each.values[RTF]}) for each in calm(20)]
    launches = [Launch((date(20), n), "l4", "ok", "", {RTF: 1.1, stage: 1.1}) for n in range(3)]
    (series,) = series_of([side(launches)], history(nights))
    found = [suspect.why for each in looks(series, fail, None, date(20)) for suspect in each.suspects]
    assert found == slow


# A new environment


def test_the_first_night_behind_a_new_driver_is_measured_against_the_last_good_commit() -> None:
    nights = [*calm(10), night(10, outcome="hung", values={})]
    found = look(nights, 1.5, fingerprint=PRINTS | {"driver": "590"})
    assert (found.word, why(found)) == ("learning", [("learning", 9)])


def test_the_very_first_night_of_a_point_is_measured_against_nothing() -> None:
    assert why(look([], 1.0)) == []
    assert why(look(calm(10), 1.0, name="other", config={**CONFIG, "avatar.steps": 50})) == []


# Looking back


def test_a_level_that_rose_unseen_is_late_and_measured_against_the_night_before_it() -> None:
    nights = [night(number, (1.0 if number < 12 else 1.08) * ripple(number)) for number in range(24)]
    assert why(look(nights, 1.08)) == [("late", 11)]


def test_what_was_looked_at_within_a_week_is_not_measured_again() -> None:
    nights = [night(number, (1.0 if number < 12 else 1.08) * ripple(number)) for number in range(24)]
    for number, again in ((23, False), (18, False), (16, True)):
        seen = look(nights, 1.08, sessions=[session(number, why="late")])
        assert ([suspect.why for suspect in seen.suspects] == ["late"]) is again
    other = look(nights, 1.08, sessions=[session(23, why="slow"), session(23, why="late", metric="ttfa_s")])
    assert [suspect.why for suspect in other.suspects] == ["late"]


def test_a_level_that_fell_unseen_is_accepted_as_it_is_and_measured_by_nobody() -> None:
    nights = [night(number, (1.0 if number < 12 else 0.9) * ripple(number)) for number in range(24)]
    found = look(nights, 0.9)
    (fall,) = found.changes
    assert (fall.night, fall.found, fall.before, fall.how) == (date(12), date(24), date(11), "seen")
    assert fall.ratio == pytest.approx(0.9, rel=0.01)
    assert found.suspects == ()


# Creep


def creeping(per_night: float, count: int = 25) -> list[Night]:
    return [night(number, (1 + per_night) ** number) for number in range(count)]


def test_what_creeps_to_twice_the_least_change_is_measured_against_the_anchor() -> None:
    """0.4 % a night: the median of the last seven, night 22 of 25, is 9.2 % above night 0; 6 % are enough."""
    found = look(creeping(0.004), 1.004**25, anchor=anchored(0))
    assert ("creep", 0) in why(found)
    (suspect,) = (each for each in found.suspects if each.why == "creep")
    assert suspect.excess == pytest.approx(1.004**22)


def test_less_than_twice_the_least_change_and_no_anchor_are_no_creep() -> None:
    assert "creep" not in [each for each, _ in why(look(creeping(0.002), 1.002**25, anchor=anchored(0)))]
    assert "creep" not in [each for each, _ in why(look(creeping(0.004), 1.004**25))]


def test_an_anchor_of_another_environment_and_one_of_six_nights_ago_say_nothing() -> None:
    fingerprints = {"f": PRINTS, "g": PRINTS | {"driver": "570"}}
    nights = [replace(each, fingerprint="g") if each.night == date(0) else each for each in creeping(0.004)]
    (series,) = series_of([tonight(25, 1.1)], history(nights, fingerprints=fingerprints))
    (found,) = looks(series, {}, anchored(0), date(25))
    assert "creep" not in [each for each, _ in why(found)]


def test_a_fault_in_the_anchored_night_is_not_what_the_level_is_held_against() -> None:
    """Night 0 took 20 % more, which was not confirmed, or hung; since night 1 the level crept up by 9 %."""
    nights = [night(0, 1.2, faults=(RTF,)), *creeping(0.004)[1:]]
    assert ("creep", 1) in why(look(nights, 1.004**25, anchor=anchored(0, 1.2)))
    assert ("creep", 1) in why(
        look([night(0, outcome="hung", values={}), *nights[1:]], 1.1, anchor=anchored(0))
    )


# Regressions that stand


def risen(first: int = 15, count: int = 20, ratio: float = 1.1) -> list[Night]:
    return [night(number, (1.0 if number < first else ratio) * ripple(number)) for number in range(count)]


@pytest.mark.parametrize("how", ["confirmed", "not compared"])
def test_a_regression_stands_with_its_first_night_its_size_and_its_commits(how: str) -> None:
    found = look(risen(), 1.1, changes=[change(15, how=how)])
    assert found.word == "still slower"
    assert found.text.startswith("1.10, +10")
    assert "since 2026-03-16 (commits aaaaaaaaaaaa..bbbbbbbbbbbb)" in found.text


@pytest.mark.parametrize("how", ["machine", "seen"])
def test_what_the_machine_did_and_an_improvement_do_not_stand(how: str) -> None:
    assert look(risen(), 1.1, changes=[change(15, how=how)]).word == "fine"


def test_a_regression_ends_when_the_anchor_is_moved_to_it_and_not_when_it_is_moved_before_it() -> None:
    assert look(risen(), 1.1, changes=[change(15)], anchor=anchored(14)).word == "still slower"
    assert look(risen(), 1.1, changes=[change(15)], anchor=anchored(15)).word == "fine"


def test_a_regression_ends_when_the_level_is_back_and_not_on_a_lucky_night() -> None:
    assert look(risen(), 1.0, changes=[change(15)]).word == "still slower"
    back = [*risen(), *(night(number, ripple(number)) for number in range(20, 24))]
    mended = [change(15), change(20, 0.91)]
    assert look(back, 1.0, changes=mended).word == "fine"


def test_half_mended_stands_with_what_is_left() -> None:
    half = [*risen(), *(night(number, 1.05 * ripple(number)) for number in range(20, 24))]
    found = look(half, 1.05, changes=[change(15), change(20, 0.955)])
    assert found.word == "still slower"
    assert "+5" in found.text


def test_a_regression_still_stands_behind_a_new_driver() -> None:
    found = look(risen(), 1.1, changes=[change(15)], fingerprint=PRINTS | {"driver": "590"})
    assert found.word == "still slower"


def test_a_regression_that_came_with_a_new_driver_stands_with_what_was_measured_then() -> None:
    """Behind the driver of night 15 no night is from before: what launches in turn gave is all there is."""
    prints = {"f": PRINTS, "g": PRINTS | {"driver": "590"}}
    nights = [replace(each, fingerprint="g") if each.night >= date(15) else each for each in risen()]
    for changes, stands in (([change(15)], True), ([change(15), change(18, 0.91)], False)):
        known = history(nights, (), changes, fingerprints=prints)
        (series,) = series_of([tonight(20, 1.1, fingerprint=prints["g"])], known)
        (found,) = looks(series, {}, None, date(20))
        assert (found.word == "still slower") is stands


def test_a_machine_that_is_faster_since_does_not_hide_a_regression() -> None:
    """1.1 by the code from night 15 on, and 0.9 of it by the machine from night 18 on: 0.99 in all."""
    nights = [*risen()[:18], *(night(number, 0.99 * ripple(number)) for number in range(18, 22))]
    found = look(nights, 0.99, changes=[change(15), change(18, 0.9, "machine")])
    assert found.word == "still slower"
    assert "+10" in found.text


def test_a_machine_that_is_slower_since_does_not_bring_a_mended_regression_back() -> None:
    """Mended in night 17; from night 20 on the machine takes 6 % more."""
    nights = [*risen()[:17], *(night(number, ripple(number)) for number in range(17, 20))]
    nights += [night(number, 1.06 * ripple(number)) for number in range(20, 24)]
    mended = [change(15), change(17, 0.91), change(20, 1.06, "machine")]
    assert look(nights, 1.06, changes=mended).word == "fine"


def test_a_second_regression_in_the_night_after_an_improvement_is_suspect() -> None:
    nights = [*calm(20), night(20, 0.9)]
    assert why(look(nights, 1.1, changes=[change(20, 0.9)])) == [("slow", 20)]


def two_figures(changes: Sequence[Change] = ()) -> dict[str, int]:
    """The nights to measure against, of figures that are a fifth slower: rtf is high on even nights, ttfa on
    odd ones, so alone the one would take night 9 and the other night 8.
    """
    even, odd = (tuple(1.0 + 0.001 * (number % 2 == rest) for number in range(10)) for rest in (0, 1))
    rows = [night(k, values={RTF: (even[k],), "ttfa_s": (odd[k],)}) for k in range(10)]
    slow = [replace(one, values={RTF: 1.2, "ttfa_s": 1.2}) for one in tonight(10).launches]
    (series,) = series_of([side(slow, commit="f" * 40, code="new")], history(rows, (), changes))
    found = [one for each in looks(series, {}, None, date(10)) for one in each.suspects]
    return {one.metric: int(one.base.night[8:10]) - 1 for one in found}


def test_what_is_suspect_of_a_point_tonight_shares_the_earliest_base() -> None:
    assert two_figures() == {RTF: 8, "ttfa_s": 8}


def test_no_base_lies_before_a_level_that_was_accepted_since() -> None:
    assert two_figures([change(9, 1.05)]) == {RTF: 9, "ttfa_s": 8}
