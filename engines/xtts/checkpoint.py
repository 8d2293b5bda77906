"""XTTS-v2 from a checkpoint folder, read by ourselves: the package's loader rewrites old files in place."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from torch import Tensor

from engines import torch_file
from engines.checkpoint_file import pth_complaint
from engines.xtts.files import SPEAKERS_FILE, START, STOP, check_folder, languages, text_tokens
from engines.xtts.weights import (
    SHARED,
    Network,
    PrivateRandom,
    VoiceBpeTokenizer,
    XttsConfig,
    configuration,
    network_class,
)

# Classes whose objects the first release pickled beside its weights; here they come back as empty objects.
_PICKLED_CLASSES = (
    "TTS.tts.configs.xtts_config.XttsConfig",
    "TTS.tts.configs.xtts_config.XttsArgs",
    "TTS.tts.configs.xtts_config.XttsAudioConfig",
    "TTS.tts.models.xtts.XttsArgs",
    "TTS.tts.models.xtts.XttsAudioConfig",
    "TTS.config.shared_configs.BaseDatasetConfig",
)
_TRAINER_PREFIX = "xtts."
_TRAINER_ONLY = ("torch_mel_spectrogram_style_encoder", "torch_mel_spectrogram_dvae", "dvae")
# torch.nn.utils.weight_norm, with which the release was saved, and its successor in this package.
_WEIGHT_NORM = {
    ".weight_g": ".parametrizations.weight.original0",
    ".weight_v": ".parametrizations.weight.original1",
}
_REMEDY = "use the released XTTS-v2, or one fine-tuned from it"


@dataclass(frozen=True)
class Speakers:
    """Named voices: {name: {gpt_cond_latent (1, 32, C), speaker_embedding (1, 512, 1)}}."""

    speakers: Mapping[str, Mapping[str, Tensor]]

    @property
    def speaker_names(self) -> list[str]:
        return list(self.speakers)


def checkpoint_network(size: str, folder: Path, device: str, speaker: str | None = None) -> Network:
    """The network in `folder` for inference. Nothing there is run and no file is written.

    speaker  a named voice that will be asked for; None: the file of named voices is not opened
    Raises ValueError, one line with file, key, expected and found, for what is no XTTS-v2 of this size.
    """
    check_folder(folder, size, speaker)
    with PrivateRandom(torch.Generator()):  # spares initial values, all of which are overwritten
        network = network_class(size)(_configuration(folder, size))
    network.tokenizer = VoiceBpeTokenizer()
    network.tokenizer.tokenizer = _tokenizer(folder)
    network.load_state_dict(_state(folder, network))
    network.speaker_manager = None if speaker is None else _speakers(folder, network)
    network.eval()
    return network.to(device)


def _configuration(folder: Path, size: str) -> XttsConfig:
    """Ours: check_folder found that config.json says the same of the networks; the rest is for training."""
    config = configuration(size)
    ids = text_tokens(folder)
    config.model_args.gpt_number_text_tokens = max(ids.values()) + 1
    config.model_args.gpt_start_text_token = ids[START]
    config.model_args.gpt_stop_text_token = ids[STOP]
    config.languages = languages(folder) or config.languages
    return config


def _tokenizer(folder: Path) -> Tokenizer:
    try:
        return Tokenizer.from_file(str(folder / "vocab.json"))
    except Exception as error:
        if type(error) is not Exception:  # the package raises nothing more special for what it cannot read
            raise
        raise _wrong(folder, "vocab.json", str(error)[:200]) from error


def _load(folder: Path, name: str) -> Any:
    complaint = pth_complaint(folder / name)
    if not complaint:
        try:
            return torch_file.load(folder / name, forgotten=_PICKLED_CLASSES)
        except ValueError as error:
            complaint = str(error)
    raise ValueError(f"tts.weights={folder}: {name} {complaint}; copy the released file again")


def _wrong(folder: Path, where: str, complaint: str) -> ValueError:
    return ValueError(f"tts.weights={folder}: {where}: {complaint}; {_REMEDY}")


def _state(folder: Path, network: Network) -> dict[str, Tensor]:
    """The weights of model.pth under the keys of `network`, as the package takes them."""
    content = _load(folder, "model.pth")
    weights = content.get("model") if isinstance(content, Mapping) else None
    if not isinstance(weights, Mapping):
        raise _wrong(folder, "model.pth", "model: expected this top-level key with the weights, found none")
    expected = network.state_dict()
    found = {}
    for key, value in weights.items():
        if not isinstance(key, str) or not isinstance(value, Tensor):
            kind = type(value).__name__
            raise _wrong(folder, "model.pth", f"{ascii(key)[:80]}: expected a tensor, found {kind}")
        name = _current_name(key.removeprefix(_TRAINER_PREFIX), expected)
        if name.startswith(SHARED) or name.partition(".")[0] in _TRAINER_ONLY:
            continue
        if name in found:
            raise _wrong(folder, "model.pth", f"{ascii(name)[:80]}: expected once, found twice")
        found[name] = value
    complaint = torch_file.mismatch(expected, found) or torch_file.not_finite(found)
    if complaint:
        raise _wrong(folder, "model.pth", complaint)
    return found


def _current_name(key: str, expected: Mapping[str, Tensor]) -> str:
    for old, new in _WEIGHT_NORM.items():
        name = key.removesuffix(old) + new
        if key.endswith(old) and name in expected:
            return name
    return key


def _speakers(folder: Path, network: Network) -> Speakers:
    content = _load(folder, SPEAKERS_FILE)
    shapes = {
        "gpt_cond_latent": (1, 32, network.args.gpt_n_model_channels),
        "speaker_embedding": (1, network.args.d_vector_dim, 1),
    }
    wanted = {key: torch.empty(shape) for key, shape in shapes.items()}
    if not isinstance(content, Mapping):
        content = {"": content}
    voices: dict[str, dict[str, Tensor]] = {}
    for name, voice in content.items():
        found = voice if isinstance(voice, Mapping) else {}
        held = {key: found[key] for key in wanted if isinstance(found.get(key), Tensor)}
        complaint = torch_file.mismatch(wanted, held) or torch_file.not_finite(held)
        if complaint:
            raise _wrong(folder, f"{SPEAKERS_FILE}: {ascii(name)[:80]}", complaint)
        voices[str(name)] = held
    return Speakers(voices)
