"""The settings of the XTTS component and the rules they keep."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from engines.contract import NotApplicable
from engines.xtts import plans
from engines.xtts.files import check_folder


@dataclass(frozen=True)
class Settings:
    """The keys of conf/tts/xtts.yaml, which explains them. Raises ValueError, NotApplicable."""

    device: str
    size: str
    weights: str
    seed: int
    speaker: str | None = None
    precision: str = "fp32"
    backend: str = "eager"
    stage_backend: Mapping[str, str | None] = field(default_factory=plans.unset)
    stage_precision: Mapping[str, str | None] = field(default_factory=plans.unset)
    cache: str = "runs/.cache"
    mode: str = "full"
    stream_chunk_tokens: int = 20
    stream_vocoder: str = "all"
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
        plans.check(self)
        self._check_weights()
        obstacle = plans.obstacle(self)
        if obstacle:
            raise NotApplicable(obstacle)

    def _check_choices(self) -> None:
        choices = {
            "device": ("cpu", "cuda"),
            "size": ("tiny", "full"),
            "precision": plans.PRECISIONS,
            "backend": plans.BACKENDS,
            "mode": ("full", "stream"),
            "stream_vocoder": ("all", "window"),
        }
        for key, allowed in choices.items():
            if getattr(self, key) not in allowed:
                raise ValueError(f"tts.{key}={getattr(self, key)}: not offered; use {' or '.join(allowed)}")

    def _check_numbers(self) -> None:
        at_least = {
            **dict.fromkeys(("cpu_threads", "reference_s", "condition_s", "condition_chunk_s"), 1),
            "stream_chunk_tokens": 1,
            "top_k": 0,
        }
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
        check_folder(Path(self.weights), self.size, self.speaker)
