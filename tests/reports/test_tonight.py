"""Which night a run is of, and the points and figures that should be in it and are not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import pytest

from reports.anchor import Anchor
from reports.history import History, Night
from reports.launches import Launched
from reports.series import series_of
from reports.statement import Line
from reports.tonight import Tonight, missing, tonight_of
from tests.reports.sides import CONFIG, date, history, night, tonight

RTF = "rtf_aggregate"
HEAD = {"sweep": "nightly", "gpu": "NVIDIA L4"}
OTHER = {**CONFIG, "avatar.steps": 50}


def known(*nights: Night, **configs: Mapping[str, Any]) -> History:
    """configs: those of points beside `point` and `other`."""
    every = {"point": CONFIG, "other": OTHER, **configs}
    points = {name: {"id": name, "label": f"the {name}", "config": config} for name, config in every.items()}
    return history(nights, points=points)


def both(first: int, last: int) -> list[Night]:
    """Of `point` and `other` in these nights."""
    numbers = range(first, last + 1)
    return [night(number, point=name) for number in numbers for name in ("point", "other")]


def lines(
    points: Sequence[Launched],
    before: History,
    anchor: Anchor | None = None,
    fail: Mapping[str, float] | None = None,
) -> list[Line]:
    of = tonight_of(points, before, HEAD)
    return missing(of, before, anchor, series_of(of.points, before, of.night), fail or {})


def anchored(number: int, *points: str) -> Anchor:
    return Anchor(date(number), "a", "", {name: {RTF: 1.0} for name in points}, {})


# Which night it is


def test_a_run_that_no_night_has_is_a_night_of_its_own_that_begins_with_its_first_launch() -> None:
    later = tonight(4, name="other", config=OTHER)
    later = replace(later, launches=later.launches[1:])
    assert tonight_of([later, tonight(4)], known(night(3)), HEAD) == Tonight(
        date(4), (later, tonight(4)), {}, HEAD
    )


def test_points_of_an_earlier_night_are_stale_beside_a_new_one() -> None:
    of = tonight_of([tonight(4), tonight(3, name="other")], known(*both(0, 3)), HEAD)
    assert (of.night, [one.id for one in of.points], of.stale) == (date(4), ["point"], {"other": "other"})


def test_a_run_that_is_known_already_is_decided_again_as_its_last_night() -> None:
    of = tonight_of([tonight(3), tonight(2, name="other")], known(*both(0, 3)), HEAD)
    assert (of.night, [one.id for one in of.points], list(of.stale)) == (date(3), ["point"], ["other"])


# Points


def test_a_point_that_is_left_over_of_an_earlier_night_is_missing_once() -> None:
    (line,) = lines([tonight(4), tonight(3, name="other", config=OTHER)], known(*both(0, 3)))
    assert (line.point, line.word, line.code) == ("other", "missing", 12)
    assert line.text == "not measured tonight; what is stored is of an earlier night"


@pytest.mark.parametrize(("last", "is_missing"), [(19, True), (13, True), (12, False)])
def test_a_point_is_waited_for_over_the_last_seven_nights(last: int, is_missing: bool) -> None:
    """Tonight is night 20; the seven before it are 13 to 19."""
    before = known(*both(0, last), *(night(number) for number in range(last + 1, 20)))
    found = lines([tonight(20)], before)
    assert [line.point for line in found] == (["the other"] if is_missing else [])


def test_the_seven_are_nights_that_there_were_and_no_days() -> None:
    before = known(night(0, point="other"), *(night(number) for number in (4, 8, 12, 16)))
    (line,) = lines([tonight(20)], before)
    assert line.text == "not measured tonight; it was on 2026-03-01. If it is gone for good, move the anchor"


def test_a_point_of_the_anchor_is_waited_for_however_long_ago_it_was() -> None:
    before = known(*both(0, 2), *(night(number) for number in range(3, 20)))
    assert [line.point for line in lines([tonight(20)], before, anchored(1, "point", "other"))] == [
        "the other"
    ]


@pytest.mark.parametrize(("pinned", "is_missing"), [(17, True), (18, True), (19, False)])
def test_a_point_is_forgotten_when_the_anchor_is_moved_past_its_last_night(
    pinned: int, is_missing: bool
) -> None:
    before = known(*both(0, 18), night(19))
    found = lines([tonight(20)], before, anchored(pinned, "point"))
    assert [line.point for line in found] == (["the other"] if is_missing else [])


def test_an_anchor_that_holds_the_point_waits_for_it_though_it_lies_past_its_last_night() -> None:
    """As an anchor does that somebody wrote by hand."""
    before = known(*both(0, 18), night(19))
    assert lines([tonight(20)], before, anchored(19, "point", "other"))


def test_a_point_that_has_another_id_for_a_new_setting_is_not_missing() -> None:
    """All keys that both know agree: its series goes on under the new id."""
    renamed = tonight(4, name="renamed", config={**OTHER, "avatar.batch": 1})
    assert lines([tonight(4), renamed], known(*both(0, 3))) == []


def test_a_night_that_is_decided_again_misses_what_it_missed_then_and_nothing_that_came_later() -> None:
    before = known(*both(0, 2), night(3), night(4, point="later"), later={**CONFIG, "avatar.steps": 99})
    assert [line.point for line in lines([tonight(3)], before)] == ["the other"]


# Figures


def test_a_figure_that_the_last_good_night_had_and_not_every_launch_has_is_missing() -> None:
    before = [night(number, values={RTF: (1.0,), "ttfa_s": (0.5,)}) for number in range(3)]
    hung = night(3, outcome="hung", values={})
    (line,) = lines([tonight(4)], known(*before, hung))
    assert (line.metric, line.text, line.code) == (
        "ttfa_s",
        "was measured on 2026-03-03 and is not tonight",
        12,
    )


def test_one_launch_without_the_figure_is_enough() -> None:
    one = tonight(4)
    one = replace(one, launches=(replace(one.launches[0], values={"ttfa_s": 1.0}), *one.launches[1:]))
    assert [line.metric for line in lines([one], known(night(3)))] == [RTF]


def test_a_point_that_did_not_end_well_and_a_figure_of_long_ago_are_no_missing_figures() -> None:
    one = tonight(4)
    hung = replace(one, launches=(replace(one.launches[0], outcome="hung", values={}), *one.launches[1:]))
    assert lines([hung], known(night(3))) == []
    had = night(2, values={RTF: (1.0,), "ttfa_s": (0.5,)})
    assert lines([tonight(10)], known(had, *(night(number) for number in range(3, 10)))) == []
    assert [x.metric for x in lines([tonight(9)], known(had, *map(night, range(3, 9))))] == ["ttfa_s"]


def test_a_stage_is_missed_only_where_it_decides() -> None:
    stage = "stage.avatar.warp"
    before = known(night(3, values={RTF: (1.0,), stage: (0.5,)}))
    assert lines([tonight(4)], before) == []
    assert [line.metric for line in lines([tonight(4)], before, fail={stage: 0.05})] == [stage]
