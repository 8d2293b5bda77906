"""What Ditto attests of its stages: read back from the networks as they run, not from the settings."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from engines.backends.arithmetic import precision_of
from engines.ditto.encoders import PIXELS, Encoder
from engines.ditto.models import Models
from engines.ditto.plans import HALF_STAGES, STAGES
from engines.ditto.settings import SEQ_FRAMES

_PROVIDERS = {
    "CPUExecutionProvider": "cpu",
    "CUDAExecutionProvider": "cuda",
    "TensorrtExecutionProvider": "tensorrt",
}


def stages(models: Models, encoder: Encoder, ran: Mapping[str, Any]) -> dict[str, dict[str, str]]:
    """Of every stage its backend, dtype and device.

    ran  settings as the stages of the jobs held them: where the face was put back
    """
    found = {stage: models.facts(stage) for stage in STAGES}
    on_cpu = {"device": "cpu", "meant": "cpu"}
    on_gpu = {"device": models.device.type}
    found["putback"] = {"backend": "opencv", "dtype": "float32", **on_cpu}
    if ran.get("putback") == "gpu":
        found["putback"] = {"backend": "eager", "dtype": "float32", **on_gpu}
    where = on_gpu if encoder.name == "nvenc" else on_cpu
    found["write"] = {"backend": encoder.codec, "dtype": PIXELS, **where}
    return found


def ran(models: Models, of_stages: Mapping[str, Any]) -> dict[str, Any]:
    """Keys of the settings as the loaded objects have them.

    of_stages  those that the stages of the jobs held
    """
    facts = {stage: models.facts(stage) for stage in STAGES}
    kinds = [models.kinds[name] for name in ("warp_network", "decoder")]
    rewritten = {kind.startswith("engines.ditto.fused.") for kind in kinds} | {"window" in models.ready}
    found: dict[str, Any] = {
        "device": facts["decode"]["device"].partition(":")[0],
        "size": next(size for size, frames in SEQ_FRAMES.items() if frames == models.window_frames),
        "steps": models.steps,
        "fused": rewritten.pop() if len(rewritten) == 1 else "in part",
        "batch": models.batch,
        **_backends(models, facts),
        **_precisions(models, facts),
        **of_stages,
    }
    providers = {each["provider"] for each in facts.values() if each["backend"] == "onnxruntime"}
    if providers:
        found["onnx_provider"] = _joined([_PROVIDERS.get(provider, provider) for provider in providers])
    return found


def _backends(models: Models, facts: Mapping[str, Mapping[str, str]]) -> dict[str, Any]:
    """The component's backend, from the stages that go by it, and that of the stages with their own."""
    asked = models.settings.stage_backend
    by_file = {"features"} if models.onnx_hubert is not None else set()
    common = [
        facts[stage]["backend"] for stage in STAGES if asked.get(stage) is None and stage not in by_file
    ]
    own = {
        stage: None if asked.get(stage) is None else facts[stage]["backend"].partition(" ")[0]
        for stage in STAGES
    }
    return {"stage_backend": own} | ({"backend": _joined(common)} if common else {})


def _precisions(models: Models, facts: Mapping[str, Mapping[str, str]]) -> dict[str, Any]:
    """The same for precisions. A stage that no setting reaches is in fp32, or it is told that it is not."""
    asked = models.settings.stage_precision
    found = {stage: _precision(facts[stage]["dtype"]) for stage in STAGES}
    common = [found[stage] for stage in STAGES if asked.get(stage) is None and stage in HALF_STAGES]
    own = {}
    for stage in STAGES:
        as_meant = stage in HALF_STAGES or found[stage] == "fp32"
        own[stage] = None if asked.get(stage) is None and as_meant else found[stage]
    return {"stage_precision": own} | ({"precision": _joined(common)} if common else {})


def _precision(dtype: str) -> str:
    """The word of the settings, or the dtypes themselves where there are several."""
    return precision_of(dtype) or dtype


def _joined(values: list[str]) -> str:
    return " and ".join(sorted(set(values)))
