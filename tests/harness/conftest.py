"""What tests of the harness share: one guard for all points that they measure in this process."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from harness import supervisor
from harness.point import Point
from harness.result import Measurement
from tests.harness.points import ROOT


@pytest.fixture(scope="session")
def token() -> str:
    return supervisor.start_guard()


@pytest.fixture
def measured(token: str, tmp_path: Path) -> Callable[[Point], Measurement]:
    """Measures a point in tmp_path/point."""
    return lambda point: supervisor.measure(point, tmp_path / "point", token)


@pytest.fixture
def here(tmp_path: Path) -> Path:
    """A working directory with the project's voice and portrait, so that runs/ is the test's own."""
    (tmp_path / "media").symlink_to(ROOT / "media")
    return tmp_path


@pytest.fixture
def end() -> Iterator[threading.Event]:
    """Ends what waits for it."""
    event = threading.Event()
    yield event
    event.set()
