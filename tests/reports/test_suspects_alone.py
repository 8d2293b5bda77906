"""Suspects without a base to measure against: what tonight's code alone can tell."""

from __future__ import annotations

import pytest

from reports.again import Measured
from tests.reports.sessions import RTF, Harness, alone, answer, suspect
from tests.reports.sides import launch, side


def test_without_a_base_tonight_s_code_is_measured_once_more_and_over_the_limit_twice_is_slower() -> None:
    harness = alone((1.05, 1.03, 1.01))
    found = answer(suspect(), harness)
    assert harness.asked == [("point", "0013", 5), ("point", "", 3)]
    assert (found.word, found.line.code) == ("slower", 10)
    assert "not compared with 000000000000: git worktree: no such commit" in found.text
    assert found.text.endswith("measured again alone, 1.03 is over 1.02")
    assert found.change is not None
    assert found.change.how == "not compared"
    assert found.session is not None
    assert (found.session.word, found.session.ratio, found.session.launches) == ("slower", None, (0, 3))


def test_a_base_of_which_no_launch_ended_is_no_base() -> None:
    hung = side([launch(minute, {}, "hung") for minute in (0, 3, 5)])
    new = side([launch(number, {RTF: value}) for number, value in enumerate((1.05, 1.03, 1.01))])
    harness = Harness(lambda commit: Measured(hung if commit else None, new, ""))
    found = answer(suspect(), harness)
    assert harness.asked == [("point", "0013", 5), ("point", "", 3)]
    assert (found.word, found.line.code) == ("slower", 10)


def test_code_that_lies_outside_of_the_repository_has_no_base_and_is_measured_alone() -> None:
    """A commit of this repository would run the same code twice, and call it innocent."""
    harness = alone((1.05, 1.03, 1.01))
    found = answer(suspect(is_foreign=True), harness)
    assert harness.asked == [("point", "", 3)]
    assert (found.word, found.line.code) == ("slower", 10)
    assert "not compared with 000000000000: its code lies outside of this repository" in found.text


def test_code_that_hangs_when_it_is_measured_alone_is_hung() -> None:
    hung = side([launch(0, {RTF: 1.0}), launch(1, {}, "hung"), launch(2, {RTF: 1.0})])
    harness = Harness(lambda commit: Measured(None, None if commit else hung, "no such commit"))
    found = answer(suspect(), harness)
    assert (found.word, found.line.code, found.change) == ("hung", 12, None)
    assert "measured again, 1 of 3 launches of tonight's code: avatar.warp did not end" in found.text
    assert found.text.endswith("not compared with 000000000000: no such commit")


def test_without_a_base_and_below_the_limit_the_second_time_it_was_the_machine() -> None:
    found = answer(suspect(), alone((1.05, 1.01, 1.01)))
    assert (found.word, found.fault, found.change) == ("not confirmed", True, None)


@pytest.mark.parametrize("why", ["late", "creep", "learning", "fast"])
def test_without_a_base_nothing_but_a_slow_night_can_be_told(why: str) -> None:
    found = answer(suspect(why), alone((2.0, 2.0, 2.0)))
    assert (found.word, found.change, found.line.code) == ("suspect", None, 11)


def test_if_not_even_tonight_s_code_can_be_measured_again_it_stays_open() -> None:
    found = answer(suspect(), Harness(lambda commit: Measured(None, None, "nothing works")))
    assert (found.word, found.line.code) == ("suspect", 11)
    assert found.text.endswith("nothing works")
