"""A sample of the matrix of faults: each kind of hang and death once, places and executors in turn.

All of it: `make chaos`.
"""

from __future__ import annotations

import itertools
from concurrent.futures import ThreadPoolExecutor

import pytest

from harness.result import PointResult
from tests.chaos import EXECUTORS, EXPECTED, PLACES, Cell, run
from tests.harness.points import ROOT

# Those that take a second and more to end are left to the whole matrix, but for one of each class.
KINDS = (
    "busy", "lock_order", "import_lock", "hidden", "child", "writer_died", "sigstop", "thread",
    "stdin", "disk_full", "segfault", "abort", "grandchild", "wrong",
)  # fmt: skip
SAMPLE = [
    Cell(kind, "later" if kind == "wrong" else place, executor)
    for kind, place, executor in zip(KINDS, itertools.cycle(PLACES), itertools.cycle(EXECUTORS), strict=False)
]


@pytest.fixture(scope="module")
def results(token: str, tmp_path_factory: pytest.TempPathFactory) -> dict[Cell, PointResult]:
    folder = tmp_path_factory.mktemp("chaos")
    with ThreadPoolExecutor(2) as pool:
        return dict(zip(SAMPLE, pool.map(lambda cell: run(cell, folder, token), SAMPLE), strict=True))


@pytest.mark.parametrize("cell", SAMPLE, ids=lambda cell: f"{cell.kind}-{cell.place}-{cell.executor}")
def test_a_fault_ends_in_time_with_its_outcome_its_place_and_its_class(
    results: dict[Cell, PointResult], cell: Cell
) -> None:
    result = results[cell]
    assert cell.complaints(result) == []
    assert cell.is_class_right(result) in (True, None), result.evidence["diagnosis"]


def test_a_process_that_outlives_its_point_is_ended_and_told(results: dict[Cell, PointResult]) -> None:
    [result] = [result for cell, result in results.items() if cell.kind == "grandchild"]
    assert len(result.evidence["left_behind"]) == 1


def test_each_way_to_hang_and_to_die_is_a_file_of_conf() -> None:
    kinds = {path.stem for path in (ROOT / "conf/fault").glob("*.yaml")}
    of_torch_and_gpus = {"fork", "fork_cuda", "cuda_oom", "cuda_spin"}
    assert kinds == EXPECTED.keys() | of_torch_and_gpus | {"none"}
