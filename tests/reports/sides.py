"""Made-up launches: two sides of a comparison, and nights of a history, with figures written out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from reports.history import Change, History, Night, Session
from reports.launches import Launch, Launched

# Minutes after two at which five launches of each side begin: A B B A B A A B A B.
BASE_MIN, NEW_MIN = (0, 3, 5, 6, 8), (1, 2, 4, 7, 9)
PRINTS = {"gpu": "NVIDIA L4", "driver": "580.95.05", "torch": "2.11.0"}
CONFIG = {"avatar.steps": 10, "executor.workers": 1, "workload.seed": 0}
# Launches that vary by half a percent about 1; their mean logarithm is 0 to 1e-5.
NEAR_ONE = (0.995, 1.0, 1.005, 1.002, 0.998)


def launch(minute: int, values: Mapping[str, float], outcome: str = "ok", host: str = "l4") -> Launch:
    """Begun then; what is not ok has a reason and no figures."""
    at = (f"2026-11-20T02:{minute:02d}:00+00:00", minute)
    return Launch(at, host, outcome, "" if outcome == "ok" else "avatar.warp did not end", values)


def rtfs(numbers: Sequence[float], minutes: Sequence[int] = BASE_MIN, host: str = "l4") -> list[Launch]:
    return [
        launch(minute, {"rtf_aggregate": number}, host=host)
        for minute, number in zip(minutes, numbers, strict=True)
    ]


def about(level: float, metric: str = "rtf_aggregate", minutes: Sequence[int] = BASE_MIN) -> list[Launch]:
    """Five launches half a percent about that level."""
    return [launch(minute, {metric: level * near}) for minute, near in zip(minutes, NEAR_ONE, strict=True)]


def side(launches: Sequence[Launch], name: str = "point", **changes: Any) -> Launched:
    """A point on a GPU with these launches; changes are fields of Launched."""
    given: dict[str, Any] = {
        "id": name, "label": name, "axes": {"executor": "sequential", "workers": 1}, "config": CONFIG,
        "fingerprint": PRINTS, "commit": "a" * 40, "code": "c0de", "on_gpu": True,
    }  # fmt: skip
    return Launched(**{**given, **changes}, launches=tuple(launches))


def date(number: int) -> str:
    """The night with that number, from the first of March on, 31 at most."""
    return f"2026-03-{number + 1:02d}T02:00:00+00:00"


def night(number: int, value: float = 1.0, **changes: Any) -> Night:
    """One launch triple of `point` in that night; a commit and a code for each."""
    given: dict[str, Any] = {
        "night": date(number), "point": "point", "at": date(number), "commit": f"{number:040x}",
        "code": f"{number:012x}", "fingerprint": "f", "outcome": "ok", "reason": "",
        "values": {"rtf_aggregate": (value * 0.999, value, value * 1.001)},
    }  # fmt: skip
    return Night(**{**given, **changes})


def history(
    nights: Sequence[Night],
    sessions: Sequence[Session] = (),
    changes: Sequence[Change] = (),
    **known: Any,
) -> History:
    """known: points and fingerprints, where not those of side()."""
    given: dict[str, Any] = {
        "points": {"point": {"id": "point", "label": "point", "config": CONFIG}},
        "fingerprints": {"f": PRINTS},
    }
    return History(
        Path("nightly.jsonl"), nights=tuple(nights), sessions=tuple(sessions), changes=tuple(changes),
        **{**given, **known},
    )  # fmt: skip


def session(number: int, **changes: Any) -> Session:
    given: dict[str, Any] = {
        "night": date(number), "point": "point", "metric": "rtf_aggregate", "why": "slow", "base": "a",
        "new": "b", "same_code": False, "word": "not confirmed", "ratio": 1.0, "low": 0.99, "high": 1.01,
        "launches": (5, 5),
    }  # fmt: skip
    return Session(**{**given, **changes})


def change(number: int, ratio: float = 1.1, how: str = "confirmed", **changes: Any) -> Change:
    """A new level from that night on, found in it."""
    given: dict[str, Any] = {
        "night": date(number), "found": date(number), "point": "point", "metric": "rtf_aggregate",
        "ratio": ratio, "before": date(number - 1), "base": "a" * 40, "new": "b" * 40, "how": how,
    }  # fmt: skip
    return Change(**{**given, **changes})


def tonight(number: int, value: float = 1.0, **changes: Any) -> Launched:
    """Three launches of `point` in that night, a twelfth of the usual noise about that value."""
    at = date(number)
    near = (0.999, 1.0, 1.001)
    launches = [
        Launch(
            (at.replace(":00:00+", f":{index:02d}:00+"), index), "l4", "ok", "", {"rtf_aggregate": value * x}
        )
        for index, x in enumerate(near)
    ]
    return side(launches, **{"commit": f"{number:040x}", "code": f"{number:012x}", **changes})
