"""The output gate on real MP4 files: what is right passes, each planted defect is named."""

from __future__ import annotations

import os
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from harness import validity
from harness.validity import Asked
from tests.harness.clips import RATE, SIDE, Pictures, Samples, moving, noise, voice, write

S = 2.0
ASKED = Asked(S, (SIDE, SIDE))
TAIL = RATE // 4


def problem(path: Path, asked: Asked = ASKED) -> str:
    return validity.check(path, asked)[0]


def test_a_video_as_long_as_its_sound_that_moves_and_speaks_is_right(tmp_path: Path) -> None:
    wrong, seen = validity.check(write(tmp_path / "v.mp4", moving(50), voice(S)), ASKED)
    assert wrong == ""
    # 20 harmonics of amplitude 0.1 / n, swelling by 0.6: mean square 0.005 * sum(1 / n²) * 1.18, -20.3 dB
    assert seen["rms_db"] == pytest.approx(-20.3, abs=0.3)
    assert seen["frozen_s"] == 0.0
    assert len(seen["content"]) == 64


def tail(of: Callable[[Samples], Samples]) -> Samples:
    """A voice whose last 250 ms are replaced."""
    spoken = voice(S)
    return np.concatenate([spoken[:-TAIL], of(spoken[-TAIL:])])


def wrapped(factor: float) -> Samples:
    """As 16 bits that were not limited."""
    loud = voice(S) / np.abs(voice(S)).max() * factor * 32767
    return ((loud.astype(int) + 32768) % 65536 - 32768) / 32768


FROZEN: Pictures = [*moving(20), *moving(20)[-1:] * 30]
PLANTED: list[tuple[str, Pictures, Samples | None, str]] = [
    ("one frame short", moving(49), voice(S), "49 frames instead of 50 for 2.000 s of audio"),
    ("no sound", moving(50), None, "no audio stream"),
    ("short sound", moving(50), voice(S / 2), "s of sound instead of 2.000 s"),
    ("static", moving(1) * 50, voice(S), "static: no part of the picture changes"),
    ("frozen", FROZEN, voice(S), "frozen: the picture stands still for 1."),
    ("black", [np.zeros((SIDE, SIDE, 3), np.uint8)] * 50, voice(S), "frame 0 is all one colour (50 of 50"),
    ("black inside", [*moving(30), np.zeros((SIDE, SIDE, 3), np.uint8), *moving(19)], voice(S),
     "frame 30 is all one colour (1 of 50"),
    ("silent", moving(50), 0 * voice(S), "silent: -120 dB"),
    ("dither", moving(50), noise(S, 1 / 65536), "silent: -9"),
    ("wrapped", moving(50), wrapped(1.1), "its sound wraps around"),
    ("noise at the end", moving(50), tail(lambda x: noise(0.25, 0.1)), "its last 250 ms are noise"),
    ("quiet noise at the end", moving(50), tail(lambda x: noise(0.25, 0.02)), "its last 250 ms are noise"),
    ("clipped at the end", moving(50), tail(lambda x: 20 * x), "its last 250 ms are clipped"),
]  # fmt: skip


@pytest.mark.parametrize(
    ("pictures", "sound", "said"), [case[1:] for case in PLANTED], ids=[case[0] for case in PLANTED]
)
def test_a_planted_defect_is_named(
    pictures: Pictures, sound: Samples | None, said: str, tmp_path: Path
) -> None:
    assert said in problem(write(tmp_path / "v.mp4", pictures, sound))


@pytest.mark.parametrize(
    ("sound", "why"),
    [
        (noise(S, 0.1), "noise all over is what random weights may say"),
        (tail(lambda x: 0 * x), "a pause at the end"),
        (tail(lambda x: noise(0.25, 0.0005)), "the room's own noise after the last word"),
        (np.clip(1.05 * voice(S) / np.abs(voice(S)).max(), -1, 1), "a loud voice, limited at its peaks"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_sound_that_only_looks_suspicious_passes(sound: Samples, why: str, tmp_path: Path) -> None:
    assert problem(write(tmp_path / "v.mp4", moving(50), sound)) == "", why


def test_a_tail_far_louder_than_all_before_is_named(tmp_path: Path) -> None:
    quiet = np.concatenate([0.1 * voice(S)[:-TAIL], 0.6 * voice(S)[-TAIL:]])  # 15.6 dB up, not clipped
    found = problem(write(tmp_path / "v.mp4", moving(50), quiet))
    assert "louder than anything before" in found


def test_a_picture_that_stands_still_for_long_passes_where_that_is_allowed_and_one_that_never_moves_does_not(
    tmp_path: Path,
) -> None:
    allowed = Asked(S, (SIDE, SIDE), may_stand=True)
    wrong, seen = validity.check(write(tmp_path / "v.mp4", FROZEN, voice(S)), allowed)
    assert (wrong, seen["frozen_s"] > 1.0) == ("", True)
    assert "static" in problem(write(tmp_path / "w.mp4", moving(1) * 50, voice(S)), allowed)


def test_another_size_is_told_before_anything_is_decoded(tmp_path: Path) -> None:
    path = write(tmp_path / "v.mp4", moving(50), voice(S))
    assert problem(path, Asked(S, (128, 64))) == "64x64 px instead of 128x64"


def test_a_video_that_plays_too_slowly_is_told(tmp_path: Path) -> None:
    path = write(tmp_path / "v.mp4", moving(50), voice(S), fps=20)
    assert problem(path) == "its 50 frames are shown for 2.490 s, not 2.000 s"


def test_a_file_longer_than_asked_is_not_decoded_to_its_end(tmp_path: Path) -> None:
    path = write(tmp_path / "v.mp4", moving(150), voice(6.0))
    said = "goes on for more than a second beyond 50 frames and 2.000 s of sound"
    assert problem(path) == said


def test_a_truncated_file_is_told(tmp_path: Path) -> None:
    path = write(tmp_path / "v.mp4", moving(50), voice(S))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    assert problem(path).startswith("does not decode: ")


def test_bytes_that_rotted_inside_are_told(tmp_path: Path) -> None:
    path = write(tmp_path / "v.mp4", moving(50), voice(S))
    data = bytearray(path.read_bytes())
    start = data.index(b"mdat") + 2000
    data[start : start + 400] = bytes(400)
    path.write_bytes(data)
    assert problem(path) != ""


def test_a_title_that_is_not_utf_8_is_no_defect(tmp_path: Path) -> None:
    path = write(tmp_path / "v.mp4", moving(50), voice(S))
    with (
        av.open(str(path)) as source,
        av.open(str(tmp_path / "t.mp4"), "w", metadata_encoding="latin-1") as titled,
    ):
        titled.metadata["title"] = "Caf\xe9"
        streams = {stream.index: titled.add_stream_from_template(stream) for stream in source.streams}
        for packet in source.demux():
            if packet.dts is not None:
                packet.stream = streams[packet.stream.index]
                titled.mux(packet)
    assert b"Caf\xe9" in (tmp_path / "t.mp4").read_bytes()
    assert problem(tmp_path / "t.mp4") == ""


def test_pictures_that_change_their_size_within_a_file_are_told(tmp_path: Path) -> None:
    """A JPEG says its own size, whatever the file's header says."""
    with av.open(str(tmp_path / "v.mp4"), "w") as container:
        stream = container.add_stream("mjpeg", rate=25)
        stream.width, stream.height, stream.pix_fmt = SIDE, SIDE, "yuvj420p"
        smaller = av.CodecContext.create("mjpeg", "w")
        smaller.width, smaller.height, smaller.pix_fmt = SIDE, SIDE // 2, "yuvj420p"
        smaller.time_base = Fraction(1, 25)
        for index, picture in enumerate(moving(10)):
            encoder = stream if index < 6 else smaller
            frame = av.VideoFrame.from_ndarray(picture[: encoder.height], "rgb24").reformat(format="yuvj420p")
            frame.pts, frame.time_base = index, Fraction(1, 25)
            for packet in encoder.encode(frame):
                packet.stream = stream
                container.mux(packet)
    assert problem(tmp_path / "v.mp4") == "its size changes from 64x64 to 64x32 px at frame 6"


@pytest.mark.parametrize("seconds", [0.3, 0.5, 0.8, 1.5])
@pytest.mark.parametrize("deviation", [0.02, 0.15])
def test_noise_that_began_before_the_tail_is_named_too(
    seconds: float, deviation: float, tmp_path: Path
) -> None:
    spoken, sound = voice(4.0), noise(seconds, deviation)
    path = write(tmp_path / "v.mp4", moving(100), np.concatenate([spoken[: -len(sound)], sound]))
    assert "its last 250 ms are noise" in problem(path, Asked(4.0, (SIDE, SIDE)))


@pytest.mark.parametrize("content", [b"", b"not a video at all"])
def test_what_is_no_video_is_told(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "v.mp4").write_bytes(content)
    assert problem(tmp_path / "v.mp4").startswith("does not decode: ")


def test_a_file_that_is_not_there_is_told(tmp_path: Path) -> None:
    assert "No such file" in problem(tmp_path / "v.mp4")


def test_a_file_from_before_the_measurement_is_told(tmp_path: Path) -> None:
    path = write(tmp_path / "v.mp4", moving(50), voice(S))
    os.utime(path, (1_000_000, 1_000_000))
    assert problem(path, Asked(S, (SIDE, SIDE), 1_000_001)) == "the file is older than this measurement"
    assert problem(path, Asked(S, (SIDE, SIDE), 999_999)) == ""


@pytest.mark.parametrize(
    ("resolution", "longest", "size"),
    [
        ("180x240", 1920, (180, 240)),
        ("385x579", 1920, (384, 578)),  # cut to even numbers
        ("1432x1920", 960, (716, 960)),
        ("3000x1001", 1920, (1920, 640)),  # 1001 * 1920 / 3000 = 640.64, rounded to 641, cut to 640
        ("512x682", None, (512, 682)),
    ],
)
def test_the_size_is_that_of_the_portrait_shrunk_and_even(
    resolution: str, longest: int | None, size: tuple[int, int]
) -> None:
    assert validity.expected_size(resolution, longest) == size


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
