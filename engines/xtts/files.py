"""The files of an XTTS-v2 checkpoint folder, looked at before anything is loaded. Standard library only."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from engines.checkpoint_file import file_complaint, pth_complaint
from engines.xtts import check as xtts_check
from engines.xtts import plans

FILES = ("config.json", "model.pth", "vocab.json")
SPEAKERS_FILE = "speakers_xtts.pth"
START, STOP = "[START]", "[STOP]"
MAX_CONFIG_BYTES = 2**20
MAX_VOCAB_BYTES = 32 * 2**20
MAX_TEXT_TOKENS = 2**16  # each takes a row of the text embedding; the released vocabulary has 6681
_LEAST_BYTES = {"full": 2 * 466_870_000, "tiny": 0}  # of the parameters in half precision
# What decides over the networks in config.json, as XTTS-v2 has it.
_MODEL: Mapping[str, Any] = {
    "gpt_layers": 30,
    "gpt_n_model_channels": 1024,
    "gpt_n_heads": 16,
    "gpt_max_audio_tokens": 605,
    "gpt_max_text_tokens": 402,
    "gpt_max_prompt_tokens": 70,
    "gpt_num_audio_tokens": 1026,
    "gpt_start_audio_token": 1024,
    "gpt_stop_audio_token": 1025,
    "gpt_code_stride_len": 1024,
    "gpt_use_perceiver_resampler": True,
    "kv_cache": True,
    "input_sample_rate": 22050,
    "output_sample_rate": 24000,
    "output_hop_length": 256,
    "decoder_input_dim": 1024,
    "d_vector_dim": 512,
    "cond_d_vector_in_each_upsampling_layer": True,
}
TINY = {"gpt_layers": 2, "gpt_n_model_channels": 64, "gpt_n_heads": 2, "decoder_input_dim": 64}
"""What size=tiny has instead."""

# A key that is missing has the package's default, which for these is that of XTTS-v1.
_V1 = {
    "gpt_num_audio_tokens": 8194,
    "gpt_start_audio_token": 8192,
    "gpt_stop_audio_token": 8193,
    "gpt_use_perceiver_resampler": False,
}
_REMEDY = "copy it again from the released XTTS-v2"


def check(data: Mapping[str, Any]) -> str:
    """Why the point cannot be measured here, "" if it can. Raises ValueError, one line.

    data  the whole resolved configuration; `tts` has the keys of conf/tts/xtts.yaml
    """
    tts = data["tts"]
    if tts["weights"] != "random":
        check_folder(Path(tts["weights"]), tts["size"], tts["speaker"])
    executor, asked = data["executor"], SimpleNamespace(**tts)
    return (
        xtts_check.check(data)
        or plans.obstacle(asked)
        or plans.tf32_obstacle(asked, executor["name"], executor["workers"])
    )


def check_folder(folder: Path, size: str, speaker: str | None = None) -> None:
    """All files are there, the text files hold what they should, the others look whole from outside.

    speaker  a name to be found in speakers_xtts.pth, which is needed for that only
    Raises ValueError, one line with file, key, what was expected and found.
    """
    needed = FILES if speaker is None else (*FILES, SPEAKERS_FILE)
    missing = [name for name in needed if not (folder / name).is_file()]
    if missing:
        raise ValueError(f"tts.weights={folder}: no {', '.join(missing)} there; use random or a whole folder")
    _check_config(folder, size)
    text_tokens(folder)
    languages(folder)
    complaints = {"model.pth": pth_complaint(folder / "model.pth", _LEAST_BYTES[size])}
    if speaker is not None:
        complaints[SPEAKERS_FILE] = pth_complaint(folder / SPEAKERS_FILE)
    for name, complaint in complaints.items():
        if complaint:
            raise ValueError(f"tts.weights={folder}: {name} {complaint}; {_REMEDY}")


def _check_config(folder: Path, size: str) -> None:
    config = _object(folder, "config.json", MAX_CONFIG_BYTES)
    if config.get("model") != "xtts" or not isinstance(config.get("model_args"), dict):
        raise _wrong(folder, "config.json", "model", "xtts, with model_args", config.get("model"))
    args = config["model_args"]
    found_size = "tiny" if args.get("decoder_input_dim") == TINY["decoder_input_dim"] else "full"
    if found_size != size:
        raise ValueError(
            f"tts.size={size}: the checkpoint {folder} is {found_size}; use tts.size={found_size}"
        )
    for key, expected in {**_MODEL, **(TINY if size == "tiny" else {})}.items():
        found = args.get(key, {**_MODEL, **_V1}[key])
        if found != expected or isinstance(found, bool) != isinstance(expected, bool):
            raise _wrong(folder, "config.json", f"model_args.{key}", expected, found)
    audio = config.get("audio", {})
    rate = audio.get("output_sample_rate", 24000) if isinstance(audio, dict) else audio
    if rate != 24000:
        raise _wrong(folder, "config.json", "audio.output_sample_rate", 24000, rate)


def languages(folder: Path) -> list[str] | None:
    """Those that config.json lists, None where it lists none."""
    listed = _object(folder, "config.json", MAX_CONFIG_BYTES).get("languages")
    if listed is None:
        return None
    if not isinstance(listed, list) or not all(map(_is_code, listed)):
        raise _wrong(folder, "config.json", "languages", "a list like [en, zh-cn]", listed)
    return listed


def _is_code(item: Any) -> bool:
    return isinstance(item, str) and len(item) < 10 and item.isprintable()


def text_tokens(folder: Path) -> dict[str, int]:
    """Token -> id of vocab.json, in the format of the package tokenizers; [START] and [STOP] are there."""
    vocabulary = _object(folder, "vocab.json", MAX_VOCAB_BYTES)
    model = vocabulary.get("model")
    if not isinstance(model, dict) or model.get("type", "BPE") != "BPE":
        raise _wrong(folder, "vocab.json", "model.type", "BPE", model)
    if not isinstance(model.get("vocab"), dict):
        raise _wrong(folder, "vocab.json", "model.vocab", "token: id", model.get("vocab"))
    added = vocabulary.get("added_tokens") or []
    try:
        ids = {**model["vocab"], **{entry["content"]: entry["id"] for entry in added}}
    except (TypeError, KeyError) as error:
        raise _wrong(folder, "vocab.json", "added_tokens", "a list with content and id", added) from error
    for token, number in ids.items():
        if type(number) is not int or not 0 <= number < MAX_TEXT_TOKENS:
            raise _wrong(folder, "vocab.json", ascii(token)[:40], f"0 to {MAX_TEXT_TOKENS - 1}", number)
    for token in (START, STOP):
        if token not in ids:
            raise _wrong(folder, "vocab.json", token, "an id", None)
    return ids


def _object(folder: Path, name: str, most_bytes: int) -> dict[str, Any]:
    path = folder / name
    complaint = file_complaint(path)
    if not complaint and path.stat().st_size > most_bytes:
        complaint = f"has more than {most_bytes // 2**20} MiB"
    content: Any = None
    if not complaint:
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            complaint = "" if isinstance(content, dict) else "is JSON, but not an object"
        except (ValueError, RecursionError) as error:
            complaint = f"is not valid JSON ({str(error)[:80]})"
    if complaint:
        raise ValueError(f"tts.weights={folder}: {name} {complaint}; {_REMEDY}")
    return dict(content)


def _wrong(folder: Path, name: str, key: str, expected: Any, found: Any) -> ValueError:
    shown = "no such key" if found is None else ascii(found)[:80]
    return ValueError(f"tts.weights={folder}: {name}: {key}: expected {expected}, found {shown}; {_REMEDY}")
