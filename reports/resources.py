"""Sections on memory, time to first output, cost and start-up."""

from __future__ import annotations

from harness.metrics import METRICS
from reports import figures
from reports.blocks import Block, Cell, Figure, Section, grid, num, short
from reports.drawing import apart
from reports.performance import MOST_BARS, highest, lines_of, named_apart, over_workers, tone
from reports.points import Estimate, PointRows, in_order
from reports.tables import Table

_UNITS = {metric.name: metric.unit for metric in METRICS}


def memory(table: Table) -> Section | None:
    """Peaks by worker count, also of points that broke, and what each load added."""
    words = {"peak_vram_mib": "GPU memory (NVML)", "peak_rss_mib": "resident memory"}
    names = [*words, "torch_allocated_mib", "torch_reserved_mib"]
    shown = [name for name in names if any(point.numbers(name) for point in table.points)]
    if not shown:
        return None
    figured = [_memory_figure(table, name, words[name]) for name in shown if name in words]
    drawn: list[Block] = [figure for figure in figured if figure]
    heads = ["point", "outcome", *(_head(name) for name in shown), "added by loads"]
    rows: list[list[str | Cell]] = [
        [p.label, Cell(p.outcome_text(), tone(p)), *(short(p.estimate(n)) for n in shown), _loads(p)]
        for p in in_order(table.points)
        if any(p.numbers(name) for name in shown)
    ]
    caption = "Peaks of all processes of a point together; of a broken point up to its end."
    return Section("memory", "Memory", (*drawn, grid("|".join(heads), rows, caption)))


def _memory_figure(table: Table, metric: str, word: str) -> Figure | None:
    def peak(point: PointRows) -> Estimate | None:
        return point.estimate(metric)

    lines, shared = named_apart(highest(lines_of(table, peak)[0]))
    if not over_workers(lines):
        return None
    most = max((y, x, line.label) for line in lines for x, y in zip(line.x, line.y, strict=True))
    alt = f"Peak {word} by workers; most {num(most[0])} MiB with {most[2]} x{most[1]}."
    return Figure(figures.lines(metric, alt, lines, ("workers", f"peak {word}, MiB")), alt, shared)


def _head(name: str) -> str:
    """`load_s` -> `load, s>`: the unit stands behind the name."""
    stem = name
    for suffix in ("_mib", "_pct", "_s", "_w"):
        stem = stem.removesuffix(suffix)
    return f"{stem.replace('_', ' ')}, {_UNITS[name]}>"


def _loads(point: PointRows) -> str:
    """`worker 0 tts +812 MiB`: resident memory after a load less that before it."""
    found = []
    for worker, components in point.first.result.memory.items():
        for name, read in components.items():
            before, after = read.get("rss_before_mib"), read.get("rss_after_mib")
            if before is not None and after is not None:
                found.append(f"{worker} {name} {after - before:+,.0f} MiB")
    more = f" and {len(found) - 6} more" if len(found) > 6 else ""
    return ", ".join(found[:6]) + more


def first_output(table: Table) -> Section | None:
    """Time to first audio and first frame, medians over jobs."""
    points = [p for p in table.ok if p.numbers("ttfa_s") or p.numbers("ttff_s")]
    if not points:
        return None
    points.sort(key=lambda p: p.number("ttff_s") or p.number("ttfa_s") or 0.0)
    drawn, soonest = points[:MOST_BARS], points[0]
    words = {"first audio": "ttfa_s", "first frame": "ttff_s"}
    parts = {word: [point.number(name) for point in drawn] for word, name in words.items()}
    alt = f"Time to first audio and frame; soonest frame {num(soonest.number('ttff_s'))} s, {soonest.label}."
    names, shared = apart([point.label for point in drawn])
    svg = figures.groups("first", alt, names, parts, "s after the job's start")
    rows: list[list[str | Cell]] = [
        [p.label, *(short(p.estimate(n)) for n in ("ttfa_s", "ttff_s", "wait_share"))] for p in points
    ]
    heads = "point|first audio, s>|first frame, s>|share of job time spent waiting>"
    return Section(
        "first-output",
        "Time to first audio and frame",
        (Figure(svg, alt, shared), grid(heads, rows, "Medians over jobs, soonest first.")),
    )


def start_up(table: Table) -> Section | None:
    """Loads and warm-ups, which no other figure contains, and what measuring cost."""
    names = ["duration_s", "load_s", "build_s", "warm_up_s", "cpu_s", "cpu_share", "gpu_util_pct", "power_w"]
    names.append("harness_cpu_share")
    shown = [name for name in names if any(point.numbers(name) for point in table.points)]
    heads = "|".join(["point", *(_head(name) for name in shown)])
    rows: list[list[str | Cell]] = [
        [point.label, *(short(point.estimate(name)) for name in shown)] for point in in_order(table.points)
    ]
    caption = "Durations of the whole point, its loads, builds and warm-ups: not part of any figure above."
    return Section("start-up", "Start-up and load on the machine", (grid(heads, rows, caption),))


def cost(table: Table) -> Section | None:
    """Dollars per minute of video and per thousand clips, cheapest first."""
    points = [point for point in table.ok if point.numbers("usd_per_media_min")]
    if not points:
        return None
    points.sort(key=lambda point: point.number("usd_per_media_min") or 0.0)
    rows: list[list[str | Cell]] = [
        [p.label, *(short(p.estimate(n)) for n in ("usd_per_media_min", "usd_per_1000_clips", "clip_s"))]
        for p in points
    ]
    prices = sorted({num(p.first.result.price_usd_per_h) for p in points})
    note = f"At {' and '.join(prices)} USD per hour of the machine, busy from first submit to last finish."
    heads = "point|USD per minute of video>|USD per 1000 clips>|clip, s>"
    return Section("cost", "Cost", (grid(heads, rows, note),))
