"""What holds for all tests."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest

from harness import supervisor

# As the measured processes have it, see harness.supervisor: before torch computes anything.
os.environ.setdefault("ONEDNN_MAX_CPU_ISA", "AVX512_CORE_FP16")


@pytest.fixture(scope="session", autouse=True)
def _guards_end_with_the_tests() -> Iterator[None]:
    """They wait for this process to end, and would be found running by the interpreter's own clean-up."""
    yield
    for guard in supervisor._guards:
        guard.communicate()
