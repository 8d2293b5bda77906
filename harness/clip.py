"""Clip: what an MP4 file holds, decoded whole and once, within bounds that its job sets."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

FRAMES_PER_S = 25
_BLOCK = 8  # px; motion is looked for block by block, so that a small mouth counts in a large picture

Levels = NDArray[np.float32]


class Unreadable(ValueError):
    """The file does not decode as it should; the text says why."""


@dataclass(frozen=True)
class Bounds:
    """What a job's file may hold: another size is not decoded, and decoding ends a second beyond the rest.

    size     (width, height) px
    frames   pictures
    sound_s  seconds of sound
    """

    size: tuple[int, int]
    frames: int
    sound_s: float


@dataclass(frozen=True)
class Clip:
    """A decoded file.

    frames    number of pictures
    shown_s   from the first picture's time stamp to one frame after the last one's
    moved     (frames - 1,) largest change of an 8 x 8 px block's mean luma from picture to picture, of 255
    still     longest run of pictures in which no such block leaves its first value by half a level
    contrast  (frames,) the brightest block's mean luma less the darkest one's, of 255
    sound     (samples,) mono as decoded, may exceed [-1, 1]; None without an audio stream
    rate      samples per second
    content   SHA-256 over all decoded pictures and samples: equal outputs have it in unlike containers too
    """

    frames: int
    shown_s: float
    moved: Levels
    still: int
    contrast: Levels
    sound: Levels | None
    rate: int
    content: str


@dataclass
class _Pictures:
    """What is kept of the pictures while they pass."""

    digest: hashlib._Hash = field(default_factory=hashlib.sha256)
    moved: list[float] = field(default_factory=list)
    contrast: list[float] = field(default_factory=list)
    times_s: list[float] = field(default_factory=list)
    still: int = 0
    size: tuple[int, int] | None = None
    _before: Levels | None = None
    _anchor: Levels | None = None
    _anchored: int = 0

    def add(self, frame: av.VideoFrame) -> None:
        index = len(self.contrast)
        if frame.is_corrupt:
            raise Unreadable(f"does not decode: frame {index} is damaged")
        size = (frame.width, frame.height)
        self.size = self.size or size
        if size != self.size:
            was, now = ("x".join(map(str, one)) for one in (self.size, size))
            raise Unreadable(f"its size changes from {was} to {now} px at frame {index}")
        planes = picture(frame)
        self.digest.update(planes.data)
        blocks = _blocks(planes[: frame.height])
        self.contrast.append(float(np.ptp(blocks)))
        self.times_s.append(float(frame.time or 0.0))
        if self._before is not None:
            self.moved.append(float(np.abs(blocks - self._before).max()))
        if self._anchor is None or np.abs(blocks - self._anchor).max() >= STILL_LEVELS:
            self._anchor, self._anchored = blocks, index
        self.still = max(self.still, index - self._anchored + 1)
        self._before = blocks


# A portrait that never changes, through libx264 at crf 18: 71 of 100 pictures in a row stay this near
# (180x240), 70 (512x682) and 274 of 300 with camera noise, all within 1.7. The full pipeline with random
# weights: none of 122 (measured 2026-11).
STILL_LEVELS = 0.5


def decode(path: Path, bounds: Bounds) -> Clip:
    """Read the whole file. Raises Unreadable for what does not decode, or is no video of that size."""
    try:
        rate = _checked_rate(path, bounds)
        pictures, sound = _Pictures(), _read(path, bounds, rate)
        blocks = []
        for frame in sound:
            if isinstance(frame, av.VideoFrame):
                pictures.add(frame)
            else:
                blocks.append(mono(frame))
    except Unreadable:
        raise
    except (
        OSError,
        av.FFmpegError,
        ValueError,
    ) as error:  # ValueError: a shape or format that nobody expects
        raise Unreadable(f"does not decode: {error}") from error
    samples = np.concatenate([np.zeros(0, np.float32), *blocks])
    pictures.digest.update(samples.data)
    times = pictures.times_s
    return Clip(
        frames=len(times),
        shown_s=times[-1] - times[0] + 1 / FRAMES_PER_S if times else 0.0,
        moved=np.array(pictures.moved, np.float32),
        still=pictures.still,
        contrast=np.array(pictures.contrast, np.float32),
        sound=samples if rate else None,
        rate=rate,
        content=pictures.digest.hexdigest(),
    )


def opened(path: Path) -> av.container.InputContainer:
    """The file, to read; titles and other words in it may be in any encoding."""
    return av.open(str(path), metadata_errors="replace")


def video_size(path: Path) -> tuple[int, int] | None:
    """(width, height) px of a video as it is shown, turned as its file says; None for an image."""
    with opened(path) as container:
        if container.format.name == "image2" or container.format.name.endswith("_pipe"):
            return None
        for frame in container.decode(video=0):
            turned = frame.rotation % 180 != 0
            return (frame.height, frame.width) if turned else (frame.width, frame.height)
    return None


def frames(path: Path) -> Iterator[av.VideoFrame | av.AudioFrame]:
    """Pictures and pieces of sound as they lie in the file; decoded by as many threads as there are cores."""
    with opened(path) as container:
        streams = [*container.streams.video[:1], *container.streams.audio[:1]]
        for stream in container.streams.video[:1]:
            stream.thread_type = "AUTO"
        for frame in container.decode(streams):
            if isinstance(frame, (av.VideoFrame, av.AudioFrame)):
                yield frame


def picture(frame: av.VideoFrame) -> NDArray[np.uint8]:
    """(height * 3 / 2, width) planes of YUV 4:2:0; the first `height` rows are luma.

    Raises ValueError for odd sides.
    """
    if frame.width % 2 or frame.height % 2:
        raise ValueError(f"{frame.width}x{frame.height} px, sides must be even")
    plain = frame if frame.format.name == "yuv420p" else frame.reformat(format="yuv420p")
    return np.ascontiguousarray(plain.to_ndarray())


def mono(frame: av.AudioFrame) -> Levels:
    """(samples,) mean of the channels; whole numbers of a format are brought to [-1, 1]."""
    samples = frame.to_ndarray()
    if not frame.format.is_planar:
        samples = samples.reshape(-1, len(frame.layout.channels)).T
    if samples.dtype.kind == "i":
        samples = samples / -float(np.iinfo(samples.dtype).min)
    return np.asarray(samples.mean(axis=0), np.float32)


def _checked_rate(path: Path, bounds: Bounds) -> int:
    """Samples per second of the sound, 0 without any; what the header says is compared before decoding."""
    with opened(path) as container:
        if not container.streams.video:
            raise Unreadable("no video stream")
        video = container.streams.video[0]
        if (video.width, video.height) != bounds.size:
            wanted = "x".join(map(str, bounds.size))
            raise Unreadable(f"{video.width}x{video.height} px instead of {wanted}")
        return container.streams.audio[0].rate if container.streams.audio else 0


def _read(path: Path, bounds: Bounds, rate: int) -> Iterator[av.VideoFrame | av.AudioFrame]:
    """What the file holds. Raises Unreadable a second beyond the bounds: wrong, however long it would be."""
    num_frames = num_samples = 0
    for frame in frames(path):
        if isinstance(frame, av.VideoFrame):
            num_frames += 1
        else:
            num_samples += frame.samples
        if num_frames > bounds.frames + FRAMES_PER_S or num_samples > (bounds.sound_s + 1) * rate:
            most = f"{bounds.frames} frames and {bounds.sound_s:.3f} s of sound"
            raise Unreadable(f"goes on for more than a second beyond {most}")
        yield frame


def _blocks(luma: NDArray[np.uint8]) -> Levels:
    """(rows, columns) mean of each whole 8 x 8 px block."""
    rows, columns = (max(1, side // _BLOCK) for side in luma.shape)
    whole = luma[: rows * _BLOCK, : columns * _BLOCK]
    high, wide = whole.shape[0] // rows, whole.shape[1] // columns
    sums = np.add.reduce(whole.reshape(rows, high, -1), axis=1, dtype=np.uint16)
    sums = np.add.reduce(sums.reshape(rows, columns, wide), axis=2, dtype=np.uint16)
    return np.asarray(sums, np.float32) / np.float32(high * wide)
