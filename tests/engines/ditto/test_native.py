"""Sampling of volumes without grid sampling: the numbers of torch's own, in every corner."""

from __future__ import annotations

import pytest
import torch
from torch.nn import functional as F

from engines.ditto.networks.native import gather_volume, translate

SHAPES = [(1, 4, 8, 16, 16), (2, 3, 5, 7, 9)]


def noise(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def sampled(volume: torch.Tensor, grid: torch.Tensor) -> torch.Tensor:
    return F.grid_sample(volume, grid, padding_mode="zeros", align_corners=False)


@pytest.mark.parametrize("shape", SHAPES)
def test_gathering_gives_the_bits_of_grid_sample(shape) -> None:
    volume, grid = noise(*shape), 1.2 * noise(shape[0], 4, 6, 8, 3, seed=1)
    width = shape[-1]
    edges = [(-1, 1, 0), (1, 1, 1), (-1 - 1 / width, 0, 0), (1 - 1 / width, 0, 0), (50, -50, 0), (0, 0, 0)]
    grid[0, 0, 0, : len(edges)] = torch.tensor(edges)
    assert torch.equal(gather_volume(volume, grid), sampled(volume, grid))


@pytest.mark.parametrize("shape", SHAPES)
def test_a_translation_by_matrices_is_grid_sample_of_the_moved_grid(shape) -> None:
    volume = noise(*shape, dtype=torch.float64)
    source, driving = (0.4 * noise(shape[0], 21, 3, seed=seed, dtype=torch.float64) for seed in (1, 2))
    source[:, 0], driving[:, 0] = 3.0, -3.0  # all outside
    z, y, x = (torch.linspace(-1, 1, count, dtype=torch.float64) for count in shape[2:])
    grid = torch.stack([part.expand(shape[2:]) for part in (x, y[:, None], z[:, None, None])], dim=-1)
    found = translate(volume, source, driving)
    assert found.shape == (shape[0], 22, *shape[1:])
    torch.testing.assert_close(found[:, 0], sampled(volume, grid.expand(shape[0], -1, -1, -1, -1)))
    for k in range(21):
        shift = (source - driving)[:, k, None, None, None, :]
        torch.testing.assert_close(found[:, 1 + k], sampled(volume, grid + shift))
    assert not found[:, 1].any()


def test_half_precision_volumes_are_moved_in_float32() -> None:
    volume, source, driving = noise(1, 2, 4, 8, 8), noise(1, 21, 3, seed=1), noise(1, 21, 3, seed=2)
    found = translate(volume.half(), source, driving)
    assert found.dtype == torch.float32
    assert torch.equal(found, translate(volume.half().float(), source, driving))
