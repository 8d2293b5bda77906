"""The real pipeline, tiny: text, voice and portrait become a video, the same under every executor."""

from __future__ import annotations

import math
import subprocess
import sys
from pathlib import Path

import av
import pytest

from harness import store
from harness.result import Measurement
from tests.harness.points import ROOT, environment

CPU = ["device=cpu", "size=tiny"]


@pytest.fixture(scope="module")
def measured(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Measurement]:
    """Sequential, two threads and two processes on the same eight jobs of 15 and 29 tokens."""
    here = tmp_path_factory.mktemp("pipeline")
    (here / "media").symlink_to(ROOT / "media")
    for options in (["executor=sequential"], ["executor=threads,processes", "executor.workers=2"]):
        texts = "workload.texts=[A short one.,And a somewhat longer.]"
        command = [sys.executable, "-m", "harness", "name=run", *CPU, *options, "workload.jobs=8", texts]
        run = subprocess.run(
            command, cwd=here, env=environment(), capture_output=True, text=True, timeout=150, check=False
        )
        assert run.returncode == 0, run.stderr
    found = store.load_run(here / "runs" / "run")
    return {str(m.result.point["executor"]["name"]): m for m in found}


def videos(measurement: Measurement) -> list[Path]:
    return [Path(measurement.folder) / job.output for job in measurement.result.jobs]


def test_every_video_has_25_frames_a_second_and_sound_as_long_as_the_speech(
    measured: dict[str, Measurement],
) -> None:
    for measurement in measured.values():
        assert measurement.result.outcome == "ok"
        for job, path in zip(measurement.result.jobs, videos(measurement), strict=True):
            # 1.4 tokens a character: 12 are 17 tokens, 22 are 31; HiFi-GAN gives blocks of 256 samples
            tokens = 17 if job.job % 2 == 0 else 31
            samples = math.floor(4 * tokens * 24_000 / 22_050) * 256
            with av.open(str(path)) as container:
                assert sum(1 for _ in container.decode(video=0)) == math.ceil(samples / 24_000 * 25)
            with av.open(str(path)) as container:
                rate = container.streams.audio[0].rate
                heard = sum(frame.samples for frame in container.decode(audio=0)) / rate
            assert heard == pytest.approx(samples / 24_000, abs=3 * 1024 / rate)
            assert job.valid


def test_threads_and_processes_write_the_bytes_of_the_sequential_run(
    measured: dict[str, Measurement],
) -> None:
    reference = [path.read_bytes() for path in videos(measured["sequential"])]
    assert len(set(reference)) == 8  # each job has its own seed
    for executor in ("threads", "processes"):
        assert [path.read_bytes() for path in videos(measured[executor])] == reference


def test_every_stage_of_the_pipeline_leaves_its_spans_and_both_workers_work(
    measured: dict[str, Measurement],
) -> None:
    for executor, measurement in measured.items():
        stages = {f"{span.component}.{span.stage}" for span in measurement.spans if span.phase == "stage"}
        avatar = ("source", "features", "motion", "stitch", "warp", "decode", "putback", "write")
        assert stages == {f"tts.{stage}" for stage in ("condition", "gpt", "vocoder")} | {
            f"avatar.{stage}" for stage in avatar
        }
        assert len({job.worker for job in measurement.result.jobs}) == (1 if executor == "sequential" else 2)


def test_a_worker_has_the_cpu_threads_it_was_given(measured: dict[str, Measurement]) -> None:
    for measurement in measured.values():
        for components in measurement.result.attestation.values():
            for attested in components.values():
                threads = attested.get("cpu_threads", attested.get("options", {}).get("torch_threads"))
                assert threads == 1
