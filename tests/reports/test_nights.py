"""The report's section on the nights before: what is seen and said of them, whatever the history holds."""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from reports import anchor, history
from reports.blocks import Figure, Grid, Section, Text
from reports.history import History
from reports.markdown import markdown
from reports.nights import nights
from reports.page import html, sections_of
from reports.sparklines import Course, Marked, sparklines
from reports.tables import Table, read, table
from tests.data.make_runs import measured, point, save
from tests.reports import hostile
from tests.reports.sides import change, date, night, session
from tests.reports.stored_nights import make

RTF = "rtf_aggregate"
POINT = point("sequential", 1)


@pytest.fixture(scope="module")
def stored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run with thirty nights behind it."""
    return make(tmp_path_factory.mktemp("runs"))


@pytest.fixture(scope="module")
def section(stored: Path) -> Section:
    return of(read(stored))


def of(run: Table) -> Section:
    found = nights(run)
    assert found is not None
    return found


def texts(section: Section, tone: str = "") -> list[str]:
    return [block.text for block in section.blocks if isinstance(block, Text) and block.tone == tone]


def figure(section: Section) -> Figure:
    (found,) = (block for block in section.blocks if isinstance(block, Figure))
    return found


def spoken(section: Section, start: str) -> str:
    """What is said of one of the courses."""
    (found,) = (each for each in figure(section).alt.split("; ") if each.startswith(f"{start}: "))
    return found.removeprefix(f"{start}: ")


def rows(section: Section, caption: str) -> list[list[str]]:
    (found,) = (block for block in section.blocks if isinstance(block, Grid) and block.caption == caption)
    return [[cell.text for cell in row] for row in found.rows]


# Thirty nights


def test_it_begins_with_how_many_nights_there_are_and_where_the_anchor_is(section: Section) -> None:
    assert texts(section) == [
        "30 nights from 2026-10-01 to 2026-10-30, in nightly.jsonl. The anchor is 2026-10-09: release 0.2."
    ]


def test_what_the_drawing_shows_is_said_in_words(section: Section) -> None:
    """A change on night 16, a fault on night 12, an anchor; the hang of night 22 is the other point's."""
    assert spoken(section, "sequential x1 rtf_aggregate") == (
        "2.01 to 2.16 over 30 nights, anchor 2.00, changed by +8.0 % on 2026-10-17, "
        "1 not confirmed, last on 2026-10-13"
    )
    assert spoken(section, "processes x2 rtf_aggregate") == (
        "0.602 to 0.600 over 29 nights, anchor 0.599, 1 not confirmed, last on 2026-10-13, "
        "1 not ok, last on 2026-10-23"
    )


def test_the_drawing_carries_its_words_and_has_a_course_for_each(section: Section) -> None:
    drawn = figure(section)
    assert drawn.svg.startswith("<svg")
    assert f"<title>{drawn.alt}</title>" in drawn.svg
    for label in ("sequential x1, rtf_aggregate", "processes x2, rtf_aggregate"):
        assert drawn.svg.count(f">{label}</text>") == 1


def test_the_change_is_told_with_its_size_and_how_it_is_known(section: Section) -> None:
    changed = rows(section, "Levels that changed")
    assert {(row[0], row[1], row[3], row[5]) for row in changed} == {
        ("2026-10-17", "sequential x1", "+8.0 %", "launches of both commits in turn")
    }
    assert [row[2] for row in changed] == [RTF, "rtf_request_p50", "ttfa_s", "ttff_s"]


def test_the_last_night_stands_beside_the_anchor_with_what_a_night_can_show(section: Section) -> None:
    """Four nights behind the new driver: it is learning, and no code was measured against itself yet."""
    levels = {
        (row[0], row[1]): row[2:]
        for row in rows(section, "Levels, and the smallest step that makes a night suspect")
    }
    assert levels["sequential x1", RTF] == ["2.16", "2.14", "2.00", "+8.1 %", "4", "learning", "-"]
    assert levels["processes x2", "peak_rss_mib"][:4] == ["1,000", "1,000", "1,000", "+0.0 %"]


def test_the_same_history_gives_the_same_bytes(stored: Path, section: Section) -> None:
    again = of(read(stored))
    assert again == section
    assert html("nightly", [again]) == html("nightly", [section])


def test_a_run_elsewhere_or_without_nights_behind_it_has_no_such_section(
    stored: Path, tmp_path: Path
) -> None:
    alone = save(tmp_path / "runs" / "nightly", [measured(POINT)])
    assert nights(read(alone)) is None
    shutil.copytree(stored, tmp_path / "runs" / "weekly")
    shutil.copytree(stored.parent / "baselines", tmp_path / "runs" / "baselines")
    assert nights(read(tmp_path / "runs" / "weekly")) is None  # the histories are of `nightly`


# Histories made by hand


def known(folder: Path, *lines: object, label: str = "sequential x1") -> tuple[Table, History]:
    """A run of POINT, with these rows in its history."""
    run = save(folder / "runs" / "nightly", [measured(POINT)])
    path = history.file_of(folder / "runs" / "baselines", "Example CPU", "nightly")
    config = {"avatar.steps": 50}
    first = [
        ("fingerprint", {"key": "f", "values": {}}),
        ("point", {"id": POINT.id, "label": label, "config": config}),
    ]
    rows = [replace(each, point=POINT.id) for each in lines]  # type: ignore[type-var]
    history.append(history.read(path), {"sweep": "nightly", "gpu": "cpu"}, [*first, *history.lines_of(rows)])  # type: ignore[arg-type]
    return read(run), history.read(path)


def test_a_flaky_point_is_warned_of(tmp_path: Path) -> None:
    odd: dict[int, dict[str, Any]] = {
        3: {"outcome": "hung", "values": {}},
        5: {"outcome": "oom", "values": {}},
        8: {"faults": (RTF,)},
    }
    run, _ = known(tmp_path, *(night(number, **odd.get(number, {})) for number in range(12)))
    assert texts(of(run), "warn") == [
        "sequential x1: flaky: 3 of the last 12 nights (1 hung, 1 oom, 1 not confirmed)."
    ]
    assert spoken(of(run), "sequential x1 rtf_aggregate").endswith(
        "over 10 nights, 1 not confirmed, last on 2026-03-09, 2 not ok, last on 2026-03-06"
    )
    assert texts(of(run))[0].endswith("in nightly.jsonl. No anchor is pinned.")


def test_what_a_night_can_show_and_what_the_same_code_gives_are_told(tmp_path: Path) -> None:
    """Where the processor works 8 % matter, two thirds of which are 5.3; nights here are all alike."""
    same = [session(number, same_code=True, ratio=1.021) for number in range(5)]
    run, _ = known(tmp_path, *(night(number) for number in range(12)), *same)
    ((*_, count, visible, floor),) = rows(of(run), "Levels, and the smallest step that makes a night suspect")
    assert (count, visible, floor) == ("12", "+5.3 %", "2.1 %")


@pytest.mark.parametrize(
    ("how", "told"),
    [
        ("not compared", "the commit before could not be run"),
        ("machine", "both commits are alike"),
        ("seen", "looking back"),
    ],
)
def test_each_change_says_how_it_is_known(how: str, told: str, tmp_path: Path) -> None:
    run, _ = known(tmp_path, *(night(number) for number in range(12)), change(6, 0.9, how))
    ((first, _, metric, size, commits, known_by),) = rows(of(run), "Levels that changed")
    assert (first, metric, size, commits) == ("2026-03-07", RTF, "-10.0 %", "aaaaaaaaaa..bbbbbbbbbb")
    assert told in known_by


def test_one_night_is_no_course(tmp_path: Path) -> None:
    run, _ = known(tmp_path, night(0))
    assert nights(run) is None


@pytest.mark.parametrize("damage", ['{"kind":', '{"kind": "surprise"}\n'])
def test_a_damaged_history_is_one_line_that_says_what_to_do_and_the_report_is_there(
    damage: str, tmp_path: Path
) -> None:
    run, before = known(tmp_path, night(0), night(1))
    with before.path.open("a") as file:
        file.write(damage)
    (block,) = of(run).blocks
    assert isinstance(block, Text)
    assert block.tone == "bad"
    assert f"{before.path}:6: " in block.text
    assert "restore the file from git" in block.text
    assert {"verdict", "history", "environment"} <= {each.anchor for each in sections_of(run)}


def test_a_damaged_anchor_is_one_line_too(tmp_path: Path) -> None:
    run, before = known(tmp_path, night(0), night(1))
    anchor.path_of(before).write_text("{")
    assert [type(block) for block in of(run).blocks] == [Text]
    assert "nightly.anchor.json: not an anchor" in texts(of(run), "bad")[0]


# Hostile


def hostile_section(folder: Path) -> Section:
    """Of points whose every text is hostile, flaky, changed, and anchored for a hostile reason."""
    run = table("nightly", folder / "runs" / "nightly", hostile.measurements())
    path = history.file_of(folder / "runs" / "baselines", "cpu", "nightly")
    lines: list[tuple[str, Mapping[str, object]]] = [("fingerprint", {"key": "f", "values": {}})]
    for one in run.points:
        lines.append(("point", {"id": one.id, "label": hostile.TEXT, "config": {}}))
        every = [night(number, point=one.id, commit=hostile.TEXT) for number in range(9)]
        hung = {"outcome": "hung", "values": {}, "reason": hostile.TEXT}
        every[2:5] = [replace(each, **hung) for each in every[2:5]]  # type: ignore[arg-type]
        changed = change(5, point=one.id, base=hostile.TEXT, new=hostile.TEXT, how=hostile.TEXT)
        lines += history.lines_of([*every, changed])
    history.append(history.read(path), {"sweep": "nightly", "gpu": "cpu"}, lines)
    before = history.read(path)
    anchor.write(before, replace(anchor.pinned(before, date(8), "why"), reason=hostile.TEXT))
    return of(run)


def test_hostile_texts_stay_texts_in_the_page_and_in_the_markdown(tmp_path: Path) -> None:
    section = hostile_section(tmp_path)
    assert texts(section, "warn")
    page = html("nightly", [section])
    assert "<script>alert" not in page
    assert "<img" not in page
    assert "&lt;script&gt;alert(1)" in page
    assert "\x1b" not in page
    assert "\x00" not in page
    text = markdown("nightly", [section])
    assert "<script" not in text
    assert "@everyone" not in text


# Drawing


def drawing(*courses: Course) -> str:
    return sparklines("history", "words", courses)


def test_a_course_has_its_last_value_and_its_label_at_its_side() -> None:
    svg = drawing(Course("first", ((0, 1.0), (1, 2.345))), Course("second", ((0, 70.0),)))
    for text in ("first", "2.35", "second", "70.0"):
        assert f">{text}</text>" in svg


@pytest.mark.parametrize(
    "more",
    [
        Course("p", ((0, 1.0), (1, 1.1)), hollow=frozenset({1})),
        Course("p", ((0, 1.0), (1, 1.1)), levels=((0, 1, 1.05),)),
        Course("p", ((0, 1.0), (1, 1.1)), marks=(Marked(1, True),)),
        Course("p", ((0, 1.0), (1, 1.1)), crosses=(1,)),
        Course("p", ((0, 1.0), (1, 1.1)), breaks=(1,)),
        Course("p", ((0, 1.0), (1, 1.1)), anchor=1.02),
    ],
)  # fmt: skip
def test_whatever_befell_a_night_is_seen(more: Course) -> None:
    assert drawing(more) != drawing(Course("p", ((0, 1.0), (1, 1.1))))


def test_slower_and_faster_are_drawn_apart() -> None:
    up, down = (
        drawing(Course("p", ((0, 1.0), (1, 1.1)), marks=(Marked(1, each),))) for each in (True, False)
    )
    assert up != down


def test_a_fault_does_not_press_the_other_nights_flat() -> None:
    """A night of a hundred times as much that was not confirmed is cut at the edge."""
    calm = Course("p", ((0, 1.0), (1, 1.1), (2, 1.05)))
    fault = replace(calm, dots=(*calm.dots[:2], (2, 110.0)), hollow=frozenset({2}))
    assert _heights(drawing(fault))[:2] == _heights(drawing(calm))[:2]


def _heights(svg: str) -> list[str]:
    """Of the dots, as they stand in the drawing."""
    return [each.partition('"')[0] for each in svg.split('y="')[1:]]


def test_courses_that_are_all_alike_or_not_confirmed_at_all_can_be_drawn() -> None:
    drawing(Course("zero", ((0, 0.0), (1, 0.0))))
    drawing(Course("alike", ((0, 7.0), (1, 7.0))))
    drawing(Course("faults", ((0, 7.0), (1, 8.0)), hollow=frozenset({0, 1})))


def test_a_label_of_any_length_and_script_is_drawn_as_plain_text() -> None:
    svg = drawing(Course(hostile.TEXT, ((0, 1.0),)))
    assert "<script" not in svg
    assert "x" * 200 not in svg
