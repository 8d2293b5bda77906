"""Which figures decide, and how small a change of each matters. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence

from reports.launches import Launched
from reports.statement import Refused

STAGE = "stage."
# Figures that decide, in this order; all are better when lower, and times are per second of video or of one
# request. (name, least change that matters: on a GPU; where the CPU does the work)
GATED: tuple[tuple[str, float, float], ...] = (
    ("rtf_aggregate", 0.03, 0.08),
    ("rtf_request_p50", 0.03, 0.08),
    ("ttfa_s", 0.08, 0.08),
    ("ttff_s", 0.05, 0.08),
    ("peak_vram_mib", 0.08, 0.08),  # a sample each 0.25 s meets the peak of a build or not: 2.5 % of spread
    ("peak_rss_mib", 0.08, 0.08),
    ("time_s", 0.05, 0.08),  # of a microbenchmark
)


def fails(texts: Sequence[str]) -> dict[str, float]:
    """`rtf:5%` -> the least change that matters, by metric: all whose name begins so. Raises Refused."""
    found: dict[str, float] = {}
    for text in texts:
        form = re.fullmatch(r"([a-z][A-Za-z0-9_.]*):(\d+(?:\.\d+)?)%", text)
        if not form or not 0 < float(form[2]) <= 1000:
            raise Refused(f"--fail {text}: must be METRIC:N%, like rtf:5% or stage.avatar.warp:10%")
        names = [name for name, *_ in GATED if name.startswith(form[1])]
        if form[1].startswith(STAGE):
            names = [form[1]]
        if not names:
            known = ", ".join(name for name, *_ in GATED)
            raise Refused(f"--fail {text}: no metric begins so; choose from {known}, stage.COMPONENT.STAGE")
        found |= dict.fromkeys(names, float(form[2]) / 100)
    return found


def check_fails(fail: Mapping[str, float], points: Iterable[Launched]) -> None:
    """Raises Refused for a stage that none of the points has: a misspelt name would gate nothing."""
    values = [launch.values for point in points for launch in point.launches]
    known = sorted({name for each in values for name in each if name.startswith(STAGE)})
    unknown = [name for name in fail if name.startswith(STAGE) and name not in known]
    if unknown and known:
        raise Refused(f"--fail {unknown[0]}: no point has that stage; choose from {', '.join(known)}")


def min_effects(on_gpu: bool, given: Mapping[str, float]) -> dict[str, float]:
    """metric -> least change that matters there: those of GATED, or as given with --fail."""
    return {name: gpu if on_gpu else cpu for name, gpu, cpu in GATED} | dict(given)
