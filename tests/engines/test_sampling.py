"""The sample of a component: a short input, what it shows kept as it was, and nothing left beside it."""

from __future__ import annotations

import wave
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engines import sampling
from engines.contract import Job, Piece
from engines.simulated import Simulated
from tests.engines.test_simulated import job

RATE = 16_000


class Stage:
    """Yields what `make` gives of each piece."""

    timer = None

    def __init__(self, name: str, make: Any) -> None:
        self.name = name
        self._make = make

    def feed(self, piece: Piece) -> Iterator[Piece]:
        yield from self._make(piece)

    def flush(self) -> Iterator[Piece]:
        yield from ()


class Showing(Simulated):
    """Its stages are those given; remembers what it was asked."""

    def __init__(self, *stages: Stage) -> None:
        super().__init__("avatar", 0.0, 0.0, {})
        self._stages = stages

    def stages(self, asked: Job) -> Sequence[Any]:
        self.asked = asked
        Path(asked.output).write_bytes(b"a video")
        return self._stages


@pytest.fixture
def spoken(tmp_path: Path) -> Job:
    """A job whose voice clip rises to its loudest at 0.7 s of 1 s."""
    samples = np.concatenate([np.linspace(0, 20_000, 11_200), np.linspace(10_000, 0, 4_800)]).astype("<i2")
    with wave.open(str(tmp_path / "voice.wav"), "wb") as file:
        file.setparams((1, 2, RATE, 0, "NONE", ""))
        file.writeframes(samples.tobytes())
    return replace(job(), voice=str(tmp_path / "voice.wav"), num_tokens=100)


def test_frames_are_spread_evenly() -> None:
    assert sampling.spread(4, 10) == [1, 3, 6, 8]
    assert sampling.spread(1, 10) == [5]
    assert sampling.spread(10, 3) == [0, 1, 2]


def test_an_avatar_draws_the_loudest_of_the_voice_and_its_frames_are_kept_where_they_first_appear(
    spoken: Job, tmp_path: Path
) -> None:
    memory = np.zeros((4, 6, 3), np.uint8)  # one buffer for all frames, as a pipeline has it
    heard = []

    def draw(piece: Piece) -> Iterator[Piece]:
        heard.append(piece)
        for number in range(10):
            memory[:] = number
            yield Piece("frame", memory)

    def pass_on(piece: Piece) -> Iterator[Piece]:
        yield Piece("frame", 255 - piece.data)

    avatar = Showing(Stage("draw", draw), Stage("sharpen", pass_on))
    path = tmp_path / "sample/avatar.npz"
    sampling.take("avatar", avatar, spoken, 4, path)
    with np.load(path) as kept:
        assert kept["index"].tolist() == [1, 3, 6, 8]
        assert kept["frames"][:, 0, 0, 0].tolist() == [1, 3, 6, 8]
        assert kept["frames"].shape == (4, 4, 6, 3)
    [voice] = heard
    assert (voice.count, voice.rate) == (6_400, RATE)  # 0.4 s
    assert int(np.abs(voice.data).argmax()) == 3_200  # the loudest is in the middle
    assert avatar.asked.num_tokens == 40
    assert list(path.parent.iterdir()) == [path]  # its video is gone


def test_a_tts_says_its_text_and_the_sound_of_all_pieces_is_kept(spoken: Job, tmp_path: Path) -> None:
    texts = []

    def say(piece: Piece) -> Iterator[Piece]:
        texts.append(piece.data)
        for value in (0.25, -0.5):
            yield Piece("audio", np.full(3, value, np.float32), 3, 24_000)

    path = tmp_path / "sample/tts.npz"
    sampling.take("tts", Showing(Stage("say", say)), spoken, 4, path)
    with np.load(path) as kept:
        assert kept["audio"].tolist() == [0.25] * 3 + [-0.5] * 3
        assert (kept["audio"].dtype, int(kept["rate"])) == (np.float32, 24_000)
    assert texts == [spoken.text]


@pytest.mark.parametrize("name", ["tts", "avatar"])
def test_what_shows_no_arrays_leaves_no_sample(name: str, spoken: Job, tmp_path: Path) -> None:
    stages = {"one": {}, "two": {}}
    made = Simulated(name, 0.0, 0.0, stages)
    sampling.take(name, made, spoken, 4, tmp_path / "sample" / f"{name}.npz")
    assert list((tmp_path / "sample").iterdir()) == []
