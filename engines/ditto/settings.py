"""The keys of conf/avatar/ditto.yaml with their rules, checked before anything is loaded."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from engines.contract import NotApplicable
from engines.ditto.conditioning import EMOTIONS

# Frames of a motion window, fixed by the weights.
SEQ_FRAMES = {"full": 80, "tiny": 20}
_CHOICES = {
    "device": ("cpu", "cuda"),
    "size": ("tiny", "full"),
    "precision": ("fp32", "fp16"),
    "backend": ("eager",),
    "mode": ("offline", "online"),
}
_HUBERT_FILE = Path("aux_models") / "hubert_streaming_fix_kv.onnx"


@dataclass(frozen=True)
class Settings:
    """Raises ValueError for a wrong key, NotApplicable for a combination that no machine can run.

    weights  "random" or the folder of the released checkpoints, with models/*.pth
    hubert   "auto" (as the weights), "random" or an ONNX file
    Units and meanings stand in conf/avatar/ditto.yaml.
    """

    device: str = "cpu"
    size: str = "tiny"
    weights: str = "random"
    hubert: str = "auto"
    steps: int = 50
    overlap: int = 10
    cache_source: bool = True
    smo_k_d: int = 3
    emo: int = 4
    stitching: bool = True
    precision: str = "fp32"
    backend: str = "eager"
    mode: str = "offline"
    max_size: int = 1920
    cpu_threads: int = 1
    x264_threads: int = 4
    seed: int = 0

    def __post_init__(self) -> None:
        for key, choices in _CHOICES.items():
            value = getattr(self, key)
            if value not in choices:
                raise ValueError(f"avatar.{key}={value}: unknown; use one of {', '.join(choices)}")
        self._check_numbers()
        self._check_weights()
        if self.mode == "online":
            raise NotApplicable("avatar.mode=online: not written yet; use avatar.mode=offline")
        if self.device == "cpu" and self.precision != "fp32":
            raise NotApplicable(
                f"avatar.precision={self.precision} with device=cpu: needs a GPU; use avatar.precision=fp32"
            )

    def _check_numbers(self) -> None:
        longest = SEQ_FRAMES[self.size] - 1
        rules = (
            ("steps", 1, 1000, "diffusion steps; use 10, 25 or 50"),
            ("overlap", 0, longest, f"frames shared by windows of {longest + 1}; use 10"),
            ("smo_k_d", 1, 99, "frames to smooth over; use 3, or 1 for none"),
            ("emo", 0, len(EMOTIONS) - 1, f"{', '.join(EMOTIONS)}; use 4"),
            ("max_size", 16, 8192, "px of the longest side; use 1920"),
            ("cpu_threads", 1, 1024, "threads; use 1"),
            ("x264_threads", 1, 128, "threads; use 4"),
        )
        for key, low, high, remedy in rules:
            value = getattr(self, key)
            if not isinstance(value, int) or not low <= value <= high:
                raise ValueError(f"avatar.{key}={value}: {low} to {high} {remedy}")

    def _check_weights(self) -> None:
        folder = self.checkpoint
        if folder is None:
            if self.hubert not in ("auto", "random") and not Path(self.hubert).is_file():
                raise ValueError(f"avatar.hubert={self.hubert}: no such file; use avatar.hubert=random")
            return
        if self.size != "full":
            raise ValueError(
                f"avatar.weights={folder} with size={self.size}: released weights are full size; "
                "use size=full or avatar.weights=random"
            )
        if not (folder / "models").is_dir():
            raise ValueError(
                f"avatar.weights={folder}: no folder models/ with .pth files there; give the folder "
                "ditto_pytorch of the released checkpoints, or use avatar.weights=random"
            )
        if self.hubert_file is not None and not self.hubert_file.is_file():
            raise ValueError(f"avatar.hubert={self.hubert}: no {self.hubert_file}; use avatar.hubert=random")

    @property
    def checkpoint(self) -> Path | None:
        return None if self.weights == "random" else Path(self.weights)

    @property
    def hubert_file(self) -> Path | None:
        """The ONNX file to run, or None for random weights."""
        if self.hubert == "auto":
            return None if self.checkpoint is None else self.checkpoint / _HUBERT_FILE
        return None if self.hubert == "random" else Path(self.hubert)

    @property
    def seq_frames(self) -> int:
        return SEQ_FRAMES[self.size]

    @property
    def input_px(self) -> int:
        """Side of the picture that the networks read."""
        return 256 if self.size == "full" else 32

    @property
    def crop_px(self) -> int:
        """Side of the picture that the decoder renders."""
        return 2 * self.input_px
