"""Validity of an output: the MP4 decodes, has the frames and the sound that it should have."""

from __future__ import annotations

import hashlib
import math
from pathlib import Path

import av

FRAMES_PER_S = 25
_AAC_FRAME = 1024  # samples; the encoder works in whole ones, and puts one or two in front


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def expected_frames(audio_s: float) -> int:
    """ceil(25 x seconds), where a product that only rounding lifts over a whole number does not count as
    more.
    """
    return math.ceil(audio_s * FRAMES_PER_S - 1e-6)


def problem(path: Path, audio_s: float) -> str:
    """Decode the whole file and say what is wrong with it; "" if it is as it should be."""
    try:
        frames, heard_s = _decode(path)
    except (OSError, av.FFmpegError) as error:
        return f"does not decode: {error}"
    if frames != expected_frames(audio_s):
        return f"{frames} frames instead of {expected_frames(audio_s)} for {audio_s:.3f} s of audio"
    if heard_s is None:
        return "no audio stream"
    tolerance_s = 3 * _AAC_FRAME / 16_000
    if abs(heard_s - audio_s) > tolerance_s:
        return f"{heard_s:.3f} s of sound instead of {audio_s:.3f} s"
    return ""


def _decode(path: Path) -> tuple[int, float | None]:
    with av.open(str(path)) as container:
        if not container.streams.video:
            return 0, None
        frames = sum(1 for _ in container.decode(video=0))
    with av.open(str(path)) as container:
        if not container.streams.audio:
            return frames, None
        rate = container.streams.audio[0].rate
        return frames, sum(frame.samples for frame in container.decode(audio=0)) / rate
