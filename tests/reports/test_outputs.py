"""What the report says of outputs, of what ran, of streaming and of stuck components, read from results."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from harness.result import JobResult, Measurement, Outcome
from reports.blocks import Cell, Grid, Section, Text
from reports.evidence import ran
from reports.outputs import clips_uncompared, equality, outputs, uncompared
from reports.streaming import streaming
from reports.tables import Table, read, read_csv, table, write_csv
from tests.data.make_runs import HERE, READ_BACK, every_outcome, measured, point, span

NAME = "the sequential reference 0123456789ab repeat 0"
EQUAL = f"4 of 4 outputs equal to those of {NAME}"


def run(*measurements: Measurement) -> Table:
    return table("run", Path(), measurements)


def rows(section: Section | None, which: int = 0) -> list[dict[str, Cell]]:
    assert section is not None
    block = [block for block in section.blocks if isinstance(block, Grid)][which]
    return [dict(zip(block.heads, row, strict=True)) for row in block.rows]


def compared(
    m: Measurement, text: str, change: Callable[[JobResult], JobResult] | None = None
) -> Measurement:
    jobs = tuple(change(job) for job in m.result.jobs) if change else m.result.jobs
    return replace(m, result=replace(m.result, compared=text, jobs=jobs))


def with_equal(equal: bool, **figures: float) -> Callable[[JobResult], JobResult]:
    return lambda job: replace(job, checks={**job.checks, "equal": equal, **figures})


def test_equal_outputs_are_said_with_their_reference_and_gate_figures() -> None:
    m = compared(measured(point("threads", 2)), EQUAL, with_equal(True))
    [row] = rows(outputs(run(m)))
    cell = row["against the sequential run"]
    assert (cell.text, cell.tone, cell.detail) == ("4 of 4 equal", "ok", NAME)
    assert (row["valid"].text, row["still, s"].text) == ("4 of 4", "0.120")
    assert row["loudness, dB"].text == "-21.5"
    assert "SNR, dB" not in row
    assert equality(run(m)) == (4, 4, "")


def test_outputs_within_tolerance_show_the_worst_figure_and_agree() -> None:
    near = with_equal(False, snr_db=12.3, psnr_db=44.0)
    text = f"2 of 4 outputs equal to those of {NAME}, 2 within tolerance (least SNR 12.3 dB)"
    m = compared(
        measured(point("threads", 2)), text, lambda job: (near if job.job > 1 else with_equal(True))(job)
    )
    [row] = rows(outputs(run(m)))
    cell = row["against the sequential run"]
    assert (cell.text, cell.tone) == ("2 of 4 equal, rest within tolerance", "ok")
    assert (row["SNR, dB"].text, row["PSNR, dB"].text) == ("12.3", "44.0")
    assert equality(run(m)) == (4, 4, "")


def test_what_was_not_compared_is_never_shown_as_equal() -> None:
    m = compared(
        measured(point("threads", 2)), "not compared: this run has no sequential point of the same work"
    )
    [row] = rows(outputs(run(m)))
    cell = row["against the sequential run"]
    assert (cell.text, cell.tone) == ("not compared", "skipped")
    assert "no sequential point" in cell.detail
    assert equality(run(m)) == (0, 0, "")


def test_a_comparison_of_some_of_the_clips_is_not_shown_as_one_of_all() -> None:
    text = f"2 of 4 outputs compared, 2 equal to those of {NAME}"
    m = compared(
        measured(point("threads", 2)), text, lambda job: with_equal(True)(job) if job.job < 2 else job
    )
    [row] = rows(outputs(run(m)))
    cell = row["against the sequential run"]
    assert (cell.text, cell.tone, cell.detail) == ("2 of 4 compared, 2 equal", "skipped", NAME)
    assert (equality(run(m)), clips_uncompared(run(m))) == ((2, 2, ""), 2)
    assert len(uncompared(run(m))) == 1


def test_the_reference_itself_is_not_among_the_clips_that_were_not_compared() -> None:
    base = compared(measured(point("sequential", 1)), "is the reference")
    m = compared(measured(point("threads", 2)), EQUAL, with_equal(True))
    assert (clips_uncompared(run(base, m)), uncompared(run(base, m))) == (0, [])


def test_a_job_that_differs_is_named_with_its_worker_and_how() -> None:
    said = "audio differs from 1.24 s on, SNR 3 dB"

    def wrong(job: JobResult) -> JobResult:
        return replace(job, valid=False, problem=said) if job.job == 3 else job

    m = compared(measured(point("threads", 2)), f"differs from {NAME}", wrong)
    [row] = rows(outputs(run(replace(m, result=replace(m.result, outcome=Outcome.INVALID, wall_s=None)))))
    assert (row["against the sequential run"].text, row["valid"].text) == ("differs", "3 of 4")
    assert row["first that is wrong"].text == f"job 3 on worker 1: {said}"


def test_the_comparison_stands_in_the_csv(tmp_path: Path) -> None:
    write_csv(run(compared(measured(point("threads", 2)), EQUAL)), tmp_path / "results.csv")
    assert read_csv(tmp_path / "results.csv")["compared"].tolist() == [EQUAL]


def asked(*measurements: Measurement) -> list[tuple[str, str, str]]:
    heads = ("what was asked, ran", "first that did not", "keys read back")
    return [
        (row[heads[0]].text, row[heads[1]].text, row[heads[2]].text) for row in rows(ran(run(*measurements)))
    ]


def test_what_ran_as_asked_is_told_with_the_keys_that_nobody_vouches_for() -> None:
    m = measured(point("threads", 2))
    assert asked(m) == [("yes", "-", "5 of 6")]
    section = ran(run(m))
    assert section is not None
    notes = [block.text for block in section.blocks if isinstance(block, Text)]
    assert notes[1] == "Not read back at some point: avatar.steps."


def test_what_ran_otherwise_is_told_from_the_stored_sentences_or_from_what_was_read_back() -> None:
    sentence = "tts.options.tf32 was false after the load and true at the end (worker 0)"
    stored = measured(point("threads", 2), evidence={"mismatches": [sentence]})
    other = {**READ_BACK, "avatar": {**READ_BACK["avatar"], "ran": {"steps": 10}}}
    found = asked(stored, measured(point("threads", 1), attestation={"worker 0": other}))
    assert [row[:2] for row in found] == [
        ("no", "avatar.steps=50 was asked, 10 ran (worker 0)"),
        ("no", sentence),
    ]


def test_a_run_of_the_first_format_is_read_and_is_not_called_attested() -> None:
    old = read(HERE / "schema_1")
    assert old.damaged == ()
    assert len(old.measurements) == 5
    assert {row["what was asked, ran"].text for row in rows(ran(old))} == {"not attested"}
    texts = [row["against the sequential run"].text for row in rows(outputs(old))]
    assert texts == ["is the reference", "4 of 4 equal", "4 of 4 equal", "3 of 4 equal"]


def test_only_points_that_stream_have_a_row_of_pacing() -> None:
    def with_frames(m: Measurement) -> Measurement:
        """Each clip has 100 frames: 50 at 5 s, the rest at 7 s, which are due at 5 + 2 s: no underrun."""
        marks = [
            span("mark", "", "frame", job.start_s + 4.0 + at, job.start_s + 4.0 + at, job.job, count=50)
            for job in m.result.jobs
            for at in (5.0, 7.0)
        ]
        return replace(m, spans=(*m.spans, *marks))

    online = with_frames(measured(point("pipelined", 1, avatar__mode="online")))
    offline = with_frames(measured(point("pipelined", 1, avatar__mode="offline")))
    [row] = rows(streaming(run(online, offline)))
    assert row["streams"].text == "avatar online"
    assert (row["smooth from, s"].text, row["longest gap, s"].text) == ("5.00", "2.00")
    assert (row["underruns per clip"].text, row["first frame, s"].text) == ("0", "3.00")
    assert streaming(run(offline)) is None


def test_every_outcome_has_a_row_wherever_a_job_finished() -> None:
    finished: Sequence[Measurement] = [m for m in every_outcome() if m.result.jobs]
    assert len(rows(outputs(run(*every_outcome())))) == len(finished) == 7


def test_outputs_that_are_digests_without_a_file_are_counted_where_they_are_compared() -> None:
    first = measured(point("sequential", 1))
    compared = {"equal": True}
    jobs = tuple(replace(job, output="", checks=compared) for job in first.result.jobs)
    other = measured(point("threads", 1))
    found = run(first, replace(other, result=replace(other.result, jobs=jobs, compared=EQUAL)))
    assert clips_uncompared(found) == 0
