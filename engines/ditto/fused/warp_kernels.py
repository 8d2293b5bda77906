"""Triton kernels of the warp's passes over volumes; engines.ditto.fused.ops says what each one computes."""

from __future__ import annotations

import torch
import triton
import triton.language as tl
from torch import Tensor
from torch.nn import functional as F

_VARIANCE = 0.01
# Pixels and channels of a block.
_PIXELS, _CHANNELS = 32, 128


@triton.jit
def _axis(index, size):
    """Coordinate of a voxel, -1 and 1 inclusive."""
    return 2.0 * (index.to(tl.float32) / (size - 1)) - 1.0


@triton.jit
def _place(coordinate, size):
    """Coordinate to voxels as grid_sample with align_corners=False has it."""
    return ((coordinate + 1.0) * size - 1.0) * 0.5


@triton.jit
def _heats(
    source_at, driving_at, out_at, total, depth, height, width, lanes, heats, points, scale,
    VOXELS: tl.constexpr, HEATS: tl.constexpr,
):  # fmt: skip
    voxel = tl.program_id(0) * VOXELS + tl.arange(0, VOXELS)
    motion = tl.arange(0, HEATS)[None, :]
    x, y, z = voxel % width, voxel // width % height, voxel // (width * height) % depth
    picture = (voxel // (width * height * depth))[:, None]
    gx, gy, gz = _axis(x, width)[:, None], _axis(y, height)[:, None], _axis(z, depth)[:, None]
    known = (voxel < total)[:, None]
    keyed = known & (motion > 0) & (motion <= points)
    at = (picture * points + motion - 1) * 3
    dx = gx - tl.load(driving_at + at, mask=keyed, other=0.0)
    dy = gy - tl.load(driving_at + at + 1, mask=keyed, other=0.0)
    dz = gz - tl.load(driving_at + at + 2, mask=keyed, other=0.0)
    sx = gx - tl.load(source_at + at, mask=keyed, other=0.0)
    sy = gy - tl.load(source_at + at + 1, mask=keyed, other=0.0)
    sz = gz - tl.load(source_at + at + 2, mask=keyed, other=0.0)
    heat = tl.exp((dx * dx + dy * dy + dz * dz) * scale) - tl.exp((sx * sx + sy * sy + sz * sz) * scale)
    heat = tl.where(keyed, heat, 0.0).to(out_at.dtype.element_ty)
    tl.store(out_at + voxel.to(tl.int64)[:, None] * lanes + motion, heat, mask=known & (motion < heats))


@triton.jit
def _origin(index, size, source_at, driving_at, keyed):
    """Where a voxel's value comes from along one axis, in voxels, when a key point moves.

    Beyond the border of zeros all is zero: the nearest cell of it stands for the rest.
    """
    source = tl.load(source_at, mask=keyed, other=0.0)
    driving = tl.load(driving_at, mask=keyed, other=0.0)
    return tl.minimum(tl.maximum(_place(_axis(index, size) - driving + source, size), -1.0), size * 1.0)


@triton.jit
def _candidates(
    volume_at, source_at, driving_at, out_at, total, depth, height, width, lanes, heats, points,
    CHANNELS: tl.constexpr, VOXELS: tl.constexpr,
):  # fmt: skip
    """One motion of a block of voxels. The volume has a border of zeros, so no load needs a mask: both
    neighbours along x with all their channels lie side by side and come in one load.
    """
    voxel = tl.program_id(0) * VOXELS + tl.arange(0, VOXELS)
    motion = tl.program_id(1)
    lane = tl.arange(0, 2 * CHANNELS)
    x, y, z = voxel % width, voxel // width % height, voxel // (width * height) % depth
    picture = voxel // (width * height * depth)
    keyed = (voxel < total) & (motion > 0)
    at = (picture * points + motion - 1) * 3
    px = _origin(x, width, source_at + at, driving_at + at, keyed)
    py = _origin(y, height, source_at + at + 1, driving_at + at + 1, keyed)
    pz = _origin(z, depth, source_at + at + 2, driving_at + at + 2, keyed)
    fx, fy, fz = tl.floor(px), tl.floor(py), tl.floor(pz)
    along = px - fx
    # The last cell of the border has no neighbour behind it in the row; its weight is 0 there.
    weight_x = tl.where((lane < CHANNELS)[None, :], 1.0 - along[:, None], along[:, None])
    moved = tl.zeros((VOXELS, 2 * CHANNELS), tl.float32)
    for corner in tl.static_range(4):
        iy, iz = fy + (corner & 1), fz + (corner >> 1)
        weight = (1.0 - tl.abs(py - iy)) * (1.0 - tl.abs(pz - iz))
        row = (picture * (depth + 3) + iz.to(tl.int32) + 1) * (height + 3) + iy.to(tl.int32) + 1
        cell = row * (width + 3) + fx.to(tl.int32) + 1
        at = cell[:, None] * CHANNELS + lane[None, :]
        value = tl.load(volume_at + at, mask=(voxel < total)[:, None], other=0.0)
        moved += weight[:, None] * weight_x * value.to(tl.float32)
    both = tl.sum(tl.reshape(moved, (VOXELS, 2, CHANNELS)), axis=1).to(out_at.dtype.element_ty)
    out = voxel.to(tl.int64)[:, None] * lanes + heats + motion * CHANNELS + tl.arange(0, CHANNELS)[None, :]
    tl.store(out_at + out, both, mask=(voxel < total)[:, None])


def candidates(compressed: Tensor, kp_source: Tensor, kp_driving: Tensor, heats: int, width: int) -> Tensor:
    shape, channels = compressed.shape[:4], compressed.shape[4]
    total, points = shape.numel(), kp_source.shape[1]
    used = heats + (points + 1) * channels
    new = torch.empty if used == width else torch.zeros
    made = new((*shape, width), dtype=compressed.dtype, device=compressed.device)
    keys = (kp_source.contiguous(), kp_driving.contiguous())
    sizes = (total, *shape[1:], width, heats, points)
    _heats[(triton.cdiv(total, 64),)](
        *keys, made, *sizes, -0.5 / _VARIANCE, 64, triton.next_power_of_2(heats)
    )
    bordered = F.pad(compressed, (0, 0, 1, 2, 1, 2, 1, 2))
    _candidates[(triton.cdiv(total, 128), points + 1)](bordered, *keys, made, *sizes, channels, 128)
    return made


@triton.jit
def _relu_pool(
    x_at, bias_at, out_at, total, height, width, channels,
    HALVE: tl.constexpr, PIXELS: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    """Height and width are those of the result."""
    pixel = tl.program_id(0) * PIXELS + tl.arange(0, PIXELS)
    channel = tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS)
    inside = (pixel < total)[:, None] & (channel < channels)[None, :]
    bias = tl.load(bias_at + channel, mask=channel < channels, other=0.0).to(tl.float32)[None, :]
    place = pixel.to(tl.int64)
    out = place[:, None] * channels + channel[None, :]
    if HALVE:
        row, column = place // width, place % width
        value = tl.zeros((PIXELS, CHANNELS), tl.float32)
        for corner in tl.static_range(4):
            source = (row * 2 + corner // 2) * (width * 2) + column * 2 + corner % 2
            at = source[:, None] * channels + channel[None, :]
            value += tl.maximum(tl.load(x_at + at, mask=inside, other=0.0).to(tl.float32) + bias, 0.0)
        value = value * 0.25
    else:
        value = tl.maximum(tl.load(x_at + out, mask=inside, other=0.0).to(tl.float32) + bias, 0.0)
    tl.store(out_at + out, value.to(out_at.dtype.element_ty), mask=inside)


def relu_pool(x: Tensor, bias: Tensor, halve: bool) -> Tensor:
    batch, depth, height, width, channels = x.shape
    if halve:
        height, width = height // 2, width // 2
    made = torch.empty((batch, depth, height, width, channels), dtype=x.dtype, device=x.device)
    lanes, total = min(_CHANNELS, triton.next_power_of_2(channels)), batch * depth * height * width
    grid = (triton.cdiv(total, _PIXELS), triton.cdiv(channels, lanes))
    _relu_pool[grid](x, bias, made, total, height, width, channels, halve, _PIXELS, lanes)
    return made


@triton.jit
def _interleave(
    corner_at, bias_at, skip_at, out_at, height, width, channels, skips,
    PIXELS: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    """Height and width are those of the result; rows of all slices lie one after the other."""
    slice_, row = tl.program_id(0) // height, tl.program_id(0) % height
    column = tl.program_id(2) * PIXELS + tl.arange(0, PIXELS)
    lane = tl.program_id(1) * CHANNELS + tl.arange(0, CHANNELS)
    inside = (column < width)[:, None]
    low, right = slice_.to(tl.int64) * (height // 2 + 1) + row // 2 + row % 2, column % 2
    source = low * (width // 2 + 1) + column // 2 + right
    at = source[:, None] * (4 * channels) + ((row % 2) * 2 + right)[:, None] * channels + lane[None, :]
    ours = (lane < channels)[None, :]
    value = tl.load(corner_at + at, mask=inside & ours, other=0.0).to(tl.float32)
    value += tl.load(bias_at + lane, mask=lane < channels, other=0.0).to(tl.float32)[None, :]
    place = tl.program_id(0).to(tl.int64) * width + column
    theirs = (lane >= channels)[None, :] & (lane < channels + skips)[None, :]
    skip = tl.load(
        skip_at + place[:, None] * skips + lane[None, :] - channels, mask=inside & theirs, other=0.0
    )
    result = tl.where(ours, tl.maximum(value, 0.0), skip.to(tl.float32)).to(out_at.dtype.element_ty)
    out = place[:, None] * (channels + skips) + lane[None, :]
    tl.store(out_at + out, result, mask=inside & (ours | theirs))


def interleave(corner_parts: Tensor, bias: Tensor, skip: Tensor) -> Tensor:
    batch, depth, height, width, skips = skip.shape
    channels = bias.shape[0]
    made = torch.empty((batch, depth, height, width, channels + skips), dtype=skip.dtype, device=skip.device)
    lanes = min(_CHANNELS, triton.next_power_of_2(channels + skips))
    # Rows first: only the first axis of a grid may be longer than 65535.
    grid = (batch * depth * height, triton.cdiv(channels + skips, lanes), triton.cdiv(width, _PIXELS))
    _interleave[grid](corner_parts, bias, skip, made, height, width, channels, skips, _PIXELS, lanes)
    return made


@triton.jit
def _deform(
    partial_at, bias_at, source_at, driving_at, out_at, total, depth, height, width, channels, masks,
    TAPS: tl.constexpr, VOXELS: tl.constexpr, MASKS: tl.constexpr,
):  # fmt: skip
    voxel = tl.program_id(0) * VOXELS + tl.arange(0, VOXELS)
    mask = tl.arange(0, MASKS)
    x, y, z = voxel % width, voxel // width % height, voxel // (width * height) % depth
    picture = voxel // (width * height * depth)
    used = (mask < masks)[None, :] & (voxel < total)[:, None]
    logits = tl.load(bias_at + mask, mask=mask < masks, other=0.0).to(tl.float32)[None, :]
    logits = logits + tl.zeros((VOXELS, MASKS), tl.float32)
    for tap in tl.static_range(TAPS):
        shifted = z + tap - TAPS // 2
        there = ((shifted >= 0) & (shifted < depth))[:, None] & used
        at = (voxel.to(tl.int64) + (tap - TAPS // 2) * width * height)[:, None] * channels
        at += (tap * masks + mask)[None, :]
        logits += tl.load(partial_at + at, mask=there, other=0.0).to(tl.float32)
    logits = tl.where((mask < masks)[None, :], logits, float("-inf"))
    share = tl.exp(logits - tl.max(logits, axis=1)[:, None])
    share = share / tl.sum(share, axis=1)[:, None]
    keyed = used & (mask > 0)[None, :]
    point = (picture[:, None] * (masks - 1) + mask[None, :] - 1) * 3
    out = voxel.to(tl.int64) * 3
    for axis in tl.static_range(3):
        shift = tl.load(source_at + point + axis, mask=keyed, other=0.0)
        shift -= tl.load(driving_at + point + axis, mask=keyed, other=0.0)
        if axis == 0:
            place = _axis(x, width)
        elif axis == 1:
            place = _axis(y, height)
        else:
            place = _axis(z, depth)
        tl.store(out_at + out + axis, place + tl.sum(share * shift, axis=1), mask=voxel < total)


def deform(partial: Tensor, bias: Tensor, kp_source: Tensor, kp_driving: Tensor, depth_taps: int) -> Tensor:
    shape = partial.shape[:4]
    total, block = shape.numel(), 64
    made = torch.empty((*shape, 3), dtype=torch.float32, device=partial.device)
    sizes = (total, *shape[1:], partial.shape[4], bias.shape[0])
    keys = (kp_source.contiguous(), kp_driving.contiguous())
    grid = (triton.cdiv(total, block),)
    _deform[grid](
        partial, bias, *keys, made, *sizes, depth_taps, block, triton.next_power_of_2(bias.shape[0])
    )
    return made


@triton.jit
def _sample(
    volume_at, deformation_at, out_at, total, depth, height, width, channels,
    VOXELS: tl.constexpr, CHANNELS: tl.constexpr,
):  # fmt: skip
    voxel = tl.program_id(0) * VOXELS + tl.arange(0, VOXELS)
    channel = tl.arange(0, CHANNELS)
    known = voxel < total
    inside = known[:, None] & (channel < channels)[None, :]
    picture = voxel // (width * height * depth)
    at = deformation_at + voxel.to(tl.int64) * 3
    px = _place(tl.load(at, mask=known, other=0.0), width)
    py = _place(tl.load(at + 1, mask=known, other=0.0), height)
    pz = _place(tl.load(at + 2, mask=known, other=0.0), depth)
    fx, fy, fz = tl.floor(px), tl.floor(py), tl.floor(pz)
    value = tl.zeros((VOXELS, CHANNELS), tl.float32)
    for corner in tl.static_range(8):
        ix, iy, iz = fx + (corner & 1), fy + ((corner >> 1) & 1), fz + (corner >> 2)
        weight = (1.0 - tl.abs(px - ix)) * (1.0 - tl.abs(py - iy)) * (1.0 - tl.abs(pz - iz))
        there = (ix >= 0) & (ix < width) & (iy >= 0) & (iy < height) & (iz >= 0) & (iz < depth)
        source = ((picture * depth + iz.to(tl.int32)) * height + iy.to(tl.int32)) * width + ix.to(tl.int32)
        source = source.to(tl.int64)[:, None] * channels + channel[None, :]
        loaded = tl.load(volume_at + source, mask=inside & there[:, None], other=0.0)
        value += weight[:, None] * loaded.to(tl.float32)
    z, flat = voxel // (width * height) % depth, voxel % (width * height)
    out = ((picture.to(tl.int64) * width * height + flat) * depth + z)[:, None] * channels + channel[None, :]
    tl.store(out_at + out, value.to(out_at.dtype.element_ty), mask=inside)


def sample(volume: Tensor, deformation: Tensor) -> Tensor:
    batch, depth, height, width, channels = volume.shape
    total, block = batch * depth * height * width, 64
    made = torch.empty((batch, height, width, depth * channels), dtype=volume.dtype, device=volume.device)
    sizes = (total, depth, height, width, channels)
    _sample[(triton.cdiv(total, block),)](
        volume, deformation, made, *sizes, block, triton.next_power_of_2(channels)
    )
    return made
