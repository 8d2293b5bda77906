"""The table of a torch trace, against torch's own and against times counted by hand."""

from __future__ import annotations

import csv
import gzip
import json
from pathlib import Path
from typing import Any

import pytest

from harness import kernels
from tests.harness.points import ROOT

# Recorded on an H100 with torch 2.11: 10 products by a thread that was there before the profiler, 7 by one
# that came later, 5 differences in the main thread, and 3 replays of an earlier CUDA graph of 4 kernels.
H100 = ROOT / "tests/data/torch_h100.json.gz"
# What torch's own key_averages() said of it: calls, self device us, self CPU us. It takes off what the
# profiler and the lazy loading of functions took: 2,065.2 us of aten::sub, 33.5 us of cudaLaunchKernel.
OF_TORCH = {
    "aten::mm": (10, 125.5, 5000.8),
    "aten::mul": (7, 9.6, 2714.8),
    "aten::sub": (5, 6.8, 27800.3 + 2065.2),
    "cudaGraphLaunch": (3, 0.0, 67.6),
    "cudaLaunchKernel": (12, 0.0, 1894.0 + 33.5),
    "cudaLaunchKernelExC": (20, 0.0, 172.4),
    "cudaMalloc": (5, 0.0, 589.3),
}


def trace(path: Path, *events: dict[str, Any]) -> Path:
    with gzip.open(path, "wt") as file:
        json.dump({"schemaVersion": 1, "traceEvents": list(events), "traceName": "x"}, file)
    return path


def operator(
    name: str, begin_us: float, length_us: float, thread: int = 1, number: int = 0
) -> dict[str, Any]:
    place = {"pid": 9, "tid": thread, "ts": begin_us, "dur": length_us}
    return {"ph": "X", "cat": "cpu_op", "name": name, **place, "args": {"External id": number}}


def test_a_trace_of_a_gpu_gives_what_torch_itself_says_of_it() -> None:
    rows = {row.name: row for row in kernels.rows([H100])}
    for name, figures in OF_TORCH.items():
        row = rows[name]
        assert (row.calls, row.self_device_us, row.self_cpu_us) == pytest.approx(figures, abs=0.06)
    of_kernels = [(row.calls, round(row.self_device_us, 1)) for row in rows.values() if row.kind == "kernel"]
    assert of_kernels == [(10, 97.1), (10, 28.4), (12, 18.3), (7, 9.6), (5, 6.8)]


def test_the_top_are_kernels_where_there_are_any_with_their_names_cut() -> None:
    first, second = kernels.top(kernels.rows([H100]), 2)
    assert first.startswith("97.1 us GPU  10 x sm80_xmma_gemm_f32f32")
    assert len(second) == len("28.4 us GPU  10 x ") + 100


def test_the_time_of_an_operator_is_without_that_of_those_inside(tmp_path: Path) -> None:
    path = trace(
        tmp_path / "trace.json.gz",
        operator("outer", 100.0, 50.0),
        operator("inner", 110.0, 20.0),
        operator("innermost", 115.0, 5.0),
        operator("inner", 130.0, 10.0),
        operator("outer", 100.0, 7.0, thread=2),
        operator("next", 150.0, 1.0),
    )
    found = {row.name: (row.calls, row.self_cpu_us) for row in kernels.rows([path])}
    assert found == {"outer": (2, 27.0), "inner": (2, 25.0), "innermost": (1, 5.0), "next": (1, 1.0)}


def test_the_processes_of_a_point_are_added_up(tmp_path: Path) -> None:
    paths = [trace(tmp_path / f"{pid}.json.gz", operator("mm", 1.0, 3.0)) for pid in (1, 2)]
    [row] = kernels.rows(paths)
    assert (row.calls, row.self_cpu_us) == (2, 6.0)
    assert kernels.top([row], 5) == ["6.0 us CPU  2 x mm"]


def test_a_trace_larger_than_what_is_read_at_once_is_read_whole(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    events = [operator(f'op"}},\\ {number}', number, 0.5) for number in range(50)]
    path = trace(tmp_path / "trace.json.gz", *events)
    monkeypatch.setattr(kernels, "_CHUNK", 64)
    assert [row.name for row in kernels.rows([path])] == [event["name"] for event in events]


@pytest.mark.parametrize("kept", [0, 30, 300])
def test_a_trace_that_is_cut_short_is_told_of_by_name(tmp_path: Path, kept: int) -> None:
    path = tmp_path / "torch-7.json.gz"
    path.write_bytes(H100.read_bytes()[:kept])
    with pytest.raises(ValueError, match=r"torch-7\.json\.gz: cannot be read"):
        kernels.rows([path])


def test_what_ends_in_the_middle_of_an_event_is_told_of_by_name(tmp_path: Path) -> None:
    path = tmp_path / "torch-7.json.gz"
    path.write_bytes(gzip.compress(b'{"traceEvents": [{"ph": "X", "name": "a'))
    with pytest.raises(ValueError, match=r"torch-7\.json\.gz: .*in the middle of its events"):
        kernels.rows([path])


def test_the_table_is_a_csv_with_a_line_for_each(tmp_path: Path) -> None:
    rows = kernels.rows([H100])
    kernels.write(rows, tmp_path / "kernels.csv")
    with (tmp_path / "kernels.csv").open(newline="") as file:
        written = list(csv.DictReader(file))
    assert list(written[0]) == ["name", "kind", "calls", "self_device_us", "self_cpu_us"]
    assert len(written) == len(rows)
    product = next(row for row in written if row["name"] == "aten::mm")
    assert (product["kind"], product["calls"], product["self_device_us"]) == ("operator", "10", "126")
