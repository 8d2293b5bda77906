"""Many command lines, each a process of its own: some in every run of the tests, all with the slow ones."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import pytest

_EVERY = 3


def some_now(cases: Iterable[Any]) -> list[Any]:
    """Parameters of a test: every third case, and the others marked slow."""
    return [
        pytest.param(case, marks=pytest.mark.slow if place % _EVERY else ())
        for place, case in enumerate(cases)
    ]


def asked_for(request: pytest.FixtureRequest) -> list[Any]:
    """The cases that this run tests, of the module that a fixture of that scope is made for."""
    there = [item for item in request.session.items if getattr(item, "module", None) is request.module]
    calls = [item.callspec for item in there if hasattr(item, "callspec")]
    return list(dict.fromkeys(call.params["case"] for call in calls if "case" in call.params))
