"""Devices: a GPU that is not there is told before anything runs, a wrong one afterwards."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from harness import attestation, gpu, settings, supervisor, variables
from harness.result import Sample
from harness.settings import SettingError
from tests.harness.conf import composed, planned
from tests.harness.points import avatar, point


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
    given = variables.of(plain, "token", tmp_path)["CUDA_MPS_PIPE_DIRECTORY"]
    assert not Path(given).exists()
    plain.executor["mps"] = True
    assert variables.of(plain, "token", tmp_path)["CUDA_MPS_PIPE_DIRECTORY"] == str(tmp_path)


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


def client(name: str) -> list[Sample]:
    return [Sample(1.0, "process 7", name, 1.0)]


def test_mps_that_was_asked_and_not_used_is_no_ok_point_and_neither_is_one_that_was_used_unasked() -> None:
    assert attestation.wrong_mps(True, client("mps_client")) == []
    assert attestation.wrong_mps(False, client("vram_mib")) == []
    assert attestation.wrong_mps(None, client("mps_client")) == []
    [told] = attestation.wrong_mps(True, client("vram_mib"))
    assert told == "executor.mps=true was asked, no process was seen to be a client of its daemon"
    [told] = attestation.wrong_mps(False, client("mps_client"))
    assert told == "executor.mps=false was asked, processes were clients of its daemon"


def test_clients_of_mps_are_sampled_where_its_daemon_runs(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, token: str
) -> None:
    on_machine_with(1, monkeypatch)
    monkeypatch.setattr(gpu, "processes", lambda index: {})
    monkeypatch.setattr(gpu, "readings", lambda index: {"used_mib": 100.0})
    monkeypatch.setattr(gpu, "reserved_mib", lambda index: 100.0)
    monkeypatch.setattr(gpu, "describe", list)
    monkeypatch.setattr(
        gpu, "mps_clients", lambda index: {int(one.name) for one in Path("/proc").glob("[0-9]*")}
    )
    monkeypatch.setenv("CUDA_MPS_PIPE_DIRECTORY", str(tmp_path))
    os.mkfifo(tmp_path / "control")
    asked = point("processes", 1, avatar=avatar(load_s=0.6))
    asked.executor["mps"] = True
    with_daemon = supervisor.measure(asked, tmp_path / "with", token)
    assert (with_daemon.result.outcome, with_daemon.result.reason) == ("ok", "")
    assert any(sample.name == "mps_client" for sample in with_daemon.samples)
    (tmp_path / "control").unlink()
    without = supervisor.measure(asked, tmp_path / "without", token).result
    assert (without.outcome, without.reason.partition(" was")[0]) == ("invalid", "executor.mps=true")
