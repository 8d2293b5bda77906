"""The vocoder computes only what is new, and gives the samples of computing everything."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engines.contract import Job, Piece

with warnings.catch_warnings():  # of the packages, not ours
    warnings.simplefilter("ignore")
    torch = pytest.importorskip("torch")
    pytest.importorskip("TTS", reason="coqui-tts is not installed")
    from engines.backends.cache import Cache
    from engines.backends.prepared import Example
    from engines.xtts.hifigan import context_frames, folded
    from engines.xtts.pipeline import Xtts
    from engines.xtts.plans import Plan
    from engines.xtts.stream import VocoderStream
    from engines.xtts.vocoder import Vocoder
    from engines.xtts.weights import random_network
    from engines.xtts.work import _gpt_work, _vocoder_work

VOICE = str(Path(__file__).parents[3] / "media" / "voice_3s.wav")
JOB = Job(0, "Good morning, this is a short test.", "en", VOICE, "", 0, 0, "", 7, 61)


class OneLength:
    """The network as it is, for inputs with the shapes of the example only, as engines have it."""

    def __init__(self, module: Any, example: Example, precision: str, cache: Cache) -> None:
        self.facts = {"backend": "one length", "dtype": "float32", "device": "cpu"}
        self._module, self._shapes = module, [given.shape for given in example.inputs.values()]

    def __call__(self, *inputs: torch.Tensor) -> torch.Tensor:
        assert [given.shape for given in inputs] == self._shapes
        return self._module(*inputs)


@pytest.fixture(scope="module")
def decoder() -> torch.nn.Module:
    return random_network("tiny", 0, "cpu").hifigan_decoder.requires_grad_(False)


@pytest.fixture
def vocoder(decoder: torch.nn.Module) -> Vocoder:
    return Vocoder(decoder)


@pytest.fixture(scope="module")
def voice() -> torch.Tensor:
    return torch.nn.functional.normalize(torch.randn(1, 512, 1), dim=1)


def latents(number: int) -> torch.Tensor:
    return torch.randn((1, number, 64), generator=torch.Generator().manual_seed(number))


# From the end: conv_post hears 3 samples beyond, the widest blocks 60 (11 taps, dilations 1, 3 and 5, and as
# many undilated); 63 -> 32 before the last doubling, 92 -> 47, 107 -> 14 before a stride of 8, 74 -> 10; and
# conv_pre 3.
def test_the_context_is_that_of_all_layers_together(decoder: torch.nn.Module) -> None:
    generator = decoder.waveform_decoder
    assert context_frames(generator) == 13
    frames = torch.randn(1, 64, 41, requires_grad=True)
    sound = generator(frames, g=torch.zeros(1, 512, 1))
    sound[..., 20 * 256 : 21 * 256].abs().sum().backward()
    (heard,) = torch.nonzero(frames.grad[0].abs().sum(dim=0), as_tuple=True)
    assert (heard.min().item(), heard.max().item()) == (20 - 13, 20 + 13)


def test_weight_norm_multiplied_out_is_the_same_network(
    decoder: torch.nn.Module, voice: torch.Tensor
) -> None:
    frames, generator = torch.randn(1, 64, 30), decoder.waveform_decoder
    before = generator(frames, g=voice)
    plain = folded(generator)
    assert (plain(frames, g=voice) - before).abs().max() < 1e-6
    assert not any("parametrizations" in name for name, _ in plain.named_parameters())
    assert torch.equal(generator(frames, g=voice), before)  # the original is as it was


@pytest.mark.parametrize("number", [1, 4, 20, 90])
def test_the_whole_is_that_of_the_packages_decoder(
    vocoder: Vocoder, decoder: torch.nn.Module, voice: torch.Tensor, number: int
) -> None:
    expected = decoder(latents(number), g=voice).flatten()
    assert torch.equal(vocoder.whole(latents(number), voice), expected)
    vocoder.prepare(Plan("one length", "fp32"), OneLength, Cache(Path("unused")), [22, 100])
    found = vocoder.whole(latents(number), voice)
    assert found.shape == expected.shape
    assert (found - expected).abs().max() < 1e-5


def test_the_sound_from_any_frame_on_is_the_end_of_the_whole(
    vocoder: Vocoder, decoder: torch.nn.Module, voice: torch.Tensor
) -> None:
    expected = decoder(latents(60), g=voice).flatten()
    for _ in range(2):
        for frame in (0, 13, 14, 200):
            found = vocoder.since(latents(60), voice, frame * 256)
            assert found.shape == expected[frame * 256 :].shape
            assert (found - expected[frame * 256 :]).abs().max() < 1e-5
        vocoder.prepare(Plan("one length", "fp32"), OneLength, Cache(Path("unused")), [110])


@pytest.mark.parametrize("chunk", [1, 2, 3, 20])
def test_a_long_text_gets_through_the_windows_of_the_smallest_pieces(
    vocoder: Vocoder, decoder: torch.nn.Module, voice: torch.Tensor, chunk: int
) -> None:
    expected = decoder(latents(30), g=voice).flatten()
    windows = vocoder.stream_windows(int(4 * chunk * 24000 / 22050), 1024)
    vocoder.prepare(Plan("one length", "fp32"), OneLength, Cache(Path("unused")), windows)
    found = vocoder.whole(latents(30), voice)
    assert found.shape == expected.shape
    assert (found - expected).abs().max() < 1e-5


def streamed(since: Callable[..., torch.Tensor], tokens: int, chunk: int, voice: torch.Tensor) -> list[Any]:
    """The pieces of a text's latents, in chunks."""
    stage = VocoderStream(None, chunk, 24000, since)
    pieces = []
    for part in latents(tokens).split(chunk, dim=1):
        pieces += stage.feed(Piece("latents", (part, voice), count=part.shape[1]))
    return [piece.data for piece in [*pieces, *stage.flush()]]


@pytest.mark.parametrize(("tokens", "chunk"), [(3, 20), (20, 20), (41, 20), (65, 20), (6, 1), (22, 7)])
@pytest.mark.parametrize("is_fixed", [False, True])
def test_pieces_out_of_a_window_are_those_out_of_everything(
    vocoder: Vocoder, decoder: torch.nn.Module, voice: torch.Tensor, tokens: int, chunk: int, is_fixed: bool
) -> None:
    def everything(so_far: torch.Tensor, speaker: torch.Tensor, sample: int) -> torch.Tensor:
        return decoder(so_far, g=speaker).flatten()[sample:]

    if is_fixed:
        windows = vocoder.stream_windows(int(4 * chunk * 24000 / 22050), 1024)
        vocoder.prepare(Plan("one length", "fp32"), OneLength, Cache(Path("unused")), windows)
    expected = streamed(everything, tokens, chunk, voice)
    found = streamed(vocoder.since, tokens, chunk, voice)
    assert [len(piece) for piece in found] == [len(piece) for piece in expected]
    assert all(np.abs(one - two).max() < 1e-5 for one, two in zip(found, expected, strict=True))


def test_a_piece_out_of_a_window_costs_the_same_however_long_the_text(
    vocoder: Vocoder, decoder: torch.nn.Module, voice: torch.Tensor
) -> None:
    computed: list[int] = []
    hook = decoder.waveform_decoder.conv_pre.register_forward_pre_hook(
        lambda layer, given: computed.append(given[0].shape[-1])
    )
    streamed(vocoder.since, 120, 20, voice)
    hook.remove()
    assert len(computed) == 7
    # 87 or 88 new frames, 4 that fade into them, 13 that are heard; at the flush only the last 4
    assert max(computed) <= 88 + 4 + 13
    assert computed[-1] == 4 + 13


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["full", "stream"])
def test_onnxruntime_gives_the_same_sound_through_windows(mode: str, tmp_path: Path) -> None:
    def speech(component: Xtts) -> np.ndarray:
        component.load()
        component.build()
        pieces = [Piece("text", JOB.text)]
        for stage in component.stages(JOB):
            pieces = [out for piece in pieces for out in stage.feed(piece)] + list(stage.flush())
        return np.concatenate([piece.data for piece in pieces])

    base: dict[str, Any] = {"device": "cpu", "size": "tiny", "weights": "random", "seed": 0, "mode": mode}
    stage_backend = {"gpt": "eager", "vocoder": None}
    engine = Xtts(
        **base,
        backend="onnxruntime",
        stage_backend=stage_backend,
        stream_vocoder="window",
        cache=str(tmp_path),
    )
    assert np.abs(speech(engine) - speech(Xtts(**base))).max() < 1e-5
    facts = engine.attest()
    assert facts["stages"]["vocoder"]["provider"] == "CPUExecutionProvider"
    assert facts["ran"]["backend"] == "onnxruntime"
    assert facts["ran"]["stage_backend"] == stage_backend


# 30 layers of 12 x 1024^2 weights and the head's 1024 x 1026: 378,537,984; keys and values of 256 positions
# in 30 layers: 15,728,640 numbers.
def test_the_work_per_token_is_that_of_the_full_network() -> None:
    assert _gpt_work(30, 1024, 1026, "fp32") == {
        "flops": 788_533_248.0,
        "bytes": 4 * (378_537_984 + 15_728_640),
    }
    assert _gpt_work(30, 1024, 1026, "int8")["bytes"] == 378_537_984 + 2 * 15_728_640


def test_the_work_per_sample_is_that_of_all_convolutions(decoder: torch.nn.Module) -> None:
    # per frame, multiplications: conv_pre, then levels of (transposed convolution at the rate of its inputs,
    # 6 convolutions of each of 3, 7 and 11 taps at the rate of its outputs), conv_post
    levels = [(16, 8, 16, 1, 8), (8, 4, 16, 8, 64), (4, 2, 4, 64, 128), (2, 1, 4, 128, 256)]
    macs = 7 * 64 * 16 + 256 * 7 * 1
    for wide, narrow, taps, before, after in levels:
        macs += before * taps * wide * narrow + after * narrow**2 * 6 * (3 + 7 + 11)
    of_the_voice = 512 * (16 + 8 + 4 + 2 + 1) / 160  # once per call of 160 frames
    found = _vocoder_work(decoder.waveform_decoder, "fp32")
    assert found["flops"] == pytest.approx(2 * (macs + of_the_voice) / 256, rel=1e-12)
    weights = sum(weight.numel() for weight in folded(decoder.waveform_decoder).parameters())
    passed = 160 * 64 + 512 + 160 * 256
    assert found["bytes"] == pytest.approx(4 * (weights + passed) / (160 * 256), rel=1e-12)
