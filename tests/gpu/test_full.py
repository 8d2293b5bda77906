"""The whole pipeline at full size on an NVIDIA GPU, as a user runs it."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from harness import store

pytestmark = pytest.mark.gpu
ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    """One point with one worker, four jobs; measured once for all tests here."""
    where = tmp_path_factory.mktemp("gpu")
    (where / "media").symlink_to(ROOT / "media")
    command = [sys.executable, "-m", "harness", "name=gpu", "device=cuda", "size=full"]
    path = os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")])
    run = subprocess.run(
        command,
        cwd=where,
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    [measurement] = store.load_run(where / "runs" / "gpu")
    return measurement


def test_it_ends_ok_with_every_video_valid(measured):
    assert measured.result.outcome == "ok"
    assert [job.valid for job in measured.result.jobs] == [True] * 4


def test_what_ran_is_what_was_asked_for(measured):
    attested = measured.result.attestation["worker 0"]
    for component, stages in (("tts", ("gpt", "vocoder")), ("avatar", ("motion", "warp", "decode"))):
        assert attested[component]["weights"] == "random"
        assert attested[component]["size"] == "full"
        for stage in stages:
            assert attested[component]["stages"][stage]["device"].startswith("cuda")
            assert attested[component]["stages"][stage]["dtype"] == "float32"


def test_gpu_stages_have_device_time_and_cpu_stages_have_none(measured):
    of = {}
    for span in measured.spans:
        if span.phase == "stage":
            of[span.stage] = of.get(span.stage, 0) + span.gpu_ns
    assert all(of[stage] > 0 for stage in ("gpt", "vocoder", "motion", "warp", "decode"))
    assert of["putback"] == of["write"] == 0


def test_memory_is_seen_by_the_driver_and_by_torch(measured):
    seen = max(sample.value for sample in measured.samples if sample.name == "vram_mib")
    allocated = measured.result.memory["worker 0"]["avatar"]["torch_allocated_mib"]
    assert seen > allocated > 1000
