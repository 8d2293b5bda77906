"""Rewritten warp and decoder: the plain networks' numbers, at every shape and batch."""

from __future__ import annotations

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from engines.contract import NotApplicable
from engines.ditto.fused import fused
from engines.ditto.fused.phases import MIDDLE, corners, edges, fold
from engines.ditto.networks import build
from engines.ditto.weights import random_weights


def network(name: str) -> nn.Module:
    return random_weights(build(name, "tiny"), 3, name, "tiny")


def keypoints(batch: int) -> tuple[torch.Tensor, torch.Tensor]:
    chance = torch.Generator().manual_seed(batch)
    source = torch.rand(batch, 21, 3, generator=chance) * 1.6 - 0.8
    return source, source + torch.randn(batch, 21, 3, generator=chance) * 0.2


@pytest.mark.parametrize(("batch", "height", "width"), [(1, 16, 16), (3, 16, 24), (2, 32, 16)])
@torch.inference_mode()
def test_the_rewritten_warp_gives_the_plain_one_s_numbers(batch, height, width):
    plain = network("warp_network")
    feature = torch.randn(batch, 4, 8, height, width, generator=torch.Generator().manual_seed(0))
    source, driving = keypoints(batch)
    driving[0, 3] = 9.0  # far outside: all zeros are moved in
    expected = plain(feature, source, driving)
    found = fused("warp_network", plain)(feature, source, driving)
    # warp's tolerance for other arithmetic in float32 is 4.5e-5 of the largest value
    torch.testing.assert_close(found, expected, rtol=0, atol=4.5e-5 * expected.abs().max().item())


@pytest.mark.parametrize(("batch", "height", "width"), [(1, 16, 16), (2, 8, 12)])
@torch.inference_mode()
def test_the_rewritten_decoder_gives_the_plain_one_s_picture(batch, height, width):
    plain = network("decoder")
    feature = torch.randn(batch, 32, height, width, generator=torch.Generator().manual_seed(1))
    expected = plain(feature)
    found = fused("decoder", plain)(feature)
    assert found.shape == (batch, 3, 8 * height, 8 * width)
    torch.testing.assert_close(found, expected, rtol=0, atol=2e-5 * expected.abs().max().item())


@torch.inference_mode()
def test_half_weights_leave_coordinates_in_full_precision():
    plain = network("warp_network")
    feature = torch.randn(1, 4, 8, 16, 16, generator=torch.Generator().manual_seed(0))
    source, driving = keypoints(1)
    expected = plain(feature, source, driving)
    found = fused("warp_network", plain).bfloat16()(feature, source, driving).float()
    error = (found - expected).square().mean().sqrt() / expected.square().mean().sqrt()
    # bfloat16 rounds to 2^-9; keypoints rounded to it as well would be off by a voxel's eighth and give 0.3
    assert error < 0.05


def test_a_network_without_a_rewritten_form_is_not_applicable():
    with pytest.raises(NotApplicable, match=r"avatar\.fused=true: stitch_network"):
        fused("stitch_network", build("stitch_network", "tiny"))


@pytest.mark.parametrize("scale", [2, 4])
def test_a_convolution_of_repeated_pixels_is_its_parts_on_the_small_picture(scale):
    chance = torch.Generator().manual_seed(scale)
    small = torch.randn(1, 3, 5, 7, generator=chance, dtype=torch.float64)
    weight = torch.randn(2, 3, 3, 3, generator=chance, dtype=torch.float64)
    expected = F.conv2d(F.interpolate(small, scale_factor=scale), weight, padding=1)
    corner = F.conv2d(small, corners(weight), padding=1).unflatten(1, (2, 2, 2))
    last = scale - 1
    torch.testing.assert_close(corner[:, 0, 0, :, :-1, :-1], expected[:, :, ::scale, ::scale])
    torch.testing.assert_close(corner[:, 1, 1, :, 1:, 1:], expected[:, :, last::scale, last::scale])
    torch.testing.assert_close(corner[:, 0, 1, :, :-1, 1:], expected[:, :, ::scale, last::scale])
    if scale > 2:
        rows = F.conv2d(small, edges(weight, 0), padding=(1, 0)).unflatten(1, (2, 2))
        torch.testing.assert_close(rows[:, 1, :, 1:], expected[:, :, last::scale, 1::scale])
        middle = F.conv2d(small, fold(weight, MIDDLE, MIDDLE))
        torch.testing.assert_close(middle, expected[:, :, 2::scale, 1::scale])
