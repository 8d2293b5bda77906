"""A point's nights: which continue it, which are comparable, which count, and what is seen looking back."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from reports.history import History, Night
from reports.series import Series, series_of, unnoticed, values
from tests.reports.sides import CONFIG, PRINTS, change, date, history, night, session, tonight

RTF = "rtf_aggregate"


def one(known: History, number: int = 20, **changes: Any) -> Series:
    (found,) = series_of([tonight(number, **changes)], known)
    return found


def numbers(nights: tuple[Night, ...] | list[Night]) -> list[int]:
    return [int(each.night[8:10]) - 1 for each in nights]


# What continues


def test_a_configuration_with_a_new_key_continues_the_nights_before_it_had_that_key() -> None:
    known = history([night(0), night(1)])
    series = one(known, name="renamed", config={**CONFIG, "avatar.batch": 1})
    assert numbers(series.nights) == [0, 1]


def test_a_configuration_with_another_value_continues_nothing() -> None:
    assert one(history([night(0)]), name="renamed", config={**CONFIG, "avatar.steps": 50}).nights == ()


def test_a_point_that_is_still_measured_gives_its_nights_to_no_other() -> None:
    both = [tonight(2), tonight(2, name="other", config={**CONFIG, "avatar.batch": 1})]
    mine, other = series_of(both, history([night(0), night(1)]))
    assert (numbers(mine.nights), other.nights) == ([0, 1], ())


def test_of_two_points_of_a_new_axis_neither_continues_the_nights_before_it() -> None:
    """batch=1 is as before; batch=8 is another level, and no earlier commit can measure it. Which is which
    the configurations do not say, so both begin anew.
    """
    both = [tonight(2, name=f"b{size}", config={**CONFIG, "avatar.batch": size}) for size in (1, 8)]
    assert [series.nights for series in series_of(both, history([night(0), night(1)]))] == [(), ()]


def test_a_point_that_was_renamed_twice_continues_both_of_its_former_selves() -> None:
    known = history(
        [night(0, point="first"), night(1, point="second")],
        points={
            name: {"id": name, "label": name, "config": config}
            for name, config in (("first", CONFIG), ("second", {**CONFIG, "avatar.batch": 1}))
        },
    )
    series = one(known, name="third", config={**CONFIG, "avatar.batch": 1, "avatar.tile": 2})
    assert numbers(series.nights) == [0, 1]


def test_two_points_that_a_lost_key_told_apart_do_not_become_one_series() -> None:
    points = {
        name: {"id": name, "label": name, "config": {**CONFIG, "avatar.batch": size}}
        for name, size in (("b1", 1), ("b8", 8))
    }
    known = history([night(0, 1.0, point="b1"), night(0, 3.0, point="b8")], points=points)
    assert one(known, name="plain").nights == ()


# Epochs


def test_an_epoch_is_of_the_nights_in_an_environment_like_tonight_s() -> None:
    known = history(
        [night(0), night(1, fingerprint="g"), night(2), night(3, fingerprint="g")],
        fingerprints={"f": PRINTS, "g": PRINTS | {"driver": "590"}},
    )
    assert numbers(one(known).nights) == [0, 1, 2, 3]
    assert numbers(one(known).epoch) == [0, 2]
    assert numbers(one(known, fingerprint=PRINTS | {"driver": "590"}).epoch) == [1, 3]


def test_what_one_of_two_versions_does_not_record_begins_no_epoch() -> None:
    series = one(history([night(0)]), fingerprint=PRINTS | {"clocks": "72 W"})
    assert numbers(series.epoch) == [0]


def test_nights_after_the_one_that_is_decided_again_are_not_known_to_it() -> None:
    known = history([night(0), night(5)], [session(0), session(5)], [change(0), change(5)])
    (series,) = series_of([tonight(5)], known, date(5))
    assert (len(series.nights), len(series.sessions), len(series.changes)) == (1, 1, 1)


def test_nights_are_in_the_order_of_time_whatever_that_of_the_file() -> None:
    assert numbers(one(history([night(2), night(0), night(1)])).nights) == [0, 1, 2]


# What counts


def test_a_night_that_hung_and_a_fault_do_not_count() -> None:
    known = history([
        night(0), night(1, outcome="hung", values={}), night(2, faults=(RTF,)), night(3, faults=("ttfa_s",)),
    ])  # fmt: skip
    assert numbers(one(known).of(RTF)) == [0, 3]


def test_faults_of_a_machine_that_turned_out_to_be_another_count_from_its_first_night_on() -> None:
    """Nights 3 to 7 were not confirmed; in night 7 it was known that the machine is another since night 4."""
    known = history(
        [night(number, faults=(RTF,) if number >= 3 else ()) for number in range(9)],
        changes=[change(4, how="machine", found=date(7))],
    )
    assert numbers(one(known).of(RTF)) == [0, 1, 2, 4, 5, 6]
    other = history(known.nights, changes=[replace(known.changes[0], how="confirmed")])
    assert numbers(one(other).of(RTF)) == [0, 1, 2]


def test_a_night_counts_with_the_median_of_its_launches() -> None:
    assert values([night(0, values={RTF: (1.0, 9.0, 2.0)})], RTF) == [2.0]


def test_levels_begin_at_the_accepted_changes_of_that_figure() -> None:
    nights = [night(number) for number in range(20)]
    changes = [change(0), change(15), change(8), change(12, metric="ttfa_s")]
    assert one(history(nights, changes=changes)).levels(RTF) == [8, 15]


def test_two_changes_of_one_direction_within_three_nights_are_one_and_of_two_directions_are_two() -> None:
    nights = [night(number) for number in range(20)]
    alike = [change(8), change(11), change(12)]  # of the three, 12 is four nights from the first
    assert one(history(nights, changes=alike)).steps(RTF) == [(8, True), (12, True)]
    both = [change(8, 0.9), change(9, 1.2), change(10, 0.95)]
    assert one(history(nights, changes=both)).steps(RTF) == [(8, False), (9, True)]


# Noise


def test_launches_deviate_from_their_night_s_median() -> None:
    known = history([night(0, values={RTF: (1.0, 2.0, 4.0)}), night(1, values={RTF: (5.0,)})])
    assert one(known).deviations(RTF) == pytest.approx([-0.693147, 0.0, 0.693147])


def test_below_the_noise_floor_are_four_of_five_sessions_of_the_same_code_and_below_five_there_is_none() -> (
    None
):
    """Sizes of 1.0, 1.0, 2.0, 3.1 and 4.0 %, whichever the direction: the fourth of them is 1 / 0.97 - 1."""
    ratios = (1.01, 0.97, 1.02, 1.04, 0.99)
    same = [session(number, same_code=True, ratio=ratio) for number, ratio in enumerate(ratios)]
    others = [session(6, same_code=False, ratio=2.0), session(7, same_code=True, metric="ttfa_s", ratio=2.0)]
    without = session(8, same_code=True, ratio=None)
    assert one(history([night(0)], [*same, *others, without])).noise_floor(RTF) == pytest.approx(1 / 0.97 - 1)
    assert one(history([night(0)], [*same[:4], *others, without])).noise_floor(RTF) is None


def test_the_noise_floor_is_of_the_last_twenty_sessions() -> None:
    """Twenty of 1 % behind ten of 50 %."""
    ratios = [1.5] * 10 + [1.01] * 20
    same = [session(number % 19, same_code=True, ratio=ratio) for number, ratio in enumerate(ratios)]
    assert one(history([night(0)], same)).noise_floor(RTF) == pytest.approx(0.01)


def test_a_point_with_three_odd_nights_among_the_last_thirty_is_flaky() -> None:
    odd: dict[int, dict[str, Any]] = {
        5: {"outcome": "hung", "values": {}},
        8: {"outcome": "hung", "values": {}},
        9: {"faults": (RTF,)},
    }
    known = history([night(number, **odd.get(number, {})) for number in range(20)])
    assert one(known).flaky() == "flaky: 3 of the last 20 nights (2 hung, 1 not confirmed)"
    assert one(history(known.nights[:9])).flaky() == ""


# Looking back


def level(number: int, first: int = 15, ratio: float = 1.1) -> float:
    """From that night on so much more, with a ripple of half a percent."""
    return (1.0 if number < first else ratio) * (1.005 if number % 2 else 0.995)


def test_a_rise_that_nobody_accepted_is_found_looking_back_with_its_first_night_and_its_size() -> None:
    series = one(history([night(number, level(number)) for number in range(25)]))
    ((first, ratio),) = unnoticed(series, RTF, level(25), 0.03)
    assert first.night == date(15)
    assert ratio == pytest.approx(1.1, rel=0.02)


def test_what_was_accepted_near_there_is_not_found_again() -> None:
    nights = [night(number, level(number)) for number in range(25)]
    assert not unnoticed(one(history(nights, changes=[change(16)])), RTF, level(25), 0.03)
    assert unnoticed(one(history(nights, changes=[change(3)])), RTF, level(25), 0.03)


def test_tonight_s_own_step_is_left_to_the_screen() -> None:
    series = one(history([night(number, level(number, 99)) for number in range(25)]))
    assert not unnoticed(series, RTF, 1.5, 0.03)


def test_looking_back_sees_ninety_nights() -> None:
    nights = [
        night(0, level(number, 20), night=f"2026-{3 + number // 28:02d}-{1 + number % 28:02d}T02:00:00+00:00")
        for number in range(120)
    ]
    assert not unnoticed(one(history(nights)), RTF, 1.1, 0.03)
    assert unnoticed(one(history(nights[:100])), RTF, 1.1, 0.03)


def test_an_improvement_does_not_hide_the_regression_of_the_night_after_it() -> None:
    """0.9 in night 10 alone, accepted; from night 11 on 1.1, more than before the improvement too."""
    shape = {number: 1.0 if number < 10 else 0.9 if number == 10 else 1.1 for number in range(25)}
    nights = [night(number, shape[number] * level(number, 99)) for number in range(25)]
    series = one(history(nights, changes=[change(10, 0.9)]))
    assert unnoticed(series, RTF, 1.1, 0.03)
