"""An XTTS-v2 folder loads bit for bit and stays as it is, or is refused in one line; nothing in it is run."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import threading
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

with warnings.catch_warnings():  # of the packages, not ours
    warnings.simplefilter("ignore")
    torch = pytest.importorskip("torch")
    pytest.importorskip("TTS", reason="coqui-tts is not installed")
    from TTS.config.shared_configs import BaseDatasetConfig
    from TTS.tts.configs.xtts_config import XttsArgs, XttsAudioConfig, XttsConfig

    from engines import torch_file
    from engines.xtts.checkpoint import checkpoint_network
    from engines.xtts.weights import Network, random_network, save

from engines.xtts.files import check_folder

SPEAKER = {"gpt_cond_latent": torch.ones(1, 32, 64), "speaker_embedding": torch.ones(1, 512, 1)}


@pytest.fixture(scope="module")
def network() -> Network:
    return random_network("tiny", 0, "cpu")


@pytest.fixture(scope="module")
def released(network: Network, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("xtts")
    save(network, folder)
    torch.save({"Ana": SPEAKER}, folder / "speakers_xtts.pth")
    return folder


@pytest.fixture
def folder(released: Path, tmp_path: Path) -> Path:
    """A copy to be spoilt."""
    return Path(shutil.copytree(released, tmp_path / "xtts"))


def digests(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in folder.iterdir()}


def rewrite(path: Path, change: Callable[[Any], Any]) -> None:
    """Change the weights of a model.pth."""
    content = torch.load(path, weights_only=True)
    torch.save({"model": change(content["model"])}, path)


def rewrite_json(path: Path, change: Callable[[Any], Any]) -> None:
    content = json.loads(path.read_text())
    change(content)
    path.write_text(json.dumps(content))


def refusal(folder: Path, speaker: str | None = None) -> str:
    with pytest.raises(ValueError) as caught:
        checkpoint_network("tiny", folder, "cpu", speaker)
    assert str(caught.value).startswith(f"tts.weights={folder}: ")
    assert "\n" not in str(caught.value)
    return str(caught.value)


def same_weights(one: Network, other: Network) -> bool:
    first, second = one.state_dict(), other.state_dict()
    return first.keys() == second.keys() and all(torch.equal(first[key], second[key]) for key in first)


def test_a_folder_in_the_released_layout_loads_bit_for_bit(network: Network, released: Path) -> None:
    before = digests(released)
    loaded = checkpoint_network("tiny", released, "cpu", speaker="Ana")
    assert same_weights(loaded, network)
    assert loaded.speaker_manager.speaker_names == ["Ana"]
    assert loaded.tokenizer.encode("good day", lang="en") == network.tokenizer.encode("good day", lang="en")
    assert digests(released) == before


def test_a_file_that_pickles_its_configuration_loads_and_is_not_rewritten(
    network: Network, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = XttsConfig(datasets=[BaseDatasetConfig()], model_args=XttsArgs(), audio=XttsAudioConfig())
    weights = torch.load(folder / "model.pth", weights_only=True)["model"]
    with monkeypatch.context() as patch:  # the first release was saved when the classes lived there
        patch.setattr(XttsArgs, "__module__", "TTS.tts.models.xtts")
        patch.setattr(XttsAudioConfig, "__module__", "TTS.tts.models.xtts")
        torch.save({"config": config, "model": weights, "step": 3}, folder / "model.pth")
    before, allowed = digests(folder), set(torch.serialization.get_safe_globals())
    assert b"XttsConfig" in (folder / "model.pth").read_bytes()
    assert same_weights(checkpoint_network("tiny", folder, "cpu"), network)
    assert digests(folder) == before
    assert set(torch.serialization.get_safe_globals()) == allowed


def test_the_languages_are_those_that_the_folder_lists(folder: Path) -> None:
    assert checkpoint_network("tiny", folder, "cpu").config.languages != ["en", "tlh"]
    rewrite_json(folder / "config.json", lambda config: config.update(languages=["en", "tlh"]))
    assert checkpoint_network("tiny", folder, "cpu").config.languages == ["en", "tlh"]


def test_of_two_threads_one_reads_after_the_other(released: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """torch's list of allowed names is of the whole process: one reader would take away the other's."""
    read, loaded, together = torch.load, [], threading.Barrier(2)

    def slow(*arguments: Any, **options: Any) -> Any:
        with contextlib.suppress(threading.BrokenBarrierError):
            together.wait(timeout=0.5)  # for the other, which must not come
        return read(*arguments, **options)

    monkeypatch.setattr(torch, "load", slow)
    threads = [
        threading.Thread(target=lambda: loaded.append(torch_file.load(released / "model.pth")))
        for _ in range(2)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert together.broken
    assert [list(content) for content in loaded] == [["model"]] * 2


def old_names(weights: dict[str, Any]) -> dict[str, Any]:
    """As torch.nn.utils.weight_norm called them when XTTS-v2 was released."""
    for new, old in (("original0", "weight_g"), ("original1", "weight_v")):
        weights = {key.replace(f"parametrizations.weight.{new}", old): weights[key] for key in weights}
    return weights


def of_the_trainer(weights: dict[str, Any]) -> dict[str, Any]:
    return {f"xtts.{key}": weights[key] for key in weights} | {"xtts.dvae.codebook": torch.zeros(2)}


def with_second_names(weights: dict[str, Any]) -> dict[str, Any]:
    return weights | {
        "gpt.gpt_inference.lm_head.0.weight": torch.zeros(2),
        "gpt.gpt.wte.weight": torch.zeros(2),
    }


@pytest.mark.parametrize("change", [old_names, of_the_trainer, with_second_names])
def test_the_layouts_that_the_package_takes_are_taken(network: Network, folder: Path, change: Any) -> None:
    before = set(torch.load(folder / "model.pth", weights_only=True)["model"])
    rewrite(folder / "model.pth", change)
    assert set(torch.load(folder / "model.pth", weights_only=True)["model"]) != before
    assert same_weights(checkpoint_network("tiny", folder, "cpu"), network)


class _Touches:
    """Pickles into a call of os.mkdir."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (self.path,)


@pytest.mark.parametrize("name", ["model.pth", "speakers_xtts.pth"])
def test_a_hostile_pickle_is_refused_and_not_run(folder: Path, tmp_path: Path, name: str) -> None:
    torch.save({"model": {"gpt.final_norm.bias": _Touches(tmp_path / "trace")}}, folder / name)
    complaint = f"{name} is not a readable checkpoint (it wants to call posix.mkdir)"
    assert complaint in refusal(folder, speaker="Ana")
    assert not (tmp_path / "trace").exists()


def without(key: str) -> Callable[[dict[str, Any]], dict[str, Any]]:
    return lambda weights: {name: weights[name] for name in weights if name != key}


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (
            lambda weights: weights | {"gpt.text_embedding.weight": torch.zeros(6153, 64)},
            "model.pth: gpt.text_embedding.weight: expected shape (6681, 64), found shape (6153, 64)",
        ),
        (without("gpt.mel_head.bias"), "gpt.mel_head.bias: expected shape (1026), found no such key"),
        (lambda weights: weights | {"more": torch.zeros(3)}, "more: expected no such key, found shape (3)"),
        (
            lambda weights: weights | {"gpt.mel_head.bias": torch.full((1026,), torch.inf)},
            "model.pth: gpt.mel_head.bias: expected finite numbers, found others; use the released",
        ),
        (
            lambda weights: weights | {"xtts.gpt.mel_head.bias": torch.zeros(1026)},
            "model.pth: 'gpt.mel_head.bias': expected once, found twice",
        ),
        (lambda weights: weights | {"more": "text"}, "'more': expected a tensor, found str"),
        (lambda weights: [weights], "model: expected this top-level key with the weights, found none"),
    ],
)
def test_wrong_weights_are_named_with_key_and_shapes(folder: Path, change: Any, complaint: str) -> None:
    rewrite(folder / "model.pth", change)
    assert complaint in refusal(folder)


@pytest.mark.parametrize("name", ["model.pth", "config.json", "vocab.json"])
@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"", "is an empty file"),
        (b"<!DOCTYPE html><html>404</html>", "is a web page, not the file itself"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0", "is a Git LFS pointer"),
    ],
)
def test_what_a_failed_download_leaves_is_told(
    folder: Path, name: str, content: bytes, complaint: str
) -> None:
    (folder / name).write_bytes(content)
    assert f"{name} {complaint}" in refusal(folder)


def test_a_truncated_file_is_told(folder: Path) -> None:
    whole = (folder / "model.pth").read_bytes()
    (folder / "model.pth").write_bytes(whole[: len(whole) // 2])
    assert "model.pth is truncated or broken" in refusal(folder)
    (folder / "vocab.json").write_bytes((folder / "vocab.json").read_bytes()[:-100])
    assert "vocab.json is not valid JSON" in refusal(folder)


@pytest.mark.parametrize(
    ("name", "change", "complaint"),
    [
        (
            "config.json",
            lambda config: config["model_args"].update(gpt_layers=10**9),
            "config.json: model_args.gpt_layers: expected 2, found 1000000000",
        ),
        (
            "config.json",
            lambda config: config["model_args"].pop("gpt_num_audio_tokens"),
            "config.json: model_args.gpt_num_audio_tokens: expected 1026, found 8194",
        ),
        ("config.json", lambda config: config.update(model="vits"), "model: expected xtts"),
        ("config.json", lambda config: config.update(model_args=None), "model: expected xtts"),
        ("config.json", lambda config: config.update(audio=7), "audio.output_sample_rate: expected 24000"),
        ("config.json", lambda config: config.update(languages="en"), "languages: expected a list like"),
        ("config.json", lambda config: config.update(languages=["\x1b[2J"]), "languages: expected a list"),
        ("vocab.json", lambda vocab: vocab["model"].update(type="Unigram"), "model.type: expected BPE"),
        ("vocab.json", lambda vocab: vocab.update(added_tokens=[3]), "added_tokens: expected a list"),
        (
            "vocab.json",
            lambda vocab: vocab["model"]["vocab"].update(a=2**31),
            "vocab.json: 'a': expected 0 to 65535, found 2147483648",
        ),
        ("vocab.json", lambda vocab: vocab["model"].update(merges=[["q", "~~"]]), "vocab.json: "),
    ],
)
def test_a_text_file_that_says_otherwise_is_refused(
    folder: Path, name: str, change: Any, complaint: str
) -> None:
    rewrite_json(folder / name, change)
    assert complaint in refusal(folder)


def test_a_json_file_of_endless_depth_is_refused(folder: Path) -> None:
    (folder / "config.json").write_text("[" * 100_000)
    assert "config.json is not valid JSON" in refusal(folder)


@pytest.mark.parametrize(
    ("voices", "complaint"),
    [
        ({"Ana": {}}, "'Ana': gpt_cond_latent: expected shape (1, 32, 64), found no such key"),
        (
            {"Ana": SPEAKER | {"speaker_embedding": torch.ones(1, 256, 1)}},
            "'Ana': speaker_embedding: expected shape (1, 512, 1), found shape (1, 256, 1)",
        ),
        (
            {"Ana": SPEAKER | {"gpt_cond_latent": torch.full((1, 32, 64), torch.nan)}},
            "'Ana': gpt_cond_latent: expected finite numbers, found others",
        ),
        ([1], "'': gpt_cond_latent: expected shape (1, 32, 64), found no such key"),
    ],
)
def test_voices_of_another_model_are_refused(folder: Path, voices: Any, complaint: str) -> None:
    torch.save(voices, folder / "speakers_xtts.pth")
    assert f"speakers_xtts.pth: {complaint}" in refusal(folder, speaker="Ana")


def test_a_broken_file_of_voices_matters_only_to_a_named_speaker(network: Network, folder: Path) -> None:
    (folder / "speakers_xtts.pth").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:0")
    assert same_weights(checkpoint_network("tiny", folder, "cpu"), network)
    assert "speakers_xtts.pth is a Git LFS pointer" in refusal(folder, speaker="Ana")


@pytest.mark.parametrize("name", ["config.json", "model.pth", "vocab.json", "speakers_xtts.pth"])
def test_a_missing_file_is_named(folder: Path, name: str) -> None:
    (folder / name).unlink()
    with pytest.raises(ValueError, match=f"no {name} there; use random or a whole folder"):
        check_folder(folder, "tiny", speaker="Ana")


def test_the_size_must_be_that_of_the_checkpoint(released: Path) -> None:
    with pytest.raises(ValueError, match=r"^tts.size=full: the checkpoint .* is tiny; use tts.size=tiny$"):
        checkpoint_network("full", released, "cpu")


def test_a_full_size_file_needs_the_bytes_of_its_tensors(folder: Path) -> None:
    full = {"gpt_layers": 30, "gpt_n_model_channels": 1024, "gpt_n_heads": 16, "decoder_input_dim": 1024}
    rewrite_json(folder / "config.json", lambda config: config["model_args"].update(full))
    with pytest.raises(ValueError, match=r"its tensors need 933740000: truncated, or of another model"):
        check_folder(folder, "full")
