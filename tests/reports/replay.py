"""The nightly rule played on made nights: screen, measure again side by side, accept or leave out.

`python -m tests.reports.replay` prints a line for each noise, with and without faults.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from reports.changes import Screen, change_points, screen
from reports.decision import decide
from tests.reports.nights import Array, autoregressive

NIGHTS, FIRST, STEP_AT = 110, 20, 60  # FIRST: alarms before it do not count
LATE = 10  # nights in which a change seen looking back is still measured again


@dataclass(frozen=True)
class Host:
    """Spread of logarithms from night to night, its correlation, and that of a launch."""

    night: float
    lag1: float
    launch: float
    min_effect: float = 0.03


HOSTS = {
    "gpu": Host(0.008, 0.5, 0.004),
    "cpu": Host(0.02, 0.5, 0.015),
    "cpu, 8 %": Host(0.02, 0.5, 0.015, 0.08),
}


@dataclass
class Played:
    """alarms: nights on which a slower level was accepted; sessions: how often A and B were measured."""

    alarms: list[int] = field(default_factory=list)
    sessions: int = 0


def faults(random: np.random.Generator) -> Array:
    """What befalls the host: on 2 % of nights something begins that lasts one to three, +5 to +60 %."""
    found = np.zeros(NIGHTS)
    for night in np.flatnonzero(random.random(NIGHTS) < 0.02 / 2):  # 2 nights each on average
        found[night : night + int(random.integers(1, 4))] = np.log1p(random.uniform(0.05, 0.6))
    return found


def play(random: np.random.Generator, host: Host, step: float = 0.0, faulty: bool = True) -> Played:
    """A history whose level rises by `step` on night STEP_AT. A fault hits both sides of a session alike."""
    level = np.log1p(step) * (np.arange(NIGHTS) >= STEP_AT)
    weather = autoregressive(random, NIGHTS, host.night, host.lag1) + (faults(random) if faulty else 0)
    played = Played()
    history: list[float] = []
    kept: list[int] = []  # the night of each value in history
    accepted: list[int] = []  # indices into history of the accepted changes
    for night in range(NIGHTS):
        tonight = 10 * np.exp(level[night] + weather[night] + np.median(random.normal(0, host.launch, 3)))
        seen = screen(history, tonight, accepted, host.min_effect)
        suspect = seen.word in ("slow", "fast")
        base = _base(history, kept, seen) if suspect else 0
        change = None if suspect else _late([*history, tonight], accepted, host.min_effect)
        if change is not None:
            base = kept[change - 1]
        if suspect or change is not None:
            played.sessions += 1
            sides = [np.exp(level[of] + random.normal(0, host.launch, (5, 1))) for of in (base, night)]
            verdict = decide(*sides, host.min_effect, accept=2 / 3 * host.min_effect).verdict  # type: ignore[arg-type]
            if verdict in ("slower", "faster"):
                accepted.append(len(history) if change is None else change)
                if verdict == "slower" and night >= FIRST:
                    played.alarms.append(night)
            elif suspect:
                continue
        history.append(float(tonight))
        kept.append(night)
    return played


def _base(history: list[float], kept: list[int], seen: Screen) -> int:
    """The latest night on the good side of the reference, as in reports.screening: the very last may be the
    first of the new level. The last one where none is on that side.
    """
    assert seen.reference is not None
    sign = 1 if seen.word == "slow" else -1
    pairs = zip(reversed(history), reversed(kept), strict=True)
    far = (night for value, night in pairs if sign * (value - seen.reference) <= 0)
    return next(far, kept[-1])


def _late(history: list[float], accepted: list[int], min_effect: float) -> int | None:
    """The latest change of the last nights that only looking back shows."""
    first = max(len(history) - 90, 0)
    found = [first + index for index in change_points(history[first:], min_effect)]
    new = [index for index in found if all(abs(index - known) > 5 for known in accepted)]
    return new[-1] if new and new[-1] > len(history) - LATE else None


def false_alarms(seed: int, host: Host, faulty: bool, series: int = 50) -> tuple[float, float]:
    """Per hundred nights of a series that never changes: alarms, sessions."""
    random = np.random.default_rng(seed)
    played = [play(random, host, faulty=faulty) for _ in range(series)]
    nights = series * (NIGHTS - FIRST) / 100
    return sum(len(one.alarms) for one in played) / nights, sum(one.sessions for one in played) / nights


def found_by(seed: int, host: Host, step: float, faulty: bool, series: int = 100) -> Array:
    """Shares of series that alarm on the step's first night, by the next, and by the seventh after it."""
    random = np.random.default_rng(seed)
    delays = []
    for _ in range(series):
        alarms = [night - STEP_AT for night in play(random, host, step, faulty).alarms if night >= STEP_AT]
        delays.append(min(alarms, default=NIGHTS))
    return np.array([np.mean([delay <= nights for delay in delays]) for nights in (0, 1, 7)])


def main() -> None:
    for name, host in HOSTS.items():
        for faulty in (False, True):
            alarms, sessions = false_alarms(1, host, faulty)
            found = {step: found_by(2, host, step, faulty).tolist() for step in (0.03, 0.05, 0.10, 0.20)}
            print(
                f"{name}, faults {faulty}: false {alarms:.2f}, sessions {sessions:.1f} of 100 nights; {found}"
            )


if __name__ == "__main__":
    main()
