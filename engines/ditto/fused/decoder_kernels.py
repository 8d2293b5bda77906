"""Triton kernels of the decoder's passes; engines.ditto.fused.ops says what each one computes."""

from __future__ import annotations

from collections.abc import Sequence

import torch
import triton
import triton.language as tl
from torch import Tensor

_EPS = 1e-5
# Pixels and channels of a block.
_PIXELS, _CHANNELS = 32, 128


@triton.jit
def _partial_stats(
    x_at, y_at, sum_at, part_at, pixels, channels, splits,
    ADD: tl.constexpr, PIXELS: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    split, picture = tl.program_id(0), tl.program_id(2)
    pixel = split * PIXELS + tl.arange(0, PIXELS)
    channel = tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS)
    inside = (pixel < pixels)[:, None] & (channel < channels)[None, :]
    at = (picture.to(tl.int64) * pixels + pixel[:, None]) * channels + channel[None, :]
    value = tl.load(x_at + at, mask=inside, other=0.0).to(tl.float32)
    if ADD:
        value += tl.load(y_at + at, mask=inside, other=0.0).to(tl.float32)
        tl.store(sum_at + at, value.to(sum_at.dtype.element_ty), mask=inside)
    count = tl.minimum(pixels - split * PIXELS, PIXELS).to(tl.float32)
    mean = tl.sum(value, axis=0) / count
    offset = tl.where(inside, value - mean[None, :], 0.0)
    spread = tl.sum(offset * offset, axis=0)
    out = ((picture * splits + split) * 2) * channels + channel
    tl.store(part_at + out, mean, mask=channel < channels)
    tl.store(part_at + out + channels, spread, mask=channel < channels)


@triton.jit
def _join_stats(
    part_at, mean_at, rstd_at, pixels, channels, splits, eps,
    PIXELS: tl.constexpr, SPLITS: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    picture = tl.program_id(1)
    split = tl.arange(0, SPLITS)
    channel = tl.program_id(0) * CHANNELS + tl.arange(0, CHANNELS)
    inside = (split < splits)[:, None] & (channel < channels)[None, :]
    at = ((picture * splits + split[:, None]) * 2) * channels + channel[None, :]
    means = tl.load(part_at + at, mask=inside, other=0.0)
    spreads = tl.load(part_at + at + channels, mask=inside, other=0.0)
    count = tl.minimum(pixels - split * PIXELS, PIXELS).to(tl.float32)[:, None]
    mean = tl.sum(tl.where(inside, means * count, 0.0), axis=0) / pixels
    offset = means - mean[None, :]
    spread = tl.sum(tl.where(inside, spreads + count * offset * offset, 0.0), axis=0)
    out = picture * channels + channel
    tl.store(mean_at + out, mean, mask=channel < channels)
    tl.store(rstd_at + out, 1.0 / tl.sqrt(spread / pixels + eps), mask=channel < channels)


def stats(x: Tensor, y: Tensor | None) -> tuple[Tensor, tuple[Tensor, Tensor]]:
    """(x + y, or x where there is no y; its mean and 1 / deviation), exact means per block, then joined."""
    batch, height, width, channels = x.shape
    pixels, block = height * width, 128
    splits, lanes = triton.cdiv(pixels, block), min(64, triton.next_power_of_2(channels))
    total = x if y is None else torch.empty_like(x)
    part = torch.empty((batch, splits, 2, channels), dtype=torch.float32, device=x.device)
    grid = (splits, triton.cdiv(channels, lanes), batch)
    other = x if y is None else y
    _partial_stats[grid](x, other, total, part, pixels, channels, splits, y is not None, block, lanes)
    mean, rstd = torch.empty((2, batch, channels), dtype=torch.float32, device=x.device)
    lanes = min(16, triton.next_power_of_2(channels))
    grid = (triton.cdiv(channels, lanes), batch)
    _join_stats[grid](
        part, mean, rstd, pixels, channels, splits, _EPS, block, triton.next_power_of_2(splits), lanes
    )
    return total, (mean, rstd)


@triton.jit
def _modulate(
    x_at, mean_at, rstd_at, scale_shift_at, bias_at, out_at, slope, height, width, channels,
    ENLARGE: tl.constexpr, PIXELS: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    picture = tl.program_id(2)
    pixel = tl.program_id(0) * PIXELS + tl.arange(0, PIXELS)
    channel = tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS)
    there = channel < channels
    inside = (pixel < height * width)[:, None] & there[None, :]
    row, column = pixel // width // ENLARGE, pixel % width // ENLARGE
    source = (picture.to(tl.int64) * (height // ENLARGE) + row) * (width // ENLARGE) + column
    x = tl.load(x_at + source[:, None] * channels + channel[None, :], mask=inside, other=0.0).to(tl.float32)
    mean = tl.load(mean_at + picture * channels + channel, mask=there, other=0.0)
    rstd = tl.load(rstd_at + picture * channels + channel, mask=there, other=0.0)
    place = picture.to(tl.int64) * height * width + pixel
    at = place[:, None] * (2 * channels) + channel[None, :]
    scale = tl.load(scale_shift_at + at, mask=inside, other=0.0).to(tl.float32)
    shift = tl.load(scale_shift_at + at + channels, mask=inside, other=0.0).to(tl.float32)
    scale += tl.load(bias_at + channel, mask=there, other=0.0).to(tl.float32)[None, :]
    shift += tl.load(bias_at + channels + channel, mask=there, other=0.0).to(tl.float32)[None, :]
    value = (x - mean[None, :]) * rstd[None, :] * scale + shift
    value = tl.where(value > 0, value, value * slope).to(out_at.dtype.element_ty)
    tl.store(out_at + place[:, None] * channels + channel[None, :], value, mask=inside)


def modulate(
    x: Tensor,
    statistics: tuple[Tensor, Tensor],
    scale_shift: Tensor,
    bias: Tensor,
    slope: float,
    enlarge: int,
) -> Tensor:
    batch, height, width = scale_shift.shape[:3]
    channels = x.shape[3]
    made = torch.empty((batch, height, width, channels), dtype=x.dtype, device=x.device)
    lanes = min(_CHANNELS, triton.next_power_of_2(channels))
    grid = (triton.cdiv(height * width, _PIXELS), triton.cdiv(channels, lanes), batch)
    sizes = (height, width, channels, enlarge, _PIXELS, lanes)
    _modulate[grid](x, *statistics, scale_shift, bias, made, slope, *sizes)
    return made


@triton.jit
def _add_leaky(
    x_at, y_at, bias_at, out_at, total, channels, slope, ADD: tl.constexpr, BLOCK: tl.constexpr,
):  # fmt: skip
    at = tl.program_id(0).to(tl.int64) * BLOCK + tl.arange(0, BLOCK)
    inside = at < total
    value = tl.load(x_at + at, mask=inside, other=0.0).to(tl.float32)
    if ADD:
        value += tl.load(y_at + at, mask=inside, other=0.0).to(tl.float32)
    value += tl.load(bias_at + at % channels, mask=inside, other=0.0).to(tl.float32)
    value = tl.where(value > 0, value, value * slope)
    tl.store(out_at + at, value.to(out_at.dtype.element_ty), mask=inside)


def add_leaky(x: Tensor, y: Tensor | None, bias: Tensor, slope: float) -> Tensor:
    made, block = torch.empty_like(x), 1024
    grid = (triton.cdiv(x.numel(), block),)
    other = x if y is None else y
    _add_leaky[grid](x, other, bias, made, x.numel(), x.shape[3], slope, y is not None, block)
    return made


@triton.jit
def _assemble(
    corner_at, row_at, column_at, middle_at, bias_at, out_at, height, width, channels, first, stride,
    ENLARGE: tl.constexpr, PIXELS: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    """One block of pixels of one output row; `stride` channels per place, ours from `first` on."""
    picture, out_row = tl.program_id(2) // (height * ENLARGE), tl.program_id(2) % (height * ENLARGE)
    out_column = tl.program_id(0) * PIXELS + tl.arange(0, PIXELS)
    channel = tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS)
    inside = (out_column < width * ENLARGE)[:, None] & (channel < channels)[None, :]
    row, row_place = out_row // ENLARGE, out_row % ENLARGE
    column, column_place = out_column // ENLARGE, out_column % ENLARGE
    down = (row_place == ENLARGE - 1).to(tl.int32)
    right = (column_place == ENLARGE - 1).to(tl.int32)
    is_row_edge = (row_place == 0) | (row_place == ENLARGE - 1)
    is_edge = (column_place == 0) | (column_place == ENLARGE - 1)
    lane = first + channel[None, :]
    value = tl.zeros((PIXELS, CHANNELS), tl.float32)
    if is_row_edge:
        pixel = (picture.to(tl.int64) * (height + 1) + row + down) * (width + 1) + column + right
        at = pixel[:, None] * (4 * stride) + (2 * down + right)[:, None] * stride + lane
        value += tl.load(corner_at + at, mask=inside & is_edge[:, None], other=0.0).to(tl.float32)
        if ENLARGE > 2:
            pixel = (picture.to(tl.int64) * (height + 1) + row + down) * width + column
            at = pixel[:, None] * (2 * stride) + down * stride + lane
            value += tl.load(row_at + at, mask=inside & ~is_edge[:, None], other=0.0).to(tl.float32)
    else:
        if ENLARGE > 2:
            pixel = (picture.to(tl.int64) * height + row) * (width + 1) + column + right
            at = pixel[:, None] * (2 * stride) + right[:, None] * stride + lane
            value += tl.load(column_at + at, mask=inside & is_edge[:, None], other=0.0).to(tl.float32)
            pixel = (picture.to(tl.int64) * height + row) * width + column
            at = pixel[:, None] * stride + lane
            value += tl.load(middle_at + at, mask=inside & ~is_edge[:, None], other=0.0).to(tl.float32)
    value += tl.load(bias_at + channel, mask=channel < channels, other=0.0).to(tl.float32)[None, :]
    value = tl.maximum(value, 0.0).to(out_at.dtype.element_ty)
    place = tl.program_id(2).to(tl.int64) * (width * ENLARGE) + out_column
    tl.store(out_at + place[:, None] * channels + channel[None, :], value, mask=inside)


def assemble(parts: Sequence[Tensor], bias: Tensor, index: int, count: int, enlarge: int) -> Tensor:
    channels = bias.shape[0]
    corner = parts[0]
    batch, height, width = corner.shape[0], corner.shape[1] - 1, corner.shape[2] - 1
    shape = (batch, height * enlarge, width * enlarge, channels)
    made = torch.empty(shape, dtype=corner.dtype, device=corner.device)
    lanes = min(_CHANNELS, triton.next_power_of_2(channels))
    grid = (triton.cdiv(width * enlarge, _PIXELS), triton.cdiv(channels, lanes), batch * height * enlarge)
    others = parts[1:] if len(parts) > 1 else [corner] * 3
    sizes = (height, width, channels, index * channels, count * channels)
    _assemble[grid](corner, *others, bias, made, *sizes, enlarge, _PIXELS, lanes)
    return made
