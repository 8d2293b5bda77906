"""Made histories and comparisons with a known truth, for the detectors' simulations."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float64]
KINDS = ("quiet", "noisy", "ar1", "spikes", "drift", "weekly", "bimodal", "hetero", "stage")
SIZES = (0.02, 0.03, 0.05, 0.08, 0.12, 0.20)


@dataclass(frozen=True)
class History:
    """Nightly values; changes: first nights of new levels; effects: the relative step at each."""

    kind: str
    values: list[float | None]
    changes: list[int]
    effects: list[float]


def autoregressive(random: np.random.Generator, n: int, sd: float, lag1: float) -> Array:
    """Stationary noise of the standard deviation sd, correlated lag1 from night to night."""
    shocks = random.normal(0, sd * np.sqrt(1 - lag1**2), n)
    noise = np.empty(n)
    noise[0] = random.normal(0, sd)
    for night in range(1, n):
        noise[night] = lag1 * noise[night - 1] + shocks[night]
    return noise


def noise(random: np.random.Generator, kind: str, n: int) -> Array:
    """Noise of the logarithms, of a kind seen in histories of benchmarks."""
    between = random.uniform
    quiet = random.normal(0, between(0.006, 0.010), n)
    if kind == "noisy":
        return random.normal(0, between(0.016, 0.024), n)
    if kind == "ar1":
        return autoregressive(random, n, between(0.009, 0.014), between(0.45, 0.7))
    if kind == "spikes":
        struck = random.random(n) < between(0.02, 0.06)
        return 1.2 * quiet + struck * np.log1p(random.uniform(0.05, 0.6, n))
    if kind == "drift":
        return quiet + np.linspace(0, 1, n) * random.choice([-1, 1]) * between(0.02, 0.06)
    if kind == "weekly":
        phase = 2 * np.pi * (np.arange(n) / 7 + random.random())
        return quiet + between(0.007, 0.014) * np.sin(phase)
    if kind == "bimodal":
        return quiet + (random.random(n) < between(0.15, 0.4)) * between(0.03, 0.05)
    if kind == "hetero":
        wild = random.random(n) < between(0.05, 0.15)
        return quiet * np.where(wild, between(2.5, 4), 1)
    if kind == "stage":  # a GPU's: nights alike, now and then an excursion of two nights
        calm = autoregressive(random, n, between(0.007, 0.011), between(0.2, 0.68))
        calm[random.random(n) < 0.01] += between(-0.033, 0.033)
        return calm
    return quiet


def steps(random: np.random.Generator, n: int, most: int = 3, apart: int = 12) -> list[int]:
    """One to `most` nights, `apart` or more from each other and from the first, nine from the last."""
    count = int(random.integers(1, most + 1))
    for _ in range(100):
        nights = sorted(int(night) for night in random.integers(apart, n - 8, count))
        if all(b - a >= apart for a, b in pairwise(nights)):
            return nights
    return [n // 2]


def history(random: np.random.Generator, kind: str, changed: bool = True) -> History:
    n = int(random.integers(60, 181))
    level = np.log(random.uniform(1, 60)) + noise(random, kind, n)
    changes = steps(random, n) if changed else []
    effects = []
    for night in changes:
        size = float(random.choice(SIZES))
        effects.append(size if random.random() < 0.5 else 1 / (1 + size) - 1)
        level[night:] += np.log1p(effects[-1])
    values: list[float | None] = [float(f"{value:.5g}") for value in np.exp(level)]
    if random.random() < 0.3:
        for night in random.integers(0, n, max(1, n // 25)):
            values[night] = None
    return History(kind, values, changes, effects)


def histories(seed: int, each: int = 4) -> list[History]:
    """Of every kind `each`, the last of which never changes."""
    random = np.random.default_rng(seed)
    return [history(random, kind, index % 4 < 3) for kind in KINDS for index in range(each)]


# Spread of the logarithms between launches, and within them.
LAUNCH_NOISE: dict[str, tuple[float, float]] = {
    "quiet": (0.0, 0.013),
    "outliers": (0.0, 0.011),
    "between1": (0.01, 0.01),
    "between2": (0.02, 0.01),
    "l4like": (0.007, 0.004),
    "drift": (0.004, 0.01),
    "bimodal": (0.0, 0.009),
    "heavy": (0.008, 0.01),
    "skewed": (0.015, 0.01),
    "unlike": (0.01, 0.01),
}


def launches(random: np.random.Generator, kind: str, count: int, samples: int = 3) -> tuple[Array, Array]:
    """Two sides of the same build, launched in turns: (launches, samples) each."""
    first, second = (_side(random, kind, count, samples, side) for side in (0, 1))
    return 40 * np.exp(first), 40 * np.exp(second)


def _side(random: np.random.Generator, kind: str, count: int, samples: int, side: int) -> Array:
    between, within = LAUNCH_NOISE[kind]
    of_launch, noise = random.normal(0, between, count), random.normal(0, within, (count, samples))
    if kind == "outliers":
        noise += (random.random(noise.shape) < 0.08) * np.log1p(random.uniform(0.2, 1, noise.shape))
    elif kind == "l4like":
        noise += (random.random(noise.shape) < 0.02) * np.log1p(random.uniform(0.1, 0.35, noise.shape))
    elif kind == "drift":
        of_launch += 0.0055 * (2 * np.arange(count) + side)
    elif kind == "bimodal":
        of_launch += 0.06 * (random.random(count) < 0.35)
    elif kind == "heavy":
        of_launch = between * random.standard_t(3, count)
    elif kind == "skewed":
        of_launch = between * random.exponential(1, count)
    elif kind == "unlike":
        of_launch *= 1 + 2 * side
    return of_launch[:, None] + noise
