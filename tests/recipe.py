"""How reference cases make their weights and inputs: every number is a function of a tag's checksum."""

from __future__ import annotations

import math
import re
import zlib
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

_UNCHANGED = {"freqs", "alphas_cumprod", "sqrt_recipm1_alphas_cumprod", "sqrt_recip1m_alphas_cumprod"}
_FORMULA = re.compile(r"float32\(float64\((?P<base>\w+)\) \+ (?P<factor>[0-9.eE+-]+)\*unit\(tag\)\)")


def unit(tag: str, shape: Sequence[int]) -> np.ndarray:
    """float64 of `shape`, in [-1, 1), from the top 53 bits of PCG64 seeded by the tag's CRC-32."""
    raw = np.random.PCG64(zlib.crc32(tag.encode())).random_raw(math.prod(shape))
    fraction = (np.asarray(raw, dtype=np.uint64) >> np.uint64(11)).astype(np.float64) * 2.0**-53
    return (2.0 * fraction - 1.0).reshape(tuple(shape))


def entry(tag: str, key: str, shape: Sequence[int]) -> np.ndarray:
    """Value of one state_dict entry other than buffers that stay, counters and weight_v; float32."""
    leaf = key.rpartition(".")[2]
    s = unit(f"{tag}/{key}", shape)
    offset, scale = 0.0, 0.1
    if leaf == "running_var":
        offset, scale = 1.0, 0.5
    elif leaf == "weight_u":
        return (s / np.sqrt((s * s).sum())).astype(np.float32)
    elif leaf == "gamma":
        scale = 0.5
    elif leaf.startswith("null_cond"):
        scale = math.sqrt(3.0)
    elif leaf not in ("running_mean", "beta"):
        return _by_rank(key, leaf, s)
    return (offset + scale * s).astype(np.float32)


def _by_rank(key: str, leaf: str, s: np.ndarray) -> np.ndarray:
    """Weights and biases: one axis is a norm's weight or a bias, more axes are a matrix or kernel."""
    if s.ndim == 1 and leaf == "weight":
        return (1.0 + 0.2 * s).astype(np.float32)
    if s.ndim == 1:
        return (0.1 * s + (1.0 if key.endswith("fc_scale.bias") else 0.0)).astype(np.float32)
    value = np.sqrt(6.0 / math.prod(s.shape[1:])) * s
    if ".fc_" in key:
        value = 0.2 * value
    if key == "final_layer.weight":
        value = 0.05 * value
    return value.astype(np.float32)


@torch.no_grad()
def fill(module: nn.Module, tag: str) -> nn.Module:
    """Fill every entry of the module's state_dict; tag is `<seed>/<config>/<network>`."""
    state = module.state_dict()
    for key, tensor in state.items():
        leaf = key.rpartition(".")[2]
        if leaf == "num_batches_tracked":
            tensor.zero_()
        elif leaf not in _UNCHANGED and leaf != "weight_v":
            tensor.copy_(torch.from_numpy(entry(tag, key, tuple(tensor.shape))))
    for key, tensor in state.items():
        if key.endswith("weight_v"):
            prefix = key.removesuffix("weight_v")
            v = state[prefix + "weight_orig"].double().flatten(1).T @ state[prefix + "weight_u"].double()
            tensor.copy_(v / v.norm())
    return module


def weights_crc32(state: Mapping[str, Tensor]) -> int:
    """Running CRC-32 over the bytes of all drawn entries, in order."""
    checksum = 0
    for key, tensor in state.items():
        if key.rpartition(".")[2] not in _UNCHANGED | {"weight_v"}:
            checksum = zlib.crc32(tensor.cpu().contiguous().numpy().tobytes(), checksum)
    return checksum


def inputs(case: Mapping[str, Any]) -> dict[str, np.ndarray]:
    """The input arrays of a case by name; where a name comes twice, the later one counts.

    An input without scale and offset is the bare float32 of `unit`. Raises ValueError where a checksum
    differs or a formula is not of the one known form.
    """
    made: dict[str, np.ndarray] = {}
    for spec in case["inputs"]:
        array = _input(spec, made)
        if "crc32" in spec and zlib.crc32(array.tobytes()) != spec["crc32"]:
            raise ValueError(f"input {spec['name']}: checksum differs from the file's {spec['crc32']}")
        made[spec["name"]] = array
    return made


def _input(spec: Mapping[str, Any], made: Mapping[str, np.ndarray]) -> np.ndarray:
    dtype = np.dtype(spec.get("dtype", "float32"))
    if "values" in spec:
        return np.asarray(spec["values"], dtype=dtype).reshape(spec["shape"])
    s = unit(spec["tag"], spec["shape"])
    if "formula" not in spec:
        return (spec.get("offset", 0.0) + spec.get("scale", 1.0) * s).astype(dtype)
    match = _FORMULA.fullmatch(spec["formula"])
    if match is None:
        raise ValueError(f"input {spec['name']}: unknown formula {spec['formula']!r}")
    return (made[match["base"]].astype(np.float64) + float(match["factor"]) * s).astype(dtype)
