"""Made-up sweeps: points whose RTF, device times and quality can be worked out on paper."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from harness.result import Measurement, Outcome
from tests.data.make_runs import ENVIRONMENT, broken, measured, point

H200 = {"name": "NVIDIA H200", "memory_mib": 143771, "driver": "580.95.05"}
# Per frame. An H200 does 989e12 fp16 operations and moves 4.8e12 bytes a second: 1 ms and 0.1 ms at least.
WORK = {"warp": {"flops": 989e9, "bytes": 10e6}, "decode": {"flops": 98.9e9, "bytes": 48e6}}
REFERENCE = {"state": "reference", "text": "nothing in it is optimised"}
UNCHECKED = {"state": "not checked", "text": "not checked: this run has no point of the same work"}


def plain(rtf: float, repeat: int = 0, minute: int = 0, **keys: Any) -> Measurement:
    """An ok sequential point with this aggregate RTF, begun then; keys as for point: avatar__steps=10."""
    started_at = f"2026-11-20T10:{minute:02d}:{repeat:02d}+00:00"
    return measured(point("sequential", 1, **keys), repeat, scale=rtf / 2, started_at=started_at)


def holds(psnr_db: float) -> dict[str, Any]:
    return {"state": "holds", "text": f"PSNR {psnr_db} dB, against the plain reference", "psnr_db": psnr_db}


def judged(m: Measurement, quality: Mapping[str, Any]) -> Measurement:
    return replace(m, result=replace(m.result, quality=dict(quality)))


def on_gpu(
    m: Measurement,
    dtype: str = "float16",
    gpus: tuple[Mapping[str, Any], ...] = (H200,),
    work: Mapping[str, Mapping[str, float]] = WORK,
    slower: float = 1.0,
) -> Measurement:
    """As if its 4 jobs drew 100 frames each on a GPU: 2 ms of device time a frame in warp, 1 ms in decode."""
    per_frame_ns = {"warp": 2e6 * slower, "decode": 1e6 * slower}
    spans = [span for span in m.spans if span.stage != "warp"]
    for span in m.spans:
        if span.stage == "warp":
            spans += [
                replace(span, stage=stage, count=100, gpu_ns=round(100 * each))
                for stage, each in per_frame_ns.items()
            ]
    stages = {name: {"backend": "cudagraph", "dtype": dtype, "device": "cuda"} for name in work}
    part = {"weights": "random", "device": "cuda", "size": "full", "stages": stages, "work": work}
    workers = {worker: {"avatar": part} for worker in m.result.attestation}
    changed = {"attestation": workers, "environment": {**ENVIRONMENT, "gpus": [*gpus]}}
    return Measurement(replace(m.result, **changed), tuple(spans), m.samples)


def matrix() -> Iterator[Measurement]:
    """48 points for the eye: what is faster on the GPU helps less where the CPU has more to do."""
    speed = {"eager": 1.0, "cudagraph": 0.5, "tensorrt": 0.3}
    levels = (speed, ("fp32", "fp16"), ("360x480", "1440x1920"), (10, 50), (1, 8))
    for index, (backend, precision, size, steps, batch) in enumerate(itertools.product(*levels)):
        made = point(
            "sequential", 1, avatar__backend=backend, avatar__precision=precision, workload__resolution=size,
            avatar__steps=steps, avatar__batch=batch,
        )  # fmt: skip
        if backend == "tensorrt" and precision == "fp32" and batch == 8:
            yield broken(made, Outcome.SKIPPED, "tensorrt is not installed")
            continue
        gpu_s = 6.0 * speed[backend] * (0.6 if precision == "fp16" else 1.0) * (0.85 if batch == 8 else 1.0)
        noise = 1 + 0.01 * ((7 * index) % 5 - 2)
        write_s = 2.5 if size == "1440x1920" else 0.3
        parts = {"wait": 0.0, "gpt": 0.2 + 0.01 * steps, "warp": 1.0 + gpu_s * noise, "write": write_s}
        m = on_gpu(measured(made, parts=parts), "float16" if precision == "fp16" else "float32")
        psnr_db = {"fp32": 70.0, "fp16": 48.0}[precision] - {"eager": 0, "cudagraph": 1, "tensorrt": 3}[
            backend
        ]
        is_reference = (backend, precision, batch) == ("eager", "fp32", 1)
        yield judged(m, REFERENCE if is_reference else holds(psnr_db))
