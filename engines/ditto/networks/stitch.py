"""Stitching network: a small perceptron that moves the driven key points so that the crop fits its frame."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from engines.ditto.networks.motion import NUM_KEYPOINTS

_COORDINATES = 3 * NUM_KEYPOINTS


class StitchNetwork(nn.Module):
    """state_dict of `retarget_shoulder` in the released stitch_network.pth."""

    def __init__(self, hidden: Sequence[int] = (128, 128, 64)) -> None:
        super().__init__()
        widths = [2 * _COORDINATES, *hidden, _COORDINATES + 2]
        layers: list[nn.Module] = []
        for before, after in pairwise(widths):
            layers += [nn.Linear(before, after), nn.ReLU()]
        self.mlp = nn.Sequential(*layers[:-1])

    def forward(self, kp_source: Tensor, kp_driving: Tensor) -> Tensor:
        """Both (B, 21, 3) -> (B, 21, 3): kp_driving, moved point by point and as a whole in x and y."""
        delta = self.mlp(torch.cat([kp_source, kp_driving], dim=1).flatten(1))
        each = delta[:, :_COORDINATES].unflatten(1, (NUM_KEYPOINTS, 3))
        whole = F.pad(delta[:, _COORDINATES:], (0, 1)).unsqueeze(1)
        return kp_driving + each + whole
