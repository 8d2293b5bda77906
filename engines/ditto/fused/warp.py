"""Warp network rewritten: batch norms folded, enlarged volumes never made, volumes with channels last."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from engines.ditto.fused import ops
from engines.ditto.fused.layout import conv, folded_norm, frozen, padded, widened
from engines.ditto.fused.phases import corners
from engines.ditto.networks.warp import NUM_MOTIONS, Hourglass, WarpNetwork


def _sorted(weight: Tensor, heats: int, inputs: int) -> Tensor:
    """Input channels (O, 22 times [heat, c channels], ...) in the order of ops.candidates."""
    by_motion = weight.unflatten(1, (NUM_MOTIONS, -1))
    first = widened(by_motion[:, :, 0], len(weight), heats)
    second = by_motion[:, :, 1:].flatten(1, 2)
    return torch.cat([first, widened(second, len(weight), inputs - heats)], dim=1)


class Down(nn.Module):
    """A convolution with its norm, ReLU and the mean over 2 x 2."""

    def __init__(self, weight: Tensor, bias: Tensor) -> None:
        super().__init__()
        self.weight, self.bias = frozen(weight), frozen(bias)

    def forward(self, x: Tensor) -> Tensor:
        return ops.relu_pool(conv(x, self.weight, 1), self.bias, halve=True)


class Up(nn.Module):
    """A convolution of the doubled volume, made on the small one, and the skip beside it."""

    def __init__(self, weight: Tensor, bias: Tensor) -> None:
        super().__init__()
        self.weight, self.bias = frozen(corners(weight)), frozen(bias)

    def forward(self, x: Tensor, skip: Tensor) -> Tensor:
        return ops.interleave(conv(x, self.weight, 1), self.bias, skip)


class FusedHourglass(nn.Module):
    """The hourglass on volumes (B, D, H, W, C); its first input has the order of ops.candidates."""

    def __init__(self, hourglass: Hourglass, heats: int, inputs: int) -> None:
        super().__init__()
        encoder, decoder = hourglass.encoder, hourglass.decoder
        self.downs = nn.ModuleList()
        for number, block in enumerate(encoder.down_blocks):
            weight, bias = folded_norm(block.conv, block.norm)
            self.downs.append(Down(_sorted(weight, heats, inputs) if number == 0 else weight, bias))
        self.ups = nn.ModuleList(Up(*folded_norm(block.conv, block.norm)) for block in decoder.up_blocks)
        weight, bias = folded_norm(decoder.conv, decoder.norm)
        own = len(decoder.up_blocks[-1].conv.weight)
        weight = torch.cat([weight[:, :own], _sorted(weight[:, own:], heats, inputs)], dim=1)
        outputs = padded(len(weight))
        self.outputs = outputs
        self.weight = frozen(widened(weight, outputs, weight.shape[1]))
        self.bias = frozen(F.pad(bias, (0, outputs - len(bias))))

    def forward(self, x: Tensor) -> Tensor:
        """(B, D, H, W, inputs) -> (B, D, H, W, outputs)."""
        levels = [x]
        for down in self.downs:
            levels.append(down(levels[-1]))
        y = levels.pop()
        for up in self.ups:
            y = up(y, levels.pop())
        return ops.relu_pool(conv(y, self.weight, 1), self.bias, halve=False)


class Mask(nn.Module):
    """The 7 x 7 x 7 convolution to 22 masks as one of 7 x 7 to 7 times 22 channels, one per slice of depth.

    Tensor cores need that many columns; the slices are summed where the masks are used.
    """

    def __init__(self, mask: nn.Conv3d, inputs: int) -> None:
        super().__init__()
        slices = mask.weight.permute(2, 0, 1, 3, 4).flatten(0, 1)
        self.weight = frozen(widened(slices, padded(len(slices)), inputs))
        self.bias = frozen(mask.bias)
        self.depth_taps = mask.weight.shape[2]

    def forward(self, x: Tensor, kp_source: Tensor, kp_driving: Tensor) -> Tensor:
        """(B, D, H, W, C), key points (B, 21, 3) -> deformation (B, D, H, W, 3) float32."""
        partial = conv(x.flatten(0, 1), self.weight, self.depth_taps // 2).unflatten(0, x.shape[:2])
        return ops.deform(partial, self.bias, kp_source, kp_driving, self.depth_taps)


class Occlusion(nn.Module):
    """A 7 x 7 convolution of all depths to one channel: per tap a sum over depth, then the taps' shifts."""

    def __init__(self, occlusion: nn.Conv2d, depth: int, inputs: int) -> None:
        super().__init__()
        taps = occlusion.weight.shape[2] * occlusion.weight.shape[3]
        per_tap = occlusion.weight[0].unflatten(0, (-1, depth)).flatten(2).permute(2, 0, 1)  # (49, C, D)
        weight = widened(per_tap, padded(taps), inputs)
        self.weight = frozen(weight[..., None, None])
        shifts = torch.eye(taps, device=weight.device).reshape(1, taps, *occlusion.weight.shape[2:])
        self.shifts = frozen(widened(shifts, 1, padded(taps)))
        self.bias = frozen(occlusion.bias)

    def forward(self, x: Tensor) -> Tensor:
        """(B, D, H, W, C) -> (B, H, W, 1) in (0, 1)."""
        taps = conv(x, self.weight)[:, 0]
        return torch.sigmoid(conv(taps, self.shifts, self.shifts.shape[2] // 2, self.bias))


class FusedWarp(nn.Module):
    """The forward of WarpNetwork; weights are copied. Coordinates are float32 whatever the weights are."""

    casts_itself = True

    def __init__(self, warp: WarpNetwork) -> None:
        super().__init__()
        dense = warp.dense_motion_network
        weight, bias = folded_norm(dense.compress, dense.norm)
        self.compress, self.compress_bias = frozen(weight[:, :, 0, 0, 0]), frozen(bias)
        self.heats = padded(NUM_MOTIONS)
        self.inputs = padded(self.heats + NUM_MOTIONS * len(weight))
        self.hourglass = FusedHourglass(dense.hourglass, self.heats, self.inputs)
        wide = self.hourglass.outputs
        depth = dense.occlusion.weight.shape[1] // dense.hourglass.outputs
        self.mask, self.occlusion = Mask(dense.mask, wide), Occlusion(dense.occlusion, depth, wide)
        weight, bias = folded_norm(warp.third.conv, warp.third.norm)
        by_depth = weight.unflatten(1, (-1, depth)).transpose(1, 2).flatten(1, 2)
        self.third, self.third_bias = frozen(by_depth), frozen(bias)
        self.fourth, self.fourth_bias = frozen(warp.fourth.weight), frozen(warp.fourth.bias)

    def forward(self, feature_3d: Tensor, kp_source: Tensor, kp_driving: Tensor) -> Tensor:
        """(B, 32, 16, H, W), (B, 21, 3), (B, 21, 3) -> (B, 256, H, W) at full size."""
        volume = feature_3d.to(self.compress.dtype).movedim(1, 4).contiguous()
        kp_source, kp_driving = kp_source.float(), kp_driving.float()
        compressed = F.relu_(F.linear(volume, self.compress, self.compress_bias))
        x = self.hourglass(ops.candidates(compressed, kp_source, kp_driving, self.heats, self.inputs))
        moved = ops.sample(volume, self.mask(x, kp_source, kp_driving))
        y = ops.add_leaky(conv(moved, self.third, 1), None, self.third_bias, 0.01)
        y = conv(y, self.fourth, 0, self.fourth_bias) * self.occlusion(x)
        return y.movedim(3, 1)
