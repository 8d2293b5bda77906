"""Stored measurements with samples, judged as the command does it: nothing runs."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np

from harness import quality, store
from harness.point import Point
from harness.reference import compared
from harness.result import JobResult, Outcome, PointResult
from tests.harness.points import avatar, point, speaker

ASKED = {
    "frames": 2, "psnr_db": 40.0, "ssim": 0.5, "lsd_db": 2.0,
    "optimised": {"tts": {"backend": "eager"}, "avatar": {"backend": "eager", "stage": {"warp": None}}},
}  # fmt: skip
GREY = np.random.default_rng(0).integers(40, 200, (2, 16, 24, 3), np.uint8)
SOUND = np.random.default_rng(1).normal(0, 0.1, 8_000).astype(np.float32)


def made(backend: str = "eager", executor: str = "sequential", **more: Any) -> Point:
    return replace(
        point(
            executor,
            tts=speaker(backend="eager"),
            avatar=avatar(backend=backend, stage={"warp": None}),
            **more,
        ),
        quality=ASKED,
    )


def stored(
    run: Path, of: Point, frames: Any = GREY, sound: Any = SOUND, repeat: int = 0, **changes: Any
) -> PointResult:
    """An ok measurement in the run, judged as the command does it."""
    folder = store.folder(run, of.id, repeat)
    (folder / "sample").mkdir(parents=True, exist_ok=True)
    np.savez_compressed(folder / "sample/avatar.npz", frames=frames, index=np.arange(len(frames)))
    np.savez_compressed(folder / "sample/tts.npz", audio=sound, rate=np.array(8_000))
    job = JobResult(
        0, 0, 0.0, 3.0, 0.4, 10, None, None, "output/job0.mp4", "ab", True, checks={"content": "c"}
    )
    plain: dict[str, Any] = {
        "started_at": "2026-11-01T10:00:00+00:00", "jobs": (job,), "wall_s": 3.0, "duration_s": 9.0,
        "environment": {"code": "c0de", "machine": "bench-1"},
    }  # fmt: skip
    plain["outcome"] = Outcome.OK
    result = PointResult(of.id, repeat, point=asdict(of), **{**plain, **changes})
    result = quality.judged(compared(result, folder, run), folder, run)
    store.save_result(result, folder)
    return result


def off_by(levels: int) -> Any:
    return GREY + np.uint8(levels)
