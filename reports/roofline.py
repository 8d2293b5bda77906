"""The section on the roofline: each GPU stage's time over the least it can take, and what an L4 would do."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from harness.metrics import stage_table
from harness.result import Measurement
from reports.blocks import Block, Cell, Section, Text, grid, num
from reports.hardware import Gpu, format_of, gpu_of
from reports.points import Estimate, PointRows, estimate
from reports.quality import checked_first, is_reference
from reports.tables import Table, attested

TARGET = "NVIDIA L4"
# Above this ratio a stage that is short is called bound by launches: kernels near a peak are within 2 to 3.
_FAR = 5.0
_SHORT_S = 1e-3  # a floor per count below which launches, some 5 us each and hundreds per count, can decide


@dataclass(frozen=True)
class Rate:
    """A GPU stage of one point. Seconds, flops and bytes are per count of its spans (a frame, a token).

    counts_per_media_s   how many of these a second of video takes, in the first repeat
    """

    name: str
    format: str
    flops: float
    bytes: float
    achieved: Estimate
    counts_per_media_s: float

    def floor_s(self, gpu: Gpu) -> float | None:
        """max(flops / peak, bytes / bandwidth); None where the GPU has no such format."""
        peak = gpu.tflops.get(self.format)
        return None if peak is None else max(self.flops / (peak * 1e12), self.bytes / (gpu.gb_per_s * 1e9))

    def bound(self, gpu: Gpu) -> str:
        """Which peak decides there: compute or memory."""
        compute = self.flops / (gpu.tflops[self.format] * 1e12)
        return "compute" if compute >= self.bytes / (gpu.gb_per_s * 1e9) else "memory"


def roofline(table: Table) -> Section | None:
    """Of the fastest checked point with one worker, and of eager fp32 beside it; None: see gap."""
    chosen = _chosen(table)
    if not chosen:
        return None
    blocks: list[Block] = []
    for point, gpu in chosen:
        blocks.append(_achieved_grid(point, gpu, rates(point)))
    blocks += [Text(_NOTE, "note"), *_projection(*chosen[0])]
    return Section("roofline", "How near to the hardware's limit", tuple(blocks))


_NOTE = (
    "Floor: the larger of operations over the GPU's dense peak in this number format and bytes over its "
    "memory bandwidth, from data sheets; no real kernel reaches it. Operations and bytes are the network's "
    "own as the engine counts them, whatever backend runs it. Device time from CUDA events, with one worker, "
    "so that nobody else is on the GPU. Launch or latency: over 5 times a floor of under 1 ms, so no peak "
    "decides but launches, small kernels, or results written out between kernels. A ratio under 1 means that "
    "less was computed than is counted, or in another format."
)


def gap(table: Table) -> str:
    """Why there is no roofline, in a sentence; "" where there is one."""
    if _chosen(table):
        return ""
    cuda = [point for point in table.ok if "cuda" in attested(point.first, "device")]
    if not cuda:
        return "Roofline: no ok point ran on a GPU."
    unknown = sorted({_gpu_name(point) for point in cuda if gpu_of(_gpu_name(point)) is None})
    if "" in unknown:
        return (
            "Roofline: the machine has no named GPU or several kinds of GPU, and which one ran is not stored."
        )
    if unknown:
        return f"Roofline: no peaks are known for {' and '.join(unknown)}; add them to reports/hardware.py."
    return "Roofline: no ok point with one worker has a GPU stage whose operations the engine counted."


def _chosen(table: Table) -> list[tuple[PointRows, Gpu]]:
    """The fastest one-worker point with known peaks, of those with a checked quality if there are any, and
    the fastest eager fp32 one where that is another.
    """
    found = []
    for point in checked_first(table.ok):
        gpu = gpu_of(_gpu_name(point))
        if point.workers == 1 and gpu is not None and rates(point):
            found.append((point, gpu))
    plain = [item for item in found if is_reference(item[0])]
    return [*found[:1], *(item for item in plain[:1] if item[0].id != found[0][0].id)]


def _gpu_name(point: PointRows) -> str:
    """The machine's GPU, "" where it has several kinds, of which nobody knows which one ran."""
    names = {str(gpu.get("name", "")) for gpu in point.first.result.environment.get("gpus") or []}
    return names.pop() if len(names) == 1 else ""


def rates(point: PointRows) -> list[Rate]:
    """The stages whose work the engine counted and whose device time was taken, longest first."""
    return list(_rates(point))


def _rates(point: PointRows) -> Iterator[Rate]:
    works = _stage_facts(point.first)
    tables = [stage_table(row.measurement) for row in point.rows if row.ok]
    media_s = point.numbers("media_s")
    for row in tables[0] if tables else []:
        name = f"{row['component']}.{row['stage']}"
        flops, moved, number_format = works.get(name, (0.0, 0.0, ""))
        times = [per for rows in tables if (per := _per_count(rows, name))]
        achieved = estimate(times)
        if achieved is None or not number_format or not flops + moved or not media_s or not media_s[0]:
            continue
        counts = float(row["count"])
        yield Rate(name, number_format, flops, moved, achieved, counts / media_s[0])


def _per_count(rows: Sequence[Mapping[str, Any]], name: str) -> float | None:
    """Device seconds per count; None where no device time was taken."""
    for row in rows:
        if f"{row['component']}.{row['stage']}" == name and row["gpu_s"] and row["count"]:
            return float(row["gpu_s"]) / float(row["count"])
    return None


def _stage_facts(m: Measurement) -> dict[str, tuple[float, float, str]]:
    """component.stage -> flops, bytes, number format, of GPU stages of the first worker that says so."""
    found: dict[str, tuple[float, float, str]] = {}
    for components in m.result.attestation.values():
        for name, part in components.items():
            for stage, work in (part.get("work") or {}).items():
                facts = (part.get("stages") or {}).get(stage, {})
                if "cuda" not in str(facts.get("device", part.get("device", ""))):
                    continue
                known = format_of(f"{facts.get('dtype', '')} {facts.get('precision', '')}")
                if known == "fp32" and part.get("tf32") is True:
                    known = "tf32"
                numbers = (_number(work.get("flops")), _number(work.get("bytes")), known)
                found.setdefault(f"{name}.{stage}", numbers)
    return found


def _number(value: object) -> float:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else 0.0


def _achieved_grid(point: PointRows, gpu: Gpu, found: Sequence[Rate]) -> Block:
    rows: list[list[str | Cell]] = []
    for rate in found:
        floor = rate.floor_s(gpu)
        if floor is None:
            rows.append([rate.name, rate.format, *_work(rate), _ms(rate.achieved), "-", "-", "no peak known"])
            continue
        ratio = _scaled(rate.achieved, 1 / floor)
        limit = _bottleneck(rate, gpu, rate.achieved.value / floor)
        rows.append(
            [rate.name, rate.format, *_work(rate), _ms(rate.achieved), num(1e3 * floor), _told(ratio), limit]
        )
    heads = "stage|format|GFLOP per count>|MB per count>|achieved, ms per count>|floor, ms per count>"
    heads += "|achieved / floor>|limit"
    n = len(point.rows)
    runs = "n=1 run, no interval" if n == 1 else f"n={n} runs, 95 % t-intervals in brackets"
    weights = attested(point.first, "weights")
    caption = (
        f"{point.label}: {_gpu_name(point)}, weights {weights}, {runs}. Count: a frame, a token, as the "
        f"stage's spans count. Peaks: {gpu.source}."
    )
    return grid(heads, rows, caption)


def _work(rate: Rate) -> list[str]:
    return [num(rate.flops / 1e9), num(rate.bytes / 1e6)]


def _ms(achieved: Estimate) -> str:
    return _told(_scaled(achieved, 1e3))


def _told(value: Estimate) -> str:
    ends = "" if value.low is None or value.high is None else f" [{num(value.low)}, {num(value.high)}]"
    return f"{num(value.value)}{ends}"


def _scaled(value: Estimate, factor: float) -> Estimate:
    low = None if value.low is None else value.low * factor
    high = None if value.high is None else value.high * factor
    return Estimate(value.value * factor, low, high, value.n)


def _bottleneck(rate: Rate, gpu: Gpu, ratio: float) -> str:
    if ratio > _FAR and (rate.floor_s(gpu) or 0.0) < _SHORT_S:
        return "launch or latency"
    if ratio > _FAR:
        return f"{rate.bound(gpu)}, {num(ratio)} times its floor"
    if ratio < 0.95:
        return f"{rate.bound(gpu)}; under its floor, see below"
    return rate.bound(gpu)


def _projection(point: PointRows, gpu: Gpu) -> list[Block]:
    """What the same networks would take on the target by this model; a projection in every row."""
    target = gpu_of(TARGET)
    assert target is not None
    if target is gpu:
        return []
    rows: list[list[str | Cell]] = []
    least = most = 0.0
    for rate in rates(point):
        here, there = rate.floor_s(gpu), rate.floor_s(target)
        if here is None or there is None:
            rows.append([f"projection: {rate.name}", rate.format, "-", "-", "-", "no such format there"])
            continue
        same = rate.achieved.value * there / here
        low, high = sorted((there, same))
        least, most = least + low * rate.counts_per_media_s, most + high * rate.counts_per_media_s
        note = "launches do not scale so" if rate.achieved.value / here > _FAR else ""
        rows.append(
            [
                f"projection: {rate.name}",
                rate.format,
                num(1e3 * there),
                num(1e3 * same),
                rate.bound(target),
                note,
            ]
        )
    total = f"projection: these GPU stages together, s per media s: {num(least)} to {num(most)}"
    heads = "stage|format|projection: floor, ms per count>"
    heads += "|projection: at the same efficiency, ms per count>|limit|note"
    caption = (
        f"Projection, not a measurement: {TARGET} ({target.source}), from {point.label} on "
        f"{_gpu_name(point)}. From the floor there to the share of the peak that each stage reached here."
    )
    return [grid(heads, rows, caption), Text(_projected(point, total), "note")]


def _projected(point: PointRows, total: str) -> str:
    known = {rate.name for rate in rates(point)}
    rest = [
        f"{row['component']}.{row['stage']}"
        for row in stage_table(point.first)
        if row["calls"]
        and f"{row['component']}.{row['stage']}" not in known
        and (row["per_media_s"] or 0) > 0
    ]
    left = (
        f" Not projected, as they run on the CPU or their work is not counted: {', '.join(rest)}."
        if rest
        else ""
    )
    return (
        f"{total[0].upper()}{total[1:]}.{left} Their time depends on the host. A card of 72 W seldom holds "
        "its highest clock, so the upper end is no bound; whether all fits in its 24 GB is not looked at."
    )
