"""The passes between convolutions: one Triton kernel each on a GPU, plain torch elsewhere. Channels last."""

from __future__ import annotations

import importlib.util
from collections.abc import Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from engines.ditto.networks.warp import identity_grid, sample_volume

# It comes with torch's builds for CUDA; those for CPUs do without.
if importlib.util.find_spec("triton"):
    from engines.ditto.fused import decoder_kernels, warp_kernels

_EPS = 1e-5
_VARIANCE = 0.01


def stats(x: Tensor) -> tuple[Tensor, Tensor]:
    """x (B, H, W, C) -> mean and 1 / sqrt(variance + 1e-5) per picture and channel, (B, C) float32."""
    if x.is_cuda:
        return decoder_kernels.stats(x, None)[1]
    variance, mean = torch.var_mean(x.float(), dim=(1, 2), correction=0)
    return mean, torch.rsqrt(variance + _EPS)


def add_stats(x: Tensor, y: Tensor) -> tuple[Tensor, tuple[Tensor, Tensor]]:
    """x + y and its stats."""
    if x.is_cuda:
        return decoder_kernels.stats(x, y)
    total = x + y
    return total, stats(total)


def modulate(
    x: Tensor,
    statistics: tuple[Tensor, Tensor],
    scale_shift: Tensor,
    bias: Tensor,
    slope: float,
    enlarge: int,
) -> Tensor:
    """x (B, H, W, C), enlarged by repeating pixels, normalised, times scale, plus shift, then leaky ReLU.

    scale_shift  (B, H * enlarge, W * enlarge, 2 C), scale first;  bias (2 C) of them
    """
    if x.is_cuda:
        return decoder_kernels.modulate(x, statistics, scale_shift, bias, slope, enlarge)
    mean, rstd = (part[:, None, None] for part in statistics)
    normal = ((x.float() - mean) * rstd).repeat_interleave(enlarge, 1).repeat_interleave(enlarge, 2)
    scale, shift = (scale_shift.float() + bias.float()).chunk(2, dim=3)
    return F.leaky_relu(normal * scale + shift, slope).to(x.dtype)


def add_leaky(x: Tensor, y: Tensor | None, bias: Tensor, slope: float) -> Tensor:
    """x (B, H, W, C), plus y where there is one, plus bias (C), then leaky ReLU."""
    if x.is_cuda:
        return decoder_kernels.add_leaky(x, y, bias, slope)
    return F.leaky_relu((x if y is None else x + y) + bias, slope)


def assemble(parts: Sequence[Tensor], bias: Tensor, index: int, count: int, enlarge: int) -> Tensor:
    """What the convolutions of engines.ditto.fused.phases give, as the enlarged picture; bias, then ReLU.

    parts  corners (B, h + 1, w + 1, 4 count C), and where enlarge is over 2 rows (B, h + 1, w, 2 count C),
           columns (B, h, w + 1, 2 count C) and middle (B, h, w, count C)
    index  of the C channels among `count` groups;  bias (C)
    Returns (B, h * enlarge, w * enlarge, C).
    """
    if bias.is_cuda:
        return decoder_kernels.assemble(parts, bias, index, count, enlarge)
    width = bias.shape[0]
    batch, height, breadth = parts[0].shape[0], parts[0].shape[1] - 1, parts[0].shape[2] - 1
    made = parts[0].new_empty(batch, height * enlarge, breadth * enlarge, width)
    for row in range(enlarge):
        for column in range(enlarge):
            made[:, row::enlarge, column::enlarge] = _place(parts, row, column, enlarge, index, count, width)
    return F.relu(made + bias)


def _place(
    parts: Sequence[Tensor], row: int, column: int, enlarge: int, index: int, count: int, width: int
) -> Tensor:
    """The part (B, h, w, C) of one place among the copies of a pixel."""
    height, breadth = parts[0].shape[1] - 1, parts[0].shape[2] - 1
    last = enlarge - 1
    row_edge, column_edge = row in (0, last), column in (0, last)
    part = parts[(not row_edge) * 2 + (not column_edge)]
    number = 0
    for is_edge, place in ((row_edge, row), (column_edge, column)):
        if is_edge:
            number = 2 * number + (place == last)
    start = (number * count + index) * width
    down, right = int(row_edge and row == last), int(column_edge and column == last)
    return part[:, down : down + height, right : right + breadth, start : start + width]


def candidates(compressed: Tensor, kp_source: Tensor, kp_driving: Tensor, heats: int, width: int) -> Tensor:
    """What the hourglass reads: per motion a heat map, and the volume moved by it.

    compressed  (B, D, H, W, c);  key points (B, K, 3) float32
    Returns (B, D, H, W, width): the heat maps of K + 1 motions, the background's first, zeros up to `heats`;
    then c channels of each motion, zeros up to `width`.
    """
    if compressed.is_cuda:
        return warp_kernels.candidates(compressed, kp_source, kp_driving, heats, width)
    volume = compressed.movedim(4, 1)
    grid = identity_grid(*volume.shape[2:], like=kp_source)
    maps = [torch.zeros_like(volume[:, 0])]
    moved = [sample_volume(volume, grid.expand(len(volume), -1, -1, -1, -1))]
    for source, driving in zip(kp_source.unbind(1), kp_driving.unbind(1), strict=True):
        source, driving = source[:, None, None, None], driving[:, None, None, None]
        maps.append((_gaussian(grid - driving) - _gaussian(grid - source)).to(volume.dtype))
        moved.append(sample_volume(volume, grid - driving + source))
    first = F.pad(torch.stack(maps, dim=4), (0, heats - len(maps)))
    second = torch.cat(moved, dim=1).movedim(1, 4)
    return torch.cat([first, F.pad(second, (0, width - heats - second.shape[4]))], dim=4)


def _gaussian(offset: Tensor) -> Tensor:
    return torch.exp(-0.5 * (offset * offset).sum(-1) / _VARIANCE)


def relu_pool(x: Tensor, bias: Tensor, halve: bool) -> Tensor:
    """x (B, D, H, W, C) plus bias, ReLU, and the mean of 2 x 2 pixels where halved."""
    if x.is_cuda:
        return warp_kernels.relu_pool(x, bias, halve)
    x = F.relu(x + bias)
    if not halve:
        return x
    batch, depth, height, width, channels = x.shape
    pixels = x.reshape(batch, depth, height // 2, 2, width // 2, 2, channels)
    return pixels.float().mean(dim=(3, 5)).to(x.dtype)


def interleave(corner_parts: Tensor, bias: Tensor, skip: Tensor) -> Tensor:
    """Corner parts (B, D, h + 1, w + 1, 4 C) as (B, D, 2h, 2w, C), plus bias, ReLU; then the skip's channels.

    skip  (B, D, 2h, 2w, S) -> (B, D, 2h, 2w, C + S)
    """
    if skip.is_cuda:
        return warp_kernels.interleave(corner_parts, bias, skip)
    flat = assemble([corner_parts.flatten(0, 1)], bias, 0, 1, 2)
    return torch.cat([flat.unflatten(0, corner_parts.shape[:2]), skip], dim=4)


def deform(partial: Tensor, bias: Tensor, kp_source: Tensor, kp_driving: Tensor, depth_taps: int) -> Tensor:
    """From the mask's convolution to where each voxel comes from.

    partial  (B, D, H, W, >= depth_taps * M): the kernel's slices along depth, each convolved by itself, M
             masks; summed here with their shifts.  bias (M)
    Returns (B, D, H, W, 3) float32, xyz.
    """
    if partial.is_cuda:
        return warp_kernels.deform(partial, bias, kp_source, kp_driving, depth_taps)
    depth, masks, half = partial.shape[1], bias.shape[0], depth_taps // 2
    slices = F.pad(partial, (0, 0, 0, 0, 0, 0, half, half))
    logits = bias.float()
    for tap in range(depth_taps):
        logits = logits + slices[:, tap : tap + depth, ..., tap * masks : (tap + 1) * masks].float()
    mask = torch.softmax(logits, dim=4)
    shifts = F.pad(kp_source - kp_driving, (0, 0, 1, 0))
    grid = identity_grid(*partial.shape[1:4], like=kp_source)
    return grid + torch.einsum("bdhwm,bmx->bdhwx", mask, shifts)


def sample(volume: Tensor, deformation: Tensor) -> Tensor:
    """volume (B, D, H, W, C) where `deformation` (B, D, H, W, 3) says -> (B, H, W, D * C), depth outer."""
    if volume.is_cuda:
        return warp_kernels.sample(volume, deformation)
    moved = sample_volume(volume.movedim(4, 1), deformation)  # (B, C, D, H, W)
    return moved.permute(0, 3, 4, 2, 1).flatten(3)
