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

WORK = [
    "device=cpu", "size=tiny", "workload.jobs=8", "workload.texts=[A short one.,And a somewhat longer.]",
    "workload.tokens_per_char=0.8", "avatar.steps=5", "quality.frames=0", "report=false",
]  # fmt: skip
TWO = "executor.workers=2"
# name -> what is added for it
EXECUTORS = {
    "processes": ["executor=processes", TWO],
    "queue": ["executor=queue", TWO],
    "threads, a TTS each, lazy": ["executor=threads", TWO, "executor.share=own", "executor.lazy=true"],
    "pipelined": ["executor=pipelined", TWO],
    "pipelined, a thread for each stage": ["executor=pipelined", "executor.split=stage"],
    "pipelined, avatars in processes": ["executor=pipelined", TWO, "executor.stages=processes"],
}  # fmt: skip


def run(here: Path, *options: str) -> None:
    command = [sys.executable, "-m", "harness", "name=run", *WORK, *options]
    ended = subprocess.run(
        command, cwd=here, env=environment(), capture_output=True, text=True, timeout=300, check=False
    )
    assert ended.returncode == 0, ended.stderr


@pytest.fixture(scope="module")
def here(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where sequential and two threads have done the same eight jobs of 10 and 18 tokens."""
    here = tmp_path_factory.mktemp("pipeline")
    (here / "media").symlink_to(ROOT / "media")
    run(here, "executor=sequential")
    run(here, "executor=threads", TWO)
    return here


@pytest.fixture(scope="module")
def measured(here: Path) -> dict[str, Measurement]:
    return {str(m.result.point["executor"]["name"]): m for m in store.load_run(here / "runs" / "run")}


def videos(measurement: Measurement) -> list[Path]:
    return [Path(measurement.folder) / job.output for job in measurement.result.jobs]


def test_every_video_has_25_frames_a_second_and_sound_as_long_as_the_speech(
    measured: dict[str, Measurement],
) -> None:
    for measurement in measured.values():
        assert measurement.result.outcome == "ok"
        for job, path in zip(measurement.result.jobs, videos(measurement), strict=True):
            # 0.8 tokens a character: 12 are 10 tokens, 22 are 18; HiFi-GAN gives blocks of 256 samples
            tokens = 10 if job.job % 2 == 0 else 18
            samples = math.floor(4 * tokens * 24_000 / 22_050) * 256
            with av.open(str(path)) as container:
                assert sum(1 for _ in container.decode(video=0)) == math.ceil(samples / 24_000 * 25)
            with av.open(str(path)) as container:
                rate = container.streams.audio[0].rate
                heard = sum(frame.samples for frame in container.decode(audio=0)) / rate
            assert heard == pytest.approx(samples / 24_000, abs=3 * 1024 / rate)
            assert job.valid


def test_threads_write_the_bytes_of_the_sequential_run(measured: dict[str, Measurement]) -> None:
    reference = [path.read_bytes() for path in videos(measured["sequential"])]
    assert len(set(reference)) == 8  # each job has its own seed
    assert [path.read_bytes() for path in videos(measured["threads"])] == reference


@pytest.mark.slow
@pytest.mark.parametrize("executor", EXECUTORS)
def test_every_other_executor_writes_them_too(here: Path, executor: str) -> None:
    before = {m.result.id for m in store.load_run(here / "runs" / "run")}
    run(here, *EXECUTORS[executor])
    [made] = [m for m in store.load_run(here / "runs" / "run") if m.result.id not in before]
    assert (made.result.outcome, made.result.reason) == ("ok", "")
    assert made.result.compared.startswith("8 of 8 outputs equal to those of the sequential reference")


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
