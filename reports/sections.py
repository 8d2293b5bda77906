"""The sections of a report in reading order; each is a function Table -> Section, or None."""

from __future__ import annotations

from collections.abc import Callable

from harness.metrics import METRICS
from reports.blocks import Cell, Section, Text, grid
from reports.comparability import comparability
from reports.effects import effects
from reports.evidence import environment, ran
from reports.gaps import not_measured
from reports.incidents import incidents
from reports.init_matrix import init_matrix
from reports.load import load
from reports.nights import nights
from reports.outputs import outputs
from reports.performance import matrix, speedup, stages
from reports.quality import tradeoff
from reports.repeats import repeats
from reports.resources import cost, first_output, memory, start_up
from reports.roofline import roofline
from reports.scaling import scaling
from reports.soak import soak
from reports.streaming import streaming
from reports.tables import Table
from reports.verdict import verdict

_WORDS = (
    ("point", "one configuration; it is measured once per repeat, in processes of its own"),
    ("job", "one request, text to video; media is the video it makes"),
    ("RTF", "real-time factor, processing time over media time; below 1 is faster than real time"),
    ("request RTF", "what one viewer waits, over the clip's length"),
    ("aggregate RTF", "what the machine needs for all clips, over their length; not what a request waits"),
    ("reference", "the sequential point of the same work, whose outputs those of the others must equal"),
    ("attested", "read back from the loaded models, sessions and encoders, not from the settings"),
    ("speed-up, efficiency", "throughput over that of the baseline; efficiency is speed-up per worker"),
    ("interval", "where the mean of repeats lies with 95 % confidence (Student's t); one run has none"),
    ("main effect", "a level's RTF over that of the first level, geometric mean over the other settings"),
    (
        "interaction",
        "the effect of one setting depends on another: a ratio of two ratios, 1 where it does not",
    ),
    ("quality", "a short fixed input's frames and sound against those of eager fp32 with the same seed"),
    ("roofline", "the least time for the operations or the bytes of a stage at the GPU's peaks"),
    ("marked", "measured while something disturbed it; the outcome and the figures stand as they are"),
    ("busy, wait", "busy is a stage's own work; wait is standing in line for a shared component or a worker"),
    ("open loop", "requests come by a clock, whether or not anybody is free; closed: when a worker is free"),
    ("latency, queue", "of a request: from when it was due to its clip, and to its start"),
    ("goodput", "requests in an hour that got what traffic.slo_* promises"),
    ("steady, ramp", "a run that stays as it is, behind a ramp: the first jobs, if they are unlike the rest"),
)
_OUTCOMES = (
    ("ok", "finished, and every clip passed its checks"),
    ("skipped", "cannot be run here, by the engine's or the rules' own word"),
    ("hung", "a span outlived its deadline; stacks were taken, the processes were ended"),
    (
        "timeout",
        "the job or the point took longer than allowed, before any stage of it did; moving or not",
    ),
    ("oom", "out of memory, host or GPU"),
    ("crashed", "a process died without an exception"),
    ("failed", "an exception"),
    ("invalid", "it ran, but not what was asked, or a clip failed its checks"),
)


def glossary(table: Table) -> Section:
    """Words, outcomes and metrics with their timers."""
    words = grid("word|meaning", [[word, text] for word, text in _WORDS], "Words")
    outcomes = grid("outcome|meaning", [[Cell(word, word), text] for word, text in _OUTCOMES], "Outcomes")
    metrics = grid(
        "column of results.csv|unit|better|formula and timer",
        [[metric.name, metric.unit, metric.better, " ".join(metric.doc.split())] for metric in METRICS],
        "Figures",
    )
    note = Text(
        "Figures are measured; a row that is projected says so in its first word. A dash: not measured.",
        "note",
    )
    return Section("reading", "How to read this page", (words, outcomes, metrics, note))


SECTIONS: tuple[Callable[[Table], Section | None], ...] = (
    verdict,
    nights,
    matrix,
    repeats,
    speedup,
    scaling,
    load,
    soak,
    stages,
    effects,
    tradeoff,
    roofline,
    first_output,
    streaming,
    memory,
    cost,
    start_up,
    init_matrix,
    outputs,
    ran,
    incidents,
    not_measured,
    comparability,
    environment,
    glossary,
)
