"""What holds for all tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from harness import supervisor


@pytest.fixture(scope="session", autouse=True)
def _guards_end_with_the_tests() -> Iterator[None]:
    """They wait for this process to end, and would be found running by the interpreter's own clean-up."""
    yield
    for guard in supervisor._guards:
        guard.communicate()
