"""Suspects measured again: what a session, no session and no base make of them, and what is stored."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import replace

import pytest

from reports.again import Measured
from reports.history import Change, Session
from reports.launches import Launched
from reports.screening import Suspect
from reports.suspects import Answer, Budget, answers, recorded
from tests.reports.sessions import (
    BUDGET,
    NIGHTS,
    RTF,
    Harness,
    alone,
    answer,
    gives,
    ratio,
    suspect,
)
from tests.reports.sides import NEAR_ONE, NEW_MIN, about, date, launch, night, session

# A session


def test_a_suspect_is_measured_against_the_commit_of_its_base_with_as_many_launches_as_asked() -> None:
    harness = ratio(1.1)
    answer(suspect(), harness, Budget(7, 60.0))
    assert harness.asked == [("point", "0013", 7)]  # 19, as a commit of simulated nights is its number


def test_a_step_that_the_session_shows_too_is_slower_accepted_and_a_level_from_tonight_on() -> None:
    found = answer(suspect(), ratio(1.1))
    assert (found.word, found.fault, found.line.code) == ("slower", False, 10)
    assert found.text.startswith(
        "1.10 is +10.0 % from the last nights; measured again, 1.00 -> 1.10, 1.100 times BASE"
    )
    assert found.change is not None
    assert found.change.ratio == pytest.approx(1.1)
    assert found.change == Change(
        date(20),
        date(20),
        "point",
        RTF,
        found.change.ratio,
        date(19),
        NIGHTS[19].commit,
        f"{20:040x}",
        "confirmed",
    )
    assert found.session is not None
    assert (found.session.word, found.session.launches, found.session.why) == ("slower", (5, 5), "slow")


def test_two_thirds_of_the_least_change_are_enough_behind_a_suspicion_and_less_is_not() -> None:
    assert answer(suspect(), ratio(1.022)).word == "slower"
    assert answer(suspect(), ratio(1.018)).word == "not confirmed"


def test_a_step_that_the_session_does_not_show_is_the_machine_s_and_masked() -> None:
    found = answer(suspect(), ratio(1.0))
    assert (found.word, found.fault, found.change, found.line.code) == ("not confirmed", True, None, 0)


def test_an_improvement_that_the_session_shows_is_a_new_level() -> None:
    found = answer(suspect("fast", 0.9), ratio(0.9))
    assert (found.word, found.fault, found.line.code) == ("faster", False, 0)
    assert found.change is not None
    assert found.change.how == "confirmed"


def test_what_leans_the_way_of_the_suspicion_but_proves_nothing_stays_open() -> None:
    wide = [launch(minute, {RTF: x}) for minute, x in zip(NEW_MIN, (0.9, 1.0, 1.1, 1.2, 1.3), strict=True)]
    found = answer(suspect(), gives(about(1.0), wide))
    assert (found.word, found.fault, found.line.code) == ("inconclusive", True, 11)
    assert "launches a side would tell" in found.text


def test_what_leans_the_other_way_is_not_confirmed() -> None:
    wide = [launch(minute, {RTF: x}) for minute, x in zip(NEW_MIN, (0.7, 0.8, 0.9, 1.0, 1.1), strict=True)]
    assert answer(suspect(), gives(about(1.0), wide)).word == "not confirmed"


def test_a_session_that_the_budget_cut_short_says_why() -> None:
    harness = gives(about(1.0)[:2], about(1.1, minutes=NEW_MIN)[:2], "the budget ended after 2 of 5 launches")
    found = answer(suspect(), harness)
    assert (found.word, found.line.code) == ("inconclusive", 11)
    assert found.text.endswith("the budget ended after 2 of 5 launches.")


def test_figures_of_a_point_and_a_base_share_a_session_and_another_base_has_its_own() -> None:
    base, new = (
        [launch(n, {RTF: size * x, "ttfa_s": x}) for n, x in enumerate(NEAR_ONE)] for size in (1.0, 1.1)
    )
    harness = gives(base, new)
    one = suspect()
    first_audio = replace(one, metric="ttfa_s", series=one.series)
    late = replace(one, why="late", base=NIGHTS[5])
    with_audio = replace(first_audio, series=replace(one.series, point=_with_audio(one.series.point)))
    found = answers([late, one, with_audio], harness, BUDGET, date(20))
    assert harness.asked == [("point", "0013", 5), ("point", "0005", 5)]
    assert [each.word for each in found] == ["slower", "not confirmed", "slower"]


def _with_audio(point: Launched) -> Launched:
    launches = tuple(replace(x, values={**x.values, "ttfa_s": 1.1}) for x in point.launches)
    return replace(point, launches=launches)


def test_the_most_urgent_are_measured_first() -> None:
    harness = ratio(1.0)
    mixed = [
        suspect("fast", 0.5, NIGHTS[1]), suspect("learning", 1.0, NIGHTS[2]),
        suspect("creep", 1.1, NIGHTS[3]), suspect("late", 1.1, NIGHTS[4]),
        suspect("slow", 1.1, NIGHTS[5]), suspect("slow", 1.5, NIGHTS[6]),
    ]  # fmt: skip
    answers(mixed, harness, BUDGET, date(20))
    assert [commit for _, commit, _ in harness.asked] == ["0006", "0005", "0004", "0003", "0002", "0001"]


def test_earlier_launches_help_to_judge_where_a_side_has_few() -> None:
    """Three a side, 0.2 % about 1 and about 1.03; launches of earlier nights varied by 5 %."""
    few = (0.998, 1.0, 1.002)
    base, new = ([launch(n, {RTF: size * x}) for n, x in enumerate(few)] for size in (1.0, 1.03))
    assert answer(suspect(), gives(base, new)).word == "slower"
    noisy = [night(number, values={RTF: (0.95, 1.0, 1.05)}) for number in range(20)]
    assert answer(suspect(nights=noisy), gives(base, new)).word == "inconclusive"


def test_no_less_is_accepted_than_what_the_same_code_has_given() -> None:
    """Four of five sessions of the same code gave 5 % at most; below five of them nothing is known."""
    sizes = (1.0, 1.05, 0.99, 1.05, 1.06)
    same = [session(number, same_code=True, ratio=size) for number, size in enumerate(sizes)]
    found = answer(suspect(sessions=same), ratio(1.04))
    assert (found.word, found.line.code) == ("inconclusive", 11)
    assert found.text.endswith("Measuring the same code twice has given 5.0 % here.")
    assert answer(suspect(sessions=same[:4]), ratio(1.04)).word == "slower"


# No session


def test_the_same_code_cannot_have_got_slower_and_is_not_measured() -> None:
    harness = ratio(1.1)
    found = answer(suspect(code=NIGHTS[-1].code), harness)
    assert (found.word, found.fault, harness.asked, found.line.code) == ("same code", True, [], 0)
    assert "the code is that of 2026-03-20, so this is the machine" in found.text


def test_the_first_night_of_a_new_environment_is_no_fault_if_the_code_is_the_same() -> None:
    assert not answer(suspect("learning", 1.0, code=NIGHTS[-1].code), ratio(1.0)).fault


def test_without_measuring_a_suspect_stays_one_and_nothing_is_masked() -> None:
    found = answer(suspect(), None)
    assert (found.word, found.fault, found.session, found.line.code) == ("suspect", False, None, 11)
    assert found.text.endswith("not measured again: as asked")


def test_when_the_budget_has_ended_the_rest_stay_suspects(monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr(time, "monotonic", lambda: clock[0])

    def slow(commit: str) -> Measured:
        clock[0] += 61 * 60
        return ratio(1.1).sides(commit)

    mixed = [suspect("slow", 1.1, NIGHTS[1]), suspect("late", 1.1, NIGHTS[2])]
    found = answers(mixed, Harness(slow), Budget(5, 60.0), date(20))
    assert [(each.suspect.why, each.word) for each in found] == [("late", "suspect"), ("slow", "slower")]
    assert "not measured again: the budget ended" in found[0].text


# Looking back


def test_a_late_rise_that_is_confirmed_begins_the_night_after_its_base() -> None:
    found = answer(suspect("late", 1.08, NIGHTS[11]), ratio(1.08))
    assert found.change is not None
    assert (found.change.night, found.change.found, found.change.new) == (
        date(12),
        date(20),
        NIGHTS[12].commit,
    )
    assert "the level has changed by +8.0 % since 2026-03-12" in found.text


def test_a_late_rise_of_which_the_code_is_innocent_is_another_machine_and_masks_nothing() -> None:
    found = answer(suspect("late", 1.08, NIGHTS[11]), ratio(1.0))
    assert (found.word, found.fault) == ("not confirmed", False)
    assert found.change is not None
    assert (found.change.how, found.change.night) == ("machine", date(12))


def test_a_creep_that_is_confirmed_is_a_level_from_tonight_on() -> None:
    found = answer(suspect("creep", 1.07, NIGHTS[0]), ratio(1.07))
    assert found.change is not None
    assert (found.change.night, found.change.before) == (date(20), date(0))
    assert "the last nights are +7.0 % from the anchor of 2026-03-01" in found.text


# Chance, hangs, and the same night again


def test_of_a_hundred_suspects_of_which_one_barely_shows_chance_is_kept_out() -> None:
    """One ratio of 1.03 with p of about 0.03 among 99 of none: alone it would be slower."""
    wide = [launch(n, {RTF: 1.03 * x}) for n, x in zip(NEW_MIN, (0.98, 0.99, 1.0, 1.01, 1.02), strict=True)]
    narrow = [launch(n, {RTF: x}) for n, x in zip(NEW_MIN, (0.98, 0.99, 1.0, 1.01, 1.02), strict=True)]
    barely = gives(narrow, wide)
    assert answer(suspect(), barely).word == "slower"
    none = [suspect(name=f"none {index}") for index in range(99)]
    harness = Harness(lambda commit: ratio(1.0).sides(commit))
    first = suspect(excess=1.2)

    def sides(point: str, commit: str, launches: int, left_min: float) -> Measured:
        return barely.sides(commit) if point == "point" else harness.sides(commit)

    words = {
        each.suspect.series.point.id: each.word for each in answers([first, *none], sides, BUDGET, date(20))
    }
    assert words["point"] == "inconclusive"


@pytest.mark.parametrize(("outcome", "number"), [("hung", 5), ("hung", 1), ("oom", 2), ("invalid", 5)])
def test_code_that_does_not_end_well_in_the_session_is_told_by_its_outcome(outcome: str, number: int) -> None:
    wrong = [launch(minute, {}, outcome) for minute in NEW_MIN[:number]]
    found = answer(suspect(), gives(about(1.0), [*wrong, *about(1.0, minutes=NEW_MIN)[number:]]))
    assert (found.word, found.line.code, found.change) == (outcome, 12, None)
    of = f"{number} of 5 launches of tonight's code: avatar.warp did not end"
    assert f"measured again, {of}; none of the base's" in found.text
    assert again(suspect(), [found.session] if found.session else []).word == outcome


def test_where_the_base_hangs_as_well_tonight_s_code_is_not_accused_of_it() -> None:
    base, new = about(1.0), about(1.1, minutes=NEW_MIN)
    sides = gives([launch(0, {}, "hung"), *base[1:]], [launch(1, {}, "hung"), *new[1:]])
    assert answer(suspect(), sides).word == "slower"


def again(one: Suspect, sessions: Sequence[Session]) -> Answer:
    (found,) = recorded([one], sessions, date(20))
    return found


def test_what_a_session_without_a_base_found_is_found_again() -> None:
    first = answer(suspect(), alone((1.05, 1.03, 1.01)))
    assert first.session is not None
    second = again(suspect(), [first.session])
    assert (second.word, second.line.code) == ("slower", 10)
    assert second.text.endswith("measured again that night, without a base")


@pytest.mark.parametrize("size", [1.1, 1.0, 0.9])
def test_the_same_night_decided_again_says_the_same(size: float) -> None:
    first = answer(suspect(), ratio(size))
    assert first.session is not None
    second = again(suspect(), [first.session])
    assert (second.word, second.line.code) == (first.word, first.line.code)


def test_an_open_night_decided_again_is_still_open() -> None:
    wide = [launch(minute, {RTF: x}) for minute, x in zip(NEW_MIN, (0.9, 1.0, 1.1, 1.2, 1.3), strict=True)]
    first = answer(suspect(), gives(about(1.0), wide))
    assert first.session is not None
    assert again(suspect(), [first.session]).line.code == 11


def test_a_suspect_without_a_session_that_night_stays_open_when_decided_again() -> None:
    assert again(suspect(), [session(20, why="late")]).word == "suspect"
    assert again(suspect(code=NIGHTS[-1].code), []).word == "same code"
