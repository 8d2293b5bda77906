"""MP4 files as the pipeline writes them, right ones and ones with a planted defect."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

RATE = 24_000
SIDE = 64
# As engines/ditto/writer.py: with macroblock trees equal pictures do not give equal files.
OPTIONS = {"crf": "18", "threads": "1", "x264-params": "mbtree=0"}
Pictures = Sequence[NDArray[np.uint8]]
Samples = NDArray[np.float64]


def moving(count: int, shade: int = 0) -> list[NDArray[np.uint8]]:
    """A bright square that walks over a grey ramp; (64, 64, 3)."""
    ramp = np.repeat(np.arange(SIDE, dtype=np.uint8)[None] * 2 + 40 + shade % 16, SIDE, axis=0)
    found = []
    for index in range(count):
        picture = ramp.copy()
        at = 2 * index % (SIDE - 16)
        picture[24:40, at : at + 16] = 230
        found.append(np.repeat(picture[:, :, None], 3, axis=2))
    return found


def voice(seconds: float, pitch: float = 140.0) -> Samples:
    """Twenty harmonics that swell three times a second: about -20 dB, its spectrum far from flat."""
    time = np.arange(round(seconds * RATE)) / RATE
    tones = sum(np.sin(2 * np.pi * pitch * n * time + n * n) / n for n in range(1, 21))
    return np.asarray(0.1 * tones * (1 + 0.6 * np.sin(2 * np.pi * 3 * time)))


def noise(seconds: float, deviation: float) -> Samples:
    return np.random.default_rng(5).normal(0, deviation, round(seconds * RATE))


def write(path: Path, pictures: Pictures, sound: Samples | None, *, fps: int = 25) -> Path:
    """H.264 and AAC, samples limited to [-1, 1]."""
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=fps, options=OPTIONS)
        video.height, video.width = pictures[0].shape[:2]
        video.pix_fmt = "yuv420p"
        audio = None if sound is None else container.add_stream("aac", rate=RATE, layout="mono")
        for picture in pictures:
            container.mux(video.encode(av.VideoFrame.from_ndarray(picture, "rgb24")))
        container.mux(video.encode())
        if audio is not None and sound is not None:
            samples = np.clip(sound, -1, 1).astype(np.float32)
            for start in range(0, len(samples), 1024):
                block = av.AudioFrame.from_ndarray(samples[None, start : start + 1024], "fltp", "mono")
                block.sample_rate, block.pts = RATE, start
                container.mux(audio.encode(block))
            container.mux(audio.encode())
    return path
