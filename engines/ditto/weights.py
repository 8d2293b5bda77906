"""Weights for Ditto's networks: seeded random ones, or the released .pth files, checked key by key."""

from __future__ import annotations

import math
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from engines import torch_file
from engines.checkpoint_file import pth_complaint
from engines.ditto.checkpoint_layout import CHECKPOINT_FILES, SIGNS, TOP_LEVEL

_PREFIX = "module."


def random_weights(module: nn.Module, seed: int, network: str, size: str) -> nn.Module:
    """Fill a network of `build` with weights that keep activations of the order of 1, and return it.

    Each entry is drawn from a generator of its own, seeded by seed, size, network and key: the same numbers
    on every device and in every order of loading. u and v of spectral norm fit their weight.
    """
    state = module.state_dict()
    for key, tensor in state.items():
        leaf = key.rpartition(".")[2]
        if leaf == "freqs":
            continue
        if not tensor.is_floating_point():
            tensor.zero_()  # counters
            continue
        tag = f"{seed}/{size}/{network}/{key}"
        generator = torch.Generator().manual_seed(zlib.crc32(tag.encode()))
        tensor.copy_(_random_entry(key, tensor.shape, generator))
    for key in state:
        if key.endswith("weight_u"):
            _fit_spectral_vectors(state, key.removesuffix("weight_u"))
    return module


def _random_entry(key: str, shape: torch.Size, generator: torch.Generator) -> Tensor:
    """Uniform values around the centre that suits the kind of entry, told by the last part of its key."""
    leaf = key.rpartition(".")[2]
    centre, spread = 0.0, 0.1
    if leaf == "running_var":
        centre, spread = 1.0, 0.5
    elif leaf == "gamma":
        spread = 0.5
    elif leaf.startswith("null_cond"):
        spread = math.sqrt(3.0)
    elif leaf == "weight_u":
        spread = 1.0
    elif len(shape) == 1 and leaf == "weight":
        centre, spread = 1.0, 0.2
    elif key.endswith("fc_scale.bias"):
        centre = 1.0
    elif len(shape) > 1 and leaf != "beta":
        spread = math.sqrt(6.0 / math.prod(shape[1:])) * _gain(key)
    return torch.empty(shape).uniform_(centre - spread, centre + spread, generator=generator)


def _gain(key: str) -> float:
    """Heads and residuals that start small: faces move by some pixels, through features of deviation 0.2.

    With gains of 0.05 and 1 they moved by half a picture through features of deviation 17: so ill-conditioned
    that a picture in half precision was 26 dB from that in float32 (now 51 dB, on an H200), which says
    nothing of trained weights.
    """
    if key == "final_layer.weight":
        return 0.0025
    if key == "second.weight" or (key.startswith("resblocks_3d.") and key.endswith("conv2.weight")):
        return 0.06
    return 0.2 if ".fc_" in key else 1.0


def _fit_spectral_vectors(state: Mapping[str, Tensor], prefix: str) -> None:
    """Make weight_u a unit vector and weight_v the unit vector along W^T u, in place."""
    matrix = state[prefix + "weight_orig"].double().flatten(1)
    u = nn.functional.normalize(state[prefix + "weight_u"].double(), dim=0)
    state[prefix + "weight_u"].copy_(u)
    state[prefix + "weight_v"].copy_(nn.functional.normalize(matrix.T @ u, dim=0))


def load_checkpoint(module: nn.Module, path: str | Path, network: str) -> nn.Module:
    """Load a released .pth file strictly into a network of `build`, and return it.

    Accepts the released layout: a plain state_dict, or one under `model_state_dict` (lmdm) or
    `retarget_shoulder` (stitch_network), keys with or without `module.` in front, in any precision; what lies
    beside that top-level key, like an optimiser's state, is left alone. Runs nothing from the file.
    Raises ValueError, naming file, key, expected and found shape, for any other content, for a key that is
    there twice (with and without `module.`) and for weights that are no finite numbers; the module is then
    unchanged.
    """
    path = Path(path)
    found = _entries(_read(path), path, network)
    complaint = torch_file.mismatch(module.state_dict(), found) or torch_file.not_finite(found)
    if complaint:
        raise ValueError(f"{path}: {complaint}; {_remedy(network, found)}")
    module.load_state_dict(found)
    return module


def _read(path: Path) -> Any:
    complaint = pth_complaint(path)
    if not complaint:
        try:
            return torch_file.load(path)
        except ValueError as error:
            complaint = str(error)
    raise ValueError(f"{path}: {complaint}; copy the released file again")


def _entries(content: Any, path: Path, network: str) -> dict[str, Tensor]:
    """The state_dict inside the file's layout, keys without `module.`"""
    top = TOP_LEVEL.get(network)
    remedy = _remedy(network, content)
    if top is not None:
        if not isinstance(content, Mapping) or top not in content:
            raise ValueError(f"{path}: {top}: expected this top-level key, found none; {remedy}")
        content = content[top]
    if not isinstance(content, Mapping):
        raise ValueError(f"{path}: expected a state_dict, found {type(content).__name__}; {remedy}")
    entries = {}
    for key, value in content.items():
        if not isinstance(key, str) or not isinstance(value, Tensor):
            found = type(value).__name__
            raise ValueError(f"{path}: {ascii(key)[:80]}: expected a tensor, found {found}; {remedy}")
        name = key.removeprefix(_PREFIX)
        if name in entries:
            raise ValueError(f"{path}: {ascii(name)[:80]}: expected once, found twice; {remedy}")
        entries[name] = value
    return entries


def _remedy(network: str, content: Any) -> str:
    """What is needed, and which file was taken for it, where its keys tell."""
    needed = f"{network} needs the released {CHECKPOINT_FILES[network]} (size=full)"
    for other, sign in SIGNS.items():
        top = TOP_LEVEL.get(other)
        held = content.get(top, content) if isinstance(content, Mapping) else {}
        if other != network and isinstance(held, Mapping) and (sign in held or _PREFIX + sign in held):
            return f"it looks like {CHECKPOINT_FILES[other]}; {needed}"
    return needed
