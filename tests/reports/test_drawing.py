"""Labels of figures: nothing that sets points apart is cut away."""

from __future__ import annotations

from reports.drawing import apart, label, wrapped


def test_what_all_labels_share_is_said_once() -> None:
    labels = ["sequential x1, steps=10, backend=eager", "sequential x1, steps=50, backend=eager"]
    assert apart(labels) == (["steps=10", "steps=50"], "All: sequential x1, backend=eager.")


def test_a_label_that_would_be_left_with_nothing_keeps_all_whole() -> None:
    assert apart(["threads", "threads, steps=10"]) == (["threads", "threads, steps=10"], "")
    assert apart(["threads x2"]) == (["threads x2"], "")
    assert apart([]) == ([], "")


def test_labels_without_anything_in_common_stay_as_they_are() -> None:
    assert apart(["sequential x1", "threads x2"]) == (["sequential x1", "threads x2"], "")


def test_a_long_label_goes_over_several_lines_and_loses_nothing() -> None:
    text = ", ".join(f"setting{n}=value{n}" for n in range(8))
    lines = wrapped(text, 64).split("\n")
    assert 1 < len(lines) <= 3
    assert max(map(len, lines)) <= 64
    assert " ".join(lines) == text


def test_a_label_without_end_is_cut_and_says_so() -> None:
    lines = wrapped("x" * 10_000, 60).split("\n")
    assert len(lines) == 3
    assert lines[-1].endswith("...")


def test_letters_that_the_font_has_not_and_line_breaks_do_not_reach_a_figure() -> None:
    assert label("a\nb \u4f60 \x1b") == "a b ? ?"
