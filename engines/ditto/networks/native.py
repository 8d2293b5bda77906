"""Sampling of volumes by operations that every runtime has: gathering, and matrices for translations.

ONNX Runtime and TensorRT have no (or no fast) grid sampling over five axes. These functions and modules
take its place in exported networks; in PyTorch itself the networks keep `grid_sample`.
"""

from __future__ import annotations

from functools import reduce
from itertools import product

import torch
from torch import Tensor, nn


def pixel_positions(coordinates: Tensor, count: int) -> Tensor:
    """Coordinates in which -1 and 1 are an axis' outer edges -> positions in which 0 is the first centre."""
    return ((coordinates + 1) * count - 1) / 2


def gather_volume(volume: Tensor, grid: Tensor) -> Tensor:
    """Trilinear sampling with zeros outside, bit for bit what `grid_sample` (align_corners=False) gives.

    volume (B, C, D, H, W), grid (B, D', H', W', 3) in xyz -> (B, C, D', H', W'), dtype of the grid.
    """
    batch, channels, *shape = volume.shape
    rows = volume.to(grid.dtype).flatten(2).transpose(1, 2).reshape(-1, channels)
    axes = [_ends(grid[..., 2 - axis].flatten(1), count) for axis, count in enumerate(shape)]
    first = torch.arange(batch, device=volume.device)[:, None] * (shape[0] * shape[1] * shape[2])
    corners = []
    for (z, in_z), (y, in_y), (x, in_x) in product(*axes):
        index = first + (z * shape[1] + y) * shape[2] + x
        corner = torch.index_select(rows, 0, index.flatten()).unflatten(0, index.shape)
        corners.append(corner * (in_x * in_y * in_z).unsqueeze(-1))
    total = reduce(torch.add, corners)  # x fastest, as grid_sample adds them
    return total.transpose(1, 2).unflatten(2, grid.shape[1:4])


def _ends(coordinates: Tensor, count: int) -> list[tuple[Tensor, Tensor]]:
    """(index, weight) of the two voxels around each coordinate, along one axis; outside the weight is 0."""
    position = pixel_positions(coordinates, count)
    low = torch.floor(position)
    high = low + 1
    ends = []
    for end, weight in ((low, high - position), (high, position - low)):
        inside = (end >= 0) & (end <= count - 1)
        ends.append((end.clamp(0, count - 1).long(), weight * inside.to(weight.dtype)))
    return ends


def translate(volume: Tensor, kp_source: Tensor, kp_driving: Tensor) -> Tensor:
    """The volume as it is, and moved from each driving key point to its source key point.

    volume (B, C, D, H, W), key points (B, K, 3) in xyz -> (B, 1 + K, C, D, H, W), at least float32.
    A translation separates: linear interpolation along an axis is a matrix, and three matrices replace
    sampling. The grid that is moved is `identity_grid`, whose ends are voxel edges, not centres.
    """
    exact = torch.promote_types(volume.dtype, torch.float32)
    volume, kp_source, kp_driving = volume.to(exact), kp_source.to(exact), kp_driving.to(exact)
    depth, height, width = volume.shape[2:]
    in_x, in_y, in_z = (
        _interpolation(kp_source[..., axis], kp_driving[..., axis], count)
        for axis, count in enumerate((width, height, depth))
    )
    moved = _along_depth(volume, in_z)  # (B, K, D, C, H, W)
    moved = _along_last(moved, in_x)
    moved = _along_last(moved.transpose(-1, -2), in_y).transpose(-1, -2)
    return moved.transpose(2, 3)


def _interpolation(source: Tensor, driving: Tensor, count: int) -> Tensor:
    """Key points (B, K) along an axis -> (B, 1 + K, out, in): the share of each voxel in each result."""
    voxels = torch.arange(count, dtype=source.dtype, device=source.device)
    axis = 2 * (voxels / (count - 1)) - 1
    # in this order as the plain network, so that the coordinates are the same to the last bit
    moved = axis - driving.unsqueeze(-1) + source.unsqueeze(-1)
    coordinates = torch.cat([axis.expand(moved.shape[0], 1, -1), moved], dim=1)
    distance = (pixel_positions(coordinates, count).unsqueeze(-1) - voxels).abs()
    return (1 - distance).clamp(min=0)


def _along_depth(volume: Tensor, matrices: Tensor) -> Tensor:
    """(B, C, D, H, W), (B, K, D', D) -> (B, K, D', C, H, W): all matrices as one, the volume is read once."""
    shape = volume.shape
    planes = volume.transpose(1, 2).reshape(shape[0], shape[2], -1)
    moved = torch.bmm(matrices.flatten(1, 2), planes)
    return moved.reshape(*matrices.shape[:3], shape[1], *shape[3:])


def _along_last(volume: Tensor, matrices: Tensor) -> Tensor:
    """(B, K, ..., W), (B, K, W', W) -> (B, K, ..., W')."""
    shape = volume.shape
    rows = volume.reshape(shape[0] * shape[1], -1, shape[-1])
    moved = torch.bmm(rows, matrices.flatten(0, 1).transpose(1, 2))
    return moved.reshape(*shape[:-1], matrices.shape[2])


class GatherSample(nn.Module):
    """In place of warp.Sample; `exact`: float32 also where an exported network computes in half precision."""

    exact = True

    def forward(self, volume: Tensor, grid: Tensor) -> Tensor:
        """(B, C, D, H, W), (B, D', H', W', 3) -> (B, C, D', H', W'), dtype of the volume."""
        return gather_volume(volume, grid).to(volume.dtype)


class Translate(nn.Module):
    """In place of warp.Deform; `exact` as GatherSample."""

    exact = True

    def forward(self, feature: Tensor, motions: Tensor, kp_source: Tensor, kp_driving: Tensor) -> Tensor:
        """(B, C, D, H, W), unused, (B, 21, 3), (B, 21, 3) -> (B, 22, C, D, H, W), dtype of the feature."""
        return translate(feature, kp_source, kp_driving).to(feature.dtype)
