"""Queueing theory: exact recursions over given arrivals and services, and the closed forms that check them.

Times in s from the first submit. Services of job k stand at k.
"""

from __future__ import annotations

import heapq
import itertools
import random
from collections.abc import Iterable, Sequence

import numpy as np
from numpy.typing import NDArray


def exponential_s(mean_s: float, stage: str, jobs: int, seed: int = 0) -> list[float]:
    """What engines.simulated draws for a stage with spread=exponential of jobs with seeds from `seed` on."""
    return [
        random.Random(f"{seed + job} {stage}").expovariate(1 / mean_s) if mean_s else 0.0
        for job in range(jobs)
    ]


def lindley(arrivals: NDArray[np.float64], service_s: float) -> NDArray[np.float64]:
    """Waits in a queue with one server and equal services: W[k+1] = max(0, W[k] + S - A[k]), unrolled into
    sums and their least so far (Lindley 1952).
    """
    sums = np.concatenate([[0.0], np.cumsum(service_s - np.diff(arrivals))])
    waits: NDArray[np.float64] = sums - np.minimum.accumulate(sums)
    return waits


def served(
    arrivals: Iterable[float], services: Sequence[float], servers: int = 1
) -> list[tuple[float, float]]:
    """(start, end) of each job, first come, first served, by `servers` (Kiefer and Wolfowitz 1955); all
    arrivals 0: a closed loop that never lacks work.
    """
    free, found = [0.0] * servers, []
    for arrival, service in zip(arrivals, services, strict=False):
        start = max(arrival, heapq.heappop(free))
        found.append((start, start + service))
        heapq.heappush(free, start + service)
    return found


def taking_turns(speak_s: float, draw_s: float, workers: int, jobs: int) -> list[tuple[float, float, float]]:
    """(start, with the lock, end) of each job: workers that all need one server for speak_s, in turn, and
    then go on alone for draw_s.
    """
    free, lock_free, found = [0.0] * workers, 0.0, []
    for _ in range(jobs):
        start = heapq.heappop(free)
        has_lock = max(start, lock_free)
        lock_free = has_lock + speak_s
        found.append((start, has_lock, lock_free + draw_s))
        heapq.heappush(free, lock_free + draw_s)
    return found


def tandem(
    first: Sequence[float],
    second: Sequence[float],
    places: int,
    arrivals: Iterable[float] = itertools.repeat(0.0),
    servers: int = 1,
) -> list[tuple[float, float]]:
    """(start, end) of each job in a line of two stations with `places` between them.

    Blocking after service: who is done at the first station stays there until there is a place, and a place
    is free once job k - places has begun at the second, which `servers` do.
    """
    free, left = [0.0] * servers, 0.0
    begun: list[float] = []
    found: list[tuple[float, float]] = []
    for number, (arrival, one, two) in enumerate(zip(arrivals, first, second, strict=False)):
        start = max(arrival, left)
        left = max(start + one, begun[number - places] if number >= places else 0.0)
        begun.append(max(left, heapq.heappop(free)))
        found.append((start, begun[-1] + two))
        heapq.heappush(free, begun[-1] + two)
    return found
