"""How far a clip is from its reference: what an encoder makes of last bits passes, a shut mouth does not."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path

import av
import numpy as np
import pytest
from numpy.typing import NDArray

from harness.difference import difference
from tests.harness.clips import Pictures, moving, voice, write

FRAMES = 8
LARGE, SMALL = (1432, 1920), (180, 240)


def ramp(size: tuple[int, int]) -> NDArray[np.uint8]:
    wide, high = size
    down, right = np.mgrid[:high, :wide]
    planes = [right / wide * 200, down / high * 200, (down + right) % 256 * 0.3 + 60]
    return np.stack(planes, -1).astype(np.uint8)


def talking(size: tuple[int, int], opening: Callable[[int], float]) -> Pictures:
    """A still picture with a dark mouth of a ninth of its width, open by a share of a 25th of its height."""
    (wide, high), found = size, []
    for index in range(FRAMES):
        picture = ramp(size)
        half = round(opening(index) * high / 50)
        picture[high // 2 - half : high // 2 + half + 1, wide // 2 - wide // 18 : wide // 2 + wide // 18] = 20
        found.append(picture)
    return found


def noisy(size: tuple[int, int]) -> Pictures:
    """New noise in each picture where the face is, as random weights may draw."""
    drawn = np.random.default_rng(1)
    (wide, high), found = size, []
    for _ in range(FRAMES):
        picture = ramp(size)
        picture[high // 4 : -high // 4, wide // 6 : -wide // 6] = drawn.integers(
            0, 256, picture[high // 4 : -high // 4, wide // 6 : -wide // 6].shape
        )
        found.append(picture)
    return found


def last_bits(pictures: Pictures, share: float) -> Pictures:
    """Some values off by one, as another order of sums makes them."""
    drawn = np.random.default_rng(2)
    off = [(drawn.random(one.shape) < share) * drawn.choice([-1, 1], one.shape) for one in pictures]
    return [np.clip(one + add, 0, 255).astype(np.uint8) for one, add in zip(pictures, off, strict=True)]


def speaks(index: int) -> float:
    return 0.5 + 0.45 * math.sin(index * math.tau * 4 / 25)


@pytest.mark.parametrize("size", [SMALL, pytest.param(LARGE, marks=pytest.mark.slow)], ids=["small", "large"])
def test_a_mouth_that_stays_shut_and_a_video_one_frame_late_are_not_within_tolerance(
    size: tuple[int, int], tmp_path: Path
) -> None:
    """Over the whole picture both have a PSNR of 37 to 40 dB: a mouth is a hundredth of it."""
    right = talking(size, speaks)
    reference = write(tmp_path / "a.mp4", right, None)
    shut = difference(write(tmp_path / "b.mp4", talking(size, lambda index: 0.05), None), reference)
    late = difference(write(tmp_path / "c.mp4", [right[0], *right[:-1]], None), reference)
    for found in (shut, late):
        assert not found.within_tolerance
        assert found.psnr_db < found.least_psnr_db - 3
        assert found.frame in (0, 1)


@pytest.mark.parametrize("share", [0.01, 0.3])
@pytest.mark.parametrize(
    "pictures",
    [talking(SMALL, speaks), noisy(SMALL), moving(FRAMES)],
    ids=["a mouth", "noise", "a square"],
)
def test_last_bits_before_the_encoder_are_within_tolerance(
    pictures: Pictures, share: float, tmp_path: Path
) -> None:
    reference = write(tmp_path / "a.mp4", pictures, None)
    found = difference(write(tmp_path / "b.mp4", last_bits(pictures, share), None), reference)
    assert found.psnr_db < math.inf  # the encoder did make another choice
    assert found.within_tolerance
    assert found.psnr_db > found.least_psnr_db + 2


def test_another_size_is_a_difference_whatever_is_in_the_pictures(tmp_path: Path) -> None:
    plain = [np.full((64, 64, 3), 90, np.uint8)] * 5
    wider = [np.full((64, 96, 3), 90, np.uint8)] * 5
    found = difference(write(tmp_path / "a.mp4", wider, None), write(tmp_path / "b.mp4", plain, None))
    assert (found.within_tolerance, str(found)) == (False, "frame 0 has another size")


def test_a_block_at_the_edge_that_is_no_whole_one_counts_with_all_its_weight(tmp_path: Path) -> None:
    """72 px are a block and 8 px more; those are off by 100 of 255 levels, 20 log10(255 / 100) = 8.1 dB."""
    grey = np.full((72, 72, 3), 100, np.uint8)
    edge = grey.copy()
    edge[64:, 64:] = 216  # full range of RGB to 16..235 of luma: 116 levels become 99.6
    found = difference(
        write(tmp_path / "a.mp4", [edge] * 3, None), write(tmp_path / "b.mp4", [grey] * 3, None)
    )
    assert found.psnr_db == pytest.approx(8.1, abs=0.5)


def test_a_title_in_another_encoding_does_not_matter(tmp_path: Path) -> None:
    plain = write(tmp_path / "a.mp4", moving(5), voice(0.2))
    titled = tmp_path / "b.mp4"
    with (
        av.open(str(plain)) as source,
        av.open(str(titled), "w", metadata_encoding="latin-1") as target,
    ):
        target.metadata["title"] = "Caf\xe9"
        streams = {s.index: target.add_stream_from_template(s) for s in source.streams}
        for packet in source.demux():
            if packet.dts is not None:
                packet.stream = streams[packet.stream.index]
                target.mux(packet)
    assert b"Caf\xe9" in titled.read_bytes()
    assert difference(titled, plain).psnr_db == math.inf
