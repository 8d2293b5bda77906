"""Warp network: moves the appearance volume along a dense motion found from source and driving key points."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from engines.ditto.networks.blocks import ConvNorm
from engines.ditto.networks.motion import NUM_KEYPOINTS
from engines.ditto.networks.native import GatherSample, Translate

NUM_MOTIONS = NUM_KEYPOINTS + 1  # the identity, for the background, comes first
_VARIANCE = 0.01


@dataclass(frozen=True)
class WarpSize:
    """Channel counts: of the volume, of the hourglass and of the result."""

    channels: int = 32
    depth: int = 16
    compressed: int = 4
    hourglass_width: int = 32
    hourglass_max_width: int = 1024
    hourglass_halvings: int = 5
    outputs: int = 256


class DenseMotion(NamedTuple):
    """What is found at every voxel.

    mask         (B, 22, D, H, W)  weights of the motions, sum 1
    deformation  (B, D, H, W, 3)   where the voxel comes from, xyz, at least float32
    occlusion    (B, 1, H, W)      in (0, 1), 1 is visible
    """

    mask: Tensor
    deformation: Tensor
    occlusion: Tensor


def identity_grid(depth: int, height: int, width: int, like: Tensor) -> Tensor:
    """(D, H, W, 3) coordinates in xyz order, -1 and 1 inclusive, with the dtype and device of `like`.

    Sampling then uses align_corners=False, for which these are not the voxel centres: the released weights
    were trained with this mismatch, so it stays.
    """
    axes = [
        2 * (torch.arange(n, dtype=like.dtype, device=like.device) / (n - 1)) - 1
        for n in (depth, height, width)
    ]
    z, y, x = torch.meshgrid(*axes, indexing="ij")
    return torch.stack([x, y, z], dim=-1)


def sample_volume(volume: Tensor, grid: Tensor) -> Tensor:
    """Trilinear sampling with zeros outside.

    volume (B, C, D, H, W), grid (B, D', H', W', 3) in xyz -> (B, C, D', H', W'), dtype of the volume.
    Computed in the grid's dtype: coordinates in half precision are off by a good part of a voxel.
    """
    sampled = F.grid_sample(volume.to(grid.dtype), grid, padding_mode="zeros", align_corners=False)
    return sampled.to(volume.dtype)


class Sample(nn.Module):
    """sample_volume as a module, which exported networks have in another form."""

    def forward(self, volume: Tensor, grid: Tensor) -> Tensor:
        """(B, C, D, H, W), (B, D', H', W', 3) -> (B, C, D', H', W')."""
        return sample_volume(volume, grid)

    def native(self) -> nn.Module:
        """The same without grid sampling, bit for bit."""
        return GatherSample()


class Deform(nn.Module):
    """A volume moved by every motion; all motions are translations, and exported networks rely on that."""

    def forward(self, feature: Tensor, motions: Tensor, kp_source: Tensor, kp_driving: Tensor) -> Tensor:
        """(B, C, D, H, W), (B, 22, D, H, W, 3), unused, unused -> (B, 22, C, D, H, W)."""
        repeated = feature.unsqueeze(1).expand(-1, NUM_MOTIONS, -1, -1, -1, -1).flatten(0, 1)
        return sample_volume(repeated, motions.flatten(0, 1)).unflatten(0, (-1, NUM_MOTIONS))

    def native(self) -> nn.Module:
        """The same by matrices, to float32 rounding."""
        return Translate()


def _gaussians(grid: Tensor, keypoints: Tensor) -> Tensor:
    """(D, H, W, 3), (B, K, 3) -> (B, K, D, H, W): 1 at each key point, falling off with variance 0.01."""
    offset = grid - keypoints[:, :, None, None, None, :]
    return torch.exp(-0.5 * (offset * offset).sum(-1) / _VARIANCE)


class HourglassEncoder(nn.Module):
    """Halves height and width step by step; depth stays."""

    def __init__(self, widths: Sequence[int]) -> None:
        super().__init__()
        self.down_blocks = nn.ModuleList(
            ConvNorm(3, before, after, halve=True) for before, after in pairwise(widths)
        )

    def forward(self, x: Tensor) -> list[Tensor]:
        """(B, C, D, H, W) -> the input and the result of each block, finest first."""
        levels = [x]
        for block in self.down_blocks:
            levels.append(block(levels[-1]))
        return levels


class HourglassDecoder(nn.Module):
    """Doubles height and width step by step, each time joined by the encoder's level of that size."""

    def __init__(self, encoder_widths: Sequence[int], last: int) -> None:
        super().__init__()
        inputs, *skips = reversed(encoder_widths)
        outputs = [*skips[:-1], last]
        blocks = []
        for output, skip in zip(outputs, skips, strict=True):
            blocks.append(ConvNorm(3, inputs, output))
            inputs = output + skip
        self.up_blocks = nn.ModuleList(blocks)
        self.conv = nn.Conv3d(inputs, inputs, 3, padding=1)
        self.norm = nn.BatchNorm3d(inputs)

    def forward(self, levels: Sequence[Tensor]) -> Tensor:
        """The encoder's levels -> (B, last + C, D, H, W)."""
        x = levels[-1]
        for block, skip in zip(self.up_blocks, reversed(levels[:-1]), strict=True):
            x = torch.cat([block(F.interpolate(x, scale_factor=(1, 2, 2))), skip], dim=1)
        return F.relu(self.norm(self.conv(x)))


class Hourglass(nn.Module):
    """Encoder and decoder with skips, over volumes."""

    def __init__(self, size: WarpSize) -> None:
        super().__init__()
        inputs = NUM_MOTIONS * (size.compressed + 1)
        width, largest = size.hourglass_width, size.hourglass_max_width
        widths = [inputs, *(min(largest, width * 2 ** (i + 1)) for i in range(size.hourglass_halvings))]
        self.encoder = HourglassEncoder(widths)
        self.decoder = HourglassDecoder(widths, width)
        self.outputs = inputs + width

    def forward(self, x: Tensor) -> Tensor:
        """(B, 22 * (compressed + 1), D, H, W) -> (B, outputs, D, H, W)."""
        return self.decoder(self.encoder(x))


class DenseMotionNetwork(nn.Module):
    """Weighs 22 candidate motions, one per key point and the identity, at every voxel."""

    def __init__(self, size: WarpSize) -> None:
        super().__init__()
        self.hourglass = Hourglass(size)
        self.mask = nn.Conv3d(self.hourglass.outputs, NUM_MOTIONS, 7, padding=3)
        self.compress = nn.Conv3d(size.channels, size.compressed, 1)
        self.norm = nn.BatchNorm3d(size.compressed)
        self.occlusion = nn.Conv2d(self.hourglass.outputs * size.depth, 1, 7, padding=3)
        self.deform = Deform()

    def forward(self, feature: Tensor, kp_source: Tensor, kp_driving: Tensor) -> DenseMotion:
        """feature (B, C, D, H, W), key points (B, 21, 3) -> DenseMotion, coordinates in float32 or better."""
        exact = torch.promote_types(feature.dtype, torch.float32)
        kp_source, kp_driving = kp_source.to(exact), kp_driving.to(exact)
        grid = identity_grid(*feature.shape[2:], like=kp_source)
        motions = self._motions(grid, kp_source, kp_driving)
        compressed = F.relu(self.norm(self.compress(feature)))
        deformed = self.deform(compressed, motions, kp_source, kp_driving)
        heat = _gaussians(grid, kp_driving) - _gaussians(grid, kp_source)
        heat = F.pad(heat, (0, 0, 0, 0, 0, 0, 1, 0)).unsqueeze(2).to(compressed.dtype)
        prediction = self.hourglass(torch.cat([heat, deformed], dim=2).flatten(1, 2))
        mask = torch.softmax(self.mask(prediction), dim=1)
        deformation = (motions * mask.to(exact).unsqueeze(-1)).sum(dim=1)
        occlusion = torch.sigmoid(self.occlusion(prediction.flatten(1, 2)))
        return DenseMotion(mask, deformation, occlusion)

    @staticmethod
    def _motions(grid: Tensor, kp_source: Tensor, kp_driving: Tensor) -> Tensor:
        """(B, 22, D, H, W, 3): where each voxel comes from, with the background or with each key point."""
        points = (slice(None), slice(None), None, None, None)
        moved = grid - kp_driving[points] + kp_source[points]
        return torch.cat([grid.expand(moved.shape[0], 1, -1, -1, -1, -1), moved], dim=1)


class WarpNetwork(nn.Module):
    """state_dict of the released warp_network.pth. Source: LivePortrait 1986663, by its facts."""

    def __init__(self, size: WarpSize) -> None:
        super().__init__()
        self.dense_motion_network = DenseMotionNetwork(size)
        self.third = ConvNorm(2, size.channels * size.depth, size.outputs, slope=0.01)
        self.fourth = nn.Conv2d(size.outputs, size.outputs, 1)
        self.sample = Sample()

    def forward(self, feature_3d: Tensor, kp_source: Tensor, kp_driving: Tensor) -> Tensor:
        """(B, 32, 16, H, W), (B, 21, 3), (B, 21, 3) -> (B, 256, H, W) at full size.

        H, W: multiples of 32 (of 8 at tiny size), at least twice that. Depth is fixed by the weights.
        """
        motion = self.dense_motion_network(feature_3d, kp_source, kp_driving)
        moved = self.sample(feature_3d, motion.deformation).flatten(1, 2)
        return self.fourth(self.third(moved)) * motion.occlusion
