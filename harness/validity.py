"""Validity of an output: the file decodes, is as long and large as asked, moves, and sounds like speech."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from harness import clip, sound
from harness.clip import FRAMES_PER_S, Bounds, Clip

_AAC_FRAME = 1024  # samples; the encoder works in whole ones, and puts one or two in front
_SLACK_S = 3 * _AAC_FRAME / 16_000

# A portrait that never changes moves by up to 1.7 levels, where libx264 refines it; each clip of the tiny
# pipeline with random weights moves by 68 and more somewhere (measured 2026-11).
STATIC_LEVELS = 2.5
# A face that a trained network drives never keeps every block within half a level for a second. Random
# weights may: tiny ones stood still for up to 0.9 s at their own speech and 14 of 28 s at a drawn voice
# (56 clips, measured 2026-11; clip.STILL_LEVELS has what a picture that never changes gives).
FROZEN_S = 1.0
# A uniform picture has 0 to 1 through the encoder; the project's portrait 127 and more.
ONE_COLOUR_LEVELS = 4.0


@dataclass(frozen=True)
class Asked:
    """What a job's file must be.

    audio_s    as long as its sound, s
    size       (width, height) px
    since      written after, s since the epoch
    may_stand  whether the picture may stand still for long, as random weights' does
    """

    audio_s: float
    size: tuple[int, int]
    since: float = 0.0
    may_stand: bool = False


def sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def expected_frames(audio_s: float) -> int:
    """ceil(25 x seconds), where a product that only rounding lifts over a whole number does not count as
    more.
    """
    return math.ceil(audio_s * FRAMES_PER_S - 1e-6)


def expected_size(resolution: str, longest: int | None = None) -> tuple[int, int]:
    """(width, height) px of the video for `WxH` of the portrait: shrunk so that no side exceeds `longest`,
    then cut to even numbers.
    """
    width, height = (int(part) for part in resolution.split("x"))
    if longest and max(width, height) > longest:
        width, height = (round(side * longest / max(width, height)) for side in (width, height))
    return width // 2 * 2, height // 2 * 2


def check(path: Path, asked: Asked) -> tuple[str, dict[str, Any]]:
    """Decode the whole file: what is wrong with it first, "" if nothing, and what was measured of it."""
    try:
        if path.stat().st_mtime < asked.since:
            return "the file is older than this measurement", {}
        found = clip.decode(path, Bounds(asked.size, expected_frames(asked.audio_s), asked.audio_s))
    except clip.Unreadable as error:
        return str(error), {}
    except OSError as error:
        return f"does not decode: {error}", {}
    complaints = [*_length_complaints(found, asked), *_picture_complaints(found, asked.may_stand)]
    heard = sound.listen(found.sound, found.rate) if found.sound is not None else None
    if heard:
        complaints += sound.complaints(heard)
    return next(iter(complaints), ""), {**_seen(found), **(heard.figures() if heard else {})}


def _length_complaints(found: Clip, asked: Asked) -> Iterator[str]:
    frames, audio_s = expected_frames(asked.audio_s), asked.audio_s
    if found.frames != frames:
        yield f"{found.frames} frames instead of {frames} for {audio_s:.3f} s of audio"
    elif abs(found.shown_s - frames / FRAMES_PER_S) > 1 / FRAMES_PER_S:
        yield f"its {frames} frames are shown for {found.shown_s:.3f} s, not {frames / FRAMES_PER_S:.3f} s"
    if found.sound is None:
        yield "no audio stream"
    elif abs(len(found.sound) / found.rate - audio_s) > _SLACK_S:
        yield f"{len(found.sound) / found.rate:.3f} s of sound instead of {audio_s:.3f} s"


def _picture_complaints(found: Clip, may_stand: bool) -> Iterator[str]:
    plain = np.flatnonzero(found.contrast < ONE_COLOUR_LEVELS)
    if len(plain):
        yield f"frame {plain[0]} is all one colour ({len(plain)} of {found.frames} are)"
    if found.frames > 1 and found.moved.max() < STATIC_LEVELS:
        yield f"static: no part of the picture changes by {STATIC_LEVELS:g} of 255 levels"
    still_s = found.still / FRAMES_PER_S
    if still_s >= FROZEN_S and not may_stand:
        yield f"frozen: the picture stands still for {still_s:.2f} s"


def _seen(found: Clip) -> dict[str, Any]:
    return {
        "content": found.content,
        "frozen_s": round(found.still / FRAMES_PER_S, 2) if found.still > 1 else 0.0,
        "moved_levels": round(float(np.median(found.moved)), 2) if len(found.moved) else 0.0,
    }
