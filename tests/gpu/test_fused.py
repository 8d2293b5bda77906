"""Rewritten warp and decoder on a GPU: the kernels, and whole networks in half precision."""

from __future__ import annotations

import math

import pytest
import torch

from engines.ditto.fused import fused
from engines.ditto.networks import build
from engines.ditto.weights import random_weights

pytestmark = pytest.mark.gpu


def test_every_kernel_gives_the_numbers_of_plain_torch():
    from tests.engines.ditto import fused_kernels  # Triton comes with torch's builds for GPUs alone

    assert fused_kernels.main("cuda") == 0


@pytest.mark.parametrize("batch", [1, 4])
@torch.inference_mode()
def test_a_full_size_frame_in_half_precision_is_within_45_db_of_the_plain_one(batch):
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    torch.manual_seed(batch)
    warp, decoder = (
        random_weights(build(name, "full"), 0, name, "full").cuda() for name in ("warp_network", "decoder")
    )
    feature = torch.randn(1, 32, 16, 64, 64, device="cuda").expand(batch, -1, -1, -1, -1)
    source = torch.rand(batch, 21, 3, device="cuda") * 1.6 - 0.8
    driving = source + torch.randn(batch, 21, 3, device="cuda") * 0.1
    expected = decoder.fold()(warp(feature, source, driving))
    moved = fused("warp_network", warp).half()(feature, source, driving)
    found = fused("decoder", decoder).half()(moved.float())
    psnr_db = -10 * math.log10((found - expected).double().square().mean().item())
    assert psnr_db > 45
