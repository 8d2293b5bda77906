"""The section on streaming: what a player would see, and one job's way through the stages over time."""

from __future__ import annotations

from harness.result import Span
from reports import figures
from reports.blocks import Block, Cell, Figure, Section, Text, grid, num, short
from reports.drawing import PIXEL
from reports.points import PointRows
from reports.tables import Table

_PACING = {
    "ttfa_s": "first audio, s>",
    "ttff_s": "first frame, s>",
    "smooth_start_s": "smooth from, s>",
    "gap_max_s": "longest gap, s>",
    "underruns": "underruns per clip>",
    "stalled_s": "stalled per clip, s>",
    "first_frame_lead_s": "frames lead by, s>",
}
_NOTE = (
    "A player that starts at the first frame and never skips one; an underrun is a moment at which it has no "
    "frame to show. Frames lead by the time from the first of them to the last piece of audio: above 0, the "
    "first frame was there before the last audio was made; whether speaking and drawing took turns or ran "
    "side by side shows the time line."
)
_MOST_DRAWN = 4
_PIECES = {"audio": "audio pieces", "frame": "frames"}


def streaming(table: Table) -> Section | None:
    """What a player at 25 frames a second would see, of the points that were asked to stream."""
    points = [p for p in table.ok if _streams(p) and any(p.numbers(name) for name in _PACING)]
    if not points:
        return None
    points.sort(key=lambda p: p.number("smooth_start_s") or p.number("ttff_s") or 0.0)
    rows: list[list[str | Cell]] = [
        [p.label, _streams(p), *(short(p.estimate(name)) for name in _PACING)] for p in points
    ]
    heads = "|".join(["point", "streams", *_PACING.values()])
    drawn = [_timeline(point, index) for index, point in enumerate(points[:_MOST_DRAWN])]
    blocks: list[Block] = [grid(heads, rows, "Soonest smooth start first."), Text(_NOTE, "note")]
    return Section("streaming", "Streaming", (*blocks, *(figure for figure in drawn if figure)))


def _streams(point: PointRows) -> str:
    """Which components were asked for a mode of pieces: `avatar online, tts stream`."""
    asked = point.first.result.point
    modes = {name: str(asked.get(name, {}).get("mode", "")) for name in ("tts", "avatar")}
    return ", ".join(f"{name} {mode}" for name, mode in modes.items() if mode in ("online", "stream"))


def _timeline(point: PointRows, index: int) -> Figure | None:
    """The last job of the first worker, when all is warm: its stages as lanes, its pieces as ticks."""
    measured = point.first
    jobs = [job.job for job in measured.result.jobs if job.worker == measured.result.jobs[0].worker]
    if not jobs:
        return None
    spans = [span for span in measured.spans if span.job == jobs[-1] and span.end_ns]
    start = next((span.start_ns for span in spans if span.phase == "job"), None)
    if start is None:
        return None
    pixel_s = PIXEL * max(span.end_ns - start for span in spans) / 1e9
    lanes = {stage: _intervals(of, start, pixel_s) for stage, of in _by_stage(spans).items()}
    ticks = {words: _moments(spans, kind, start) for kind, words in _PIECES.items()}
    if not lanes or not ticks["frames"]:
        return None
    alt = f"{point.label}, job {jobs[-1]}: {_order(ticks)}"
    svg = figures.lanes(f"timeline{index}", alt, lanes, ticks, "s after the job's start")
    return Figure(svg, alt, alt)


def _by_stage(spans: list[Span]) -> dict[str, list[Span]]:
    """Stages by their first span, with a component's name."""
    found: dict[str, list[Span]] = {}
    for span in spans:
        if span.phase in ("stage", "wait"):
            found.setdefault(".".join(filter(None, (span.component, span.stage))), []).append(span)
    return found


def _intervals(spans: list[Span], start_ns: int, pixel_s: float) -> list[tuple[float, float]]:
    """(begin, length) in s, host time; spans less than a pixel apart are drawn as one."""
    found: list[tuple[float, float]] = []
    for span in spans:
        begin, length = (span.start_ns - start_ns) / 1e9, span.seconds
        if found and begin - sum(found[-1]) < pixel_s:
            found[-1] = (found[-1][0], max(sum(found[-1]), begin + length) - found[-1][0])
        else:
            found.append((begin, length))
    return found


def _moments(spans: list[Span], kind: str, start_ns: int) -> list[float]:
    return [(span.start_ns - start_ns) / 1e9 for span in spans if (span.phase, span.stage) == ("mark", kind)]


def _order(ticks: dict[str, list[float]]) -> str:
    """What the picture shows, in words."""
    frame = ticks["frames"][0]
    if not ticks["audio pieces"]:
        return f"first frame at {num(frame)} s."
    last = ticks["audio pieces"][-1]
    order = "before" if frame < last else "after"
    return f"first frame at {num(frame)} s, {order} the last audio piece at {num(last)} s."
