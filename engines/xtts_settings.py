"""The settings of the XTTS component and the rules they keep."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from engines.contract import NotApplicable

CHECKPOINT_FILES = ("config.json", "model.pth", "vocab.json")


@dataclass(frozen=True)
class Settings:
    """The keys of conf/tts/xtts.yaml, which explains them. Raises ValueError and NotApplicable."""

    device: str
    size: str
    weights: str
    seed: int
    speaker: str | None = None
    precision: str = "fp32"
    backend: str = "eager"
    mode: str = "full"
    cpu_threads: int = 1
    cache_speaker: bool = True
    temperature: float = 0.75
    top_k: int = 50
    top_p: float = 0.85
    repetition_penalty: float = 10.0
    reference_s: int = 30
    condition_s: int = 6
    condition_chunk_s: int = 6
    max_characters: int | None = None

    def __post_init__(self) -> None:
        self._check_choices()
        self._check_numbers()
        self._check_weights()

    def _check_choices(self) -> None:
        choices = {
            "device": ("cpu", "cuda"),
            "size": ("tiny", "full"),
            "precision": ("fp32",),
            "backend": ("eager",),
            "mode": ("full", "stream"),
        }
        for key, allowed in choices.items():
            if getattr(self, key) not in allowed:
                raise ValueError(f"tts.{key}={getattr(self, key)}: not offered; use {' or '.join(allowed)}")
        if self.mode == "stream":
            raise NotApplicable("tts.mode=stream: not written yet; use tts.mode=full")

    def _check_numbers(self) -> None:
        at_least = {"cpu_threads": 1, "top_k": 0, "reference_s": 1, "condition_s": 1, "condition_chunk_s": 1}
        for key, low in at_least.items():
            if getattr(self, key) < low:
                raise ValueError(f"tts.{key}={getattr(self, key)}: at least {low}")
        for key in ("temperature", "repetition_penalty", "top_p"):
            if getattr(self, key) <= 0:
                raise ValueError(f"tts.{key}={getattr(self, key)}: more than 0")
        if self.condition_chunk_s > self.condition_s:
            raise ValueError(
                f"tts.condition_chunk_s={self.condition_chunk_s}: at most tts.condition_s={self.condition_s}"
            )

    def _check_weights(self) -> None:
        if self.weights == "random":
            if self.speaker is not None:
                raise ValueError(
                    f"tts.speaker={self.speaker}: random weights have no named speakers; use null, "
                    "which clones the voice of the workload"
                )
            return
        needed = CHECKPOINT_FILES if self.speaker is None else (*CHECKPOINT_FILES, "speakers_xtts.pth")
        missing = [name for name in needed if not (Path(self.weights) / name).is_file()]
        if missing:
            names = ", ".join(missing)
            raise ValueError(f"tts.weights={self.weights}: no {names} there; use random or a whole folder")
