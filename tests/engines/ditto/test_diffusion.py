"""The sampler: times, coefficients and the loop. Its numbers with the real network are in test_golden."""

import json
import math
from pathlib import Path

import pytest
import torch

from engines.ditto import diffusion

CASES = json.loads((Path(__file__).parents[2] / "data" / "golden.json").read_text())["cases"]
LOOPS = {case["id"]: case for case in CASES if "time_pairs" in case}


@pytest.mark.parametrize("name", LOOPS)
def test_times_and_coefficients_are_the_reference_s(name):
    case = LOOPS[name]
    table = diffusion.step_table(case["steps"])
    assert [[step.time, step.next_time] for step in table] == case["time_pairs"]
    reference = {spec["name"]: spec for spec in case["intermediate"]}
    for field in ("sigma", "c", "sqrt_alpha_next"):
        found = [getattr(table[i], field) for i in reference[field]["indices"]]
        # two roundings of float32, far below the file's own tolerance for c
        assert found == pytest.approx(reference[field]["values"], abs=1.2e-7)


def test_three_steps_give_numbers_where_the_reference_gave_nan():
    noise = diffusion.draw_noise(3, (1, 20, 265), torch.Generator().manual_seed(0))
    motion = diffusion.sample(lambda x, time: 0.5 * x, torch.ones(1, 20, 265), noise, diffusion.step_table(3))
    assert torch.isfinite(motion).all()


@pytest.mark.parametrize("steps", range(1, 201))
def test_the_variance_is_kept_at_every_number_of_steps(steps):
    *between, last = diffusion.step_table(steps)
    assert (last.time >= 0, last.next_time) == (True, -1)
    for step in between:
        total = step.sqrt_alpha_next**2 + step.c**2 + step.sigma**2
        assert math.isclose(total, 1.0, abs_tol=3e-7)


@pytest.mark.parametrize("steps", [1, 2, 3, 10])
def test_a_network_that_knows_the_motion_gets_it_back_whatever_the_noise(steps):
    truth = torch.linspace(-2, 2, 2 * 20 * 265).reshape(2, 20, 265)
    generator = torch.Generator().manual_seed(1)
    noise = diffusion.draw_noise(steps, truth.shape, generator)
    seen = []

    def denoise(x, time):
        seen.append(time.tolist())
        return truth

    start = torch.randn(truth.shape, generator=generator)
    motion = diffusion.sample(denoise, start, noise, diffusion.step_table(steps))
    assert torch.equal(motion, truth)
    assert seen == [[pair[0]] * 2 for pair in diffusion.time_pairs(steps)]


def test_noise_comes_from_the_given_generator_alone():
    state = torch.random.get_rng_state()
    first, again = (diffusion.draw_noise(4, (2, 5), torch.Generator().manual_seed(7)) for _ in range(2))
    other = diffusion.draw_noise(4, (2, 5), torch.Generator().manual_seed(8))
    assert first.shape == (3, 2, 5)
    assert torch.equal(first, again)
    assert not torch.equal(first, other)
    assert torch.equal(torch.random.get_rng_state(), state)


def test_the_noise_found_by_the_schedule_is_the_noise_that_was_added():
    schedule = diffusion.cosine_schedule()
    times = torch.tensor([50, 500, 900])
    clean, noise = torch.randn((2, 3, 20, 265), generator=torch.Generator().manual_seed(2))
    alpha = schedule.alphas_cumprod[times][:, None, None]
    noisy = alpha.sqrt() * clean + (1 - alpha).sqrt() * noise
    torch.testing.assert_close(schedule.noise(noisy, times, clean), noise, atol=1e-4, rtol=0)


@pytest.mark.parametrize("steps", [0, -1, 1001])
def test_a_number_of_steps_that_does_not_exist_is_refused_with_a_remedy(steps):
    with pytest.raises(ValueError, match=rf"avatar\.steps={steps}: 1 to 1000 .*use 10, 25 or 50"):
        diffusion.time_pairs(steps)
