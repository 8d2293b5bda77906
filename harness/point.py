"""Point: one configuration to measure, as plain data with an id. Standard library only."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

COMPONENTS = ("tts", "avatar", "asr")
# Settings of executors that came later: at these values a point keeps the id that it had without them.
_USUAL = {
    "order": None, "lazy": False, "devices": None, "mps": False, "share": "locked", "shared": ["tts", "asr"]
}  # fmt: skip
# Keys of `traffic` that say what is promised and how it is counted: they change nothing that is measured.
_PROMISED = ("slo_latency_s", "slo_ttff_s", "slo_rtf", "ramp_jobs")


@dataclass(frozen=True)
class Point:
    """One configuration; every field is JSON data as Hydra resolved it.

    tts, avatar, asr   keyword arguments of the component, with `_target_`; asr is {} where there is none
    executor           keyword arguments of the executor, with `name` and `workers`
    workload           texts, voice, portrait, width and height in px, jobs, seed, tokens_per_char
    fault              what to break on purpose; kind "none" by default
    timing             "events" (device events, resolved after the job) or "sync" (synchronise after each
                       stage)
    limits             seconds per phase; how long to wait is no part of what is measured, so not of the id
    traffic            when requests arrive, and what they are promised; {} and kind "closed": a worker takes
                       the next as soon as it is free
    quality            frames of the sample, thresholds, and `optimised`: component -> key -> value of the
                       reference. How a result is judged is no part of the id either
    """

    tts: dict[str, Any]
    avatar: dict[str, Any]
    asr: dict[str, Any]
    executor: dict[str, Any]
    workload: dict[str, Any]
    fault: dict[str, Any]
    timing: str = "events"
    limits: dict[str, Any] = field(default_factory=dict)
    quality: dict[str, Any] = field(default_factory=dict)
    traffic: dict[str, Any] = field(default_factory=dict)

    @property
    def id(self) -> str:
        """12 hex digits over all that decides the numbers; equal configurations have equal ids."""
        identity = without_places(asdict(self))
        del identity["limits"], identity["quality"]
        identity["traffic"] = arrivals(self.traffic)
        if not identity["traffic"]:
            del identity["traffic"]
        identity["executor"] = {
            key: value for key, value in self.executor.items() if not _is_usual(self.executor, key)
        }
        text = json.dumps(identity, sort_keys=True, ensure_ascii=True, allow_nan=False)
        return hashlib.sha256(text.encode()).hexdigest()[:12]

    @property
    def workers(self) -> int:
        return int(self.executor.get("workers", 1))

    @property
    def num_jobs(self) -> int:
        return int(self.workload["jobs"])

    @property
    def uses_gpu(self) -> bool:
        return any(config.get("device") == "cuda" for config in self.components().values())

    def components(self) -> dict[str, dict[str, Any]]:
        """The components that are configured."""
        found = {name: getattr(self, name) for name in COMPONENTS}
        return {name: config for name, config in found.items() if config.get("_target_")}

    def save(self, path: Path) -> None:
        path.write_text(json.dumps(asdict(self), indent=1, sort_keys=True) + "\n")

    @classmethod
    def load(cls, path: Path) -> Point:
        return cls(**json.loads(path.read_text()))


def _is_usual(executor: Mapping[str, Any], key: str) -> bool:
    """Whether a setting that is younger than stored results has the value that was theirs."""
    if key == "loading":
        return bool(executor[key] == ("parallel" if executor["name"] == "processes" else "serial"))
    return key in _USUAL and bool(executor[key] == _USUAL[key])


def arrivals(traffic: Mapping[str, Any]) -> dict[str, Any]:
    """What of the traffic decides the numbers; {} where workers take a fixed number of jobs as they can."""
    if not is_open(traffic) and not traffic.get("until_s"):
        return {}
    return {key: value for key, value in traffic.items() if key not in _PROMISED}


def is_open(traffic: Mapping[str, Any]) -> bool:
    """Whether requests arrive by a clock, and not when a worker is free."""
    return bool(traffic.get("kind", "closed") != "closed")


def without_places(point: Mapping[str, Any]) -> dict[str, Any]:
    """A point as plain data without the components' `cache`: where built engines lie changes nothing."""
    parts = {name: point[name] for name in COMPONENTS if name in point}
    kept = {
        name: {key: value for key, value in part.items() if key != "cache"} for name, part in parts.items()
    }
    return {**point, **kept}


def flatten(config: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Dotted keys as on the command line: ("avatar.steps", 50), …; lists are values."""
    for key, value in config.items():
        name = f"{prefix}{key}"
        if isinstance(value, Mapping):
            yield from flatten(value, f"{name}.")
        else:
            yield name, value
