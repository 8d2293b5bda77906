"""One MP4 with H.264 video and AAC sound, written through PyAV: whole at the end, or playable as it grows."""

from __future__ import annotations

import contextlib
import weakref
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.audio import AudioStream
from av.container import OutputContainer
from av.packet import Packet
from av.video import VideoStream
from numpy.typing import NDArray

from engines.ditto.encoders import PIXELS, Encoder, told, usable_threads

# 5 frames, one batch of online motion at its finest setting; each fragment costs 0.2 KB of headers.
FRAGMENT_US = 200_000
_X264 = Encoder()
_CONTAINER_OPTIONS = {
    # Without a limit the muxer may hold all video packets until the sound comes, and interleaves them.
    "mp4": {"max_interleave_delta": "0"},
    "fragmented": {
        # delay_moov writes the header with the first fragment, when the sound's start is known: with
        # empty_moov the first frame stood 43 ms longer, the length of the AAC encoder's first, empty block.
        "movflags": "frag_keyframe+delay_moov+default_base_moof",
        "frag_duration": str(FRAGMENT_US),
        "flush_packets": "1",
        # Frames wait no longer than this for sound that has not come.
        "max_interleave_delta": str(FRAGMENT_US),
    },
}


def _discard(container: OutputContainer, path: Path) -> None:
    # After a write error closing fails as well; the first error is the one to tell.
    with contextlib.suppress(av.FFmpegError, OSError):
        container.close()
    if path.is_file():  # not a pipe or a device that somebody gave as the place to write to
        path.unlink()


class Mp4Writer:
    """Writes frames and sound into one file.

    fps        frames per second
    rate       samples per second of the sound, mono
    encoder    from encoders.choose
    preset     of x264
    threads    of x264: part of what fixes the bytes, so equal input gives an equal file
    threading  of x264: slices: the threads share each frame; frames: each has a frame of its own, so add
               returns before its frame is encoded, and `threads` frames are held back: not for fragmented
    container  mp4: written to `<path>.tmp.mp4`, the sound after the frames, and renamed to `path` at the end.
               fragmented: written to `path` itself, frames and sound side by side in fragments of 0.2 s; at
               every moment, and after a kill, the file plays up to its last whole fragment. The first one
               comes with the sixth frame, if some sound was there by then: the file's head tells its start
    A writer that is discarded, fails, or is forgotten removes its file. Errors while writing come as OSError
    with the path. One thread at a time.

    growing  the file that is written to until finish
    frames   how many were added
    """

    def __init__(
        self,
        path: Path,
        width: int,
        height: int,
        *,
        fps: int = 25,
        rate: int = 24_000,
        threads: int = 1,
        encoder: Encoder = _X264,
        preset: str = "medium",
        threading: str = "slices",
        container: str = "mp4",
    ) -> None:
        self.path = path
        self.frames = 0
        self._streaming = container == "fragmented"
        self.growing = path if self._streaming else path.with_name(path.name + ".tmp.mp4")
        self._encoder, self._threads, self._threading = encoder, threads, threading
        self._first_packet = b""
        path.parent.mkdir(parents=True, exist_ok=True)
        options = _CONTAINER_OPTIONS[container]
        self._container = av.open(str(self.growing), "w", format="mp4", container_options=options)
        self._cleanup = weakref.finalize(self, _discard, self._container, self.growing)
        self._video: VideoStream = self._container.add_stream(encoder.codec, rate=fps)
        self._video.width, self._video.height, self._video.pix_fmt = width, height, PIXELS
        self._video.options = encoder.options(preset, threads, threading, streaming=self._streaming)
        self._sound = _Sound(self._container.add_stream("aac", rate=rate, layout="mono"))

    def add(self, frame: NDArray[np.uint8]) -> None:
        """Encode one frame (height, width, 3) RGB. Raises ValueError for another size; that ends the file."""
        self._check_open()
        if frame.shape[:2] != (self._video.height, self._video.width):
            self.discard()
            raise ValueError(
                f"{self.path}: frame {self.frames} is {frame.shape[1]}x{frame.shape[0]}, "
                f"the video is {self._video.width}x{self._video.height}"
            )
        picture = av.VideoFrame.from_ndarray(frame, format="rgb24")
        picture.pts, picture.time_base = self.frames, Fraction(1, self._video.codec_context.framerate)
        with self._writing():
            self._mux_video(picture)
            self.frames += 1
            self._mux_due_sound()

    def add_audio(self, audio: NDArray[np.float32]) -> None:
        """Take sound (n,) in [-1, 1] that follows what came before; pieces may have any length.

        In a fragmented file it is encoded up to the last frame, the rest as frames come. In mp4 all waits for
        finish.
        """
        self._check_open()
        self._sound.add(audio)
        with self._writing():
            self._mux_due_sound()

    def finish(self, audio: NDArray[np.float32] | None = None) -> None:
        """Take the last sound, end both streams and, for mp4, give the file its name."""
        self._check_open()
        if audio is not None:
            self._sound.add(audio)
        with self._writing():
            self._mux_video(None)
            for packets in self._sound.rest():
                self._container.mux(packets)
            self._container.close()
            if self._streaming:
                self.path.stat()  # raises where somebody removed it
            else:
                self.growing.replace(self.path)
        self._cleanup.detach()

    def discard(self) -> None:
        """Give up: close, and remove the file."""
        self._cleanup()

    def ran(self) -> dict[str, Any]:
        """What the finished file says of the settings it was made with, under their names in the conf file.

        Slices use fewer threads than asked on a picture with few rows: then `x264_threads_used` has their
        number, and x264_threads is left out; on one thread both kinds of threading are the same, and neither
        is told. NVENC writes nothing of its settings.
        """
        said = told(self._first_packet)
        codec = self._video.codec_context.codec.name
        ran: dict[str, Any] = {
            "encoder": {"libx264": "x264", "h264_nvenc": "nvenc"}.get(codec, codec),
            "container": "fragmented" if is_fragmented(self.path) else "mp4",
        }
        if not said:
            return ran
        used, asked = int(said["threads"]), self._threads
        fewest = usable_threads(self._video.height, asked) if self._threading == "slices" else asked
        lowered = used == fewest < asked
        if used > 1:
            ran["x264_threading"] = "slices" if said["sliced_threads"] == "1" else "frames"
        return {**ran, "x264_preset": said["preset"], f"x264_threads{'_used' * lowered}": used}

    def _mux_video(self, picture: av.VideoFrame | None) -> None:
        packets = self._video.encode(picture)
        if packets and not self._first_packet:
            self._first_packet = bytes(packets[0])
        self._container.mux(packets)

    def _mux_due_sound(self) -> None:
        if self._streaming:
            for packets in self._sound.due(Fraction(self.frames, self._video.codec_context.framerate)):
                self._container.mux(packets)

    def _check_open(self) -> None:
        if not self._cleanup.alive:
            raise ValueError(f"{self.path}: the writer has ended; make a new one")

    @contextlib.contextmanager
    def _writing(self) -> Iterator[None]:
        try:
            yield
        except (av.FFmpegError, OSError) as error:
            self.discard()
            raise OSError(error.errno, f"{error.strerror}; the video is lost", str(self.path)) from error


class _Sound:
    """Samples on their way into the AAC stream, in whole blocks."""

    def __init__(self, stream: AudioStream) -> None:
        self._stream = stream
        self._waiting: NDArray[np.float32] = np.zeros(0, np.float32)
        self._encoded = 0

    def add(self, audio: NDArray[np.float32]) -> None:
        samples = np.clip(audio, -1, 1).astype(np.float32)
        self._waiting = np.concatenate([self._waiting, samples])

    def due(self, until_s: Fraction) -> Iterator[list[Packet]]:
        """Encode whole blocks up to a time."""
        # Two blocks more: the encoder holds one back, and the muxer orders by the start of the next.
        until = until_s * self._rate + 2 * self._step
        while len(self._waiting) >= self._step and self._encoded < until:
            yield self._encode_block()

    def rest(self) -> Iterator[list[Packet]]:
        """Encode all that is left, the last block as short as it is, and end the stream."""
        while len(self._waiting):
            yield self._encode_block()
        yield self._stream.encode(None)

    @property
    def _rate(self) -> int:
        return int(self._stream.codec_context.sample_rate)

    @property
    def _step(self) -> int:
        return int(self._stream.codec_context.frame_size or 1024)  # 0 until the first packet was written

    def _encode_block(self) -> list[Packet]:
        block, self._waiting = self._waiting[: self._step], self._waiting[self._step :]
        sound = av.AudioFrame.from_ndarray(np.ascontiguousarray(block)[None], format="fltp", layout="mono")
        sound.sample_rate, sound.pts, sound.time_base = self._rate, self._encoded, Fraction(1, self._rate)
        self._encoded += len(block)
        return list(self._stream.encode(sound))


def is_fragmented(path: Path) -> bool:
    """Whether an MP4 has a fragment before its media data. Raises ValueError where it has neither."""
    with path.open("rb") as file:
        while len(head := file.read(8)) == 8:
            size, kind = int.from_bytes(head[:4], "big"), head[4:]
            if kind in (b"moof", b"mdat"):
                return kind == b"moof"
            if size < 8:
                break
            file.seek(size - 8, 1)
    raise ValueError(f"{path}: no MP4 with media data")
