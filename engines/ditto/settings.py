"""The keys of conf/avatar/ditto.yaml with their rules, checked before anything is loaded."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from engines.contract import NotApplicable
from engines.ditto import options, plans

# Frames of a motion window, fixed by the weights.
SEQ_FRAMES = {"full": 80, "tiny": 20}
_CHOICES = {
    "device": ("cpu", "cuda"),
    "size": ("tiny", "full"),
    "precision": plans.PRECISIONS,
    "backend": plans.BACKENDS,
    "onnx_provider": plans.PROVIDERS,
    "fused": (False, True),
    "mode": ("offline", "online"),
    "cfg_values": ("agree", "ignore"),
    "fade_type": ("", "d0", "s"),
    "putback": ("cpu", "gpu"),
    "encoder": ("x264", "nvenc", "auto"),
    "x264_threading": ("slices", "frames"),
    "container": ("mp4", "fragmented"),
}
# Least, most and what to use instead; whole numbers where both are.
_NUMBERS: Mapping[str, tuple[float, float, str]] = {
    "steps": (1, 1000, "diffusion steps; use 10, 25 or 50"),
    "fix_kp_cond": (0, 1000, "windows; use 0, or 1 online"),
    "smo_k_d": (1, 99, "frames to smooth over; use 3, or 1 for none"),
    "smo_k_s": (1, 99, "frames to smooth over; use 13, or 1 for none"),
    "max_size": (16, 8192, "px of the longest side; use 1920"),
    "crop_scale": (0.5, 10.0, "times the face; use 2.3"),
    "crop_vy_ratio": (-2.0, 2.0, "sides of the crop; use -0.125"),
    "source_frames": (1, 100_000, "frames of the source video; use null for all"),
    "fade_in": (0, 10_000, "frames; use 0"),
    "fade_out": (0, 10_000, "frames; use 0"),
    **dict.fromkeys(("delta_pitch", "delta_yaw", "delta_roll"), (-90.0, 90.0, "degrees; use null")),
    **dict.fromkeys(("alpha_pitch", "alpha_yaw", "alpha_roll"), (-10.0, 10.0, "times the pose; use null")),
    "vad_alpha": (0.0, 1.0, "of the expression; use null"),
    "batch": (1, 64, "frames per call; use 1 or 4"),
    "in_flight": (1, 8, "batches ahead; use 1 or 2"),
    "x264_threads": (1, 128, "threads; use 4"),
    "cpu_threads": (1, 1024, "threads; use 1"),
}
_OPTIONAL = frozenset({"source_frames", *options.CONTROLS})
_NEEDS_GPU = (("putback", "gpu", "cpu"), ("encoder", "nvenc", "x264"))
_AUX_MODELS = "aux_models"
_HUBERT_FILE = Path(_AUX_MODELS) / "hubert_streaming_fix_kv.onnx"


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
    faces: str = "auto"
    cfg: str | None = None
    cfg_values: str = "agree"
    seed: int = 0
    precision: str = "fp32"
    backend: str = "eager"
    stage_backend: Mapping[str, str | None] = field(default_factory=plans.unset)
    stage_precision: Mapping[str, str | None] = field(default_factory=plans.unset)
    onnx_provider: str = "auto"
    fused: bool = False
    batch: int = 1
    in_flight: int = 1
    cache: str = "runs/.cache"
    mode: str = "offline"
    steps: int = 50
    overlap: int = 10
    fix_kp_cond: int = 0
    fix_kp_cond_dim: Sequence[int] | None = None
    smo_k_d: int = 3
    smo_k_s: int = 13
    max_size: int = 1920
    crop_scale: float = 2.3
    crop_vy_ratio: float = -0.125
    crop_rotate: bool = True
    source_frames: int | None = None
    emo: int | Sequence[Any] = 4
    eye_f0_mode: bool = False
    use_d_keys: Sequence[str] | Mapping[str, float] | None = None
    relative_d: bool = True
    drive_eye: bool | None = None
    delta_eye_open_n: int | Sequence[int] = 0
    fade_type: str = ""
    fade_in: int = 0
    fade_out: int = 0
    fade_out_keys: Sequence[str] = ("exp",)
    delta_pitch: float | None = None
    delta_yaw: float | None = None
    delta_roll: float | None = None
    alpha_pitch: float | None = None
    alpha_yaw: float | None = None
    alpha_roll: float | None = None
    vad_alpha: float | None = None
    stitching: bool = True
    cache_source: bool = True
    putback: str = "cpu"
    encoder: str = "x264"
    x264_preset: str = "medium"
    x264_threads: int = 4
    x264_threading: str = "slices"
    container: str = "mp4"
    cpu_threads: int = 1

    def __post_init__(self) -> None:
        for key, choices in _CHOICES.items():
            value = getattr(self, key)
            if value not in choices:
                raise ValueError(f"avatar.{key}={value}: unknown; use one of {', '.join(map(str, choices))}")
        self._check_numbers()
        options.check(vars(self))
        plans.check(self)
        self._check_weights()
        self._check_applicable()

    def _check_numbers(self) -> None:
        longest = self.seq_frames - 1
        overlap = (0, longest, f"frames shared by windows of {longest + 1}; use 10")
        for key, (low, high, remedy) in {**_NUMBERS, "overlap": overlap}.items():
            value = getattr(self, key)
            if value is None and key in _OPTIONAL:
                continue
            kind = (int, float) if isinstance(low, float) else int
            if isinstance(value, bool) or not isinstance(value, kind) or not low <= value <= high:
                raise ValueError(f"avatar.{key}={value}: {low} to {high} {remedy}")

    def _check_applicable(self) -> None:
        for key, value, remedy in _NEEDS_GPU:
            if self.device == "cpu" and getattr(self, key) == value:
                raise NotApplicable(
                    f"avatar.{key}={value} with device=cpu: needs a GPU; use avatar.{key}={remedy}"
                )
        obstacle = plans.obstacle(self)
        if obstacle:
            raise NotApplicable(obstacle)
        if self.container == "fragmented" and self.x264_threading == "frames":
            raise NotApplicable(
                "avatar.container=fragmented with avatar.x264_threading=frames: each thread holds a frame "
                "back, and a stream must not; use avatar.x264_threading=slices"
            )
        self._check_online()

    def _check_online(self) -> None:
        if self.mode == "online" and self.overlap < self.seq_frames / 2:
            # the first window is made of silence and of seq - overlap frames, and all of it is thrown away
            lost = self.seq_frames - 2 * self.overlap
            raise NotApplicable(
                f"avatar.mode=online with avatar.overlap={self.overlap}: the first {lost} frames would be "
                f"lost; use avatar.overlap={self.seq_frames * 7 // 8}"
            )
        if self.mode == "online" and self.fade_out:
            raise NotApplicable(
                f"avatar.mode=online with avatar.fade_out={self.fade_out}: nobody knows the end of a stream "
                "before it is there; use avatar.fade_out=0"
            )
        if self.mode == "online" and not self.relative_d:
            # upstream's worker hands over its first window's motion, whatever relative_d says
            raise NotApplicable(
                "avatar.mode=online with avatar.relative_d=false: a stream moves relative to its first "
                "window; use avatar.relative_d=true"
            )

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
    def faces_folder(self) -> Path | None:
        """The folder of the face detectors, or None for the crop stored beside the portrait."""
        if self.faces == "auto":
            return None if self.checkpoint is None else self.checkpoint / _AUX_MODELS
        return None if self.faces == "stored" else Path(self.faces)

    @property
    def controls(self) -> dict[str, float]:
        """Controls of every frame, by upstream's names."""
        return {key: getattr(self, key) for key in options.CONTROLS if getattr(self, key) is not None}

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
