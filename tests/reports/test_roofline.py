"""The roofline on stages whose floors can be worked out by hand, and its projections by name."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from harness.result import Measurement
from reports.blocks import Grid, Section, Text
from reports.hardware import GPUS, format_of, gpu_of
from reports.roofline import gap, roofline
from reports.tables import table
from tests.data.make_runs import measured, point
from tests.reports.sweeps import H200, holds, judged, on_gpu, plain


def section(measurements: Sequence[Measurement]) -> Section:
    found = roofline(table("run", Path(), measurements))
    assert found is not None
    return found


def rows(measurements: Sequence[Measurement], number: int = 0) -> dict[str, list[str]]:
    """Cells of the number-th table by their first."""
    grids = [block for block in section(measurements).blocks if isinstance(block, Grid)]
    return {row[0].text: [cell.text for cell in row[1:]] for row in grids[number].rows}


def gpu(name: str) -> dict[str, str]:
    return {"name": name}


def test_achieved_over_floor_is_per_frame_at_the_peak_of_the_number_format() -> None:
    found = rows([on_gpu(plain(2.0))])
    # 989 GFLOP at 989 TFLOP/s; 98.9 GFLOP there, which takes longer than 48 MB at 4.8 TB/s
    assert found["avatar.warp"] == ["fp16", "989", "10.0", "2.00", "1.00", "2.00", "compute"]
    assert found["avatar.decode"] == ["fp16", "98.9", "48.0", "1.00", "0.100", "10.0", "launch or latency"]


def test_bytes_that_take_longer_than_the_operations_are_the_floor() -> None:
    work = {"warp": {"flops": 98.9e9, "bytes": 4.8e9}}
    assert rows([on_gpu(plain(2.0), work=work)])["avatar.warp"][-3:] == ["1.00", "2.00", "memory"]


def test_a_stage_far_from_a_long_floor_is_not_called_bound_by_launches() -> None:
    work = {"warp": {"flops": 989e9, "bytes": 0.0}}
    assert (
        rows([on_gpu(plain(2.0), work=work, slower=4.0)])["avatar.warp"][-1]
        == "compute, 8.00 times its floor"
    )


def test_less_time_than_the_floor_is_pointed_out() -> None:
    work = {"warp": {"flops": 9890e9, "bytes": 0.0}}
    assert rows([on_gpu(plain(2.0), work=work)])["avatar.warp"][-1] == "compute; under its floor, see below"


def test_a_format_that_the_gpu_has_not_has_no_floor() -> None:
    found = rows([on_gpu(plain(2.0), "float8_e4m3fn products, float16 others", (gpu("NVIDIA A10"),))])
    assert found["avatar.warp"][-1] == "no peak known"


def test_repeats_give_an_interval_and_one_run_says_so() -> None:
    runs = [on_gpu(plain(2.0, n), slower=slower) for n, slower in enumerate((1.0, 1.1, 1.21))]
    # 2, 2.2 and 2.42 ms: a geometric mean of 2.2, standard error log(1.1) / sqrt(3), t = 4.303
    assert rows(runs)["avatar.warp"][3] == "2.20 [1.74, 2.79]"
    captions = [block.caption for block in section(runs[:1]).blocks if isinstance(block, Grid)]
    assert "NVIDIA H200, weights random" in captions[0]
    assert "n=1 run, no interval" in captions[0]


def test_eager_fp32_stands_beside_the_fastest_whose_quality_is_checked() -> None:
    fast = judged(on_gpu(plain(1.0, avatar__precision="fp16")), holds(50.0))
    unseen = on_gpu(plain(0.5, avatar__precision="int8"), "bfloat16")
    slow = on_gpu(plain(2.0, avatar__precision="fp32"), "float32")
    assert [rows([slow, fast, unseen], number)["avatar.warp"][0] for number in (0, 1)] == ["fp16", "fp32"]
    assert rows([unseen])["avatar.warp"][0] == "bf16"
    assert rows([slow, fast], 0)["avatar.warp"][0] == "fp16"
    assert rows([slow, fast], 1)["avatar.warp"][0] == "fp32"


def test_the_projection_carries_the_efficiency_to_the_peaks_of_an_l4() -> None:
    found = rows([on_gpu(plain(2.0))], 1)
    # 989 / 121 and 98.9 / 121 ms; times 2 and times 10
    assert found["projection: avatar.warp"][1:4] == ["8.17", "16.3", "compute"]
    assert found["projection: avatar.decode"][1:4] == ["0.817", "8.17", "compute"]
    text = "\n".join(block.text for block in section([on_gpu(plain(2.0))]).blocks if isinstance(block, Text))
    # 25 frames a second: 25 * 8.99 ms to 25 * 24.5 ms
    assert "Projection: these GPU stages together, s per media s: 0.225 to 0.613." in text
    assert (
        "Not projected, as they run on the CPU or their work is not counted: tts.gpt, avatar.write." in text
    )


def test_what_is_bound_by_compute_here_may_be_bound_by_memory_there() -> None:
    work = {"warp": {"flops": 989e9, "bytes": 3e9}}  # 1 ms against 0.625 ms here, 8.17 against 10 ms there
    assert rows([on_gpu(plain(2.0), work=work)], 1)["projection: avatar.warp"][1:4] == [
        "10.0",
        "20.0",
        "memory",
    ]


def test_every_row_and_figure_of_a_projection_is_called_one() -> None:
    blocks = section([on_gpu(plain(2.0))]).blocks
    projected = [block for block in blocks if isinstance(block, Grid)][1]
    assert projected.caption.startswith("Projection, not a measurement")
    assert all(row[0].text.startswith("projection: ") for row in projected.rows)
    assert all(
        "projection" in head for index, head in enumerate(projected.heads) if index in projected.numeric
    )


def test_an_l4_is_measured_and_not_projected() -> None:
    grids = [
        block
        for block in section([on_gpu(plain(2.0), gpus=(gpu("NVIDIA L4"),))]).blocks
        if isinstance(block, Grid)
    ]
    assert len(grids) == 1


@pytest.mark.parametrize(
    ("measurements", "why"),
    [
        ([plain(2.0)], "no ok point ran on a GPU"),
        ([on_gpu(plain(2.0), gpus=(gpu("NVIDIA Novel 1"),))], "no peaks are known for NVIDIA Novel 1"),
        (
            [on_gpu(plain(2.0), gpus=(gpu("NVIDIA H200 MIG 1g.18gb"),))],
            "no peaks are known for NVIDIA H200 MIG",
        ),
        ([on_gpu(plain(2.0), gpus=(H200, gpu("NVIDIA L4")))], "several kinds of GPU"),
        ([on_gpu(measured(point("threads", 2)))], "no ok point with one worker has a GPU stage"),
        ([on_gpu(plain(2.0), work={})], "no ok point with one worker has a GPU stage"),
    ],
)
def test_without_a_roofline_its_absence_has_a_reason(measurements: list[Measurement], why: str) -> None:
    made = table("run", Path(), measurements)
    assert roofline(made) is None
    assert why in gap(made)


def test_with_a_roofline_nothing_is_missing() -> None:
    assert gap(table("run", Path(), [on_gpu(plain(2.0))])) == ""


@pytest.mark.parametrize(
    ("name", "half"),
    [
        ("NVIDIA H200", 989.0),
        ("NVIDIA H100 80GB HBM3", 989.0),
        ("NVIDIA H100 PCIe", 756.0),
        ("NVIDIA A100-SXM4-80GB", 312.0),
        ("NVIDIA A100 80GB PCIe", 312.0),
        ("NVIDIA L4", 121.0),
        ("NVIDIA L40S", 362.0),
        ("Tesla T4", 65.0),
        ("NVIDIA A10", 125.0),
        ("NVIDIA GeForce RTX 4090", 165.2),
    ],
)
def test_a_gpu_is_found_by_the_name_that_its_driver_gives(name: str, half: float) -> None:
    found = gpu_of(name)
    assert found is not None
    assert found.tflops["fp16"] == half


@pytest.mark.parametrize("name", ["NVIDIA A10G", "NVIDIA L40", "NVIDIA H200 MIG 1g.18gb", "", "NVIDIA H100"])
def test_a_name_that_is_only_alike_is_unknown(name: str) -> None:
    assert gpu_of(name) is None


def test_every_gpu_has_the_same_formats_in_the_same_order_and_a_source() -> None:
    for each in GPUS:
        assert each.source
        assert list(each.tflops) == [name for name in GPUS[0].tflops if name in each.tflops]


@pytest.mark.parametrize(
    ("dtype", "name"),
    [
        ("float32", "fp32"),
        ("torch.float16", "fp16"),
        ("float16+float32", "fp16"),
        ("bfloat16", "bf16"),
        ("tf32", "tf32"),
        ("int8 weights, float16 arithmetic", "fp16"),
        ("float8_e4m3fn products, float16 others", "fp8"),
        ("int8", "int8"),
        ("uint8 pixels", ""),
    ],
)
def test_the_format_of_the_arithmetic_is_read_from_what_ran(dtype: str, name: str) -> None:
    assert format_of(dtype) == name
