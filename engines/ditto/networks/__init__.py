"""The table of Ditto's networks and sizes: `build("decoder", "tiny")` gives an empty network in eval mode."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Literal, get_args

import torch
from torch import nn

from engines.ditto.networks.appearance import AppearanceExtractor, AppearanceSize
from engines.ditto.networks.decoder import DecoderSize, SpadeDecoder
from engines.ditto.networks.lmdm import LmdmSize, MotionDecoder
from engines.ditto.networks.motion import MotionExtractor, MotionSize
from engines.ditto.networks.stitch import StitchNetwork
from engines.ditto.networks.warp import WarpNetwork, WarpSize

Size = Literal["full", "tiny"]
SIZES: tuple[str, ...] = get_args(Size)


def _hubert(size: str) -> nn.Module:
    # imported when asked for: transformers takes seconds to import and the other networks do not need it
    from engines.ditto.networks.hubert import Hubert, HubertSize

    tiny = HubertSize(
        width=32, layers=2, heads=4, feedforward=64, conv_width=16, position_kernel=16, position_groups=4
    )
    return Hubert(HubertSize() if size == "full" else tiny)


def _appearance(size: str) -> nn.Module:
    tiny = AppearanceSize(width=8, max_width=32, channels=4, depth=8, num_resblocks=2)
    return AppearanceExtractor(AppearanceSize() if size == "full" else tiny)


def _motion(size: str) -> nn.Module:
    tiny = MotionSize(depths=(1, 1, 2, 1), widths=(8, 16, 32, 64))
    return MotionExtractor(MotionSize() if size == "full" else tiny)


def _warp(size: str) -> nn.Module:
    tiny = WarpSize(
        channels=4,
        depth=8,
        compressed=2,
        hourglass_width=4,
        hourglass_max_width=32,
        hourglass_halvings=3,
        outputs=32,
    )
    return WarpNetwork(WarpSize() if size == "full" else tiny)


def _decoder(size: str) -> nn.Module:
    tiny = DecoderSize(inputs=32, middle=64, up_0=32, up_1=8)
    return SpadeDecoder(DecoderSize() if size == "full" else tiny)


def _stitch(size: str) -> nn.Module:
    return StitchNetwork() if size == "full" else StitchNetwork((16, 8))


def _lmdm(size: str) -> nn.Module:
    tiny = LmdmSize(frames=20, width=32, feedforward=64, layers=2, heads=4)
    return MotionDecoder(LmdmSize() if size == "full" else tiny)


NETWORKS: Mapping[str, Callable[[str], nn.Module]] = MappingProxyType(
    {
        "appearance_extractor": _appearance,
        "motion_extractor": _motion,
        "warp_network": _warp,
        "decoder": _decoder,
        "stitch_network": _stitch,
        "lmdm": _lmdm,
        "hubert": _hubert,
    }
)


def build(network: str, size: str, device: str = "cpu") -> nn.Module:
    """A network in eval mode without gradients, its weights zero until `weights` fills or loads them.

    network  a key of NETWORKS
    size     full (the released checkpoints) or tiny (the same code with small dimensions)
    device   where the zeros are; "meta" allocates nothing, enough to look at keys and shapes
    Draws no random numbers. Raises ValueError for an unknown name.
    """
    if network not in NETWORKS:
        raise ValueError(f"network={network}: unknown; use one of {', '.join(NETWORKS)}")
    if size not in SIZES:
        raise ValueError(f"size={size}: unknown; use one of {', '.join(SIZES)}")
    with torch.device("meta"):
        module = NETWORKS[network](size)
    if device != "meta":
        state = {
            key: torch.zeros_like(value, device=device) if value.is_meta else value.to(device)
            for key, value in module.state_dict().items()
        }
        module.load_state_dict(state, assign=True)
    return module.eval().requires_grad_(False)
