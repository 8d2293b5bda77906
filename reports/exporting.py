"""`python -m reports export RUN --format FORMAT`: a stored run as text that other tools read."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from reports.adapters import benchmark_action_out, openmetrics_out, pytest_benchmark_out
from reports.command import folder_of
from reports.launches import Launched
from reports.stored import launched

FORMATS = ("pytest-benchmark", "benchmark-action", "openmetrics")


def main(arguments: Sequence[str]) -> int:
    """0 written. Raises as launched and exported."""
    parser = argparse.ArgumentParser(
        prog="python -m reports export", description="Write a stored run in the form that another tool reads."
    )
    parser.add_argument("run", metavar="RUN", help="a name under runs/, or the path of a run's folder")
    parser.add_argument("--format", required=True, choices=FORMATS)
    parser.add_argument(
        "--metric",
        default="rtf_aggregate",
        help="the figure of pytest-benchmark, which has one: rtf_aggregate",
    )
    parser.add_argument("--out", type=Path, metavar="FILE", help="instead of standard output")
    asked = parser.parse_args(arguments)
    _write(exported(launched(folder_of(asked.run)), asked.format, asked.metric), asked.out)
    return 0


def exported(points: Sequence[Launched], form: str, metric: str) -> str:
    """Raises Refused where there is nothing to export."""
    if form == "pytest-benchmark":
        return pytest_benchmark_out(points, metric, machine(points))
    return benchmark_action_out(points) if form == "benchmark-action" else openmetrics_out(points)


def machine(points: Sequence[Launched]) -> dict[str, Any]:
    """machine_info, as far as a fingerprint knows it; the GPU is said beside what pytest-benchmark says."""
    known = points[0].fingerprint if points else {}
    hosts = {launch.host for point in points for launch in point.launches}
    return {
        "node": ", ".join(sorted(hosts)),
        "python_version": known.get("python", ""),
        "cpu": {"brand_raw": known.get("cpu", "")},
        "gpu": known.get("gpu", ""),
        "driver": known.get("driver", ""),
    }


def _write(text: str, out: Path | None) -> None:
    if out is None:
        sys.stdout.write(text)
        return
    out.parent.mkdir(parents=True, exist_ok=True)
    temporary = out.with_name(f"{out.name}.tmp")  # a collector never reads half a file
    temporary.write_text(text, encoding="utf-8")
    temporary.replace(out)
