"""Weights for Ditto's networks: seeded random ones, or the released .pth files, checked key by key."""

from __future__ import annotations

import math
import pickle
import warnings
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

CHECKPOINT_FILES: Mapping[str, str] = {
    "appearance_extractor": "appearance_extractor.pth",
    "motion_extractor": "motion_extractor.pth",
    "warp_network": "warp_network.pth",
    "decoder": "decoder.pth",
    "stitch_network": "stitch_network.pth",
    "lmdm": "lmdm_v0.4_hubert.pth",
}
"""File of each network in `ditto_pytorch/models/` of the released checkpoints; HuBERT exists only as ONNX."""

_TOP_LEVEL = {"lmdm": "model_state_dict", "stitch_network": "retarget_shoulder"}
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
    """Heads start small, so that random motion stays near the face."""
    if key == "final_layer.weight":
        return 0.05
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
    `retarget_shoulder` (stitch_network), keys with or without `module.` in front. Runs nothing from the file.
    Raises ValueError, naming file, key, expected and found shape, for any other content; the module is then
    unchanged.
    """
    path = Path(path)
    found = _entries(_read(path), path, network)
    expected = module.state_dict()
    for key in [*expected, *(key for key in found if key not in expected)]:
        wanted, given = (_shape(entries.get(key)) for entries in (expected, found))
        if wanted != given:
            raise ValueError(f"{path}: {key}: expected {wanted}, found {given}; {_remedy(network)}")
    module.load_state_dict(found)
    return module


def _read(path: Path) -> Any:
    """The file's content, by torch's reader that runs no code."""
    try:
        with warnings.catch_warnings():
            # a foreign pickle protocol is warned about, then refused; the refusal says enough
            warnings.simplefilter("ignore", UserWarning)
            return torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError as error:
        raise ValueError(f"{path}: no such file; give the folder of the released .pth files") from error
    except (OSError, EOFError, RuntimeError, KeyError, ValueError, pickle.UnpicklingError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ValueError(
            f"{path}: not a readable checkpoint ({reason[:200]}); copy the released file again"
        ) from error


def _entries(content: Any, path: Path, network: str) -> dict[str, Tensor]:
    """The state_dict inside the file's layout, keys without `module.`"""
    top = _TOP_LEVEL.get(network)
    if top is not None:
        if not isinstance(content, Mapping) or top not in content:
            raise ValueError(f"{path}: {top}: expected this top-level key, found none; {_remedy(network)}")
        content = content[top]
    if not isinstance(content, Mapping):
        raise ValueError(f"{path}: expected a state_dict, found {type(content).__name__}; {_remedy(network)}")
    entries = {}
    for key, value in content.items():
        if not isinstance(key, str) or not isinstance(value, Tensor):
            found = type(value).__name__
            raise ValueError(f"{path}: {key}: expected a tensor, found {found}; {_remedy(network)}")
        entries[key.removeprefix(_PREFIX)] = value
    return entries


def _shape(tensor: Tensor | None) -> str:
    return "no such key" if tensor is None else f"shape ({', '.join(str(n) for n in tensor.shape)})"


def _remedy(network: str) -> str:
    return f"{network} needs the released {CHECKPOINT_FILES[network]} (size=full)"
