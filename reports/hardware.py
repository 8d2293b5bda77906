"""Peaks of GPUs: dense arithmetic per number format and memory bandwidth, from the makers' data sheets."""

from __future__ import annotations

import re
from dataclasses import dataclass


@dataclass(frozen=True)
class Gpu:
    """What a GPU can do at most.

    pattern   regular expression that its NVML name matches whole, without the leading `NVIDIA `
    tflops    number format -> dense 10**12 operations per second (a multiplication and an addition are two),
              with sums in fp32 (int32 for int8); a format that is absent is not in its tensor cores
    gb_per_s  memory bandwidth, 10**9 bytes per second
    source    document of NVIDIA's; figures "with sparsity" there are halved here
    """

    pattern: str
    tflops: dict[str, float]
    gb_per_s: float
    source: str


def _tflops(
    fp32: float, tf32: float = 0.0, half: float = 0.0, int8: float = 0.0, fp8: float = 0.0, bf16: bool = True
) -> dict[str, float]:
    known = {
        "fp32": fp32,
        "tf32": tf32,
        "fp16": half,
        "bf16": half if bf16 else 0.0,
        "int8": int8,
        "fp8": fp8,
    }
    return {name: value for name, value in known.items() if value}


_H100_NVL = _tflops(60.0, 417.5, 835.5, 1670.5, 1670.5)
_SXM = _tflops(67.0, 494.5, 989.0, 1979.0, 1979.0)
_A100 = _tflops(19.5, 156.0, 312.0, 624.0)
_A100_SHEET = "A100 Tensor Core GPU data sheet"

GPUS: tuple[Gpu, ...] = (
    Gpu("H200( SXM.*)?", _SXM, 4800.0, "H200 Tensor Core GPU data sheet, SXM"),
    Gpu("H200 NVL", _H100_NVL, 4800.0, "H200 Tensor Core GPU data sheet, NVL"),
    Gpu("H100( SXM.*)? 80GB HBM3", _SXM, 3350.0, "H100 Tensor Core GPU data sheet, SXM"),
    Gpu("H100 NVL", _H100_NVL, 3900.0, "H100 Tensor Core GPU data sheet, NVL"),
    Gpu("H100 PCIe", _tflops(51.0, 378.0, 756.0, 1513.0, 1513.0), 2000.0, "H100 data sheet of 2022, PCIe"),
    Gpu("A100-SXM.?-80GB", _A100, 2039.0, f"{_A100_SHEET}, 80 GB SXM"),
    Gpu("A100 80GB PCIe", _A100, 1935.0, f"{_A100_SHEET}, 80 GB PCIe"),
    Gpu("A100-(SXM.?|PCIE)-40GB", _A100, 1555.0, "A100 data sheet of 2020, 40 GB"),
    Gpu("L4", _tflops(30.3, 60.0, 121.0, 242.0, 242.0), 300.0, "L4 Tensor Core GPU data sheet"),
    Gpu("L40S", _tflops(91.6, 183.0, 362.0, 733.0, 733.0), 864.0, "L40S data sheet"),
    Gpu("A10", _tflops(31.2, 62.5, 125.0, 250.0), 600.0, "A10 data sheet"),
    Gpu("(Tesla )?T4", _tflops(8.1, 0.0, 65.0, 130.0, bf16=False), 300.0, "T4 data sheet"),
    Gpu(
        "(GeForce )?RTX 4090",
        _tflops(82.6, 82.6, 165.2, 660.6, 330.3),
        1008.0,
        "Ada GPU architecture, appendix A",
    ),
)


def gpu_of(name: str) -> Gpu | None:
    """The GPU that NVML calls so; None for an unknown one and for a slice of one (MIG)."""
    bare = name.strip().removeprefix("NVIDIA ").strip()
    return next((gpu for gpu in GPUS if re.fullmatch(gpu.pattern, bare)), None)


_FORMATS = (
    ("fp8", "fp8|float8.*|f8.*"),
    ("int8", "int8|qint8|i8"),
    ("bf16", "bf16|bfloat16"),
    ("fp16", "fp16|float16|half|f16"),
    ("tf32", "tf32"),
    ("fp32", "fp32|float32|float|f32"),
)


def format_of(dtype: str) -> str:
    """The format of the arithmetic: `torch.float16` -> fp16, `int8 weights, float16 arithmetic` -> fp16.

    Of several the first known; "" for none.
    """
    stored = re.sub(r"\w+[ -]weights|weights[ -]\w+", " ", dtype.lower().replace("torch.", ""))
    for word in re.split(r"[^a-z0-9_]+", stored):
        for name, pattern in _FORMATS:
            if re.fullmatch(pattern, word):
                return name
    return ""
