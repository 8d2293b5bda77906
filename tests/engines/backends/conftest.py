"""What tests of exported networks share: one folder of files."""

from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Root of the cache in which the tiny networks are exported once."""
    return tmp_path_factory.mktemp("exported")
