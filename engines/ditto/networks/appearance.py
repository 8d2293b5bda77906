"""Appearance extractor: a face crop becomes a volume of features, once per source image."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

from torch import Tensor, nn
from torch.nn import functional as F

from engines.ditto.networks.blocks import ConvNorm


@dataclass(frozen=True)
class AppearanceSize:
    """Channel counts; `width` doubles with each of the `halvings`, up to `max_width`."""

    width: int = 64
    halvings: int = 2
    max_width: int = 512
    channels: int = 32
    depth: int = 16
    num_resblocks: int = 6


class ResBlock3d(nn.Module):
    """Pre-activation residual block: norm, ReLU, convolution, twice, plus the input."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv3d(channels, channels, 3, padding=1)
        self.conv2 = nn.Conv3d(channels, channels, 3, padding=1)
        self.norm1 = nn.BatchNorm3d(channels)
        self.norm2 = nn.BatchNorm3d(channels)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, D, H, W) -> the same shape."""
        out = self.conv1(F.relu(self.norm1(x)))
        return x + self.conv2(F.relu(self.norm2(out)))


class AppearanceExtractor(nn.Module):
    """state_dict of the released appearance_extractor.pth. Source: LivePortrait 1986663, by its facts."""

    def __init__(self, size: AppearanceSize) -> None:
        super().__init__()
        widths = [min(size.max_width, size.width * 2**i) for i in range(size.halvings + 1)]
        self.first = ConvNorm(2, 3, widths[0])
        self.down_blocks = nn.ModuleList(
            ConvNorm(2, before, after, halve=True) for before, after in pairwise(widths)
        )
        self.second = nn.Conv2d(widths[-1], size.channels * size.depth, 1)
        self.resblocks_3d = nn.Sequential()
        for i in range(size.num_resblocks):
            self.resblocks_3d.add_module(f"3dr{i}", ResBlock3d(size.channels))
        self._volume = (size.channels, size.depth)

    def forward(self, image: Tensor) -> Tensor:
        """(B, 3, H, W) in [0, 1] -> (B, 32, 16, H/4, W/4) at full size. H, W: multiples of 4."""
        x = self.first(image)
        for block in self.down_blocks:
            x = block(x)
        x = self.second(x)
        return self.resblocks_3d(x.unflatten(1, self._volume))
