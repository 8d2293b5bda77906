"""XTTS at tiny size with strange texts, languages and voices: it speaks, or says in one line why not."""

from __future__ import annotations

import json
import warnings
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import soundfile
import yaml

from engines.contract import Job, Piece

with warnings.catch_warnings():  # of the packages, not ours
    warnings.simplefilter("ignore")
    torch = pytest.importorskip("torch")
    pytest.importorskip("TTS", reason="coqui-tts is not installed")
    from engines.xtts import check as xtts_check
    from engines.xtts.pipeline import Xtts
    from engines.xtts.voice import REFERENCE_RATE, read_clip, reference
    from engines.xtts.weights import VoiceBpeTokenizer, configuration

ROOT = Path(__file__).parents[3]
JOB = Job(
    index=0, text="", language="en", voice=str(ROOT / "media/voice_3s.wav"), portrait="", width=0, height=0,
    output="", seed=7, num_tokens=12,
)  # fmt: skip
MULTILINGUAL = yaml.safe_load((ROOT / "conf/workload/multilingual.yaml").read_text())


@pytest.fixture(scope="module")
def xtts() -> Xtts:
    component = Xtts(device="cpu", size="tiny", weights="random", seed=0)
    component.load()
    return component


def speech(component: Xtts, job: Job) -> np.ndarray:
    """What the stages make of the job's text."""
    piece = Piece("text", job.text)
    for stage in component.stages(job):
        [piece] = [*stage.feed(piece), *stage.flush()]
    return piece.data


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("😀😀😀", "en"),  # each character that the vocabulary lacks is one [UNK] token
        ("Well 😀, 漢字 and Ελληνικά", "en"),
        ("مرحبا بالعالم", "ar"),
        ("שלום", "en"),
        ("two\nlines\tand a tab", "en"),
        ("...", "en"),
        ('"', "en"),  # quotes are taken out: only the language is left
        ("Pneumonoultramicroscopicsilicovolcanoconiosis" * 5, "en"),
        ("Ⅷ ½ ﷽ 12345678901234567890 1e400 $9.99", "en"),
    ],
)
def test_every_text_that_is_let_through_is_spoken(xtts: Xtts, text: str, language: str) -> None:
    given = {"texts": [text], "language": language, "tokens_per_char": 1.4}
    assert xtts_check.check({"workload": given, "tts": {"weights": "random", "max_characters": None}}) == ""
    audio = speech(xtts, replace(JOB, text=text, language=language))
    assert audio.shape == (13_312,)  # 12 tokens: floor(4 x 12 x 24000 / 22050) = 52 blocks of 256
    assert np.isfinite(audio).all()


def test_a_text_of_lines_is_spoken_as_one_of_spaces(xtts: Xtts) -> None:
    lines, spaces = (replace(JOB, text=text) for text in ("one\n two\tthree ", "one two three"))
    assert np.array_equal(speech(xtts, lines), speech(xtts, spaces))


@pytest.mark.parametrize("number", range(len(MULTILINGUAL["texts"])))
def test_every_text_of_the_multilingual_workload_fits(xtts: Xtts, number: int) -> None:
    text, language = MULTILINGUAL["texts"][number], MULTILINGUAL["language"][number]
    if language == "zh-cn":
        pytest.importorskip("pypinyin", reason="Chinese needs pypinyin")
    first = xtts.stages(replace(JOB, text=text, language=language))[0]
    [prompt] = first.feed(Piece("text", text))
    assert prompt.data.tokens.shape[1] <= 401


def test_the_limits_told_beforehand_are_those_of_the_package_and_the_network(xtts: Xtts) -> None:
    package = VoiceBpeTokenizer().char_limits
    told = {language.split("-")[0]: most for language, most in xtts_check.MOST_CHARACTERS.items()}
    assert told == package
    assert set(xtts_check.MOST_CHARACTERS) == set(configuration("full").languages)
    assert xtts.network.gpt.max_gen_mel_tokens == xtts_check.MOST_TOKENS
    longest = max(
        len(word) for word in json.loads(xtts.network.tokenizer.tokenizer.to_str())["model"]["vocab"]
        if word.isalpha()
    )  # fmt: skip
    assert longest * (xtts.network.args.gpt_max_text_tokens - 1) == xtts_check.MOST_RANDOM_CHARACTERS


def tone(seconds: float, rate: int, channels: int = 1) -> np.ndarray:
    wave = 0.5 * np.sin(2 * np.pi * 200 * np.arange(round(seconds * rate)) / rate)
    return np.repeat(wave[:, None], channels, axis=1)


@pytest.mark.parametrize(
    ("rate", "channels", "subtype"), [(8_000, 1, "PCM_16"), (48_000, 2, "PCM_24"), (192_000, 1, "FLOAT")]
)
def test_a_voice_of_any_usual_form_becomes_mono_at_the_networks_rate(
    rate: int, channels: int, subtype: str, tmp_path: Path
) -> None:
    path = str(tmp_path / "voice.wav")
    soundfile.write(path, tone(0.5, rate, channels), rate, subtype=subtype)
    audio = reference(path, read_clip(path))
    assert audio.shape == (1, REFERENCE_RATE // 2)
    assert audio[0, 2000:9000].numpy() == pytest.approx(tone(0.5, REFERENCE_RATE)[2000:9000, 0], abs=2e-3)


@pytest.mark.parametrize(
    ("samples", "words"),
    [
        (tone(1, 8_000)[:1], "0.00 s; at least 0.33 s"),
        (np.zeros((8_000, 1)), "is silent; give a clip with speech"),
        (np.full((8_000, 1), np.nan), "holds samples that are no finite numbers"),
        (tone(1, 8_000).repeat(601, axis=0), "601 s; at most 600 s; cut it"),
    ],
    ids=["one_sample", "silence", "nan", "ten_minutes"],
)
def test_what_is_no_voice_is_told_with_the_setting(samples: np.ndarray, words: str, tmp_path: Path) -> None:
    path = str(tmp_path / "voice.wav")
    soundfile.write(path, samples, 8_000, subtype="FLOAT")
    with pytest.raises(ValueError) as caught:
        reference(path, read_clip(path))
    assert str(caught.value).startswith(f"workload.voice={path}: {words}")


def test_a_device_is_no_voice() -> None:
    with pytest.raises(ValueError, match=r"workload\.voice=/dev/zero: is not a file"):
        read_clip("/dev/zero")
