"""Sampling: runs a component once on a short fixed input and keeps what it shows, to compare it."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from engines import audio_file
from engines.contract import Component, Job, Piece, Stage

MOST_TOKENS = 40  # 1.9 s of XTTS
SOUND_S = 0.4  # of the job's voice clip, for an avatar: 10 frames
FRAMES_PER_S = 25


def take(name: str, component: Component, job: Job, num_frames: int, path: Path) -> None:
    """Run a warm component on a short version of the job, as it is configured; store what it shows in `path`.

    tts     the job's text, with forced tokens at most MOST_TOKENS: audio (n,) float32 and rate, Hz
    avatar  0.4 s of the job's voice clip, around its loudest sample: num_frames spread evenly over it, as
            frames (n, H, W, 3) uint8 RGB with their index (n,)
    Nothing is stored where there is none of it: pieces of sound without samples, frames that are no such
    arrays. Raises what the component raises, and ValueError for a voice that cannot be read.
    """
    job = replace(
        job,
        output=str(path.with_suffix(".mp4")),
        num_tokens=None if job.num_tokens is None else min(job.num_tokens, MOST_TOKENS),
    )
    path.parent.mkdir(exist_ok=True)
    if name == "tts":
        _store_sound(component.stages(job), job, path)
    else:
        _store_frames(component.stages(job), _voice(job), num_frames, path)
    Path(job.output).unlink(missing_ok=True)


def spread(num_frames: int, total: int) -> list[int]:
    """Numbers of num_frames out of `total` frames, in the middle of as many equal parts."""
    num_frames = min(num_frames, total)
    return [(2 * part + 1) * total // (2 * num_frames) for part in range(num_frames)]


def _store_sound(stages: Sequence[Stage], job: Job, path: Path) -> None:
    said = [
        piece for piece in _flow(stages, [Piece("text", job.text, len(job.text))]) if piece.kind == "audio"
    ]
    samples = [
        np.array(piece.data, np.float32).reshape(-1) for piece in said if isinstance(piece.data, np.ndarray)
    ]
    if samples:
        np.savez_compressed(path, audio=np.concatenate(samples), rate=np.array(said[0].rate))


def _store_frames(stages: Sequence[Stage], voice: Piece, num_frames: int, path: Path) -> None:
    wanted = set(spread(num_frames, math.ceil(voice.count / voice.rate * FRAMES_PER_S - 1e-6)))
    kept: dict[int, np.ndarray] = {}
    makers: list[Stage] = []
    drawn = 0

    def look(stage: Stage, piece: Piece) -> None:
        """Where frames first appear: later stages may pass them on, and their memory may be used again."""
        nonlocal drawn
        if piece.kind != "frame" or (makers and makers[0] is not stage):
            return
        makers.append(stage)
        if drawn in wanted and _is_picture(piece.data):
            kept[drawn] = piece.data.copy()
        drawn += 1

    for _ in _flow(stages, [voice], look):
        pass
    if kept:
        np.savez_compressed(
            path, frames=np.stack([kept[at] for at in sorted(kept)]), index=np.array(sorted(kept))
        )


def _is_picture(data: object) -> bool:
    return isinstance(data, np.ndarray) and data.dtype == np.uint8 and data.ndim == 3 and data.shape[2] == 3


def _voice(job: Job) -> Piece:
    samples, rate = audio_file.read(job.voice, 0.0, math.inf)
    length = min(len(samples), round(SOUND_S * rate))
    loudest = int(np.abs(samples).argmax())
    start = min(max(0, loudest - length // 2), len(samples) - length)
    heard = samples[start : start + length].clip(-1, 1)
    return Piece("audio", heard, count=len(heard), rate=rate)


def _flow(
    stages: Sequence[Stage],
    pieces: Sequence[Piece],
    look: Callable[[Stage, Piece], None] = lambda stage, piece: None,
) -> Iterator[Piece]:
    """Pull pieces through stages depth first, as a job does, and look at each behind each stage."""
    flow: Iterator[Piece] = iter(pieces)
    for stage in stages:
        flow = _through(stage, flow, look)
    return flow


def _through(stage: Stage, pieces: Iterator[Piece], look: Callable[[Stage, Piece], None]) -> Iterator[Piece]:
    for piece in pieces:
        for made in stage.feed(piece):
            look(stage, made)
            yield made
    for made in stage.flush():
        look(stage, made)
        yield made
