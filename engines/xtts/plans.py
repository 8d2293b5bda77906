"""Which backend and precision XTTS's GPT and vocoder get, and which of these nothing can run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

STAGES = ("gpt", "vocoder")
BACKENDS = ("eager", "compile", "cudagraph", "onnxruntime", "tensorrt")
PRECISIONS = ("fp32", "tf32", "fp16", "bf16", "int8", "fp8")
DECODERS = ("compile", "cudagraph")
"""Backends of the GPT with a decoder of our own."""

_GPU_ONLY = {"precision": ("tf32", "fp16", "fp8"), "backend": ("cudagraph", "tensorrt")}
_PLAIN = {"precision": "fp32", "backend": "eager"}


class Settings(Protocol):
    """The keys of conf/tts/xtts.yaml that this is about."""

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


@dataclass(frozen=True)
class Plan:
    """How one stage's network runs: of BACKENDS and of PRECISIONS."""

    backend: str
    precision: str

    @property
    def is_plain(self) -> bool:
        """The package's own network as it is."""
        return self.backend == "eager" and self.precision == "fp32"


def unset() -> dict[str, str | None]:
    """No stage has a value of its own."""
    return dict.fromkeys(STAGES)


def plans(settings: Settings) -> dict[str, Plan]:
    """By stage: its own values, else the component's. The conditioning is the package's, in float32."""
    return {
        stage: Plan(
            settings.stage_backend.get(stage) or settings.backend,
            settings.stage_precision.get(stage) or settings.precision,
        )
        for stage in STAGES
    }


def check(settings: Settings) -> None:
    """Raises ValueError for an unknown stage, backend or precision of a stage."""
    for key, choices in (("stage_backend", BACKENDS), ("stage_precision", PRECISIONS)):
        given = getattr(settings, key)
        if not isinstance(given, Mapping) or not set(given) <= set(STAGES):
            raise ValueError(f"tts.{key}={given}: takes {' and '.join(STAGES)}; use tts.{key}.gpt=...")
        for stage, value in given.items():
            if value is not None and value not in choices:
                raise ValueError(
                    f"tts.{key}.{stage}={value}: unknown; use null or one of {', '.join(choices)}"
                )


def obstacle(settings: Settings) -> str:
    """Why no machine, or no machine without a GPU, can run it: the first reason, "" for none."""
    found = plans(settings)
    reasons = [*_of_the_gpt(settings, found["gpt"]), *_of_the_vocoder(settings, found["vocoder"])]
    if settings.device == "cpu":
        reasons += [reason for stage, plan in found.items() for reason in _of_the_cpu(settings, stage, plan)]
    return next(iter(reasons), "")


def named(settings: Settings, key: str, stage: str) -> str:
    """The setting that a stage's value comes from, as on the command line; key is backend or precision."""
    own = getattr(settings, f"stage_{key}").get(stage)
    return f"tts.{key}={getattr(settings, key)}" if own is None else f"tts.stage_{key}.{stage}={own}"


def tf32_obstacle(settings: Settings, executor: str, workers: int) -> str:
    """Why threads cannot run it side by side, "" if they can: PyTorch has one switch per process."""
    if executor != "threads" or workers < 2:
        return ""
    for stage, plan in plans(settings).items():
        if plan.precision == "tf32" and plan.backend in ("eager", "compile"):
            return (
                f"{named(settings, 'precision', stage)} with executor=threads, executor.workers={workers}: "
                "tf32 is switched for the whole process; use executor=processes, or precision fp32 or fp16"
            )
    return ""


def _of_the_gpt(settings: Settings, plan: Plan) -> Iterator[str]:
    if plan.backend in ("onnxruntime", "tensorrt"):
        yield (
            f"{named(settings, 'backend', 'gpt')}: the GPT's keys and values would be copied out and in for "
            "each token; use tts.stage_backend.gpt=cudagraph or compile, on a CPU eager"
        )
    if plan.backend in DECODERS and plan.precision == "tf32":
        yield (
            f"{named(settings, 'precision', 'gpt')} with {named(settings, 'backend', 'gpt')}: a token's "
            "products have one row and no use for tensor cores; use tts.stage_precision.gpt=fp32 or fp16"
        )
    if plan.backend == "cudagraph" and plan.precision in ("int8", "fp8"):
        yield (
            f"{named(settings, 'precision', 'gpt')} with {named(settings, 'backend', 'gpt')}: 8-bit weights "
            "would be multiplied out in memory for each token; use tts.stage_backend.gpt=compile, whose "
            "kernels do it as they read"
        )


def _of_the_vocoder(settings: Settings, plan: Plan) -> Iterator[str]:
    if plan.precision == "fp8":
        yield (
            f"{named(settings, 'precision', 'vocoder')}: the vocoder is made of convolutions, and no backend "
            "has fp8 ones; use tts.stage_precision.vocoder=fp16"
        )


def _of_the_cpu(settings: Settings, stage: str, plan: Plan) -> Iterator[str]:
    for key, values in _GPU_ONLY.items():
        if getattr(plan, key) in values:
            own = getattr(settings, f"stage_{key}").get(stage)
            name = key if own is None else f"stage_{key}.{stage}"
            yield (
                f"{named(settings, key, stage)} with device=cpu: needs a GPU; use tts.{name}={_PLAIN[key]}"
            )
