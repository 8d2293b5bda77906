"""Exit codes of what was found, and the order in which it is told."""

from __future__ import annotations

import pytest

from harness.result import Outcome
from reports.statement import WORDS, Line, Statement, count, points, worst_first

CODE_OF = {
    **dict.fromkeys(("slower", "still slower"), 10),
    **dict.fromkeys(("hung", "unlike", "missing"), 12),
    **dict.fromkeys(("suspect", "inconclusive", "unpaired"), 11),
    **dict.fromkeys(("fine", "learning", "not confirmed", "not here", "new"), 0),
}


def found(*words: str) -> Statement:
    return Statement("title", "lead", tuple(Line("point", "", word, "") for word in words))


@pytest.mark.parametrize(("word", "code"), CODE_OF.items())
def test_each_word_has_its_code(word: str, code: int) -> None:
    assert found(word).exit_code(strict=True) == code
    assert found(word).exit_code() == (0 if code == 11 else code)


@pytest.mark.parametrize(
    ("words", "usual", "strict"),
    [
        (["hung", "slower", "suspect", "fine"], 10, 10),
        (["fine", "suspect", "hung"], 12, 12),
        (["fine", "suspect"], 0, 11),
        (["fine", "faster"], 0, 0),
        ([], 0, 0),
    ],
)
def test_a_regression_beats_what_was_not_measured_which_beats_what_is_open(
    words: list[str], usual: int, strict: int
) -> None:
    assert found(*words).exit_code() == usual
    assert found(*words).exit_code(strict=True) == strict


def test_no_word_exits_with_1_which_is_a_crash_nor_with_2_which_is_usage() -> None:
    assert set(WORDS.values()) == {0, 10, 11, 12}


@pytest.mark.parametrize("outcome", [x for x in Outcome if x is not Outcome.OK])
def test_every_outcome_but_ok_is_a_word_and_was_not_measured(outcome: Outcome) -> None:
    assert Line("point", "", str(outcome), "").code == 12


def test_what_is_worst_comes_first_and_equals_stay_in_order() -> None:
    told = zip("abcdef", ("fine", "suspect", "hung", "slower", "fine", "slower"), strict=True)
    lines = [Line(name, "", word, "") for name, word in told]
    assert "".join(line.point for line in worst_first(lines)) == "dfcbae"


def test_lines_are_counted_by_word() -> None:
    assert count(found("fine", "hung", "slower", "fine").lines) == "1 slower, 1 hung, 2 fine"
    assert count([]) == "nothing"
    assert [points(0), points(1), points(2)] == ["0 points", "1 point", "2 points"]
