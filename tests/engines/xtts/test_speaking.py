"""Our decoder says the tokens of the package's generate, whole and in pieces, and texts do not mix."""

from __future__ import annotations

import warnings
from concurrent.futures import ThreadPoolExecutor
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
    from transformers.generation.logits_process import RepetitionPenaltyLogitsProcessor

    from engines.backends.cache import Cache
    from engines.xtts import speaking
    from engines.xtts.pipeline import Xtts
    from engines.xtts.plans import Plan
    from engines.xtts.prompt import Prompt
    from engines.xtts.sampling import Choice, processors
    from engines.xtts.speaking import SteppedGpt

VOICE = str(Path(__file__).parents[3] / "media" / "voice_3s.wav")
JOB = Job(0, "Good morning, this is a short test.", "en", VOICE, "", 0, 0, "", 7, 60)
FORMS = pytest.mark.parametrize("backend", ["cudagraph", "compile"])


class AsItIs:
    """A step run eagerly: what the backends' kernels compute, on a machine that cannot capture them."""

    def __init__(self, module: Any, *_: Any) -> None:
        self.facts = {"backend": "as it is"}
        self._module = module

    def __call__(self, drawn: torch.Tensor) -> torch.Tensor:
        return self._module(drawn)


def tiny(**settings: Any) -> Xtts:
    component = Xtts(**{"device": "cpu", "size": "tiny", "weights": "random", "seed": 0} | settings)
    component.load()
    return component


def stepped(component: Xtts, backend: str, precision: str = "fp32") -> SteppedGpt:
    """Our decoder in the form that the backend gets; takes the place of the component's GPT."""
    plan = Plan(backend, precision)
    s = component.settings
    choice = Choice(s.temperature, s.top_k, s.top_p, s.repetition_penalty)
    component.gpt = SteppedGpt(component.network.gpt, choice, plan, AsItIs, Cache(Path("unused")))
    return component.gpt


@pytest.fixture(scope="module")
def package() -> Xtts:
    return tiny()


@pytest.fixture(scope="module")
def ours() -> dict[str, SteppedGpt]:
    return {backend: stepped(tiny(), backend) for backend in ("cudagraph", "compile")}


def prompt_of(component: Xtts, text: str) -> Prompt:
    (piece,) = component.stages(JOB)[0].feed(Piece("text", text))
    return piece.data


@torch.inference_mode()
def generated(component: Xtts, prompt: Prompt, seed: int, count: int | None) -> torch.Tensor:
    """The tokens (n,) of the package's own generate."""
    forced = {} if count is None else {"min_new_tokens": count, "max_new_tokens": count}
    return component.network.gpt.generate(
        cond_latents=prompt.latents,
        text_inputs=prompt.tokens,
        do_sample=False,
        repetition_penalty=float(component.settings.repetition_penalty),
        logits_processor=component.processors(seed),
        **forced,
    )[0]


# With 26, 101 and 351 ids of text, 32 latents and 2 ids around: the last ends beyond 512 positions, the
# second beyond 256.
@FORMS
@pytest.mark.parametrize(("times", "seed", "count"), [(1, 0, 60), (4, 1, 130), (14, 2, 140)])
def test_the_tokens_are_those_of_the_packages_generate(
    package: Xtts, ours: dict[str, SteppedGpt], backend: str, times: int, seed: int, count: int
) -> None:
    prompt = prompt_of(package, JOB.text * times)
    latents = ours[backend].speak(prompt, seed, count)
    expected = generated(package, prompt, seed, count)
    assert ours[backend].decoder.tokens[:count].tolist() == expected.tolist()
    # the package's come from a second pass over all tokens; another token's differ by 1
    assert (latents - package.gpt.speak(prompt, seed, count)).abs().max() < 1e-5


@pytest.mark.parametrize(
    "choose",
    [
        Choice(1.0, 0, 1.0, 1.0),
        Choice(2.0, 5, 1.0, 10.0),
        Choice(0.3, 0, 0.5, 2.0),
        Choice(0.75, 50, 0.85, 10.0),
        Choice(0.75, 5000, 0.85, 10.0),
    ],
    ids=["all", "top_k", "top_p", "usual", "more_than_there_are"],
)
def test_every_way_to_choose_is_that_of_transformers(choose: Choice) -> None:
    scores = 3 * torch.randn((200, 1, 1026), generator=torch.Generator().manual_seed(0))
    said = torch.randint(1026, (1, 40), generator=torch.Generator().manual_seed(1))
    penalty = RepetitionPenaltyLogitsProcessor(choose.penalty)
    expected = LogitsProcessorList([penalty, *processors(choose, 5, torch.device("cpu"))])
    marks = torch.zeros((1, 1026), dtype=torch.bool).index_fill_(1, said[0], True)
    generator = torch.Generator().manual_seed(5)
    for row in scores:
        drawn = torch.empty_like(row).exponential_(generator=generator)
        assert choose(row, marks, drawn).item() == expected(said, row.clone()).argmax().item()


@pytest.mark.parametrize("most", [1, 7, 20])
def test_a_text_said_in_pieces_is_the_text_said_at_once(
    package: Xtts, ours: dict[str, SteppedGpt], most: int
) -> None:
    prompt, gpt = prompt_of(package, JOB.text), ours["cudagraph"]
    text, pieces = gpt.text(prompt, 7, 41), []
    while (piece := text.say(most)).shape[1]:
        pieces.append(piece)
    assert [piece.shape[1] for piece in pieces[:-1]] == [most] * (41 // most - (41 % most == 0))
    assert torch.equal(torch.cat(pieces, dim=1), gpt.speak(prompt, 7, 41))


@pytest.mark.parametrize("most", [5, 1000])
def test_without_a_forced_count_it_stops_where_the_package_does(most: int) -> None:
    packages, component = tiny(), tiny()
    for each in (packages, component):
        with torch.no_grad():
            each.network.gpt.mel_head.bias[each.network.gpt.stop_audio_token] += 1.5
    gpt = stepped(component, "cudagraph")
    prompt = prompt_of(packages, JOB.text)
    for seed in range(2):
        expected = generated(packages, prompt, seed, None)
        text, said = gpt.text(prompt, seed, None), 0
        while number := text.say(most).shape[1]:
            said += number
        assert said == len(expected) < 200  # the stop token counts; it did stop before all 602
        assert gpt.decoder.tokens[:said].tolist() == expected.tolist()


def test_texts_said_in_turns_and_in_threads_are_those_said_alone(
    package: Xtts, ours: dict[str, SteppedGpt]
) -> None:
    gpt = ours["cudagraph"]
    prompts = [prompt_of(package, text) for text in ("One text.", JOB.text * 3, "Quite another.")]
    alone = [gpt.speak(prompt, seed, 40) for seed, prompt in enumerate(prompts)]
    texts = [gpt.text(prompt, seed, 40) for seed, prompt in enumerate(prompts)]
    with ThreadPoolExecutor(3) as threads:
        rounds = [list(threads.map(lambda text: text.say(10), texts)) for _ in range(4)]
    for expected, pieces in zip(alone, zip(*rounds, strict=True), strict=True):
        assert torch.equal(torch.cat(pieces, dim=1), expected)


def test_the_longest_text_and_the_longest_speech_fit(package: Xtts, ours: dict[str, SteppedGpt]) -> None:
    prompt = replace(prompt_of(package, "a"), tokens=torch.full((1, 401), 5, dtype=torch.int32))
    gpt = ours["compile"]
    assert gpt.speak(prompt, 0, 602).shape == (1, 602, 64)
    assert gpt.decoder.place.item() == 32 + 403 + 602 <= gpt.decoder.length


def test_weights_in_8_bits_are_rounded_once_per_output(package: Xtts) -> None:
    """Against the package with weights rounded by numpy: the largest of each output becomes 127."""
    rounded, component = tiny(), tiny()
    for block in rounded.network.gpt.gpt.h:
        for layer in (block.attn.c_attn, block.attn.c_proj, block.mlp.c_fc, block.mlp.c_proj):
            weight = layer.weight.detach().numpy().astype(np.float64)  # (inputs, outputs)
            scale = np.abs(weight).max(axis=0) / 127
            layer.weight.data = torch.from_numpy((np.round(weight / scale) * scale).astype(np.float32))
    gpt = stepped(component, "compile", "int8")
    prompt = prompt_of(package, JOB.text)
    latents = gpt.speak(prompt, 7, 60)
    assert (latents - rounded.gpt.speak(prompt, 7, 60)).abs().max() < 1e-5
    assert (latents - package.gpt.speak(prompt, 7, 60)).abs().max() > 1e-3
    assert gpt.facts()["dtype"] == "int8 weights, float32 arithmetic"


# bfloat16 keeps 8 bits: numbers of size 1 are wrong by 2^-9 at most, after dozens of roundings by some of it
@FORMS
def test_in_16_bits_the_first_token_hears_nearly_the_same(package: Xtts, backend: str) -> None:
    gpt = stepped(tiny(), backend, "bf16")
    prompt = prompt_of(package, JOB.text)
    difference = gpt.speak(prompt, 7, 1) - package.gpt.speak(prompt, 7, 1)
    assert 1e-4 < difference.abs().max() < 0.1
    assert gpt.facts() == {"backend": "as it is", "dtype": "bfloat16", "device": "cpu"}


@pytest.mark.parametrize(("precision", "mode"), [("bf16", "stream"), ("int8", "full")])
def test_the_packages_own_gpt_runs_in_other_precisions_too(package: Xtts, precision: str, mode: str) -> None:
    component = tiny(mode=mode, stage_precision={"gpt": precision, "vocoder": None})
    component.build()
    prompt = prompt_of(package, JOB.text)
    latents = (
        component.gpt.text(prompt, 7, 1).say(1) if mode == "stream" else component.gpt.speak(prompt, 7, 1)
    )
    assert latents.dtype == torch.float32
    assert 1e-4 < (latents - package.gpt.speak(prompt, 7, 1)).abs().max() < 0.1
    dtype = {"bf16": "bfloat16", "int8": "int8 weights, float32 arithmetic"}[precision]
    assert component.attest()["stages"]["gpt"]["dtype"] == dtype
    assert component.attest()["ran"]["stage_precision"] == {"gpt": precision, "vocoder": None}


def test_the_form_of_a_decoder_follows_from_backend_precision_and_device() -> None:
    gpu, cpu = torch.device("cuda"), torch.device("cpu")
    assert speaking._form(Plan("compile", "int8"), gpu).dtype == torch.float16
    assert speaking._form(Plan("compile", "int8"), gpu).stream == torch.float32
    assert speaking._form(Plan("compile", "int8"), cpu).dtype == torch.float32
    assert speaking._form(Plan("cudagraph", "fp16"), gpu).stream == torch.float16


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore::DeprecationWarning")  # of torch's compiler
def test_compiled_for_a_cpu_the_whole_text_sounds_the_same(tmp_path: Path) -> None:
    def speech(component: Xtts) -> np.ndarray:
        component.build()
        piece = Piece("text", JOB.text)
        for stage in component.stages(JOB):
            (piece,) = stage.feed(piece)
        return piece.data

    compiled = tiny(backend="compile", cache=str(tmp_path))
    assert np.abs(speech(compiled) - speech(tiny())).max() < 1e-5
    facts = compiled.attest()
    assert facts["ran"]["backend"] == "compile"
    assert facts["options"]["latents"] == "decoding"
