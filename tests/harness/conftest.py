"""One guard for all points that the tests measure in this process."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from harness import supervisor
from harness.point import Point
from harness.result import Measurement


@pytest.fixture(scope="session")
def token() -> str:
    return supervisor.start_guard()


@pytest.fixture
def measured(token: str, tmp_path: Path) -> Callable[[Point], Measurement]:
    """Measures a point in tmp_path/point."""
    return lambda point: supervisor.measure(point, tmp_path / "point", token)
