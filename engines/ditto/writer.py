"""One MP4 with H.264 video and AAC sound, written through PyAV under a temporary name."""

from __future__ import annotations

import weakref
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
from av.audio import AudioStream
from av.container import OutputContainer
from av.video import VideoStream
from numpy.typing import NDArray

# libx264 takes the quality of upstream's writer; 4:2:0 plays everywhere.
CRF = 18
PIXELS = "yuv420p"
# With macroblock trees the first frame of equal input differed in up to 14 of 16 runs, from two threads on in
# nearly all, with one thread in 1 of 20 (libx264 in PyAV 18.1, 2026-11); without, 16 of 16 were equal.
PARAMS = "mbtree=0"


def _discard(container: OutputContainer, path: Path) -> None:
    container.close()
    path.unlink(missing_ok=True)


class Mp4Writer:
    """Writes frames, then the sound, into `<path>.tmp.mp4`, and renames it to `path` at the end.

    fps      frames per second
    rate     samples per second of the sound, mono
    threads  of libx264: part of what fixes the bytes, so equal input gives an equal file
    A writer that is discarded, fails, or is forgotten removes its temporary file.
    """

    def __init__(
        self, path: Path, width: int, height: int, *, fps: int = 25, rate: int = 24_000, threads: int = 1
    ) -> None:
        self.path = path
        self.frames = 0
        self._temporary = path.with_name(path.name + ".tmp.mp4")
        path.parent.mkdir(parents=True, exist_ok=True)
        # Without a limit the muxer may hold all video packets until the sound comes, and interleaves them.
        self._container = av.open(str(self._temporary), "w", container_options={"max_interleave_delta": "0"})
        self._cleanup = weakref.finalize(self, _discard, self._container, self._temporary)
        self._video: VideoStream = self._container.add_stream("libx264", rate=fps)
        self._video.width, self._video.height, self._video.pix_fmt = width, height, PIXELS
        self._video.options = {"crf": str(CRF), "threads": str(threads), "x264-params": PARAMS}
        self._audio: AudioStream = self._container.add_stream("aac", rate=rate, layout="mono")

    def add(self, frame: NDArray[np.uint8]) -> None:
        """Encode one frame (height, width, 3) RGB. Raises ValueError for another size; that ends the file."""
        if frame.shape[:2] != (self._video.height, self._video.width):
            self.discard()
            raise ValueError(
                f"{self.path}: frame {self.frames} is {frame.shape[1]}x{frame.shape[0]}, "
                f"the video is {self._video.width}x{self._video.height}"
            )
        picture = av.VideoFrame.from_ndarray(frame, format="rgb24")
        picture.pts, picture.time_base = self.frames, Fraction(1, self._video.codec_context.framerate)
        try:
            self._container.mux(self._video.encode(picture))
        except (av.FFmpegError, OSError):
            self.discard()
            raise
        self.frames += 1

    def finish(self, audio: NDArray[np.float32]) -> None:
        """Encode the sound (n,) in [-1, 1], end both streams and give the file its name."""
        try:
            self._container.mux(self._video.encode(None))
            self._add_audio(audio)
            self._container.close()
        except (av.FFmpegError, OSError):
            self.discard()
            raise
        self._cleanup.detach()
        self._temporary.replace(self.path)

    def _add_audio(self, audio: NDArray[np.float32]) -> None:
        rate, step = self._audio.codec_context.sample_rate, self._audio.codec_context.frame_size or 1024
        samples = np.clip(audio, -1, 1).astype(np.float32)
        for start in range(0, len(samples), step):
            block = np.ascontiguousarray(samples[start : start + step])[None]
            sound = av.AudioFrame.from_ndarray(block, format="fltp", layout="mono")
            sound.sample_rate, sound.pts, sound.time_base = rate, start, Fraction(1, rate)
            self._container.mux(self._audio.encode(sound))
        self._container.mux(self._audio.encode(None))

    def discard(self) -> None:
        """Give up: close, and remove the temporary file."""
        self._cleanup()
