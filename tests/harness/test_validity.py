"""Validity of real MP4 files that are right, short, silent, cut off or none at all."""

from __future__ import annotations

from pathlib import Path

import av
import numpy as np
import pytest

from harness import validity

RATE = 24_000


def write(path: Path, num_frames: int, audio_s: float | None) -> None:
    """64 x 64 px H.264 at 25 frames/s with AAC sound of that length, or none."""
    with av.open(str(path), "w") as container:
        video = container.add_stream("libx264", rate=25)
        video.width, video.height, video.pix_fmt = 64, 64, "yuv420p"
        sound = container.add_stream("aac", rate=RATE, layout="mono") if audio_s else None
        for index in range(num_frames):
            picture = np.full((64, 64, 3), 8 * index % 256, np.uint8)
            container.mux(video.encode(av.VideoFrame.from_ndarray(picture, "rgb24")))
        container.mux(video.encode())
        if sound and audio_s:
            samples = np.zeros((1, round(audio_s * RATE)), np.float32)
            frame = av.AudioFrame.from_ndarray(samples, "fltp", "mono")
            frame.sample_rate = RATE
            container.mux(sound.encode(frame))
            container.mux(sound.encode())


def test_a_video_as_long_as_its_sound_is_right(tmp_path: Path) -> None:
    write(tmp_path / "v.mp4", 25, 1.0)
    assert validity.problem(tmp_path / "v.mp4", 1.0) == ""


def test_a_missing_frame_is_told(tmp_path: Path) -> None:
    write(tmp_path / "v.mp4", 24, 1.0)
    assert validity.problem(tmp_path / "v.mp4", 1.0) == "24 frames instead of 25 for 1.000 s of audio"


def test_a_video_without_sound_is_told(tmp_path: Path) -> None:
    write(tmp_path / "v.mp4", 25, None)
    assert validity.problem(tmp_path / "v.mp4", 1.0) == "no audio stream"


def test_sound_that_ends_too_early_is_told(tmp_path: Path) -> None:
    write(tmp_path / "v.mp4", 25, 0.5)
    assert "s of sound instead of 1.000 s" in validity.problem(tmp_path / "v.mp4", 1.0)


def test_a_truncated_file_is_told(tmp_path: Path) -> None:
    path = tmp_path / "v.mp4"
    write(path, 25, 1.0)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert validity.problem(path, 1.0).startswith("does not decode: ")


@pytest.mark.parametrize("content", [b"", b"not a video at all"])
def test_what_is_no_video_is_told(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "v.mp4").write_bytes(content)
    assert validity.problem(tmp_path / "v.mp4", 1.0).startswith("does not decode: ")


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    assert "No such file" in validity.problem(tmp_path / "v.mp4", 1.0)


@pytest.mark.parametrize(
    ("audio_s", "frames"), [(1.0, 25), (1.001, 26), (0.04, 1), (0.28, 7), (2.56, 64), (3 * 0.04, 3)]
)
def test_a_begun_frame_counts_and_a_rounding_error_does_not(audio_s: float, frames: int) -> None:
    assert validity.expected_frames(audio_s) == frames


def test_the_digest_is_of_the_bytes(tmp_path: Path) -> None:
    (tmp_path / "v").write_bytes(b"abc")  # FIPS 180-2, appendix B.1
    assert (
        validity.sha256(tmp_path / "v") == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"
    )
