"""XTTS through coqui-tts at tiny size: lengths, seeds, checkpoints, refusals, the voice cache, attest."""

from __future__ import annotations

import sys
import warnings
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from engines.contract import Job, NotApplicable, Piece

with warnings.catch_warnings():  # of the packages, not ours
    warnings.simplefilter("ignore")
    torch = pytest.importorskip("torch")
    pytest.importorskip("TTS", reason="coqui-tts is not installed")
    from engines.xtts.pipeline import Xtts
    from engines.xtts.sampling import Sampling
    from engines.xtts.weights import Network, PrivateRandom, configuration, save

VOICE = str(Path(__file__).parents[3] / "media" / "voice_3s.wav")
JOB = Job(
    index=0,
    text="Good morning, this is a short test.",
    language="en",
    voice=VOICE,
    portrait="",
    width=0,
    height=0,
    output="",
    seed=7,
    num_tokens=12,
)


def tiny(**settings: Any) -> Xtts:
    component = Xtts(**{"device": "cpu", "size": "tiny", "weights": "random", "seed": 0} | settings)
    component.load()
    return component


@pytest.fixture(scope="module")
def xtts() -> Xtts:
    return tiny()


def run(component: Xtts, job: Job) -> dict[str, Piece]:
    """The piece that each stage emits."""
    pieces: dict[str, Piece] = {}
    piece = Piece("text", job.text)
    for stage in component.stages(job):
        (piece,) = stage.feed(piece)
        assert list(stage.flush()) == []
        pieces[stage.name] = piece
    return pieces


def speech(component: Xtts, job: Job) -> np.ndarray:
    return run(component, job)["vocoder"].data


# measured with coqui-tts 0.28.0, Xtts.inference with min_new_tokens = max_new_tokens, full size and tiny
@pytest.mark.parametrize(
    ("tokens", "samples"), [(10, 11008), (20, 22272), (30, 33280), (40, 44544), (60, 66816)]
)
def test_so_many_tokens_give_so_many_samples(xtts: Xtts, tokens: int, samples: int) -> None:
    pieces = run(xtts, replace(JOB, num_tokens=tokens))
    assert list(pieces) == ["condition", "gpt", "vocoder"]
    assert pieces["gpt"].count == tokens
    audio = pieces["vocoder"]
    assert (audio.kind, audio.rate, audio.count) == ("audio", 24000, samples)
    assert audio.data.shape == (samples,)
    assert audio.data.dtype == np.float32


def test_random_weights_are_heard_and_stay_in_range(xtts: Xtts) -> None:
    audio = speech(xtts, JOB)
    assert 0.02 < audio.std() < 0.4
    assert abs(audio.mean()) < 0.01
    assert np.abs(audio).max() <= 1


def test_the_stages_give_the_samples_of_the_packages_own_inference(
    xtts: Xtts, monkeypatch: pytest.MonkeyPatch
) -> None:
    def read(path: str) -> tuple[torch.Tensor, int]:  # the package's reader needs ffmpeg
        samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
        return torch.from_numpy(samples.T.copy()), rate

    monkeypatch.setattr("torchaudio.load", read)
    latents, speaker = xtts.network.get_conditioning_latents(audio_path=VOICE)
    expected = xtts.network.inference(
        JOB.text,
        "en",
        latents,
        speaker,
        do_sample=False,
        repetition_penalty=10.0,
        logits_processor=xtts.processors(JOB.seed),
        min_new_tokens=JOB.num_tokens,
        max_new_tokens=JOB.num_tokens,
    )
    assert np.array_equal(speech(xtts, JOB), expected["wav"])


def test_the_same_seed_gives_the_same_samples_and_another_others(xtts: Xtts) -> None:
    first = speech(xtts, JOB)
    torch.manual_seed(99)  # somebody else's business
    assert np.array_equal(first, speech(xtts, JOB))
    assert not np.array_equal(first, speech(xtts, replace(JOB, seed=8)))


def test_components_in_two_threads_load_and_speak_as_one_alone(xtts: Xtts) -> None:
    jobs = [replace(JOB, seed=seed, num_tokens=25) for seed in range(4)]
    alone = [speech(xtts, job) for job in jobs]
    with ThreadPoolExecutor(2) as threads:
        components = list(threads.map(lambda _: tiny(), range(2)))
        together = list(threads.map(lambda i: speech(components[i % 2], jobs[i]), (0, 1)))
        together += list(threads.map(lambda i: speech(components[i % 2], jobs[i]), (2, 3)))
    assert all(np.array_equal(a, b) for a, b in zip(alone, together, strict=True))


def test_another_weight_seed_gives_another_voice(xtts: Xtts) -> None:
    assert not np.array_equal(speech(xtts, JOB), speech(tiny(seed=1), JOB))


def test_sampling_picks_tokens_as_often_as_their_probability_says() -> None:
    probability = torch.tensor([0.5, 0.3, 0.15, 0.05, 0.0])
    sampling = Sampling(seed=0, device=torch.device("cpu"))
    picks = sampling(torch.empty(0), probability.log().expand(20000, 5)).argmax(-1)
    found = torch.bincount(picks, minlength=5) / 20000
    four_sigma = 4 * (probability * (1 - probability) / 20000).sqrt()
    assert (found - probability).abs().le(four_sigma).all()


def test_a_checkpoint_in_the_released_layout_speaks_with_the_same_samples(xtts: Xtts, tmp_path: Path) -> None:
    save(xtts.network, tmp_path)
    assert {path.name for path in tmp_path.iterdir()} == {"config.json", "model.pth", "vocab.json"}
    loaded = tiny(weights=str(tmp_path), seed=5)
    assert np.array_equal(speech(loaded, JOB), speech(xtts, JOB))
    assert loaded.attest()["weights"].startswith("checkpoint sha256:")
    with pytest.raises(ValueError, match=r"tts.size=full: the checkpoint .* is tiny; use tts.size=tiny"):
        tiny(weights=str(tmp_path), size="full")


def test_a_named_speaker_replaces_the_clip(xtts: Xtts, tmp_path: Path) -> None:
    save(xtts.network, tmp_path)
    condition = run(xtts, JOB)["condition"].data
    voice = {"gpt_cond_latent": condition.latents.clone(), "speaker_embedding": condition.speaker.clone()}
    torch.save({"Ana": voice}, tmp_path / "speakers_xtts.pth")
    named = tiny(weights=str(tmp_path), speaker="Ana")
    assert np.array_equal(speech(named, replace(JOB, voice="no such file")), speech(xtts, JOB))
    with pytest.raises(ValueError, match=r"tts.speaker=Bob: not in speakers_xtts.pth; it has Ana"):
        tiny(weights=str(tmp_path), speaker="Bob")


@pytest.mark.parametrize("missing", ["config.json", "model.pth", "vocab.json"])
def test_a_file_missing_in_the_checkpoint_is_named(tmp_path: Path, missing: str) -> None:
    for name in {"config.json", "model.pth", "vocab.json"} - {missing}:
        (tmp_path / name).touch()
    with pytest.raises(ValueError, match=f"no {missing} there"):
        Xtts(device="cpu", size="tiny", weights=str(tmp_path), seed=0)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"text": " \n"}, "workload.texts, job 3: empty"),
        ({"text": "é" * 520}, "workload.texts, job 3: 520 characters are 521 text tokens; at most 401 fit"),
        ({"language": "sv"}, "workload.language=sv: XTTS speaks en, es"),
        ({"language": "en-us"}, "workload.language=en-us: XTTS speaks en, es"),
        ({"num_tokens": 603}, "workload.num_tokens=603: 1 to 602"),
        ({"num_tokens": 0}, "workload.num_tokens=0: 1 to 602"),
        ({"num_tokens": None}, "workload.num_tokens=null: random weights never stop"),
        ({"voice": "no such file"}, "workload.voice=no such file: No such file"),
        ({"voice": __file__}, "not readable audio"),
    ],
)
def test_what_xtts_cannot_speak_is_refused_in_the_first_stage(
    xtts: Xtts, change: dict[str, Any], message: str
) -> None:
    job = replace(JOB, index=3, **change)
    with pytest.raises(ValueError, match=message):
        list(xtts.stages(job)[0].feed(Piece("text", job.text)))


def test_real_weights_refuse_a_text_that_they_would_cut(xtts: Xtts, tmp_path: Path) -> None:
    save(xtts.network, tmp_path)
    long = replace(JOB, text="a" * 251, num_tokens=2)
    with pytest.raises(ValueError, match=r"job 0: 251 characters; .* more than 250 in en"):
        speech(tiny(weights=str(tmp_path)), long)
    allowed = speech(tiny(weights=str(tmp_path), max_characters=251), long)
    assert np.array_equal(allowed, speech(xtts, long))  # which has random weights, and so no limit


def test_a_voice_too_short_is_refused(xtts: Xtts, tmp_path: Path) -> None:
    soundfile.write(tmp_path / "short.wav", np.zeros(4800), 24000)
    with pytest.raises(ValueError, match=r"0.20 s; at least 0.33 s"):
        speech(xtts, replace(JOB, voice=str(tmp_path / "short.wav")))


def test_a_voice_is_computed_once_whatever_its_file_is_called(tmp_path: Path) -> None:
    copy = tmp_path / "copy.wav"
    copy.write_bytes(Path(VOICE).read_bytes())
    cached, fresh = tiny(), tiny(cache_speaker=False)
    for job in (JOB, JOB, replace(JOB, voice=str(copy))):
        assert np.array_equal(speech(cached, job), speech(fresh, job))
    assert cached.attest()["speakers_computed"] == 1
    assert fresh.attest()["speakers_computed"] == 3


def test_the_warm_up_leaves_the_voice_computed() -> None:
    component = tiny()
    component.warm_up(JOB)
    assert component.attest()["speakers_computed"] == 1
    speech(component, JOB)
    assert component.attest()["speakers_computed"] == 1


def test_attest_says_what_ran(xtts: Xtts) -> None:
    facts = xtts.attest()
    assert facts["weights"] == "random"
    assert (facts["device"], facts["size"], facts["cpu_threads"]) == ("cpu", "tiny", 1)
    eager = {"backend": "eager", "dtype": "float32", "device": "cpu"}
    assert facts["stages"] == {"condition": eager, "gpt": eager, "vocoder": eager}
    assert facts["versions"]["torch"] == torch.__version__
    speech(xtts, replace(JOB, num_tokens=2))
    assert xtts.attest()["ran"] == {
        "device": "cpu", "size": "tiny", "precision": "fp32", "backend": "eager", "mode": "full",
        "stage_backend": {"gpt": None, "vocoder": None}, "stage_precision": {"gpt": None, "vocoder": None},
    }  # fmt: skip
    assert xtts.memory() == {}


def test_the_full_size_is_that_of_xtts_v2() -> None:
    with PrivateRandom(torch.Generator()):  # which spares the time for initial values
        network = Network(configuration("full"))
    sizes = {name: sum(p.numel() for p in part.parameters()) for name, part in network.named_children()}
    # counted in coqui-tts 0.28.0 with the arguments of its recipe for v2 and 6681 text tokens
    assert sizes["gpt"] / 1e6 == pytest.approx(441.02, abs=0.01)
    assert sizes["hifigan_decoder"] / 1e6 == pytest.approx(17.83 + 8.03, abs=0.01)


def test_nothing_asks_the_network_or_for_a_licence(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise AssertionError("a connection was tried")

    monkeypatch.setattr("socket.socket.connect", refuse)
    speech(tiny(), JOB)
    assert "TTS.utils.manage" not in sys.modules  # coqui-tts downloads models there, and asks on stdin


def test_attest_shows_a_stage_of_another_precision() -> None:
    component = tiny()
    component.network.hifigan_decoder.waveform_decoder.half()
    stages = component.attest()["stages"]
    assert stages["vocoder"]["dtype"] == "float16"
    assert stages["gpt"]["dtype"] == "float32"


def test_settings_that_cannot_be_are_refused_before_loading() -> None:
    base = {"device": "cpu", "size": "tiny", "weights": "random", "seed": 0}
    with pytest.raises(ValueError, match=r"tts.mode=live: not offered; use full or stream"):
        Xtts(**base, mode="live")
    with pytest.raises(ValueError, match=r"tts.precision=fp64: not offered; use fp32 or tf32"):
        Xtts(**base, precision="fp64")
    with pytest.raises(ValueError, match=r"tts.speaker=Ana: random weights have no named speakers"):
        Xtts(**base, speaker="Ana")
    with pytest.raises(ValueError, match=r"tts.condition_chunk_s=9: at most tts.condition_s=6"):
        Xtts(**base, condition_chunk_s=9)


@pytest.mark.gpu
def test_on_a_gpu_every_stage_runs_there_and_a_seed_repeats() -> None:
    component, again = tiny(device="cuda"), tiny(device="cuda")
    component.warm_up(JOB)
    assert np.array_equal(speech(component, JOB), speech(again, JOB))
    facts = component.attest()
    assert facts["device"].startswith("cuda")
    assert all(stage["device"].startswith("cuda") for stage in facts["stages"].values())
    assert all(stage.timer is not None for stage in component.stages(JOB))
    assert component.memory()["torch_allocated_mib"] > 1.72e6 * 4 / 2**20  # the weights


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_missing_gpu_skips_the_point() -> None:
    with pytest.raises(NotApplicable, match=r"tts.device=cuda: torch sees no GPU"):
        tiny(device="cuda")
