"""Guided DDIM sampling of motion windows: cosine schedule, time pairs, and the loop over them."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor

NUM_TIMES = 1000
_OFFSET = 0.008
_MAX_BETA = 0.999

Denoise = Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Schedule:
    """Per diffusion time, (1000,) float32: alphas_cumprod, and what turns a prediction back into noise."""

    alphas_cumprod: Tensor
    sqrt_recip1m: Tensor
    sqrt_recipm1: Tensor

    def noise(self, x: Tensor, time: Tensor, x_start: Tensor) -> Tensor:
        """The noise in x (B, T, D) at time (B,) int64, if x_start (B, T, D) is the clean motion."""
        at = time.to(self.alphas_cumprod.device)
        tables = (self.sqrt_recip1m, self.sqrt_recipm1)
        scale, divisor = (table[at].to(x.device)[:, None, None] for table in tables)
        return scale * x - x_start / divisor


@dataclass(frozen=True)
class Step:
    """A pair of times and its coefficients; the last step of a run has next_time < 0 and needs none."""

    time: int
    next_time: int
    recip1m: float = 0.0
    recipm1: float = 1.0
    sqrt_alpha_next: float = 1.0
    c: float = 0.0
    sigma: float = 0.0


@cache
def cosine_schedule() -> Schedule:
    """1000 times, offset 0.008, betas at most 0.999; the product in float32, as the released weights saw it.

    float32 matters: 1 - alpha_next - sigma^2 cancels, and with few steps another rounding shows at 2e-4.
    """
    steps = np.arange(NUM_TIMES + 1, dtype=np.float64) / NUM_TIMES + _OFFSET
    level = np.cos(steps / (1 + _OFFSET) * np.pi / 2) ** 2
    betas = np.clip(1 - level[1:] / level[:-1], 0.0, _MAX_BETA).astype(np.float32)
    alphas_cumprod = torch.cumprod(torch.from_numpy(np.float32(1) - betas), dim=0)
    # numpy's square root is correctly rounded everywhere, torch's depends on the CPU's vector library
    alpha = alphas_cumprod.numpy()
    recip1m, recipm1 = np.sqrt(1 / (1 - alpha)), np.sqrt(1 / alpha - 1)
    return Schedule(alphas_cumprod, torch.from_numpy(recip1m), torch.from_numpy(recipm1))


def time_pairs(steps: int) -> list[tuple[int, int]]:
    """(time, next time) of each step, noisiest first; the last next time is -1.

    Raises ValueError below 1 step or above 1000: no more times exist.
    """
    if not 1 <= steps <= NUM_TIMES:
        raise ValueError(f"avatar.steps={steps}: 1 to {NUM_TIMES} diffusion steps; use 10, 25 or 50")
    times = torch.linspace(-1, NUM_TIMES - 1, steps + 1).int().tolist()[::-1]
    return list(pairwise(times))


def step_table(steps: int) -> list[Step]:
    """The coefficients of every step for eta = 1, computed in float32.

    The radicand of c is clamped at 0: at 3 steps it rounds to below 0, where upstream yields NaN.
    """
    schedule = cosine_schedule()
    alphas, recip1m, recipm1 = (
        table.numpy() for table in (schedule.alphas_cumprod, schedule.sqrt_recip1m, schedule.sqrt_recipm1)
    )
    table = []
    for time, next_time in time_pairs(steps):
        if next_time < 0:
            table.append(Step(time, next_time))
            continue
        alpha, alpha_next = alphas[time], alphas[next_time]
        sigma = np.sqrt((1 - alpha / alpha_next) * (1 - alpha_next) / (1 - alpha))
        c = np.sqrt(np.maximum(1 - alpha_next - sigma**2, 0))
        values = (recip1m[time], recipm1[time], np.sqrt(alpha_next), c, sigma)
        table.append(Step(time, next_time, *(float(value) for value in values)))
    return table


def draw_noise(steps: int, shape: Sequence[int], generator: torch.Generator, device: str = "cpu") -> Tensor:
    """(steps - 1, *shape) of normal noise for the steps between; upstream uses one draw for all windows.

    generator  a CPU generator, so that a seed means the same numbers on every device
    """
    return torch.randn((steps - 1, *shape), generator=generator).to(device)


def update(x: Tensor, x_start: Tensor, step: Step, noise: Tensor) -> Tensor:
    """x at step.time and its clean prediction -> x at step.next_time; all (B, T, D)."""
    predicted = step.recip1m * x - x_start / step.recipm1
    return step.sqrt_alpha_next * x_start + step.c * predicted + step.sigma * noise


def sample(
    denoise: Denoise, x_init: Tensor, noise: Tensor | Sequence[Tensor], table: Sequence[Step]
) -> Tensor:
    """Run the steps of `table` from pure noise to motion.

    denoise  (x (B, T, D), time (B,) int64) -> the clean prediction with guidance, (B, T, D)
    x_init   (B, T, D) normal noise
    noise    one (B, T, D) per step but the last
    Returns (B, T, D). Never waits for the device.
    """
    x = x_init
    for i, step in enumerate(table):
        # filled on the device: a copy from the host would wait for it
        time = torch.full((x.shape[0],), step.time, dtype=torch.int64, device=x.device)
        x_start = denoise(x, time)
        if step.next_time < 0:
            return x_start
        x = update(x, x_start, step, noise[i])
    raise ValueError("the table of steps does not end: its last next time must be -1")
