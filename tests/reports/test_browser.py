"""The page in a real browser: no console message, nothing wider than a telephone."""

from __future__ import annotations

import html
import re
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path

import pytest

from harness.result import Measurement, Outcome
from reports.page import html as page_html
from reports.page import sections_of
from reports.tables import table
from tests.data.make_runs import broken, every_outcome, measured, point
from tests.reports import hangs, hostile, sweeps

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
QUIET = [
    *("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking"),
    *("--disable-component-update", "--disable-sync", "--enable-logging=stderr"),
    *("--virtual-time-budget=3000", "--dump-dom"),
]
# Browsers refuse windows below 500 px, so a frame plays the telephone and notes its content's width.
MEASURE = "const d=this.contentDocument.querySelector('{}');document.title=d.scrollWidth+' of '+d.clientWidth"


def opened(
    measurements: Sequence[Measurement], width_px: int, folder: Path, of: str = "html"
) -> tuple[int, int, list[str]]:
    """Width in px of what is in an element of the page and of the element, and what the console said."""
    page = html.escape(page_html("run", sections_of(table("run", Path(), measurements))), quote=True)
    measure = MEASURE.format(of)
    frame = f'<iframe style="width:{width_px}px;height:900px" srcdoc="{page}" onload="{measure}"></iframe>'
    (folder / "frame.html").write_text(f"<!doctype html><meta charset=utf-8><body>{frame}", encoding="utf-8")
    command = [str(CHROMIUM), *QUIET, f"--user-data-dir={folder / 'profile'}", str(folder / "frame.html")]
    shown = subprocess.run(command, capture_output=True, text=True, timeout=60, check=True)
    found = re.search(r"<title>(\d+) of (\d+)</title>", shown.stdout)
    assert found, shown.stderr
    console = [line for line in shown.stderr.splitlines() if "CONSOLE" in line]
    return int(found[1]), int(found[2]), console


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium here")
def test_a_long_reason_of_a_failed_point_leaves_the_last_column_of_its_table_in_sight(tmp_path: Path) -> None:
    reason = "stage avatar.motion of job 0 on worker 0: RuntimeError: raised on purpose by fault.kind=raise"
    failed = broken(point("threads", 2), Outcome.FAILED, reason)
    shown, window, _ = opened([measured(point("sequential", 1)), failed], 1400, tmp_path, "#scaling .scroll")
    assert shown <= window


@pytest.mark.skipif(CHROMIUM is None, reason="no chromium here")
@pytest.mark.parametrize(
    ("kind", "width_px"),
    [
        *(("every outcome", 360), ("every outcome", 1400), ("hostile", 360), ("hostile", 1400)),
        *(("matrix", 360), ("hangs", 360), ("hangs", 1400)),
    ],
)
def test_a_page_fits_its_window_and_the_console_stays_silent(
    kind: str, width_px: int, tmp_path: Path
) -> None:
    runs = {"hostile": hostile.measurements, "matrix": sweeps.matrix, "every outcome": every_outcome}
    runs |= {"hangs": hangs.a_night}
    content, window, console = opened(list(runs[kind]()), width_px, tmp_path)
    assert 300 < window <= width_px
    assert content <= window
    assert console == []
