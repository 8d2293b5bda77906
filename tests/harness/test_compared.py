"""Commands whose outputs are compared: the reference goes first, and a later command finds it."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.harness.typed import harness

PAINTED = [
    "avatar._target_=tests.harness.components.Painter", "workload.resolution=64x64",
    "workload.tokens_per_char=0.6", "executor.workers=1",
]  # fmt: skip


def results(here: Path) -> list[dict[str, Any]]:
    """In the order in which they were stored."""
    files = sorted((here / "runs/points").glob("*/*/result.json"), key=lambda file: file.stat().st_mtime_ns)
    return [json.loads(file.read_text()) for file in files]


def test_the_sequential_point_is_measured_first_whatever_the_order_of_the_words(here: Path) -> None:
    code, errors = harness(here, "executor=threads,processes,sequential", *PAINTED)
    found = results(here)
    assert code == 0, errors
    assert [one["point"]["executor"]["name"] for one in found] == ["sequential", "threads", "processes"]
    name = f"the sequential reference {found[0]['id']} repeat 0"
    assert [one["compared"] for one in found] == [
        "is the reference",
        f"4 of 4 outputs equal to those of {name}",
        f"4 of 4 outputs equal to those of {name}",
    ]


@pytest.mark.slow
def test_a_stored_point_is_compared_once_its_reference_is_there(here: Path) -> None:
    harness(here, "executor=threads", *PAINTED)
    [alone] = results(here)
    assert alone["compared"].startswith("not compared: ")
    harness(here, "executor=sequential", *PAINTED)
    code, errors = harness(here, "executor=threads", *PAINTED)
    again = next(one for one in results(here) if one["id"] == alone["id"])
    assert (code, "stored before" in errors) == (0, True)
    assert again["compared"].startswith("4 of 4 outputs equal to those of the sequential reference ")
    assert again["started_at"] == alone["started_at"]


@pytest.mark.slow
def test_a_reference_that_is_measured_anew_is_compared_again_with_all_that_named_it(here: Path) -> None:
    harness(here, "executor=sequential,threads", *PAINTED)
    before = {one["point"]["executor"]["name"]: one for one in results(here)}
    code, errors = harness(here, "executor=sequential", *PAINTED, "force=true")
    after = {one["point"]["executor"]["name"]: one for one in results(here)}
    threads = after["threads"]
    assert code == 0, errors
    assert f"{threads['id']} repeat 0 compared again: 4 of 4 outputs equal" in errors
    assert threads["started_at"] == before["threads"]["started_at"]
    assert threads["reference"]["started_ns"] == after["sequential"]["started_ns"]
    assert threads["reference"]["started_ns"] > before["sequential"]["started_ns"]
