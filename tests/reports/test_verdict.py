"""The verdict says what was measured and, above all, nothing more."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from harness.result import Measurement, Outcome
from reports.blocks import Text
from reports.gaps import not_measured
from reports.tables import read, table
from reports.verdict import verdict
from tests.data.make_runs import HERE, READ_BACK, SHARED, broken, measured, point


def said(measurements: Sequence[Measurement]) -> str:
    section = verdict(table("run", Path(), measurements))
    return "\n".join(block.text for block in section.blocks if isinstance(block, Text))


def test_the_first_sentence_names_the_fastest_its_conditions_and_the_lack_of_repeats() -> None:
    lead = verdict(read(HERE / "every_outcome")).blocks[0]
    assert isinstance(lead, Text)
    # processes x4: 4 jobs of 12 s side by side, 16 s of media: 12 / 16
    assert "processes x4, aggregate RTF 0.750 (n=1 run, no interval)" in lead.text
    assert "on cpu; size tiny, weights random: compares executors, says nothing of the full" in lead.text


def test_with_full_size_random_weights_speed_counts_and_the_picture_does_not() -> None:
    full = {name: {**facts, "size": "full"} for name, facts in READ_BACK.items()}
    text = said([measured(point("sequential", 1), attestation={"worker 0": full})])
    assert "weights random: speed and memory are meaningful, picture quality is not" in text


def test_request_and_aggregate_rtf_are_answered_apart() -> None:
    four = {"wait": 0.0, "gpt": 3.0, "warp": 8.0, "write": 1.0}
    text = said([measured(point("sequential", 1)), measured(point("processes", 4), parts=four)])
    assert "median over jobs): no. Nearest: sequential x1 with 2.00" in text
    assert (
        "keeps up): yes, by 1 of 2 ok configurations; with the fewest workers by processes x4: 0.750" in text
    )


def test_clips_that_were_compared_with_nothing_are_counted_and_keep_the_sentence_from_being_green() -> None:
    base = measured(point("sequential", 1))
    base = replace(base, result=replace(base.result, compared="is the reference"))
    m = measured(point("threads", 2))
    jobs = [replace(j, checks={**j.checks, "equal": True}) if j.job < 3 else j for j in m.result.jobs]
    some = "3 of 4 outputs compared, 3 equal to those of the sequential reference 0123456789ab repeat 0"
    m = replace(m, result=replace(m.result, compared=some, jobs=tuple(jobs)))
    [line] = [
        block
        for block in verdict(table("run", Path(), [base, m])).blocks
        if isinstance(block, Text) and block.text.startswith("Output: ")
    ]
    passed = "Output: 8 of 8 clips of the ok configurations passed the checks"
    wanted = "3 of 3 agree with those of the sequential run, not compared: 1."
    assert (line.text, line.tone) == (f"{passed}; {wanted}", "warn")


def test_zero_successes_are_never_a_pass() -> None:
    text = said(
        [broken(point("threads", 2), Outcome.HUNG, "stuck"), broken(point("queue", 2), Outcome.SKIPPED, "no")]
    )
    assert text.startswith("Not measured")
    assert "Fastest" not in text
    assert "yes" not in text
    assert "1 skipped, 1 hung. Not ok: threads x2: hung." in text


def test_a_point_that_broke_once_is_not_the_fastest() -> None:
    made = point("threads", 2)
    slow = measured(point("sequential", 1))
    text = said([slow, measured(made, parts=SHARED), measured(made, 1, outcome=Outcome.CRASHED)])
    assert text.startswith("Fastest ok configuration: sequential x1")
    assert "threads x2: 1 ok, 1 crashed" in text


def test_a_point_with_an_injected_fault_is_no_answer() -> None:
    text = said([measured(point("threads", 2, fault__kind="slow"), parts=SHARED)])
    assert text.startswith("Not measured")


def test_simulated_engines_are_called_by_their_name() -> None:
    text = said([measured(point("sequential", 1, tts___target_="engines.simulated.Simulated"))])
    assert "the times are sleeps and say nothing of real models" in text


def test_an_interval_that_reaches_one_is_no_clear_yes() -> None:
    made = point("pipelined", 1)
    quick = {"wait": 0.0, "gpt": 0.9, "warp": 1.9, "write": 0.8}  # 3.6 s of work for 4 s: 0.9
    section = verdict(table("run", Path(), [measured(made, 0, quick), measured(made, 1, quick, 1.05)]))
    below = [block for block in section.blocks if isinstance(block, Text) and "Aggregate" in block.text]
    assert [block.tone for block in below] == ["warn"]
    assert "The interval reaches 1" in below[0].text


def test_a_lone_point_has_no_speedup() -> None:
    assert "Speed-up: not measured" in said([measured(point("threads", 2))])
    assert "Speed-up: not measured" in said([measured(point("sequential", 1))])


def test_the_speedup_of_repeats_carries_their_number() -> None:
    base, made = point("sequential", 1), point("threads", 2)
    runs = [measured(base, n, scale=1 + 0.01 * n) for n in range(3)]
    runs += [measured(made, n, SHARED, 1 + 0.01 * n) for n in range(3)]
    assert "n=3 runs) by threads x2" in said(runs)


def test_another_output_under_concurrency_is_said_and_named() -> None:
    text = said(read(HERE / "every_outcome").measurements)
    assert "24 of 24 clips of the ok configurations passed the checks" in text
    assert "19 of 20 agree with those of the sequential run" in text
    assert "first difference: threads x2, repeat 2, job 3" in text


def test_a_clip_that_failed_its_checks_is_counted() -> None:
    m = measured(point("sequential", 1))
    jobs = (replace(m.result.jobs[0], valid=False), *m.result.jobs[1:])
    assert "3 of 4 clips" in said([replace(m, result=replace(m.result, jobs=jobs))])


def gaps(measurements: Sequence[Measurement]) -> str:
    section = not_measured(table("run", Path(), measurements))
    return "\n".join(block.text for block in section.blocks if isinstance(block, Text)) if section else ""


def test_what_was_not_measured_follows_from_the_data() -> None:
    text = gaps([measured(point("sequential", 1))])
    assert "A GPU: no ok point ran on one." in text
    assert "Real weights" in text
    assert "1 of 1 points ran once" in text
    assert "threads, processes, queue, pipelined" in text
    assert "avatar.steps only 50" in text
    assert "workload.resolution only 384x579" in text
    assert "needs 59 jobs; the most here: 4" in text


def test_what_was_measured_is_not_called_missing() -> None:
    ran = {"worker 0": {"tts": {"weights": "checkpoint ab", "device": "cuda:0"}}}
    made = point("sequential", 1)
    text = gaps([measured(made, n, attestation=ran) for n in range(2)])
    assert "A GPU" not in text
    assert "Real weights" not in text
    assert "ran once" not in text
