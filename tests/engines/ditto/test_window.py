"""A motion window in one call: the numbers of the loop over its steps."""

from __future__ import annotations

import pytest
import torch

from engines.ditto.diffusion import sample, step_table
from engines.ditto.networks import build
from engines.ditto.networks.lmdm import ContextEncoder, GuidedStep, MotionDecoder
from engines.ditto.weights import random_weights
from engines.ditto.window import Window


def inputs(steps: int) -> tuple[torch.Tensor, ...]:
    chance = torch.Generator().manual_seed(steps)
    shapes = ((1, 20, 265), (1, 265), (1, 20, 1103), (steps - 1, 1, 20, 265))
    return tuple(torch.randn(shape, generator=chance) for shape in shapes)


def lmdm() -> MotionDecoder:
    network = random_weights(build("lmdm", "tiny"), 5, "lmdm", "tiny")
    assert isinstance(network, MotionDecoder)
    return network


@pytest.mark.parametrize("steps", [1, 2, 10, 50])
@torch.inference_mode()
def test_a_window_is_the_loop_of_guided_steps(steps):
    network = lmdm()
    start, row, conditions, noise = inputs(steps)
    tokens, hidden = ContextEncoder(network)(conditions)
    step = GuidedStep(network)
    expected = sample(lambda x, time: step(x, row, tokens, hidden, time), start, noise, step_table(steps))
    found = Window(network, step_table(steps))(start, row, conditions, noise)
    torch.testing.assert_close(found, expected, rtol=0, atol=1e-5 * expected.abs().max().item())


@torch.inference_mode()
def test_half_weights_keep_the_sampled_motion_and_its_angles_in_full_precision():
    network = lmdm()
    expected = Window(network, step_table(10))(*inputs(10))
    found = Window(lmdm(), step_table(10)).bfloat16()(*inputs(10))
    assert found.dtype == torch.float32
    error = (found - expected).square().mean().sqrt() / expected.square().mean().sqrt()
    assert error < 0.05


@torch.inference_mode()
def test_windows_share_nothing_that_a_step_changes():
    window = Window(lmdm(), step_table(4))
    first = window(*inputs(4))
    window(*(2 * part for part in inputs(4)))
    torch.testing.assert_close(window(*inputs(4)), first, rtol=0, atol=0)
