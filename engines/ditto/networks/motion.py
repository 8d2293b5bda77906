"""Motion extractor: ConvNeXtV2 with seven heads, from a face crop to pose, expression and key points."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

NUM_KEYPOINTS = 21
NUM_BINS = 66
_EPS = 1e-6


@dataclass(frozen=True)
class MotionSize:
    """Blocks and channels of the four stages; the default is ConvNeXtV2-Tiny."""

    depths: tuple[int, ...] = (3, 3, 9, 3)
    widths: tuple[int, ...] = (96, 192, 384, 768)


class MotionInfo(NamedTuple):
    """What the heads give, in upstream's order.

    pitch, yaw, roll  (B, 66)  logits of bins of 3 degrees
    t                 (B, 3)
    exp, kp           (B, 63)  21 points, xyz
    scale             (B, 1)
    """

    pitch: Tensor
    yaw: Tensor
    roll: Tensor
    t: Tensor
    exp: Tensor
    scale: Tensor
    kp: Tensor


class ChannelNorm(nn.LayerNorm):
    """Layer norm over the channels of (B, C, H, W)."""

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> the same shape."""
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class GlobalResponseNorm(nn.Module):
    """Scales each channel by its L2 norm over the image, relative to the mean over channels (ConvNeXtV2)."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.gamma = nn.Parameter(torch.zeros(1, 1, 1, width))
        self.beta = nn.Parameter(torch.zeros(1, 1, 1, width))

    def forward(self, x: Tensor) -> Tensor:
        """(B, H, W, C) -> the same shape."""
        norm = torch.linalg.vector_norm(x, dim=(1, 2), keepdim=True)
        relative = norm / (norm.mean(dim=-1, keepdim=True) + _EPS)
        return self.gamma * (x * relative) + self.beta + x


class Block(nn.Module):
    """ConvNeXtV2 block: depthwise 7x7, then a two-layer perceptron per pixel, plus the input."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.dwconv = nn.Conv2d(width, width, 7, padding=3, groups=width)
        self.norm = nn.LayerNorm(width, eps=_EPS)
        self.pwconv1 = nn.Linear(width, 4 * width)
        self.grn = GlobalResponseNorm(4 * width)
        self.pwconv2 = nn.Linear(4 * width, width)

    def forward(self, x: Tensor) -> Tensor:
        """(B, C, H, W) -> the same shape."""
        out = self.norm(self.dwconv(x).permute(0, 2, 3, 1))
        out = self.pwconv2(self.grn(F.gelu(self.pwconv1(out))))
        return x + out.permute(0, 3, 1, 2)


class ConvNeXt(nn.Module):
    """The backbone and its heads; attribute order is the order of the released state_dict."""

    def __init__(self, size: MotionSize) -> None:
        super().__init__()
        widths = size.widths
        stem = nn.Sequential(nn.Conv2d(3, widths[0], 4, stride=4), ChannelNorm(widths[0], eps=_EPS))
        self.downsample_layers = nn.ModuleList([stem])
        for before, after in pairwise(widths):
            shrink = nn.Conv2d(before, after, 2, stride=2)
            self.downsample_layers.append(nn.Sequential(ChannelNorm(before, eps=_EPS), shrink))
        self.stages = nn.ModuleList(
            nn.Sequential(*(Block(width) for _ in range(depth)))
            for width, depth in zip(widths, size.depths, strict=True)
        )
        self.norm = nn.LayerNorm(widths[-1], eps=_EPS)
        self.fc_kp = nn.Linear(widths[-1], 3 * NUM_KEYPOINTS)
        self.fc_scale = nn.Linear(widths[-1], 1)
        self.fc_pitch = nn.Linear(widths[-1], NUM_BINS)
        self.fc_yaw = nn.Linear(widths[-1], NUM_BINS)
        self.fc_roll = nn.Linear(widths[-1], NUM_BINS)
        self.fc_t = nn.Linear(widths[-1], 3)
        self.fc_exp = nn.Linear(widths[-1], 3 * NUM_KEYPOINTS)

    def forward(self, image: Tensor) -> MotionInfo:
        """(B, 3, H, W) in [0, 1] -> MotionInfo; H, W: multiples of 32."""
        x = image
        for shrink, stage in zip(self.downsample_layers, self.stages, strict=True):
            x = stage(shrink(x))
        x = self.norm(x.mean(dim=(2, 3)))
        heads = (self.fc_pitch, self.fc_yaw, self.fc_roll, self.fc_t, self.fc_exp, self.fc_scale, self.fc_kp)
        return MotionInfo(*(head(x) for head in heads))


class MotionExtractor(nn.Module):
    """state_dict of the released motion_extractor.pth: everything under `detector.`"""

    def __init__(self, size: MotionSize) -> None:
        super().__init__()
        self.detector = ConvNeXt(size)

    def forward(self, image: Tensor) -> MotionInfo:
        """(B, 3, H, W) in [0, 1] -> MotionInfo; H, W: multiples of 32, 256 in the pipeline."""
        return self.detector(image)
