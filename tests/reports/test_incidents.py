"""The incidents of a report: a card that a person can act on, the same hangs joined, what stayed behind."""

from __future__ import annotations

import re
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from harness import supervisor
from harness.result import Measurement, Outcome
from reports import history
from reports.__main__ import main
from reports.blocks import Card, Grid, Section, Text
from reports.incidents import incidents
from reports.markdown import markdown
from reports.page import html, sections_of
from reports.stored import machine, of_table
from reports.tables import Table, read, table
from tests.data.make_runs import HERE, broken, measured, point, save
from tests.harness.points import point as small_point
from tests.reports import hangs
from tests.reports.hangs import hung
from tests.reports.sides import date, night


def run(*measurements: Measurement, name: str = "night") -> Table:
    return table(name, Path("/bench/runs") / name, measurements)


def section(*measurements: Measurement) -> Section:
    found = incidents(run(*measurements))
    assert found is not None
    return found


def cards(*measurements: Measurement) -> list[Card]:
    return [block for block in section(*measurements).blocks if isinstance(block, Card)]


def card(*measurements: Measurement) -> Card:
    [found] = cards(*measurements)
    return found


def rows(found: Section, caption: str) -> list[dict[str, str]]:
    [one] = [block for block in found.blocks if isinstance(block, Grid) and block.caption.startswith(caption)]
    return [dict(zip(one.heads, (cell.text for cell in row), strict=True)) for row in one.rows]


def test_the_top_of_a_card_says_what_hangs_where_and_since_when() -> None:
    found = card(hung(point("threads", 2)))
    assert (found.tone, found.title) == ("hung", "threads x2, repeat 0")
    assert found.lead == f"W{hangs.SENTENCE[1:]}"
    assert dict(found.facts) == {
        "where": "stage avatar.warp of job 2 on worker 0",
        "since": "2026-11-20 10:05:33 UTC, 33.5 s after its start",
        "limit": "seen 0.12 s past limits.stage = 60 s; all processes had ended 1.30 s past it",
        "class": "queue",
        "jobs done": "0 of 4, in 12.5 s",
        "signature": "1a2b3c4d5e",
    }
    assert found.todo.startswith("Find the other end of the queue")


def test_the_evidence_comes_in_the_order_of_the_questions_and_whole() -> None:
    told = {one.title: one.text for one in card(hung(point("threads", 2))).evidence}
    assert list(told) == [
        "Why this class", "Stack of what is stuck", "Threads: who waits for what (2)", "Queues (1)",
        "Exceptions that ended threads (1)", "Processes (1)", "Pipes and sockets (1)", "Last spans (2)",
        "What the components say", "GPU", "What could not be looked at", "End of child.log",
    ]  # fmt: skip
    assert told["Stack of what is stuck"] == hangs.EVIDENCE["excerpt"]
    assert told["Queues (1)"] == "pieces of worker 0: 8 of 8"
    assert told["GPU"] == "used_mib 512.0, util_pct 100.0\nused_mib 3.0, util_pct 0.0"
    assert told["What the components say"].splitlines() == [
        "state of avatar, worker 0:", "  close() never returns", "  queues.warp 100 of 100",
    ]  # fmt: skip


def test_what_the_reason_says_besides_is_told_and_the_sentence_only_once() -> None:
    reason = hangs.REASON.replace("; queue", "; close() never returns (worker 0); queue") + "; and more"
    found = card(hung(point("threads", 2), reason=reason))
    assert dict(found.facts)["also"] == "close() never returns (worker 0); and more"


def test_a_hang_stored_before_there_were_diagnoses_still_has_its_reason_and_its_stack() -> None:
    found = [card for card in _of(read(HERE / "every_outcome")) if card.tone == "hung"]
    assert [one.lead for one in found] == ["worker 1, warp of job 2: no end after 60 s"]
    assert not {"class", "signature"} & set(dict(found[0].facts))
    stack = next(one for one in found[0].evidence if one.title.startswith("Stack"))
    assert "warp (engines/ditto/warp.py:88)" in stack.text
    assert stack.link.endswith("/0/stacks.txt")


def _of(stored: Table) -> list[Card]:
    found = incidents(stored)
    return [block for block in (found.blocks if found else ()) if isinstance(block, Card)]


def test_the_same_hang_is_joined_over_points_and_repeats() -> None:
    found = section(*hangs.a_night())
    assert rows(found, "The same hang") == [
        {
            "signature": "1a2b3c4d5e", "class": "queue", "where": "stage avatar.warp", "times": "3",
            "at": "threads x2 (repeats 0, 1); processes x2 (repeat 0)",
        },
        {
            "signature": "ffffffffff", "class": "stopped", "where": "stage avatar.warp", "times": "1",
            "at": "threads x3 (repeat 0)",
        },
    ]  # fmt: skip
    lead = found.blocks[0]
    assert isinstance(lead, Text)
    assert (
        lead.text
        == "4 measurements did not end ok: 4 hung. The same hang: queue, stage avatar.warp (3 times)."
    )


@pytest.mark.parametrize(("points", "more"), [(5, ""), (6, "; and 1 more point"), (7, "; and 2 more points")])
def test_a_hang_at_very_many_points_names_the_first_of_them(points: int, more: str) -> None:
    many = [hung(point("threads", 2, avatar__steps=n)) for n in range(points)]
    [row] = rows(section(*many), "The same hang")
    assert row["times"] == str(points)
    assert row["at"].count("threads x2, steps=") == 5
    assert row["at"].endswith(f"(repeat 0){more}")


@pytest.mark.parametrize(("hangs", "more"), [(4, "; 1 other."), (5, "; 2 others.")])
def test_the_lead_counts_the_hangs_that_come_often_and_names_three(hangs: int, more: str) -> None:
    many = [
        hung(point("threads", 2, avatar__steps=n), repeat, signature=f"{n:010x}")
        for n in range(hangs)
        for repeat in (0, 1)
    ]
    lead = section(*many).blocks[0]
    assert isinstance(lead, Text)
    assert lead.text.count("queue, stage avatar.warp (2 times)") == 3
    assert lead.text.endswith(more)


def test_the_first_card_of_a_hang_is_open_and_the_same_ones_behind_it_are_folded() -> None:
    found = cards(*hangs.a_night())
    assert [(one.title, one.folded) for one in found] == [
        ("threads x2, repeat 0", False),
        ("threads x2, repeat 1", True),
        ("threads x3, repeat 0", False),
        ("processes x2, repeat 0", True),
    ]
    assert dict(found[0].facts)["signature"] == "1a2b3c4d5e, as in 2 other measurements of this run"


def test_hangs_stand_before_what_failed_otherwise() -> None:
    failed = broken(point("sequential", 1), Outcome.FAILED, "no such file")
    assert [one.tone for one in cards(failed, hung(point("threads", 2)))] == ["hung", "failed"]


def test_of_very_many_the_first_forty_have_cards_and_all_have_rows() -> None:
    many = [broken(point("threads", 2, avatar__steps=n), Outcome.FAILED, "shapes differ") for n in range(50)]
    found = section(*many)
    assert len([block for block in found.blocks if isinstance(block, Card)]) == 40
    assert len(rows(found, "Workers, jobs")) == 50


def test_a_run_with_a_history_says_on_which_nights_a_hang_was_seen(tmp_path: Path) -> None:
    stored = read(save(tmp_path / "nightly", [hung(point("threads", 2))]))
    known = history.read(history.file_of(tmp_path / "baselines", machine(of_table(stored)), "nightly"))
    nights = [
        night(0, point="p"),
        night(1, point="p", outcome="hung", signatures=("0000000000", "1a2b3c4d5e")),
        night(2, point="p", outcome="hung", signatures=("1a2b3c4d5e",)),
        night(3, point="p", outcome="hung", signatures=("0000000000",)),
    ]
    config = ("point", {"id": "p", "label": "p", "config": {}})
    print_line = ("fingerprint", {"key": "f", "values": {}})
    history.append(known, {"sweep": "nightly", "gpu": "x"}, [config, print_line, *history.lines_of(nights)])
    assert nights_of(stored) == "in 2 nights before, last on night 3 (2026-03-03)"


def nights_of(stored: Table) -> str:
    found = incidents(stored)
    assert found is not None
    [row] = rows(found, "The same hang")
    return row["nights"]


def test_the_night_that_is_reported_is_none_before_whether_or_not_the_gate_has_it(tmp_path: Path) -> None:
    baselines = tmp_path / "baselines"

    def gated_night(number: int) -> Table:
        made = hung(point("threads", 2))
        made = replace(made, result=replace(made.result, started_at=date(number)))
        shutil.rmtree(tmp_path / "nightly", ignore_errors=True)
        save(tmp_path / "nightly", [made])
        if number:
            assert nights_of(read(tmp_path / "nightly")) == "in 1 night before, last on night 1 (2026-03-01)"
        assert main(["gate", str(tmp_path / "nightly"), "--baselines", str(baselines)]) == 12
        return read(tmp_path / "nightly")

    assert nights_of(gated_night(0)) == "in no night before"
    first = (tmp_path / "nightly").rename(tmp_path / "first")
    assert nights_of(gated_night(1)) == "in 1 night before, last on night 1 (2026-03-01)"
    shutil.rmtree(tmp_path / "nightly")
    first.rename(tmp_path / "nightly")
    assert nights_of(read(tmp_path / "nightly")) == "in no night before"


def test_an_ok_point_that_was_late_or_left_something_says_so() -> None:
    [row] = rows(section(*hangs.a_night()), "Finished, but")
    assert (row["point"], row["repeat"]) == ("sequential x1", "0")
    assert row["what"].split("; ") == [
        "stage avatar.warp of job 1 on worker 0 was late (limits.stage=60 s) but moved: 60 s more",
        "process 91 (S) outlived the point and was ended",
        "shared memory psm_12ab stays in /dev/shm",
        "512 MiB of GPU memory are still in use",
    ]


def test_a_run_in_which_all_went_well_has_no_incidents() -> None:
    assert incidents(run(measured(point("sequential", 1)))) is None


def test_what_a_hung_point_left_stands_on_its_card() -> None:
    found = card(hung(point("threads", 2), survivors=["71 (D)"], vram_leak_mib=300.0))
    left = "process 71 (D) could not be ended; 300 MiB of GPU memory are still in use"
    assert dict(found.facts)["left behind"] == left


def test_time_that_was_given_beyond_the_limit_stands_on_the_card() -> None:
    found = card(hung(point("threads", 2), moved=["stage a was late but moved: 2 s more", "again: 1 s more"]))
    assert dict(found.facts)["more time"] == "stage a was late but moved: 2 s more; again: 1 s more"


def test_a_fault_that_was_planted_is_called_so() -> None:
    made = point(
        "threads", 2, fault__kind="queue_full", fault__component="avatar", fault__job=0, fault__stage=None
    )
    told = dict(card(hung(made)).facts)["planted"]
    assert told == "on purpose: fault.kind=queue_full fault.component=avatar fault.job=0"


@pytest.mark.parametrize("name", ["a b", "$(touch x)", "-x", "a\nb", "a\n", "ä", ""])
def test_only_names_that_can_be_typed_make_a_command(name: str) -> None:
    made = hung(point("threads", 2))
    command = f"python -m harness +sweep=bisect of={made.result.id} name=a.night-2"
    [found] = _of(run(made, name="a.night-2"))
    assert found.command == command
    [found] = _of(run(made, name=name))
    assert found.command == ""


@pytest.mark.parametrize("started_at", ["yesterday", "9999-12-31T23:59:59+00:00"])
def test_without_a_clock_the_seconds_remain(started_at: str) -> None:
    made = hung(point("threads", 2))
    found = card(replace(made, result=replace(made.result, started_at=started_at)))
    assert dict(found.facts)["since"] == "33.5 s after its start"


def test_markdown_has_the_head_of_a_card_as_lines_and_its_evidence_in_one_fold() -> None:
    text = markdown("night", sections_of(run(hung(point("threads", 2)))))
    body = text.partition("### hung: threads x2, repeat 0\n")[2]
    assert body.lstrip().startswith(
        "**Worker 0 waits for an item from an empty queue; thread answering had died"
    )
    for line in ("- class: queue", "- signature: 1a2b3c4d5e", "What to do: Find the other end of the queue"):
        assert line in body
    folded = body.partition("<details><summary>Evidence</summary>")[2].partition("</details>")[0]
    assert "Queues (1):\npieces of worker 0: 8 of 8\n" in folded


def test_a_real_hang_makes_a_card_of_what_the_harness_stored(tmp_path: Path) -> None:
    """The keys that are written are those that are read."""
    fault = {"kind": "queue_full", "component": "avatar", "stage": "motion"}
    tried = small_point("threads", 2, limits={"stage": 0.4}, fault=fault)
    found = card(supervisor.measure(tried, tmp_path / "point", supervisor.start_guard()))
    facts, told = dict(found.facts), {one.title.partition(" (")[0]: one.text for one in found.evidence}
    assert (found.tone, facts["class"]) == ("hung", "queue")
    assert re.search(
        r"waits in _queue_full \(engines/misdeeds\.py:\d+\) for room in full queue nobody_reads \(2 of 2\)",
        found.lead,
    )
    assert re.fullmatch("[0-9a-f]{10}", facts["signature"].partition(",")[0])
    assert re.fullmatch(r"stage avatar.motion of job [0-3] on worker [01]", facts["where"])
    assert re.search(r"\d\d:\d\d:\d\d UTC, [\d.]+ s after its start", facts["since"])
    assert "_queue_full" in told["Stack of what is stuck"]
    assert {"Why this class", "Threads: who waits for what", "Processes", "Last spans"} <= set(told)


def test_a_page_of_hangs_has_one_open_card_for_each_kind() -> None:
    page = html("night", sections_of(run(*hangs.a_night())))
    assert len(re.findall(r'<details class="card hung" open>', page)) == 2
    assert len(re.findall(r'<details class="card hung">', page)) == 2
