"""A checkout of upstream Ditto through the harness: a stand-in that works and breaks, a real one if given."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import pytest

from harness import store, supervisor
from harness.result import Measurement, Outcome
from tests.engines.ditto_upstream.checkout import BROKEN, STOPS, avatar, write_checkout
from tests.engines.ditto_upstream.ffmpeg import ensure_ffmpeg
from tests.harness.points import ROOT, environment, point

TONE = "tests.engines.ditto_upstream.tone.Tone"
Measured = Callable[..., Measurement]


@pytest.fixture(scope="module")
def guard() -> str:
    return supervisor.start_guard()


@pytest.fixture
def measured(guard: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Measured:
    """Measures a stand-in: seconds of speech, what breaks, keys of the avatar, pause_s and the point's."""
    monkeypatch.setenv("PATH", f"{ensure_ffmpeg(tmp_path)}{os.pathsep}{os.environ['PATH']}")

    def measure(
        seconds: float, broken: dict[str, Any] | None = None, keys: dict[str, Any] | None = None, **more: Any
    ) -> Measurement:
        root = write_checkout(tmp_path / "checkout", **(broken or {}))
        limits = {"stage": 2.0, "import": 30.0, "load": 30.0} | more.pop("limits", {})
        tried = point(
            tts={"_target_": TONE, "seconds": seconds, "pause_s": more.pop("pause_s", 0.0)},
            avatar=avatar(root, **(keys or {})),
            limits=limits,
            **{"jobs": 2, **more},
        )
        tried.workload.update(portrait=str(ROOT / "media" / "portrait.png"), resolution="90x120")
        return supervisor.measure(tried, tmp_path / "point", guard)

    return measure


def frames_of(path: Path) -> tuple[int, tuple[int, int]]:
    with av.open(str(path)) as container:
        frames = list(container.decode(video=0))
    return len(frames), (frames[0].width, frames[0].height)


def test_a_checkout_makes_videos_and_leaves_spans_of_its_own_stages(measured: Measured) -> None:
    measurement = measured(1.3)  # 32.5 frames: the begun one counts
    result = measurement.result
    assert (result.outcome, result.reason) == (Outcome.OK, "")
    assert [job.frames for job in result.jobs] == [33, 33]
    assert frames_of(Path(measurement.folder) / result.jobs[1].output) == (33, (90, 120))
    counts: dict[str, int] = {}
    for span in measurement.spans:
        if span.phase == "stage" and span.component == "avatar" and span.job == 1 and span.end_ns:
            counts[span.stage] = counts.get(span.stage, 0) + span.count
    per_frame = dict.fromkeys(("stitch", "warp", "decode", "putback", "write", "mux"), 33)
    assert counts == {"motion": 1, "features": 33, "source": 3 * 12_000 - 4_800, **per_frame}
    waits = [span for span in measurement.spans if span.phase == "await" and span.job == 1]
    assert {span.stage for span in waits} == {"render"}
    assert sum(span.count for span in waits) == 33
    marks = [span for span in measurement.spans if span.phase == "mark" and span.stage == "frame"]
    assert len(marks) == 66
    assert all(job.first_frame_s for job in result.jobs)
    assert not list((Path(measurement.folder) / "output").glob("*.tmp.mp4"))


def test_what_ran_is_read_back_from_the_sdk(measured: Measured) -> None:
    result = measured(0.5, keys={"steps": 10, "more": {"relative_d": False}}).result
    attested = result.attestation["worker 0"]["avatar"]
    assert attested["ran"] == {"steps": 10, "overlap": 10, "emo": 4, "mode": "offline", "device": "cpu"}
    assert attested["stages"]["warp"] == {
        "backend": "onnxruntime CPUExecutionProvider", "dtype": "tensor(float)", "device": "cpu"
    }  # fmt: skip
    # printf 'decoder.onnx %s\n' $(printf "the decoder's bytes" | sha256sum | cut -d' ' -f1) | sha256sum
    assert attested["weights"] == "checkpoint 3a75782aa9a6"
    assert attested["checkout"]["commit"] == "not a git folder"


def test_the_surplus_of_the_online_mode_is_counted_and_not_written(measured: Measured) -> None:
    measurement = measured(2.0, keys={"mode": "online", "overlap": 70}, pause_s=0.2, jobs=1)
    result = measurement.result
    assert (result.outcome, result.reason) == (Outcome.OK, "")
    assert result.jobs[0].frames == 50
    # measured with upstream e9191cf, 2.0 s at overlap 70 (10 s: 260)
    assert result.attestation["worker 0"]["avatar"]["frames"] == {"made": 60, "written": 50}
    said = [span for span in measurement.spans if span.phase == "mark" and span.stage == "audio"]
    seen = [span for span in measurement.spans if span.phase == "mark" and span.stage == "frame"]
    assert seen[0].start_ns < said[-1].start_ns


def test_an_error_in_a_short_clip_is_a_failure_in_its_stage(measured: Measured) -> None:
    result = measured(2.4, {"part": "warp_f3d", "call": 5}).result
    assert result.outcome is Outcome.FAILED
    assert result.reason == f"stage avatar.warp of job 0 on worker 0: RuntimeError: {BROKEN}"
    state = result.evidence["states"]["worker 0"]["avatar"]
    assert state["threads_alive"] == []
    assert "in _warp_f3d_worker" in state["worker_traceback"]


@pytest.mark.parametrize("part", ["warp_f3d", pytest.param("writer", marks=pytest.mark.slow)])
def test_an_error_in_a_long_clip_is_the_known_deadlock_with_its_hidden_exception(
    measured: Measured, part: str
) -> None:
    result = measured(10.0, {"part": part, "call": 5}).result
    assert (result.outcome, result.stage, result.job) == (Outcome.HUNG, "render", 0)
    assert result.duration_s < 10
    assert result.evidence["detected_after_s"] < 2
    limit, told, beside, *named = result.reason.split("; ")
    assert limit == "stage avatar.render of job 0 on worker 0 did not end within limits.stage=2 s"
    assert re.fullmatch(
        r"queue: the main thread waits in \S+ \(ditto_upstream/job\.py:\d+\) for an item from empty queue"
        r" run\.progress",
        told,
    )
    assert re.fullmatch(
        r"beside it close of job 0 waits in StreamSDK\.close \(ditto_upstream/checkout\.py:\d+\) for the end"
        r" of thread \S+ \((audio2motion|decode_f3d)_worker\), which waits in StreamSDK\._\w+"
        r" \(ditto_upstream/checkout\.py:\d+\) for room in (a full queue|full queue self\.\w+_queue)"
        r" \(100 of 100\)",
        beside,
    )
    assert any(part.startswith("known deadlock of upstream's close(): thread ") for part in named)
    assert result.reason.endswith(f"hidden exception: RuntimeError: {BROKEN} in {part} (worker 0)")
    state = result.evidence["states"]["worker 0"]["avatar"]
    assert state["stop_event"] is True
    assert state["threads_alive"]
    for thread in state["threads_alive"]:  # which ones were quick enough to fill the next queue is a race
        reader = STOPS[STOPS.index(thread) + 1]
        assert state["queues"][reader] == 100
        assert f"thread {thread} waits in {reader}_queue.put(" in result.reason


@pytest.mark.parametrize(
    ("broken", "fault", "words"),
    [
        ({"part": "wav2feat", "call": 0}, {}, BROKEN),
        ({}, {"kind": "raise", "component": "avatar", "stage": "features"}, "raised on purpose"),
    ],
)
def test_an_exception_between_setup_and_close_is_the_known_thread_leak(
    measured: Measured, broken: dict[str, Any], fault: dict[str, Any], words: str
) -> None:
    result = measured(1.0, broken, fault=fault).result
    assert result.outcome is Outcome.FAILED
    assert result.reason.startswith(f"stage avatar.features of job 0 on worker 0: RuntimeError: {words}")
    assert "known thread leak of upstream: 6 non-daemon threads of setup()" in result.reason
    assert len(result.evidence["states"]["worker 0"]["avatar"]["threads_alive"]) == 6


def test_an_error_online_with_speech_far_ahead_is_the_deadlock_of_close_itself(measured: Measured) -> None:
    broken = {"part": "writer", "call": 5, "slow": {"audio2motion": 0.05}}
    result = measured(30.0, broken, {"mode": "online", "overlap": 70}, jobs=1).result
    assert (result.outcome, result.stage) == (Outcome.HUNG, "render")
    assert result.reason.endswith(
        "; known deadlock of upstream's close(): close() waits in audio2motion_queue.put(None) with 100 of "
        f"100 items queued after stop_event; hidden exception: RuntimeError: {BROKEN} in writer (worker 0)"
    )
    assert result.evidence["states"]["worker 0"]["avatar"]["threads_alive"] == []


@pytest.mark.slow
def test_an_exception_that_upstream_holds_back_is_told_at_any_breach(measured: Measured) -> None:
    """The warp has failed, and upstream knows; the job is late for another reason, in a long write."""
    broken = {"part": "warp_f3d", "call": 5, "slow": {"writer": 60.0}}
    result = measured(2.4, broken, jobs=1).result
    assert (result.outcome, result.stage) == (Outcome.HUNG, "write")
    told = f"RuntimeError: {BROKEN} in warp_f3d (worker 0)"
    assert result.reason.endswith(f"; upstream holds back an exception until its close() is over: {told}")


@pytest.mark.slow
def test_a_deadlock_in_one_of_two_processes_names_its_worker(measured: Measured) -> None:
    broken = {"part": "decode_f3d", "call": 5, "job": 0, "slow": {"audio2motion": 0.5}}
    result = measured(10.0, broken, executor="processes", workers=2, jobs=40).result
    assert (result.outcome, result.job) == (Outcome.HUNG, 0)
    states = {name: found["avatar"] for name, found in result.evidence["states"].items()}
    assert set(states) == {"worker 0", "worker 1"}  # the other one was at work
    assert [name for name, state in states.items() if "named" in state] == [f"worker {result.worker}"]
    assert result.reason.count("known deadlock") == 1
    assert result.reason.endswith(f"(worker {result.worker})")


def test_a_failure_of_one_thread_is_no_leak_of_the_healthy_one(measured: Measured) -> None:
    broken = {"part": "chunk", "call": 8, "job": 1, "slow": {"chunk": 0.1}}
    keys = {"mode": "online", "overlap": 70}
    result = measured(10.0, broken, keys, executor="threads", workers=2, jobs=2).result
    assert (result.outcome, result.job, result.stage) == (Outcome.FAILED, 1, "features")
    states = {name: found["avatar"] for name, found in result.evidence["states"].items()}
    assert [state["at"] for state in states.values()] == ["open", "open"]
    assert [name for name, state in states.items() if "named" in state] == [f"worker {result.worker}"]
    assert result.reason.count("known thread leak of upstream") == 1
    assert result.reason.endswith(f"(worker {result.worker})")


REAL = os.environ.get("DITTO_UPSTREAM_ROOT", "")


@pytest.mark.slow
@pytest.mark.skipif(not REAL, reason="needs a checkout: DITTO_UPSTREAM_ROOT, and its DITTO_UPSTREAM_PYTHON")
@pytest.mark.parametrize("broken", [False, True])
def test_a_real_checkout_runs_and_its_deadlock_is_named(tmp_path: Path, broken: bool) -> None:
    """With the small networks of tests/engines/ditto_upstream/files.py, in the checkout's interpreter."""
    python = os.environ.get("DITTO_UPSTREAM_PYTHON", sys.executable)
    write = [python, "-m", "tests.engines.ditto_upstream.files", str(tmp_path)]
    subprocess.run([*write, "--broken-warp"] if broken else write, cwd=ROOT, check=True)
    (tmp_path / "media").symlink_to(ROOT / "media")
    command = [
        sys.executable, "-m", "harness", "name=run", "device=cpu", "tts=canned", "tts.seconds=[10]",
        "avatar=ditto_upstream", f"avatar.root={REAL}", f"avatar.python={python}", "avatar.steps=5",
        f"avatar.cfg_pkl={tmp_path}/cfg.pkl", f"avatar.data_root={tmp_path}/models", "limits.stage=20",
        f"avatar.warm_up={str(not broken).lower()}",  # its 10 frames are too few for the deadlock
    ]  # fmt: skip
    subprocess.run(command, cwd=tmp_path, env=environment(), check=False, timeout=300)
    [measurement] = store.load_run(tmp_path / "runs" / "run")
    result = measurement.result
    if broken:
        assert result.outcome is Outcome.HUNG
        assert "known deadlock of upstream's close(): thread " in result.reason
        assert "of 100 items queued after stop_event; hidden exception: Fail: " in result.reason
        assert "cannot be reshaped to the requested shape" in result.reason
    else:
        assert (result.outcome, result.reason) == (Outcome.OK, "")
