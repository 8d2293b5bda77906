"""Faster-Whisper, a recogniser beside TTS and avatar: loaded and left idle, or at work before each job."""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import os
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

import soxr  # type: ignore[import-untyped]

from engines import audio_file
from engines.backends.cache import Cache
from engines.checkpoint import sha256
from engines.contract import Job, NotApplicable, Piece
from engines.whisper_files import LAYOUT, check_folder, num_parameters, size_of, write_random

SHORTEST_S, LONGEST_S = 0.33, 600.0  # of workload.voice
RATE = 16_000  # Hz, which Whisper hears
NUM_TOKENS = 32  # that random weights say of 30 s of sound
# What the defaults of the package leave to the model's confidence, as trying again with another temperature.
DECODING = {
    "beam_size": 1, "best_of": 1, "temperature": 0.0, "without_timestamps": True, "vad_filter": False,
    "compression_ratio_threshold": None, "log_prob_threshold": None, "no_speech_threshold": None,
    "condition_on_previous_text": False,
}  # fmt: skip
_PROMPT = 4  # start, language, task, no timestamps
_END_OF_TEXT = 50257
CHOICES = {"device": ("cpu", "cuda"), "size": ("tiny", "full"), "use": ("idle", "transcribe")}
_CUBLAS = "libcublas.so.12"  # by this name CTranslate2 4.8.5 opens it; a torch for CUDA 13 brings another


class Whisper:
    """The component; keys as in conf/asr/faster_whisper.yaml. It never asks a hub for anything."""

    def __init__(
        self,
        device: str,
        size: str,
        weights: str,
        seed: int,
        compute_type: str,
        cpu_threads: int,
        use: str,
        cache: str,
    ) -> None:
        """Raises NotApplicable where a package is missing: they are imported here."""
        for key, value in (("device", device), ("size", size), ("use", use)):
            if value not in CHOICES[key]:
                raise ValueError(f"asr.{key}={value}: not offered; use {' or '.join(CHOICES[key])}")
        self.device, self.size, self.weights, self.seed = device, size, weights, seed
        self.compute_type, self.cpu_threads, self.use, self.cache = compute_type, cpu_threads, use, cache
        self.device_index = 0
        self._ctranslate2, self._faster_whisper = _packages()

    def lane(self, device: int | None, own_queue: bool) -> Callable[[], AbstractContextManager[object]]:
        """See engines.contract.OnDevice. CTranslate2 has a CUDA stream of its own in any case."""
        if self.device == "cuda":
            count = self._ctranslate2.get_cuda_device_count()
            if device is not None and device >= count:
                raise NotApplicable(
                    f"executor.devices has {device}: CTranslate2 sees {count} GPUs here, numbered from 0"
                )
            self.device_index = device or 0
        return contextlib.nullcontext

    def load(self) -> None:
        """The first load of random weights makes them, which takes longer: 8 s where size is full."""
        self._check_device()
        if self.weights == "random":
            self.folder = converted(Path(self.cache), self.size, self.seed)
        else:
            self.folder = Path(self.weights)
        self.shapes = check_folder(self.folder, self.size)
        self.model = self._faster_whisper.WhisperModel(
            str(self.folder),
            device=self.device,
            device_index=self.device_index,
            compute_type=self.compute_type,
            cpu_threads=self.cpu_threads,
            local_files_only=True,
        )

    def _check_device(self) -> None:
        if self.device == "cuda":
            if not self._ctranslate2.get_cuda_device_count():
                raise NotApplicable("asr.device=cuda: CTranslate2 sees no GPU here; use asr.device=cpu")
            if self.use == "transcribe" and not _is_library(_CUBLAS):
                raise NotApplicable(
                    f"asr.device=cuda: CTranslate2 needs {_CUBLAS} of CUDA 12, which is not here; run pip "
                    "install nvidia-cublas-cu12 and add its lib folder to LD_LIBRARY_PATH, or asr.device=cpu"
                )
        offered = self._ctranslate2.get_supported_compute_types(self.device)
        if self.compute_type not in offered:
            raise NotApplicable(
                f"asr.compute_type={self.compute_type}: on this {self.device} CTranslate2 has "
                f"{', '.join(sorted(offered))}; use one of them"
            )

    def warm_up(self, job: Job) -> None:
        """Hear the job's voice once; an idle one is left as it was loaded."""
        if self.use == "transcribe":
            self.transcribe(job.voice, job.language)

    def stages(self, job: Job) -> Sequence[Transcribe]:
        return [Transcribe(self, job.language)] if self.use == "transcribe" else []

    def transcribe(self, voice: str, language: str) -> Piece:
        """What is said in a sound file, and in how many tokens; random weights say NUM_TOKENS in each 30 s.

        language  as XTTS names it: en, zh-cn
        """
        limits: dict[str, Any] = {}
        if self.weights == "random":
            # CTranslate2 makes half as many as prompt and new ones together (models/whisper.cc)
            limits = {"max_new_tokens": 2 * NUM_TOKENS - _PROMPT, "suppress_tokens": [_END_OF_TEXT]}
        segments, _ = self.model.transcribe(
            speech(voice), language=language.partition("-")[0], **DECODING, **limits
        )
        heard = list(segments)  # only now it is worked at
        text = "".join(segment.text for segment in heard)
        return Piece("text", text, count=sum(len(segment.tokens) for segment in heard))

    def attest(self) -> Mapping[str, Any]:
        """See engines.contract.Component. What is asked for as int8 runs as int8_float32 on a CPU."""
        model = self.model.model
        said, asked = model.compute_type, self.compute_type
        facts = {"backend": "ctranslate2", "dtype": said, "device": model.device}
        is_random = self.weights == "random"
        return {
            "weights": "random" if is_random else f"checkpoint sha256:{sha256(self.folder / 'model.bin')}",
            "device": model.device,
            "size": size_of(self.shapes),
            "stages": {"transcribe": facts},
            "parameters": num_parameters(self.shapes),
            "versions": {
                "faster-whisper": self._faster_whisper.__version__,
                "ctranslate2": self._ctranslate2.__version__,
            },
            "options": {"tokens_per_30_s": NUM_TOKENS if is_random else None, **DECODING},
            "ran": {
                "device": model.device,
                "size": size_of(self.shapes),
                "compute_type": asked if asked == "int8" and said.startswith("int8_") else said,
            },
        }

    def memory(self) -> Mapping[str, float]:
        return {}


class Transcribe:
    """Hears a job's voice clip; see Whisper.transcribe."""

    name = "transcribe"
    timer = None  # the call returns when all is done, on a GPU too

    def __init__(self, whisper: Whisper, language: str) -> None:
        self._whisper = whisper
        self._language = language

    def feed(self, piece: Piece) -> Iterator[Piece]:
        yield self._whisper.transcribe(piece.data, self._language)

    def flush(self) -> Iterator[Piece]:
        yield from ()


def _packages() -> tuple[Any, Any]:
    """ctranslate2 and faster_whisper, by name: where they are missing the point is skipped."""
    # Read when huggingface_hub is imported. All files are local: this is for what may come after us.
    os.environ.setdefault("HF_HUB_OFFLINE", "1")
    try:
        return importlib.import_module("ctranslate2"), importlib.import_module("faster_whisper")
    except ImportError as error:
        raise NotApplicable(
            f"asr=faster_whisper: {error}; run pip install --no-deps faster-whisper ctranslate2"
        ) from error


def _is_library(name: str) -> bool:
    try:
        ctypes.CDLL(name)
    except OSError:
        return False
    return True


def converted(cache: Path, size: str, seed: int) -> Path:
    """The folder of random weights in `cache`, made there where there is none that is whole."""
    folder = cache / f"whisper-{size}-seed{seed}-{LAYOUT}"
    with Cache(cache).alone("whisper"):
        with contextlib.suppress(ValueError):
            check_folder(folder, size)
            return folder
        part = folder.with_suffix(".part")
        for left in (part, folder):
            shutil.rmtree(left, ignore_errors=True)
        part.mkdir()
        write_random(part, size, seed)
        part.rename(folder)
    return folder


def speech(path: str) -> audio_file.Samples:
    """A WAV or FLAC file as (n,) float32 in [-1, 1] at RATE. Raises ValueError."""
    try:
        samples, rate = audio_file.read(path, SHORTEST_S, LONGEST_S)
    except ValueError as error:
        raise ValueError(f"workload.voice={path}: {error}") from error
    found: audio_file.Samples = soxr.resample(samples, rate, RATE)
    return found
