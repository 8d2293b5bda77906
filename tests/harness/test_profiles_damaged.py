"""Profiles of which a file is damaged: a problem that is told, and never the end of the command."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from harness import profiles
from harness.result import Outcome, PointResult

STUCK = PointResult("0123456789ab", 0, Outcome.HUNG, {}, "", 1.0, reason="stuck")
FRAMES = '"shared": {"frames": [{"name": "run", "file": "a.py"}]}'


@pytest.mark.parametrize(
    "text",
    [
        "", '{"shared": {"fr', "[]", "{}", "\0", '{"shared": {"frames": [1]}, "profiles": []}',
        "{" + FRAMES + ', "profiles": [{"samples": [[7]], "weights": [1.0]}]}',
        "{" + FRAMES + ', "profiles": [{"samples": [[0]], "weights": [1.0, 2.0]}]}',
        "{" + FRAMES + ', "profiles": [{"samples": [[0]], "weights": [0.0]}]}',
    ],
)  # fmt: skip
def test_damaged_samples_are_a_problem_and_no_exception(tmp_path: Path, text: str) -> None:
    (tmp_path / "flamegraph.svg").touch()
    (tmp_path / "profile.speedscope.json").write_text(text)
    kept = profiles.keep("py_spy", STUCK, tmp_path)
    assert (kept["files"], kept["top"]) == (["flamegraph.svg"], [])
    [problem] = kept["problems"]
    assert problem.startswith("profile.speedscope.json: damaged (")


@pytest.mark.slow
def test_what_memray_cannot_read_is_a_problem_and_no_exception(tmp_path: Path) -> None:
    (tmp_path / "memory-7.bin").write_bytes(b"no allocations")
    found = profiles.finish("memory", tmp_path)
    assert found["files"] == ["memory-7.bin"]
    assert [problem.partition(": memray ")[0] for problem in found["problems"]] == ["memory-7.bin"] * 2


@pytest.mark.parametrize(
    "text",
    [
        '{"metadata": {"peak_me', "{}", "[]", '{"metadata": {"peak_memory": null}}',
        '{"metadata": {"peak_memory": 1}, "top_allocations_by_size": [{"location": "f", "size": "much"}]}',
    ],
)  # fmt: skip
def test_damaged_figures_of_one_process_hide_none_of_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    largest = [{"location": "f:a.py:1", "size": 2**21}]
    whole = {"metadata": {"peak_memory": 2**20}, "top_allocations_by_size": largest}
    for pid, figures in ((7, text), (8, json.dumps(whole))):
        (tmp_path / f"memory-{pid}.bin").touch()
        (tmp_path / f"memory-{pid}.json").write_text(figures)
    monkeypatch.setattr(profiles, "_memray", lambda *given: "")
    found = profiles.finish("memory", tmp_path)
    assert found["files"] == ["memory-7.bin", "memory-8.bin", "memory-8.json"]
    assert found["top"] == ["1.0 MiB at the peak of memory-8", "2.0 MiB in all at f:a.py:1"]
    [problem] = found["problems"]
    assert problem.startswith("memory-7.json: damaged (")


def test_a_damaged_torch_trace_is_a_problem_and_no_exception(tmp_path: Path) -> None:
    (tmp_path / "torch-7.json.gz").write_bytes(b"no trace")
    found = profiles.finish("torch", tmp_path)
    assert found["files"] == ["torch-7.json.gz"]
    assert found["problems"][0].startswith("torch-7.json.gz: cannot be read")
