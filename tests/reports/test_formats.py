"""A statement as text, Markdown, JUnit XML and JSON: parsed back, with texts that break each of them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from html.parser import HTMLParser
from xml.etree import ElementTree

import pytest

from reports.formats import as_json, junit, markdown, text
from reports.statement import Line, Statement
from tests.reports.hostile import TEXT

NASTY = (
    "null \x00 bell \x07 escape \x1b[31m delete \x7f surrogate \udcff \ud800 no character \ufffe\uffff "
    "]]> </testcase></failure> & &lt; \" ' <script>alert(1)</script> a|b\n| c | d |\n@everyone #12 "
    "`x` **y** é 😀"
)
LINES = (
    Line("threads x2", "rtf_aggregate", "slower", "0.81 -> 0.9, 1.1 times BASE", {"new": [0.9, 0.91]}),
    Line("threads x2", "ttfa_s", "suspect", "not measured again"),
    Line("threads x2", "peak_rss_mib", "fine", "900"),
    Line("queue x1", "", "hung", "avatar.warp did not end"),
    Line("", "", "note", "no anchor is pinned"),
)


def statement(*lines: Line, title: str = "Gate nightly", lead: str = "1 slower.") -> Statement:
    return Statement(title, lead, lines, {"night": "2026-03-01"})


# JUnit


def test_junit_has_a_suite_per_point_whose_counts_are_those_of_its_cases() -> None:
    root = ElementTree.fromstring(junit(statement(*LINES)))
    assert (root.tag, root.get("name")) == ("testsuites", "Gate nightly")
    counted = {
        suite.get("name"): [suite.get(key) for key in ("tests", "failures", "errors", "skipped")]
        for suite in root
    }
    assert counted == {
        "threads x2": ["3", "1", "0", "1"],
        "queue x1": ["1", "0", "1", "0"],
        "Gate nightly": ["1", "0", "0", "0"],
    }


def test_slower_fails_hung_is_an_error_open_is_skipped_and_fine_passes() -> None:
    root = ElementTree.fromstring(junit(statement(*LINES)))
    kinds = {
        (case.get("classname"), case.get("name")): [child.tag for child in case]
        for case in root.iter("testcase")
    }
    assert kinds == {
        ("threads x2", "rtf_aggregate"): ["failure"],
        ("threads x2", "ttfa_s"): ["skipped"],
        ("threads x2", "peak_rss_mib"): ["system-out"],
        ("queue x1", "measurement"): ["error"],
        ("run", "measurement"): ["system-out"],
    }
    (failure,) = root.iter("failure")
    assert failure.get("type") == "slower"
    assert failure.get("message") == "slower: 0.81 -> 0.9, 1.1 times BASE"
    assert failure.text == "0.81 -> 0.9, 1.1 times BASE"


@pytest.mark.parametrize("nasty", [NASTY, TEXT])
@pytest.mark.parametrize("word", ["slower", "hung", "suspect", "fine"])
def test_junit_with_any_text_parses_and_is_of_the_form_that_readers_know(word: str, nasty: str) -> None:
    written = junit(statement(Line(nasty, nasty, word, nasty), title=nasty, lead=nasty))
    root = ElementTree.fromstring(written.encode("utf-8"))
    assert written.startswith('<?xml version="1.0" encoding="UTF-8"?>\n<testsuites ')
    check_structure(root)
    (case,) = root.iter("testcase")
    for kept in ("alert(1)", "@everyone"):
        assert kept in str(case.get("name"))
    assert not list(root.iter("script"))


def check_structure(root: ElementTree.Element) -> None:
    """As in the schema of junit-10.xsd, as far as it is used."""
    assert root.tag == "testsuites"
    for suite in root:
        assert suite.tag == "testsuite"
        assert suite.get("name")
        assert int(str(suite.get("tests"))) == len(suite)
        for case in suite:
            assert (case.tag, len(case)) == ("testcase", 1)
            assert case.get("name")
            assert case.get("classname")
            assert {child.tag for child in case} <= {"failure", "error", "skipped", "system-out"}
        for kind, counted in (("failure", "failures"), ("error", "errors"), ("skipped", "skipped")):
            assert int(str(suite.get(counted))) == len(list(suite.iter(kind)))


# Markdown


def rows(page: str) -> list[list[str]]:
    """Cells of the table's rows; a pipe behind a backslash is no border."""
    lines = [line for line in page.splitlines() if line.startswith("| ")]
    return [[cell.strip() for cell in line.replace(r"\|", "&#124;").strip("|").split("|")] for line in lines]


def test_markdown_shows_what_needs_somebody_first_and_folds_the_rest_away() -> None:
    page = markdown(statement(*LINES))
    assert page.startswith("## Gate nightly\n\n**1 slower.**\n\n| point | figure | verdict | in words |")
    assert "<details><summary>2 that need nobody</summary>" in page
    urgent, folded = page.split("<details>")
    assert [row[2] for row in rows(urgent)[2:]] == ["slower", "suspect", "hung"]
    assert [row[2] for row in rows(folded)[2:]] == ["fine", "note"]


def test_of_many_points_that_are_fine_thirty_are_listed_and_the_rest_is_counted() -> None:
    page = markdown(statement(*(Line(f"p{index}", "rtf_aggregate", "fine", "1") for index in range(50))))
    assert len(rows(page)) == 2 + 30
    assert "20 more are in the JSON file." in page


@pytest.mark.parametrize("nasty", [NASTY, TEXT])
def test_markdown_shows_any_text_as_text(nasty: str) -> None:
    hostile = [Line(nasty, nasty, word, nasty) for word in ("slower", "fine")]
    page = markdown(statement(*hostile, title=nasty, lead=nasty))
    assert {len(row) for row in rows(page)} == {4}
    assert sorted(set(tags(page))) == ["details", "summary"]
    assert "@" not in page  # nobody is told of it
    assert "](" not in page.replace(r"\](", "")
    assert page.encode("utf-8")
    assert len([line for line in page.splitlines() if line]) == 10  # no text begins a line of its own


def tags(page: str) -> Iterator[str]:
    found: list[str] = []

    class Reader(HTMLParser):
        def handle_starttag(self, tag: str, attributes: object) -> None:
            found.append(tag)

    Reader().feed(page)
    return iter(found)


# JSON and text


def test_json_has_everything_with_the_exit_code() -> None:
    data = json.loads(as_json(statement(*LINES), 10))
    assert (data["schema"], data["exit_code"], data["night"]) == (1, 10, "2026-03-01")
    assert data["lines"][0] == {
        "point": "threads x2", "metric": "rtf_aggregate", "word": "slower", "code": 10,
        "text": "0.81 -> 0.9, 1.1 times BASE", "new": [0.9, 0.91],
    }  # fmt: skip


@pytest.mark.parametrize("nasty", [NASTY, TEXT])
def test_json_gives_any_text_back_as_it_was(nasty: str) -> None:
    written = as_json(statement(Line(nasty, nasty, "slower", nasty, {nasty: nasty})), 10)
    assert written.encode("ascii")
    assert json.loads(written)["lines"][0]["text"] == nasty


def test_json_refuses_what_is_no_number_instead_of_writing_what_nobody_can_read() -> None:
    with pytest.raises(ValueError, match="not JSON compliant"):
        as_json(statement(Line("a", "b", "fine", "", {"tonight": float("nan")})), 0)


def test_text_names_what_needs_somebody_and_what_got_better() -> None:
    faster = Line("queue x1", "ttfa_s", "faster", "0.5 times BASE")
    assert text(statement(*LINES, faster)).splitlines() == [
        "1 slower.",
        "  threads x2: rtf_aggregate: slower: 0.81 -> 0.9, 1.1 times BASE",
        "  threads x2: ttfa_s: suspect: not measured again",
        "  queue x1: hung: avatar.warp did not end",
        "  note: no anchor is pinned",
        "  queue x1: ttfa_s: faster: 0.5 times BASE",
    ]


def test_text_of_a_line_stays_on_its_line_and_commands_no_terminal_and_no_runner() -> None:
    said = text(statement(Line("p", "", "hung", "first\n::error::second\x1b[31m\r\x00")))
    assert said.splitlines() == ["1 slower.", "  p: hung: first ::error::second\ufffd[31m\ufffd\ufffd"]
