"""The files of a Whisper model as CTranslate2 reads them: looked at before anything is loaded, or random.

Written without CTranslate2's converters, which import torch: that would be loaded first, whatever the order.
"""

from __future__ import annotations

import json
import math
import os
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from engines.checkpoint_file import file_complaint

FILES = ("config.json", "model.bin", "tokenizer.json")
VOCABULARIES = ("vocabulary.json", "vocabulary.txt")
MAX_JSON_BYTES = 32 * 2**20
LAYOUT = 1  # of what write_random makes; raise it with every change there
_REMEDY = (
    "convert it again with ct2-transformers-converter --copy_files tokenizer.json preprocessor_config.json"
)

# CTranslate2 4.8.5, specs/model_spec.py: the number of the format, and its numbers of types
_VERSIONS, _SPEC = (4, 5, 6), "WhisperSpec"
_TYPE_BYTES = (4, 1, 2, 4, 2, 2)  # float32, int8, int16, int32, float16, bfloat16
_FLOAT16 = 4
_MOST_TENSORS, _MOST_DIMENSIONS = 10_000, 4
_MELS, _EMBEDDING = "encoder/conv1/weight", "decoder/embeddings/weight"
_WEIGHTS = ("weight", "bias", "gamma", "beta", "encodings")

# Whisper's multilingual tokens (openai/whisper, tokenizer.py), whose numbers the code of faster-whisper reads
_END_OF_TEXT = 50257
_LANGUAGES = (
    "en zh de es ru ko fr ja pt tr pl ca nl ar sv it id hi fi vi he uk el ms cs ro da hu ta no th ur hr bg "
    "lt la mi ml cy sk te fa lv bn sr az sl kn et mk br eu is hy ne mn bs kk sq sw gl mr pa si km sn yo so "
    "af oc ka be tg sd gu am yi lo uz fo ht ps tk nn mt sa lb my bo tl mg as tt haw ln ha ba jw su"
)
LANGUAGES = _LANGUAGES.split()
_TASKS = ("translate", "transcribe", "startoflm", "startofprev", "nospeech", "notimestamps")
_NUM_TIMES = 1501  # 0.00 to 30.00 s
NUM_TOKENS = _END_OF_TEXT + 2 + len(LANGUAGES) + len(_TASKS) + _NUM_TIMES
NUM_MELS, NUM_FRAMES, MOST_TOKENS = 80, 1500, 448
# d_model, layers of encoder and of decoder, heads. full is whisper-small; what is not tiny counts as full.
SIZES = {"full": (768, 12, 12), "tiny": (64, 2, 2)}


def check(data: Mapping[str, Any]) -> str:
    """Raises ValueError, one line, for a folder that is no model. data is the whole configuration."""
    asr = data["asr"]
    if asr["weights"] != "random":
        check_folder(Path(asr["weights"]), asr["size"])
    return ""  # whether the packages are there, only the interpreter of the measured processes knows


def check_folder(folder: Path, size: str) -> dict[str, tuple[int, ...]]:
    """The shapes of the weights in model.bin, whose folder is whole. Raises ValueError, one line.

    tokenizer.json must be there: faster-whisper asks the hub for one that is missing, without a time-out.
    """
    missing = [name for name in FILES if not (folder / name).is_file()]
    if not any((folder / name).is_file() for name in VOCABULARIES):
        missing.append(VOCABULARIES[0])
    if missing:
        raise ValueError(f"asr.weights={folder}: no {', '.join(missing)} there; {_REMEDY}")
    for name in FILES:
        complaint = _complaint(folder / name)
        if complaint:
            raise ValueError(f"asr.weights={folder}: {name} {complaint}; {_REMEDY}")
    try:
        found = shapes(folder / "model.bin")
    except ValueError as error:
        raise ValueError(f"asr.weights={folder}: model.bin {error}; {_REMEDY}") from error
    mels = found[_MELS][1]
    if mels != NUM_MELS and not (folder / "preprocessor_config.json").is_file():
        raise ValueError(
            f"asr.weights={folder}: no preprocessor_config.json there, which {mels} mel bands need; {_REMEDY}"
        )
    if size_of(found) != size:
        raise ValueError(
            f"asr.size={size}: the model in {folder} is {size_of(found)}; use asr.size={size_of(found)}"
        )
    return found


def size_of(found: Mapping[str, tuple[int, ...]]) -> str:
    """tiny or full, by the width of the embedding."""
    return "tiny" if found[_EMBEDDING][-1] == SIZES["tiny"][0] else "full"


def num_parameters(found: Mapping[str, tuple[int, ...]]) -> int:
    """Of all weights; what is written once and used twice, as the embedding, counts once."""
    return sum(math.prod(shape) for name, shape in found.items() if name.rpartition("/")[2] in _WEIGHTS)


def shapes(path: Path) -> dict[str, tuple[int, ...]]:
    """Name -> shape of the tensors of a model.bin, whose frame is read to its end and none of its values.

    Raises ValueError, in words that follow the file's name: truncated, longer than it says, of another kind.
    """
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        try:
            (version,) = _unpack(file, "<I")
            if version not in _VERSIONS:
                raise ValueError(
                    f"is of binary version {version}, {_VERSIONS[0]} to {_VERSIONS[-1]} are known"
                )
            spec = _string(file)
            if spec != _SPEC:
                raise ValueError(f"holds a {ascii(spec)[1:41]}, not a {_SPEC}")
            found = dict(_tensors(file, size))
            _skip_aliases(file)
        except struct.error:
            raise ValueError("is truncated") from None
        if file.tell() != size:
            raise ValueError(f"has {size - file.tell()} bytes behind its end")
    if len(found.get(_MELS, ())) != 3 or len(found.get(_EMBEDDING, ())) != 2:
        raise ValueError("has no encoder and decoder of Whisper's")
    return found


def _tensors(file: BinaryIO, size: int) -> Iterator[tuple[str, tuple[int, ...]]]:
    _, count = _unpack(file, "<II")  # the spec's own version comes first
    if count > _MOST_TENSORS:
        raise ValueError(f"says that it has {count} tensors, at most {_MOST_TENSORS} are believed")
    for _ in range(count):
        name = _string(file)
        (rank,) = _unpack(file, "<B")
        if rank > _MOST_DIMENSIONS:
            raise ValueError(f"has a tensor of {rank} dimensions")
        shape = _unpack(file, f"<{rank}I")
        kind, num_bytes = _unpack(file, "<BI")
        if kind >= len(_TYPE_BYTES) or num_bytes != math.prod(shape) * _TYPE_BYTES[kind]:
            raise ValueError(f"has a tensor of another size than its shape says: {ascii(name)[1:61]}")
        if file.tell() + num_bytes > size:
            raise struct.error
        file.seek(num_bytes, os.SEEK_CUR)
        yield name, shape


def _skip_aliases(file: BinaryIO) -> None:
    (count,) = _unpack(file, "<I")
    if count > _MOST_TENSORS:
        raise ValueError(f"says that it has {count} aliases, at most {_MOST_TENSORS} are believed")
    for _ in range(2 * count):
        _string(file)


def _unpack(file: BinaryIO, form: str) -> tuple[int, ...]:
    return struct.unpack(form, file.read(struct.calcsize(form)))


def _string(file: BinaryIO) -> str:
    (length,) = _unpack(file, "<H")
    text = file.read(length)
    if len(text) != length:
        raise struct.error
    return text.rstrip(b"\0").decode("utf-8", "replace")


def _complaint(path: Path) -> str:
    complaint = file_complaint(path)
    if complaint or path.suffix != ".json":
        return complaint
    if path.stat().st_size > MAX_JSON_BYTES:
        return f"has more than {MAX_JSON_BYTES // 2**20} MiB"
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        return f"is not valid JSON ({str(error)[:80]})"
    return "" if isinstance(content, dict) else "is JSON, but not an object"


def write_random(folder: Path, size: str, seed: int) -> None:
    """A model of that size in fp16, as converters write them, whose weights are drawn by the seed."""
    with (folder / "model.bin").open("wb") as file:
        _write_model(file, *SIZES[size], seed)
    # The empty one tells CTranslate2 (4.8.5, models/whisper.cc) that the model has more than one language.
    tokens = [*_bytes(), *(f"<u{number}>" for number in range(256, _END_OF_TEXT - 1)), ""]
    special = [
        *("<|endoftext|>", "<|startoftranscript|>"),
        *(f"<|{word}|>" for word in (*LANGUAGES, *_TASKS)),
        *(f"<|{number * 0.02:.2f}|>" for number in range(_NUM_TIMES)),
    ]
    first_language = _END_OF_TEXT + 2
    config = {
        "alignment_heads": [[0, 0]],
        "lang_ids": list(range(first_language, first_language + len(LANGUAGES))),
        "suppress_ids": [],
        "suppress_ids_begin": [_END_OF_TEXT],
    }
    written = {"config": config, "vocabulary": [*tokens, *special], "tokenizer": _tokenizer(tokens, special)}
    for name, content in written.items():
        (folder / f"{name}.json").write_text(json.dumps(content), encoding="utf-8")


def _write_model(file: BinaryIO, width: int, layers: int, heads: int, seed: int) -> None:
    def string(text: str) -> None:
        file.write(struct.pack("<H", len(text) + 1) + text.encode() + b"\0")

    draw, shaped, scalars = np.random.default_rng(seed), _weights(width, layers), _scalars(heads)
    file.write(struct.pack("<I", _VERSIONS[-1]))
    string(_SPEC)
    file.write(struct.pack("<II", 3, len(shaped) + len(scalars)))
    for name in sorted([*shaped, *scalars]):
        string(name)
        if name in scalars:
            value, num_bytes = scalars[name]
            file.write(
                struct.pack("<BBI", 0, num_bytes, num_bytes)
            )  # the numbers of int8 and int16 are 1 and 2
            file.write(value.to_bytes(num_bytes, "little", signed=True))
            continue
        shape = shaped[name]
        file.write(struct.pack(f"<B{len(shape)}IBI", len(shape), *shape, _FLOAT16, 2 * math.prod(shape)))
        file.write(_values(name, shape, draw).tobytes())
    file.write(struct.pack("<I", 1))
    string("decoder/projection/weight")
    string(_EMBEDDING)


def _values(name: str, shape: tuple[int, ...], draw: np.random.Generator) -> np.ndarray[Any, Any]:
    if name.endswith(("beta", "bias")):
        return np.zeros(shape, np.float16)
    if name.endswith("gamma"):
        return np.ones(shape, np.float16)
    return (draw.standard_normal(shape, np.float32) * np.float32(0.02)).astype(np.float16)


def _weights(width: int, layers: int) -> dict[str, tuple[int, ...]]:
    """As ctranslate2.specs.WhisperSpec names them; queries, keys and values are fused."""
    found: dict[str, tuple[int, ...]] = {
        _MELS: (width, NUM_MELS, 3), "encoder/conv1/bias": (width,),
        "encoder/conv2/weight": (width, width, 3), "encoder/conv2/bias": (width,),
        "encoder/position_encodings/encodings": (NUM_FRAMES, width),
        "decoder/position_encodings/encodings": (MOST_TOKENS, width),
        _EMBEDDING: (NUM_TOKENS, width),
    }  # fmt: skip
    linears = {
        "self_attention": [(3 * width, width), (width, width)],
        "attention": [(width, width), (2 * width, width), (width, width)],
        "ffn": [(4 * width, width), (width, 4 * width)],
    }
    for part in ("encoder", "decoder"):
        norms = [f"{part}/layer_norm"]
        for layer in (f"{part}/layer_{number}" for number in range(layers)):
            for block in linears if part == "decoder" else ("self_attention", "ffn"):
                norms.append(f"{layer}/{block}/layer_norm")
                for number, shape in enumerate(linears[block]):
                    found[f"{layer}/{block}/linear_{number}/weight"] = shape
                    found[f"{layer}/{block}/linear_{number}/bias"] = shape[:1]
        for norm in norms:
            found |= {f"{norm}/gamma": (width,), f"{norm}/beta": (width,)}
    return found


def _scalars(heads: int) -> dict[str, tuple[int, int]]:
    """Value and bytes of each."""
    false = ("alibi", "alibi_use_positive_positions", "scale_alibi", "scale_embeddings")
    return {
        **{f"decoder/{name}": (0, 1) for name in (*false, "start_from_zero_embedding")},
        "decoder/activation": (3, 1),  # GELU
        "decoder/pre_norm": (1, 1),
        "decoder/alignment_heads": (1, 2),
        "decoder/alignment_layer": (-1, 2),
        "decoder/num_heads": (heads, 2),
        "encoder/num_heads": (heads, 2),
    }


def _bytes() -> list[str]:
    """GPT-2's alphabet: a printable letter for each byte."""
    plain = [*range(33, 127), *range(161, 173), *range(174, 256)]
    others = iter(range(256, 512))
    return [chr(byte) if byte in plain else chr(next(others)) for byte in range(256)]


def _tokenizer(tokens: list[str], special: list[str]) -> dict[str, Any]:
    """In the format of the package tokenizers: every byte is a token, and nothing is ever merged."""
    level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    flags = {**dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized"), False), "special": True}
    return {
        "version": "1.0",
        "added_tokens": [
            {"id": number, "content": word, **flags} for number, word in enumerate(special, len(tokens))
        ],
        "pre_tokenizer": level,
        "decoder": level,
        "model": {"type": "BPE", "vocab": {word: number for number, word in enumerate(tokens)}, "merges": []},
    }
