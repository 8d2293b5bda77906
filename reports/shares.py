"""Shares: a stage's part of all stages' time. What slows the whole machine leaves it alone. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from statistics import median

from reports.gated import STAGE


def share(values: Mapping[str, Sequence[float]], metric: str) -> float | None:
    """Median over launches, 0 to 1; None for what is no stage or was not measured, or the only stage.

    values  metric -> a figure per launch; stages that some launches have not are left out
    """
    mine = values.get(metric, ())
    if not metric.startswith(STAGE) or not mine:
        return None
    stages = [each for name, each in values.items() if name.startswith(STAGE) and len(each) == len(mine)]
    if len(stages) < 2 or min(mine) <= 0:
        return None
    return float(median(own / sum(each) for own, *each in zip(mine, *stages, strict=True)))
