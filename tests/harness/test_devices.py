"""Devices: a GPU that is not there is told before anything runs, a wrong one afterwards."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from harness import attestation, gpu, settings, variables
from harness.settings import SettingError
from tests.harness.conf import composed, planned
from tests.harness.points import point


def on_machine_with(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu, "handles", lambda: tuple(range(count)))


def not_applicable(*overrides: str) -> str:
    return settings.read(composed("device=cuda", "size=tiny", *overrides)).not_applicable


def test_gpus_for_components_that_are_on_none_cannot_be_measured() -> None:
    plan = planned("executor=processes", "executor.devices=[0,1]")
    said = "executor.devices=[0,1]: nothing is on a GPU; leave it out, or use device=cuda"
    assert plan.not_applicable == said
    with pytest.raises(SettingError, match="nothing is on a GPU"):
        settings.check_sweep([plan])


def test_a_gpu_beyond_those_of_the_machine_is_a_skipped_row(monkeypatch: pytest.MonkeyPatch) -> None:
    on_machine_with(2, monkeypatch)
    two = ["executor=processes", "executor.workers=2"]
    assert not_applicable(*two, "executor.devices=[0,1]") == ""
    assert not_applicable(*two, "executor.devices=[0,2]") == (
        "executor.devices=[0,2]: GPUs count from 0 and there are 2 here; use those"
    )


def test_mps_without_its_daemon_is_a_skipped_row_and_with_it_a_point(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    on_machine_with(1, monkeypatch)
    monkeypatch.setenv("CUDA_MPS_PIPE_DIRECTORY", str(tmp_path))
    asked = ["executor=processes", "executor.mps=true"]
    assert "start nvidia-cuda-mps-control -d" in not_applicable(*asked)
    os.mkfifo(tmp_path / "control")
    assert not_applicable(*asked) == ""


def test_a_daemon_that_runs_is_not_used_unless_asked_for(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("CUDA_MPS_PIPE_DIRECTORY", str(tmp_path))
    plain = point("processes", 2)
    given = variables.of(plain, "token")["CUDA_MPS_PIPE_DIRECTORY"]
    assert not Path(given).exists()
    plain.executor["mps"] = True
    assert variables.of(plain, "token")["CUDA_MPS_PIPE_DIRECTORY"] == str(tmp_path)


def attested(**stages: str) -> dict[str, Any]:
    return {"avatar": {"stages": {stage: {"device": device} for stage, device in stages.items()}}}


def test_a_worker_that_ran_on_another_gpu_than_its_own_is_named() -> None:
    by_worker = {
        "worker 0": attested(warp="cuda:0", write="cpu"),
        "worker 1": attested(warp="cuda:0", decode="cuda:1", features="cuda"),
        "worker 2": attested(warp="cuda:0"),
    }
    assert attestation.wrong_cards([0, 1], by_worker) == [
        "executor.devices: avatar.warp of worker 1 belongs on cuda:1, ran on cuda:0"
    ]
    assert attestation.wrong_cards(None, by_worker) == []


def test_what_is_shared_belongs_on_the_first_gpu() -> None:
    assert attestation.wrong_cards([1, 0], {"shared": attested(gpt="cuda:1")}) == []
    [told] = attestation.wrong_cards([1, 0], {"shared": attested(gpt="cuda:0")})
    assert told == "executor.devices: avatar.gpt of shared belongs on cuda:1, ran on cuda:0"
