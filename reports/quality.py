"""Quality in words, and speed against it: how far a faster point's output is from that of eager fp32."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from reports import panels
from reports.blocks import Cell, Figure, Section, Text, grid, num
from reports.points import PointRows
from reports.tables import Table

COLUMNS = (("PSNR, dB", "psnr_db"), ("SSIM", "ssim"), ("log-spectral distance, dB", "lsd_db"))
# Of results that no one judged (older ones): keys that change how a network is computed, and not what.
_REFERENCE: dict[str, tuple[Any, ...]] = {
    "backend": (None, "eager"),
    "precision": (None, "fp32"),
    "fused": (None, False),
    "batch": (None, 1),
}
_MOST_POINTS = 12


def is_reference(point: PointRows) -> bool:
    """Nothing in it is optimised: what the others' quality is measured against."""
    states = _states(point)
    if states - {""}:
        return states == {"reference"}
    configs = (point.first.result.point.get(group, {}) for group in ("tts", "avatar"))
    return all(_is_plain(config) for config in configs)


def _is_plain(config: Mapping[str, Any]) -> bool:
    stages = [config.get(key) or {} for key in ("stage_backend", "stage_precision")]
    unset = all(value is None for stage in stages for value in stage.values())
    return unset and all(config.get(key) in values for key, values in _REFERENCE.items())


def checked_first(points: Sequence[PointRows]) -> list[PointRows]:
    """Those whose quality was checked before the others, else in the given order."""
    return sorted(points, key=lambda point: not is_checked(point))


def is_checked(point: PointRows) -> bool:
    """Its sample was compared and is near enough at every repeat, or it is what others are compared with."""
    return _states(point) == {"holds"} or is_reference(point)


def _states(point: PointRows) -> set[str]:
    return {str(row.measurement.result.quality.get("state", "")) for row in point.rows}


def quality(point: PointRows) -> str:
    """`quality holds: PSNR 52.3 dB, ...`; `quality not checked: why`; "" for the reference itself."""
    if is_reference(point):
        return ""
    if is_checked(point):
        return f"quality holds: {point.first.result.quality.get('text', '')}"
    found = (row.measurement.result.quality for row in point.rows)
    said = [str(each.get("text", "")) for each in found if each.get("state") != "holds"]
    return f"quality {said[0]}" if said[0] else "quality not checked against eager fp32"


def tradeoff(table: Table) -> Section | None:
    """RTF against PSNR, where more than two ok points have both."""
    known = [
        (point, rtf, psnr_db)
        for point in table.ok
        if (rtf := point.number("rtf_aggregate")) and math.isfinite(psnr_db := _psnr_db(point))
    ]
    if len(known) < 3:
        return None
    front = _front(known)[:_MOST_POINTS]
    places = [(rtf, psnr_db) for _, rtf, psnr_db in front]
    others = [(rtf, psnr_db) for point, rtf, psnr_db in known if point not in [p for p, _, _ in front]]
    told = "; ".join(f"{p.label} at {num(rtf)} with {num(psnr)} dB" for p, rtf, psnr in front[:4])
    alt = f"Aggregate RTF against PSNR of {len(known)} points; none beats these in both: {told}."
    note = (
        "Towards the upper left: faster and nearer to eager fp32. Numbered: the points that no other beats "
        "in both. PSNR is of a few frames of a short fixed input, against those of the reference with the "
        "same seed, 120 dB where they are equal; what was not compared is not drawn."
    )
    svg = panels.scatter("tradeoff", alt, places, others, ("aggregate RTF", "PSNR, dB"))
    rows: list[list[str | Cell]] = [
        [str(number), point.label, num(rtf), num(psnr_db)]
        for number, (point, rtf, psnr_db) in enumerate(front, 1)
    ]
    legend = grid("number>|point|aggregate RTF>|PSNR, dB>", rows)
    return Section("tradeoff", "Speed against quality", (Figure(svg, alt), Text(note, "note"), legend))


Found = tuple[PointRows, float, float]  # with its RTF and its PSNR in dB


def _front(known: Sequence[Found]) -> list[Found]:
    """Those than which no other is both faster and better, fastest first; `known` is fastest first."""
    kept: list[Found] = []
    for found in known:
        if not kept or found[2] > kept[-1][2]:
            kept.append(found)
    return kept


def _psnr_db(point: PointRows) -> float:
    value = point.number("psnr_db")
    return math.nan if value is None else value
