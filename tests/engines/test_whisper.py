"""The recogniser beside the others: real CTranslate2 on random weights, bounded, and without any network."""

from __future__ import annotations

import json
import random
import shutil
import socket
import struct
import sys
import wave
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engines import whisper, whisper_files
from engines.contract import Component, Job, NotApplicable, OnDevice, Piece
from engines.whisper import Whisper
from harness.attestation import mismatches
from tests.harness.points import ROOT

VOICE = str(ROOT / "media/voice_3s.wav")
JOB = Job(0, "Hello.", "zh-cn", VOICE, "", 64, 64, "", 0, 10)
ASKED: dict[str, Any] = {
    "device": "cpu", "size": "tiny", "weights": "random", "seed": 0, "compute_type": "int8", "cpu_threads": 1,
    "use": "transcribe",
}  # fmt: skip


@pytest.fixture(scope="module")
def cache(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cache")


@pytest.fixture(scope="module")
def folder(cache: Path) -> Path:
    """A model of random weights, as the component makes them."""
    return whisper.converted(cache, "tiny", 0)


@pytest.fixture
def copy(folder: Path, tmp_path: Path) -> Path:
    """The same, to break."""
    return shutil.copytree(folder, tmp_path / "model")


def loaded(cache: Path, **changes: Any) -> Whisper:
    made = Whisper(**{**ASKED, **changes}, cache=str(cache))
    made.load()
    return made


def through(made: Whisper, voice: str = VOICE) -> list[Piece]:
    """What its stages make of a voice clip, driven as the executor does."""
    pieces = [Piece("voice", voice)]
    for stage in made.stages(JOB):
        pieces = [out for piece in pieces for out in stage.feed(piece)] + list(stage.flush())
    return pieces


def test_it_is_a_component_that_can_be_told_its_gpu(cache: Path) -> None:
    made: Component = Whisper(**ASKED, cache=str(cache))
    assert isinstance(made, OnDevice)


def test_random_weights_say_32_tokens_in_each_30_seconds(cache: Path, tmp_path: Path) -> None:
    made = loaded(cache)
    made.warm_up(JOB)
    long = tmp_path / "voice.wav"
    with wave.open(str(long), "wb") as file:
        file.setparams((1, 2, 16_000, 0, "NONE", ""))
        file.writeframes(np.random.default_rng(0).integers(-9000, 9000, 35 * 16_000, np.int16).tobytes())
    once, again = through(made), through(made)
    assert [(piece.kind, piece.count) for piece in once] == [("text", 32)]
    assert [piece.count for piece in through(made, str(long))] == [64]
    assert once == again


def test_an_idle_one_is_loaded_and_does_nothing(cache: Path) -> None:
    made = loaded(cache, use="idle")
    made.warm_up(Job(0, "", "en", "/no/such/voice.wav", "", 64, 64, "", 0, 10))  # it would be told of
    assert made.stages(JOB) == []
    assert made.attest()["ran"]["device"] == "cpu"


def test_it_attests_what_ctranslate2_says_it_runs(cache: Path) -> None:
    attested = loaded(cache).attest()
    assert attested["weights"] == "random"
    assert attested["stages"]["transcribe"] == {
        "backend": "ctranslate2", "dtype": "int8_float32", "device": "cpu",
    }  # fmt: skip
    assert set(attested["versions"]) == {"faster-whisper", "ctranslate2"}
    assert mismatches({"asr": ASKED}, {"shared": {"asr": attested}}) == []
    asked = {"asr": {**ASKED, "compute_type": "float32", "size": "full"}}
    assert mismatches(asked, {"shared": {"asr": attested}}) == [
        "asr.size=full was asked, tiny ran (shared)",
        "asr.compute_type=float32 was asked, int8 ran (shared)",
    ]


def test_a_folder_of_ones_own_is_a_checkpoint_with_its_hash(cache: Path, folder: Path) -> None:
    made = loaded(cache, weights=str(folder), compute_type="float32")
    attested = made.attest()
    assert attested["weights"] == f"checkpoint sha256:{whisper.sha256(folder / 'model.bin')}"
    assert attested["ran"]["compute_type"] == "float32"
    [heard] = through(made)
    assert heard.count <= 448 // 2  # it may stop by itself, and cannot go on for ever


def test_what_the_device_has_not_is_skipped_and_the_words_name_what_it_has(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ctranslate2.get_cuda_device_count", lambda: 0)
    with pytest.raises(NotApplicable, match=r"asr\.compute_type=float16: .* has float32, int.*; use one"):
        loaded(cache, compute_type="float16")
    with pytest.raises(NotApplicable, match=r"asr\.device=cuda: CTranslate2 sees no GPU here; use asr"):
        loaded(cache, device="cuda")
    with pytest.raises(NotApplicable, match=r"executor\.devices has 3: CTranslate2 sees 0 GPUs here"):
        Whisper(**{**ASKED, "device": "cuda"}, cache=str(cache)).lane(3, False)


@pytest.mark.parametrize("package", ["faster_whisper", "ctranslate2"])
def test_a_missing_package_is_skipped_with_the_command_that_installs_it(
    package: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(NotApplicable, match=rf"{package}.*; run pip install --no-deps faster-whisper ctr"):
        Whisper(**ASKED, cache="")


@pytest.mark.parametrize("key", ["device", "size", "use"])
def test_a_wrong_setting_is_refused_in_the_words_of_the_command_line(key: str) -> None:
    with pytest.raises(ValueError, match=rf"asr\.{key}=odd: not offered; use \w+ or \w+"):
        Whisper(**{**ASKED, key: "odd"}, cache="")


def test_nothing_is_asked_of_any_network(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    asked: list[tuple[Any, ...]] = []

    def refused(*address: Any, **_: Any) -> None:
        asked.append(address)
        raise OSError("there is no network")

    for place, name in ((socket.socket, "connect"), (socket.socket, "connect_ex"), (socket, "getaddrinfo")):
        monkeypatch.setattr(place, name, refused)
    through(loaded(cache))
    assert asked == []


def test_a_folder_without_its_tokenizer_is_refused_for_the_package_would_fetch_one(copy: Path) -> None:
    (copy / "tokenizer.json").unlink()
    with pytest.raises(ValueError, match=r"no tokenizer\.json there; convert it again .*--copy_files tokeni"):
        Whisper(**{**ASKED, "weights": str(copy)}, cache="").load()


def test_a_voice_that_cannot_be_read_is_named(cache: Path, tmp_path: Path) -> None:
    bad = tmp_path / "voice.wav"
    bad.write_text("no sound")
    with pytest.raises(ValueError, match=r"workload\.voice=.*voice\.wav: not readable audio; give a WAV"):
        through(loaded(cache), str(bad))


def test_random_weights_are_made_once_and_belong_to_their_seed(tmp_path: Path) -> None:
    with ThreadPoolExecutor() as pool:  # workers load at the same time
        made = list(pool.map(lambda seed: whisper.converted(tmp_path, "tiny", seed), (0, 0, 1)))
    assert made[0] == made[1] != made[2]
    file = made[0] / "model.bin"
    assert file.read_bytes() != (made[2] / "model.bin").read_bytes()
    before = file.stat().st_mtime_ns, file.read_bytes()
    assert whisper.converted(tmp_path, "tiny", 0) == made[0]
    assert file.stat().st_mtime_ns == before[0]
    file.write_bytes(before[1][:-1])  # a truncated one is made anew, and the same
    assert (whisper.converted(tmp_path, "tiny", 0) / "model.bin").read_bytes() == before[1]
    assert not list(tmp_path.glob("*.part"))


def test_its_tokens_are_those_that_the_package_looks_for(folder: Path) -> None:
    from faster_whisper.tokenizer import _LANGUAGE_CODES, Tokenizer  # type: ignore[import-untyped]
    from tokenizers import Tokenizer as Text

    # openai/whisper: 50257 bytes and merges, 99 languages, 1501 time stamps
    tokens = json.loads((folder / "vocabulary.json").read_text())
    assert len(tokens) == len(set(tokens)) == 51865
    assert set(_LANGUAGE_CODES) - {"yue"} == set(whisper_files.LANGUAGES)
    text = Text.from_file(str(folder / "tokenizer.json"))
    assert text.decode(text.encode("Grüße, 你好").ids) == "Grüße, 你好"
    special = Tokenizer(text, multilingual=True, task="transcribe", language="zh")
    assert special.sot_sequence == [50258, 50260, 50359]
    assert (special.eot, special.no_speech, special.timestamp_begin) == (50257, 50362, 50364)
    assert text.token_to_id("<|30.00|>") == 51864


def rewritten(change: Callable[[bytes], bytes]) -> Callable[[Path], None]:
    return lambda model: (
        (model / "model.bin").write_bytes(change((model / "model.bin").read_bytes())) and None
    )


BROKEN: dict[str, Callable[[Path], Any]] = {
    r"model\.bin is truncated": rewritten(lambda data: data[:-40]),
    r"model\.bin has 3 bytes behind its end": rewritten(lambda data: data + b"abc"),
    r"model\.bin is an empty file": rewritten(lambda data: b""),
    r"model\.bin is a web page": rewritten(lambda data: b"<!DOCTYPE html>"),
    r"model\.bin is a Git LFS pointer": rewritten(lambda data: b"version https://git-lfs.github.com/spec/v1"),
    r"model\.bin is of binary version 99, 4 to 6": rewritten(lambda data: struct.pack("<I", 99) + data[4:]),
    r"model\.bin holds a TransformerS": rewritten(
        lambda data: data[:4] + struct.pack("<H", 16) + b"TransformerSpec\0" + data[18:]
    ),
    r"model\.bin has no encoder and decoder": rewritten(lambda data: data.replace(b"/conv1/", b"/conv9/")),
    r"model\.bin says that it has 4294967295 tensors": rewritten(
        lambda data: data[:22] + b"\xff" * 4 + data[26:]
    ),
    r"config\.json is not valid JSON": lambda model: (model / "config.json").write_text("{"),
    r"config\.json is JSON, but not an object": lambda model: (model / "config.json").write_text("[]"),
    r"tokenizer\.json is not valid JSON": lambda model: (model / "tokenizer.json").write_text("[" * 10**5),
    r"no vocabulary\.json there": lambda model: (model / "vocabulary.json").unlink(),
}


@pytest.mark.parametrize("complaint", BROKEN)
def test_a_broken_model_is_refused_in_one_line_before_it_is_loaded(copy: Path, complaint: str) -> None:
    BROKEN[complaint](copy)
    asr = {**ASKED, "weights": str(copy)}
    with pytest.raises(ValueError, match=rf"asr\.weights=.*{complaint}.*; convert it again") as caught:
        whisper_files.check({"asr": asr})
    assert len(str(caught.value).splitlines()) == 1


def test_the_size_of_a_folder_must_be_the_one_that_is_asked_for(folder: Path) -> None:
    with pytest.raises(ValueError, match=r"asr\.size=full: the model in .* is tiny; use asr\.size=tiny"):
        whisper_files.check({"asr": {**ASKED, "weights": str(folder), "size": "full"}})


def test_a_hostile_head_is_read_or_refused_and_nothing_else(copy: Path) -> None:
    whole, draw = (copy / "model.bin").read_bytes()[:4096], random.Random(0)
    for _ in range(200):
        data = bytearray(whole)
        for _ in range(draw.randint(1, 8)):
            data[draw.randrange(len(data))] = draw.randrange(256)
        (copy / "model.bin").write_bytes(data)
        with pytest.raises(ValueError, match=r"^(is|has|holds|says)"):
            whisper_files.shapes(copy / "model.bin")


@pytest.mark.slow
def test_random_weights_are_those_that_ctranslate2_writes_of_the_network_in_transformers(
    folder: Path, tmp_path: Path
) -> None:
    import torch
    from ctranslate2.converters.transformers import WhisperLoader  # type: ignore[import-untyped]
    from transformers import WhisperConfig, WhisperForConditionalGeneration

    def network(width: int, layers: int, heads: int) -> Any:
        parts = {f"{part}_{key}": value for part in ("encoder", "decoder") for key, value in (
            ("layers", layers), ("attention_heads", heads), ("ffn_dim", 4 * width)
        )}  # fmt: skip
        return WhisperForConditionalGeneration(WhisperConfig(d_model=width, vocab_size=51865, **parts))

    tiny = network(*whisper_files.SIZES["tiny"]).eval()
    for weight in tiny.parameters():  # what is equal, as biases of 0, is written once
        torch.nn.init.normal_(weight, std=0.02)
    spec = WhisperLoader().get_model_spec(tiny)
    spec.register_vocabulary(json.loads((folder / "vocabulary.json").read_text()))
    spec.validate()
    spec.optimize("float16")
    spec.save(str(tmp_path))
    shutil.copy(folder / "tokenizer.json", tmp_path)
    assert whisper_files.check_folder(tmp_path, "tiny") == whisper_files.shapes(folder / "model.bin")
    assert through(loaded(tmp_path, weights=str(tmp_path)))
    # full is whisper-small; the fused projections have a bias for the keys, too, which the network has not
    with torch.device("meta"):
        small = network(768, 12, 12)
    published = sum(weight.numel() for weight in small.parameters())
    assert published == 241_734_912
    width, layers, _ = whisper_files.SIZES["full"]
    full = whisper_files.num_parameters(whisper_files._weights(width, layers))
    assert full == published + 36 * 768
