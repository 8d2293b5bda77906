"""XTTS in pieces: the samples of the package's inference_stream, tokens, lengths, and texts side by side."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engines.contract import Job, Piece

with warnings.catch_warnings():  # of the packages, not ours
    warnings.simplefilter("ignore")
    torch = pytest.importorskip("torch")
    pytest.importorskip("TTS", reason="coqui-tts is not installed")
    from transformers import LogitsProcessorList
    from transformers.generation.logits_process import TopKLogitsWarper

    from engines.xtts.pipeline import Xtts
    from engines.xtts.stream import OVERLAP, Joined

VOICE = str(Path(__file__).parents[3] / "media" / "voice_3s.wav")
JOB = Job(0, "Good morning, this is a short test.", "en", VOICE, "", 0, 0, "", 7, 41)
UNSET = {"gpt": None, "vocoder": None}


def tiny(**settings: Any) -> Xtts:
    component = Xtts(**{"device": "cpu", "size": "tiny", "weights": "random", "seed": 0} | settings)
    component.load()
    return component


@pytest.fixture(scope="module")
def xtts() -> Xtts:
    return tiny(mode="stream")


def pieces(component: Xtts, job: Job) -> dict[str, list[Piece]]:
    """What each stage gave, pulled from the end as executors do."""
    given: dict[str, list[Piece]] = {}

    def through(stage: Any, flow: Iterator[Piece]) -> Iterator[Piece]:
        for piece in flow:
            yield from kept(stage.name, stage.feed(piece))
        yield from kept(stage.name, stage.flush())

    def kept(name: str, flow: Iterator[Piece]) -> Iterator[Piece]:
        for piece in flow:
            given.setdefault(name, []).append(piece)
            yield piece

    flow: Iterator[Piece] = iter([Piece("text", job.text)])
    for stage in component.stages(job):
        flow = through(stage, flow)
    list(flow)
    return given


def speech(component: Xtts, job: Job) -> np.ndarray:
    return np.concatenate([piece.data for piece in pieces(component, job)["vocoder"]])


def packages_own(component: Xtts, job: Job, chunk: int) -> list[np.ndarray]:
    """Xtts.inference_stream with our scores, of which only the largest is left for it to draw."""
    prompt = pieces(component, replace(job, num_tokens=1))["condition"][0].data
    count = (
        {} if job.num_tokens is None else dict.fromkeys(("min_new_tokens", "max_new_tokens"), job.num_tokens)
    )
    spoken = component.network.inference_stream(
        job.text,
        "en",
        prompt.latents,
        prompt.speaker,
        stream_chunk_size=chunk,
        do_sample=False,
        temperature=None,
        top_k=None,
        top_p=None,
        repetition_penalty=10.0,
        logits_processor=LogitsProcessorList([*component.processors(job.seed), TopKLogitsWarper(1)]),
        **count,
    )
    return [part.numpy() for part in spoken]


# 41 tokens end with a piece of one; 40 with a whole chunk; 5 are less than one chunk of 20.
@pytest.mark.parametrize(("tokens", "chunk"), [(41, 20), (40, 20), (5, 20), (20, 7), (4, 1)])
def test_the_pieces_are_those_of_the_packages_own_stream(tokens: int, chunk: int) -> None:
    component = tiny(mode="stream", stream_chunk_tokens=chunk)
    job = replace(JOB, num_tokens=tokens)
    expected = [part for part in packages_own(component, job, chunk) if len(part)]
    given = pieces(component, job)["vocoder"]
    assert [piece.count for piece in given] == [len(part) for part in expected]
    assert all(np.array_equal(piece.data, part) for piece, part in zip(given, expected, strict=True))
    assert {(piece.kind, piece.rate, piece.data.dtype.name) for piece in given} == {
        ("audio", 24000, "float32")
    }


def test_without_a_forced_count_it_stops_at_the_stop_token_as_the_package_does(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    likely = tiny(mode="stream")
    monkeypatch.setattr(
        likely, "_check_num_tokens", lambda job: None
    )  # random weights have to be given a count
    with torch.no_grad():
        likely.network.gpt.mel_head.bias[likely.network.gpt.stop_audio_token] += 1.5
    for seed in range(3):
        job = replace(JOB, num_tokens=None, seed=seed)
        expected = np.concatenate(packages_own(likely, job, 20))
        assert np.array_equal(speech(likely, job), expected)
        assert len(expected) < 200 * 1115  # it did stop: 602 tokens would be 671,000 samples


def test_a_stream_says_the_tokens_and_is_as_long_as_the_whole(xtts: Xtts) -> None:
    given = pieces(xtts, JOB)
    assert [piece.count for piece in given["gpt"]] == [20, 20, 1]
    _, gpt, vocoder = tiny().stages(JOB)
    (latents,) = gpt.feed(given["condition"][0])
    streamed = torch.cat([piece.data[0] for piece in given["gpt"]], dim=1)
    # the same tokens: their latents differ by rounding, another token's by 1
    assert (streamed - latents.data[0]).abs().max() < 1e-4
    (audio,) = vocoder.feed(latents)
    joined = np.concatenate([piece.data for piece in given["vocoder"]])
    assert len(joined) == audio.count
    # up to the first seam, where the vocoder did not know what follows
    assert np.abs(joined - audio.data)[: 20 * 1024 - 4 * OVERLAP].max() < 1e-4


def test_the_first_piece_comes_before_the_second_is_said(xtts: Xtts) -> None:
    condition, gpt, vocoder = xtts.stages(JOB)
    (prompt,) = condition.feed(Piece("text", JOB.text))
    latents = gpt.feed(prompt)
    (first,) = vocoder.feed(next(latents))
    assert first.count == 21248  # 20 tokens are 22,272 samples, of which the last 1024 wait
    assert next(latents).count == 20


def test_texts_said_in_turns_sound_as_each_alone(xtts: Xtts) -> None:
    jobs = [replace(JOB, text=text, seed=seed) for seed, text in enumerate(("One text.", "Quite another."))]
    alone = [[piece.data[0] for piece in pieces(xtts, job)["gpt"]] for job in jobs]
    flows = []
    for job in jobs:
        condition, gpt, _ = xtts.stages(job)
        (prompt,) = condition.feed(Piece("text", job.text))
        flows.append(gpt.feed(prompt))
    turns = [[next(flow).data[0] for flow in flows] for _ in range(3)]
    for place, latents in enumerate(alone):
        assert all(torch.equal(turn[place], part) for turn, part in zip(turns, latents, strict=True))


def test_a_seed_repeats_whatever_others_draw(xtts: Xtts) -> None:
    first = speech(xtts, JOB)
    torch.manual_seed(99)
    assert np.array_equal(first, speech(xtts, JOB))
    assert not np.array_equal(first, speech(xtts, replace(JOB, seed=8)))


def test_growing_sound_is_joined_by_fades_of_1024_samples() -> None:
    joined = Joined()
    first = joined(torch.full((3000,), 1.0), final=False)
    assert joined.start == 3000 - 1024
    second = joined(torch.full((5000 - 1976,), 3.0), final=True)
    assert torch.equal(first, torch.full((3000 - 1024,), 1.0))
    # from 1 to 3 over what the first had left
    assert torch.allclose(second[:1024], torch.linspace(1, 3, 1024))
    assert torch.equal(second[1024:], torch.full((2000,), 3.0))


def test_what_ran_says_that_it_streamed(xtts: Xtts) -> None:
    speech(xtts, replace(JOB, num_tokens=3))
    assert xtts.attest()["ran"] == {
        "device": "cpu", "size": "tiny", "precision": "fp32", "backend": "eager", "mode": "stream",
        "stream_vocoder": "all", "stage_backend": UNSET, "stage_precision": UNSET,
    }  # fmt: skip


def test_the_warm_up_streams_too() -> None:
    component = tiny(mode="stream")
    component.warm_up(JOB)
    assert component.attest()["ran"]["mode"] == "stream"


def test_a_chunk_has_at_least_one_token() -> None:
    with pytest.raises(ValueError, match=r"tts.stream_chunk_tokens=0: at least 1"):
        tiny(mode="stream", stream_chunk_tokens=0)
