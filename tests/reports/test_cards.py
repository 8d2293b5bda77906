"""Cards: of a process that died, what there is to read and what nobody can say; of evidence in any shape."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from harness.result import Measurement, Outcome
from reports.blocks import Card
from reports.incidents import incidents
from reports.markdown import markdown
from reports.page import html, sections_of
from reports.tables import Table, table
from tests.data.make_runs import broken, point
from tests.reports import hangs
from tests.reports.hangs import hung


def run(made: Measurement, folder: str = "runs/night") -> Table:
    path = Path("/bench", folder)
    return table(path.name, path, [made])


def card(made: Measurement, folder: str = "runs/night") -> Card:
    found = incidents(run(made, folder))
    [one] = [block for block in (found.blocks if found else ()) if isinstance(block, Card)]
    return one


def crashed(reason: str, **evidence: Any) -> Measurement:
    return broken(point("threads", 2), Outcome.CRASHED, reason, **hangs.HERE, evidence=evidence)


KILLED = "stage avatar.warp of job 2 on worker 0: the measured process was killed by SIGSEGV"
LAST_WORDS = (
    "process 70\nFatal Python error: Segmentation fault\n\nCurrent thread 0x7 (most recent call first):"
)


def test_the_stack_of_a_process_that_died_is_called_so_and_links_to_what_it_printed(tmp_path: Path) -> None:
    made = crashed(KILLED, excerpt=LAST_WORDS, log_tail="ready")
    (tmp_path / "faulthandler-70.txt").write_text("Fatal Python error")
    found = card(replace(made, folder=str(tmp_path)))
    assert [one.title for one in found.evidence] == ["Stack of what died", "End of child.log"]
    link = found.evidence[0].link
    assert link == f"{made.result.id}/0/faulthandler-70.txt"
    assert found.todo.startswith("Read the stack below")
    assert found.todo.endswith("SIGSEGV comes from native code.")
    sections = sections_of(run(replace(made, folder=str(tmp_path))))
    assert f'<a href="{link}">faulthandler-70.txt</a>' in html("run", sections)
    assert f"[faulthandler-70.txt]({link})" in markdown("run", sections)


@pytest.mark.parametrize("excerpt", [LAST_WORDS, "process 71\nFatal", "process ../70\nFatal", "Fatal"])
def test_a_stack_without_its_file_has_no_link(excerpt: str, tmp_path: Path) -> None:
    found = card(replace(crashed(KILLED, excerpt=excerpt), folder=str(tmp_path)))
    assert found.evidence[0].link == ""


def test_stacks_that_were_taken_of_what_was_late_are_not_those_of_what_died(tmp_path: Path) -> None:
    (tmp_path / "stacks.txt").write_text("all of them")
    made = replace(crashed(KILLED), folder=str(tmp_path))
    assert [one.title for one in card(made).evidence] == ["Stacks from when it was late"]
    assert card(made).evidence[0].link.endswith("/0/stacks.txt")


def test_a_process_that_ended_itself_without_a_word_is_not_told_of_signals_or_of_a_log() -> None:
    found = card(
        crashed("stage avatar.warp of job 2: the measured process ended with exit code 7 and no result")
    )
    assert found.todo.startswith("It left no stack and nothing in child.log. An exit code without a result")
    assert found.evidence == ()


def test_what_else_a_process_may_have_died_in_is_a_line_of_its_own() -> None:
    others = "stage tts.speak of job 1 on worker 1, load of asr on worker 1"
    found = card(crashed(f"{KILLED}; also open: {others}"))
    assert found.lead == KILLED
    assert dict(found.facts)["also open"] == f"{others}; nothing says which of them died"


def test_temporary_files_that_stay_are_told() -> None:
    found = card(crashed(KILLED, temporary_left="/tmp/harness-0123-abcd"))
    assert dict(found.facts)["left behind"] == "temporary files stay in /tmp/harness-0123-abcd"


@pytest.mark.parametrize(
    ("started_at", "since"),
    [
        ("2026-11-20T10:05:00", "2026-11-20 10:05:33, 33.5 s after its start"),
        ("2026-11-20T10:05:00+00:00", "2026-11-20 10:05:33 UTC, 33.5 s after its start"),
        (None, "33.5 s after its start"),
    ],
)
def test_a_start_without_zone_or_time_is_told_as_far_as_it_goes(started_at: Any, since: str) -> None:
    made = hung(point("threads", 2))
    found = card(replace(made, result=replace(made.result, started_at=started_at)))
    assert dict(found.facts)["since"] == since


@pytest.mark.parametrize(
    "folder", ["runs/mine/ab/base", "artifacts/night", "runs", "runs/_night", "runs/" + 101 * "n"]
)
def test_a_run_that_the_command_would_not_find_has_none(folder: str) -> None:
    made = hung(point("threads", 2))
    assert card(made, folder).command == ""
    assert card(made).command == f"python -m harness +sweep=bisect of={made.result.id} name=night"


@pytest.mark.parametrize(
    "evidence",
    [
        {"diagnosis": "a text"},
        {"diagnosis": {"kind": None, "sentence": 3, "because": "one line"}},
        {"signature": 7, "gpus": "none", "threads": [{"a": {"b": 1}}], "failed": {"c": 2}},
        {"limit_s": "long", "detected_after_s": "late", "ended_after_s": "never", "vram_leak_mib": "much"},
        {"vram_leak_mib": float("nan")},
        {"states": ["x"], "marks": "x", "measured_again": "x", "mismatches": 7},
        {"states": {"0": {"avatar": "text"}, "1": "text"}, "marks": ["x", {"kind": 1}, None]},
        {"states": "text", "marks": {"kind": "x"}, "measured_again": {"times": 1, "marks": "x"}},
        {"measured_again": {"marks": ["x", [{"text": "y"}], 3]}, "mismatches": "x", "mark_limits": "x"},
    ],
)
def test_evidence_of_another_shape_makes_a_card_all_the_same(evidence: dict[str, Any]) -> None:
    found = hung(point("threads", 2), **evidence)
    assert html("run", sections_of(run(found))).count('<details class="card hung"') == 1


def test_states_of_another_shape_are_told_as_they_are() -> None:
    def told(states: Any) -> list[str]:
        found = {one.title: one.text for one in card(hung(point("threads", 2), states=states)).evidence}
        return found["What the components say"].splitlines()

    assert told(["x"]) == ["x"]
    assert told({"worker 0": {"avatar": "text"}}) == ["state of avatar, worker 0:", "  text"]
    assert told({"worker 0": "text"}) == ["worker 0: text"]
