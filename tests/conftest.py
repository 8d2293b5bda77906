"""What holds for all tests."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from harness import supervisor

# As the measured processes have it, see harness.supervisor: before torch computes anything.
os.environ.setdefault("ONEDNN_MAX_CPU_ISA", "AVX512_CORE_FP16")


# Modules that take long; begun first, so that no core is left alone with one of them at the end.
_LONG = (
    "test_pipeline", "test_main", "test_supervisor", "test_upstream", "test_resume", "test_conf",
    "test_hostile", "test_eager", "test_profiled", "test_bisect_stored", "test_evidence",
)  # fmt: skip


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    items.sort(key=lambda item: Path(item.path).stem not in _LONG)  # stable: the rest keeps its order


@pytest.fixture(scope="session", autouse=True)
def _guards_end_with_the_tests() -> Iterator[None]:
    """They wait for this process to end, and would be found running by the interpreter's own clean-up."""
    yield
    for guard in supervisor._guards:
        guard.communicate()
