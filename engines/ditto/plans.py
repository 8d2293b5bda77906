"""Which backend and precision each of Ditto's stages gets, and which of these nothing can run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

STAGES = ("source", "features", "motion", "stitch", "warp", "decode")
BACKENDS = ("eager", "compile", "cudagraph", "onnxruntime", "tensorrt")
PRECISIONS = ("fp32", "tf32", "fp16", "bf16", "int8", "fp8")
PROVIDERS = ("auto", "cpu", "cuda", "tensorrt")
# Upstream's autocast covers these; motion diffusion, stitching and HuBERT stay in float32.
HALF_STAGES = frozenset({"source", "warp", "decode"})
_CONVOLUTIONS = ("source", "warp", "decode")  # each has a network that is made of them
_REWRITTEN = ("motion", "warp", "decode")  # by fused=true
_GPU_ONLY = {"precision": ("tf32", "fp16", "fp8"), "backend": ("cudagraph", "tensorrt")}
_PLAIN = {"precision": "fp32", "backend": "eager"}


class Settings(Protocol):
    """The keys of engines.ditto.settings.Settings, which checks them by this file, that decide here."""

    @property
    def device(self) -> str: ...
    @property
    def backend(self) -> str: ...
    @property
    def precision(self) -> str: ...
    @property
    def stage_backend(self) -> Mapping[str, str | None]: ...
    @property
    def stage_precision(self) -> Mapping[str, str | None]: ...
    @property
    def onnx_provider(self) -> str: ...
    @property
    def fused(self) -> bool: ...
    @property
    def hubert_file(self) -> Path | None: ...


@dataclass(frozen=True)
class Plan:
    """How one stage's networks run: of BACKENDS and of PRECISIONS."""

    backend: str
    precision: str


def unset() -> dict[str, str | None]:
    """No stage has a value of its own."""
    return dict.fromkeys(STAGES)


def plans(settings: Settings) -> dict[str, Plan]:
    """By stage: its own values, else the component's; precision reaches HALF_STAGES only."""
    return {
        stage: Plan(
            settings.stage_backend.get(stage) or settings.backend,
            settings.stage_precision.get(stage) or (settings.precision if stage in HALF_STAGES else "fp32"),
        )
        for stage in STAGES
    }


def check(settings: Settings) -> None:
    """Raises ValueError for an unknown stage, backend or precision of a stage."""
    for key, choices in (("stage_backend", BACKENDS), ("stage_precision", PRECISIONS)):
        given = getattr(settings, key)
        if not isinstance(given, Mapping) or not set(given) <= set(STAGES):
            raise ValueError(f"avatar.{key}={given}: takes {', '.join(STAGES)}; use avatar.{key}.warp=...")
        for stage, value in given.items():
            if value is not None and value not in choices:
                raise ValueError(
                    f"avatar.{key}.{stage}={value}: unknown; use null or one of {', '.join(choices)}"
                )


def obstacle(settings: Settings) -> str:
    """Why no machine, or no machine without a GPU, can run it: the first reason, "" for none."""
    return next(
        (reason for stage, plan in plans(settings).items() for reason in _obstacles(settings, stage, plan)),
        "",
    )


def tf32_obstacle(settings: Settings, executor: str, workers: int) -> str:
    """Why threads cannot run it side by side, "" if they can: PyTorch has one switch for a process."""
    if executor != "threads" or workers < 2:
        return ""
    switching = ("eager", "compile")
    for stage, plan in plans(settings).items():
        if plan.precision == "tf32" and plan.backend in switching:
            asked = named(settings, "precision", stage)
            return (
                f"{asked} with executor=threads and executor.workers={workers}: tf32 is switched for a whole "
                "process; use executor=processes, or precision fp32 or fp16"
            )
    return ""


def named(settings: Settings, key: str, stage: str) -> str:
    """The setting that a stage's value comes from, as on the command line."""
    own = getattr(settings, f"stage_{key}").get(stage)
    return f"avatar.{key}={getattr(settings, key)}" if own is None else f"avatar.stage_{key}.{stage}={own}"


def _remedy(settings: Settings, key: str, stage: str) -> str:
    own = getattr(settings, f"stage_{key}").get(stage)
    return f"avatar.{key}={_PLAIN[key]}" if own is None else f"avatar.stage_{key}.{stage}={_PLAIN[key]}"


def _obstacles(settings: Settings, stage: str, plan: Plan) -> Iterator[str]:
    file = settings.hubert_file if stage == "features" else None
    if file is not None:
        yield from _of_the_file(settings)
        return
    yield from _of_the_device(settings, stage, plan)
    if plan.precision == "fp8" and stage in _CONVOLUTIONS:
        yield (
            f"{named(settings, 'precision', stage)}: stage {stage} has networks of convolutions, and no "
            f"backend has these in fp8; use {_remedy(settings, 'precision', stage)} or fp16"
        )
    if settings.fused and stage in _REWRITTEN:
        yield from _of_the_rewritten(settings, stage, plan)


def _of_the_device(settings: Settings, stage: str, plan: Plan) -> Iterator[str]:
    if settings.device == "cpu":
        for key, values in _GPU_ONLY.items():
            if getattr(plan, key) in values:
                yield (
                    f"{named(settings, key, stage)} with device=cpu: needs a GPU; "
                    f"use {_remedy(settings, key, stage)}"
                )
    if plan.backend == "onnxruntime":
        yield from _of_onnxruntime(settings, stage, plan)


def _of_onnxruntime(settings: Settings, stage: str, plan: Plan) -> Iterator[str]:
    provider = settings.onnx_provider
    elsewhere = provider != "auto" and (provider == "cpu") != (settings.device == "cpu")
    if elsewhere:
        yield (
            f"avatar.onnx_provider={provider} with device={settings.device}: inputs and results lie on the "
            "device; use avatar.onnx_provider=auto"
        )
    if plan.precision == "bf16":
        yield (
            f"{named(settings, 'precision', stage)} with {named(settings, 'backend', stage)}: onnxruntime "
            f"has no convolutions in bf16; use avatar.stage_precision.{stage}=fp16 or fp32"
        )
    if provider == "tensorrt" and plan.precision == "fp32":
        yield (
            f"avatar.onnx_provider=tensorrt with stage {stage} in fp32: that provider computes in tf32 and "
            f"cannot be told otherwise; use avatar.stage_precision.{stage}=tf32 or fp16"
        )


def _of_the_rewritten(settings: Settings, stage: str, plan: Plan) -> Iterator[str]:
    if plan.backend in ("onnxruntime", "tensorrt"):
        yield (
            f"avatar.fused=true with {named(settings, 'backend', stage)}: the rewritten networks are for "
            "torch; use avatar.fused=false"
        )
    if plan.precision in ("int8", "fp8"):
        yield (
            f"avatar.fused=true with {named(settings, 'precision', stage)}: the rewritten networks have "
            "16 bits or more; use avatar.fused=false"
        )


def _of_the_file(settings: Settings) -> Iterator[str]:
    """A HuBERT that comes as an ONNX file has the backend and the numbers that it has."""
    if settings.onnx_provider not in ("auto", settings.device):
        yield (
            f"avatar.onnx_provider={settings.onnx_provider}: HuBERT comes as an ONNX file and runs on "
            f"{settings.device}; use avatar.onnx_provider=auto, or avatar.hubert=random"
        )
    for key, kept in (("stage_backend", "onnxruntime"), ("stage_precision", "fp32")):
        own = getattr(settings, key).get("features")
        if own not in (None, kept):
            yield (
                f"avatar.{key}.features={own}: HuBERT comes as an ONNX file and runs as it is; "
                f"use avatar.{key}.features=null, or avatar.hubert=random"
            )
