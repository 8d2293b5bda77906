"""report.html and report.md: every section is there, and no stored text becomes markup."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from html.parser import HTMLParser
from pathlib import Path

import pytest

from harness.result import Measurement, Outcome
from reports.page import html, markdown, sections_of
from reports.tables import read, table
from tests.data.make_runs import HERE, broken, every_outcome, measured, point, save
from tests.reports import hostile

ALL = [
    *("verdict", "points", "speedup", "stages", "first-output", "memory", "cost", "start-up", "outputs"),
    *("ran", "incidents", "not-measured", "environment", "reading"),
]


class Page(HTMLParser):
    """Tags, attributes and text of a page, as a browser would tell them apart."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: Counter[str] = Counter()
        self.attributes: list[tuple[str, str]] = []
        self.text = ""
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags[tag] += 1
        self.attributes += [(name, value or "") for name, value in attrs]

    def handle_data(self, data: str) -> None:
        self.text += data


def page_of(measurements: Sequence[Measurement], name: str = "run", folder: Path | None = None) -> str:
    return html(name, sections_of(table(name, folder or Path(), measurements)))


def markdown_of(measurements: Sequence[Measurement], name: str = "run") -> str:
    return markdown(name, sections_of(table(name, Path(), measurements)))


def test_a_run_of_every_outcome_has_every_section_and_links_to_it() -> None:
    page = Page(html("every_outcome", sections_of(read(HERE / "every_outcome"))))
    ids = [value for name, value in page.attributes if name == "id"]
    assert [value for value in ids if value in ALL] == ALL
    assert {value for name, value in page.attributes if name == "href" and value[1:] in ALL} == {
        f"#{x}" for x in ALL
    }
    for outcome in Outcome:
        assert str(outcome) in page.text


def test_a_page_needs_no_network_and_has_no_id_twice() -> None:
    page = Page(page_of(every_outcome()))
    links = [value for name, value in page.attributes if name in ("href", "src", "xlink:href", "action")]
    assert [link for link in links if re.match(r"(?!data:,)([a-z]+:|//)", link)] == []
    ids = Counter(value for name, value in page.attributes if name == "id")
    assert [value for value, count in ids.items() if count > 1] == []


def test_every_figure_says_in_words_what_it_shows() -> None:
    page = Page(page_of(every_outcome()))
    spoken = [value for name, value in page.attributes if name == "aria-label" and value != "Sections"]
    assert len(spoken) == page.tags["svg"] == 4
    assert "highest 2.67 with processes x4" in spoken[0]


def test_the_same_data_give_the_same_page_and_the_same_markdown() -> None:
    assert page_of(every_outcome()) == page_of(every_outcome())
    assert markdown_of(every_outcome()) == markdown_of(every_outcome())


def test_hostile_text_stays_text_in_the_page() -> None:
    harmless = Page(
        page_of([broken(point("threads", 2), Outcome.HUNG, "x"), measured(point("sequential", 1))])
    )
    page = Page(page_of(hostile.measurements(), hostile.TEXT))
    assert set(page.tags) <= set(harmless.tags) | {"details", "summary", "pre"}
    assert page.tags["script"] == 0
    assert [name for name, _ in page.attributes if name.startswith("on")] == []
    assert hostile.SCRIPT in page.text
    assert "\x00" not in page.text
    assert "\x1b" not in page.text


def test_hostile_text_stays_text_in_the_markdown() -> None:
    text = markdown_of(hostile.measurements(), hostile.TEXT)
    outside = re.sub(r"(?ms)^(`{3,})text\n.*?^\1$", "", text)
    assert "<script" not in outside
    assert set(re.findall(r"<(/?\w+)", outside)) <= {"details", "/details", "summary", "/summary"}
    assert "@everyone" not in outside
    assert "](javascript:" not in outside.replace(r"\]", "")
    assert re.search(r"(?<!\\)`\*\*x", outside) is None


def test_a_stack_with_backticks_cannot_leave_its_fence() -> None:
    evidence = {"excerpt": "````\n# not a heading"}
    text = markdown_of([broken(point("threads", 2), Outcome.HUNG, "x", evidence=evidence)])
    assert "`````text\n" in text


def test_rows_of_a_markdown_table_have_as_many_cells_as_its_head() -> None:
    for block in re.findall(r"(?m)(?:^\|.*\n)+", markdown_of(hostile.measurements())):
        cells = {len(re.findall(r"(?<!\\)\|", line)) for line in block.strip().splitlines()}
        assert len(cells) == 1


def test_a_long_reason_is_cut_in_the_table_and_whole_in_the_incident() -> None:
    page = page_of([broken(point("threads", 2), Outcome.FAILED, "y" * 10_000)])
    assert page.count("y" * 10_000) == 1


def test_an_incident_carries_its_stack_and_a_link_to_the_dump(tmp_path: Path) -> None:
    run = save(tmp_path / "run", every_outcome())
    page = html("run", sections_of(read(run)))
    assert "warp (engines/ditto/warp.py:88)" in page
    (link,) = re.findall(r'href="([^"]*stacks\.txt)"', page)
    assert (run / link).read_text().startswith("Thread 7 (worker 1)")
    assert "0.12 s past limits.stage_s = 60 s" in page


def test_without_an_ok_point_there_are_incidents_but_no_speed() -> None:
    stuck = [broken(point("threads", n), Outcome.HUNG, "stuck") for n in (1, 2)]
    anchors = [section.anchor for section in sections_of(table("run", Path(), stuck))]
    assert "incidents" in anchors
    assert not {"speedup", "stages", "first-output", "cost"} & set(anchors)


def test_a_skipped_point_alone_makes_a_report() -> None:
    page = Page(page_of([broken(point("threads", 2), Outcome.SKIPPED, "needs a GPU")]))
    assert "needs a GPU" in page.text
    assert "Not measured" in page.text


def test_one_ok_point_makes_a_report_without_an_interval() -> None:
    page = Page(page_of([measured(point("sequential", 1))]))
    assert "n=1 run, no interval" in page.text
    assert "[" not in re.sub(r"Brackets.*", "", page.text.partition("Points")[2].partition("Stages")[0])


def test_three_repeats_carry_their_interval() -> None:
    page = Page(page_of([measured(point("sequential", 1), n, scale=1 + n / 10) for n in range(3)]))
    # RTF 2.0, 2.2 and 2.4: logarithms 0.6931, 0.7885, 0.8755, mean 0.7857, standard error 0.0527;
    # times t = 4.303 gives exp(0.7857), exp(0.7857 - 0.2266) and exp(0.7857 + 0.2266)
    assert "2.19 [1.75, 2.75]" in page.text


def test_on_cuda_outputs_are_compared_by_validity_only() -> None:
    ran = {"worker 0": {"avatar": {"device": "cuda:0"}}}
    runs = [measured(point("sequential", 1), attestation=ran), measured(point("threads", 2), attestation=ran)]
    page = Page(page_of(runs))
    assert "by validity only (cuda)" in page.text
    assert "equal to those of the sequential run" not in page.text


def test_a_machine_that_changed_during_the_run_is_pointed_out() -> None:
    other = measured(point("threads", 2), environment={"machine": "bench-2"})
    page = Page(page_of([measured(point("sequential", 1)), other]))
    assert "The environment changed during this run: machine." in page.text


@pytest.mark.parametrize("workers", [1, 3])
def test_many_points_draw_only_what_a_figure_can_hold(workers: int) -> None:
    runs = [measured(point("threads", workers, avatar__steps=n)) for n in range(14)]
    page = Page(page_of(runs))
    assert "The 12 fastest of 14 ok points." in page.text


def test_a_single_worker_count_is_a_table_and_no_curve() -> None:
    page = page_of([measured(point("sequential", 1)), measured(point("sequential", 1, avatar__steps=10))])
    assert "Speed-up by workers" not in page
    assert "by workers; most" not in page
    assert "peak rss" in page
