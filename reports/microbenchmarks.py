"""Microbenchmarks: what pytest-benchmark's JSON files say, as points with launches, for the same decisions.

The files may come from anywhere: what is wrong with one is a ValueError that names it.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

from harness.result import Outcome
from reports.launches import Launch, Launched
from reports.statement import Refused
from reports.text import plain

MAX_BYTES = 64 * 2**20
TIME = "time_s"


def pytest_benchmark_in(paths: Sequence[Path]) -> list[Launched]:
    """A point for each benchmark, with a launch for each file that has it: one process measured a file.

    A launch's value is the median of its rounds; the rounds share all that the process's start decided.
    Raises ValueError for a file that is no such JSON, and where files differ in commit or machine.
    """
    found: dict[str, Launched] = {}
    for index, path in enumerate(paths):
        for new in _benchmarks(path, index):
            known = found.get(new.id)
            found[new.id] = _joined(known, new, path) if known else new
    return [replace(point, launches=_in_time(point.launches)) for point in found.values()]


def _in_time(launches: Sequence[Launch]) -> tuple[Launch, ...]:
    return tuple(sorted(launches, key=lambda launch: launch.at))


def _joined(known: Launched, new: Launched, path: Path) -> Launched:
    """Raises ValueError where the new one was measured elsewhere or on other code, or by the same file."""
    sides = {"commit": (known.commit, new.commit)}
    names = sorted({*known.fingerprint, *new.fingerprint})
    sides |= {name: (known.fingerprint.get(name, ""), new.fingerprint.get(name, "")) for name in names}
    for name, (one, other) in sides.items():
        if one != other:
            raise Refused(
                f"{path}: {name} is {other!r}, of the files before {one!r}; compare them as two sides"
            )
    if known.launches[-1].at[1] == new.launches[0].at[1]:
        raise Refused(f"{path}: two benchmarks are named {new.label!r}")
    return replace(known, launches=(*known.launches, *new.launches))


def _benchmarks(path: Path, index: int) -> list[Launched]:
    data = _read(path)
    benchmarks = data.get("benchmarks")
    if not isinstance(benchmarks, list):
        raise Refused(f"{path}: no list of benchmarks; is it from pytest --benchmark-json?")
    machine, commit = _mapping(data, "machine_info"), _mapping(data, "commit_info")
    base = Launched(
        id="",
        label="",
        axes={},
        config={},
        fingerprint=_fingerprint(machine),
        commit=_text(commit, "id") + ("+" if commit.get("dirty") is True and commit.get("id") else ""),
        code="",
        on_gpu=False,
        launches=(Launch((_text(data, "datetime"), index), _text(machine, "node"), str(Outcome.OK), "", {}),),
    )
    points = [_point(base, each, f"{path}: benchmark {place}") for place, each in enumerate(benchmarks)]
    seen: dict[str, Launched] = {}
    for point in points:
        seen[point.id] = _joined(seen[point.id], point, path) if point.id in seen else point
    return points


def _read(path: Path) -> Mapping[str, Any]:
    try:
        size = path.stat().st_size
        text = path.read_bytes() if size <= MAX_BYTES else b""
    except OSError as error:
        raise Refused(f"{path}: {error.strerror or error}") from error
    if size > MAX_BYTES:
        raise Refused(f"{path}: {size / 2**20:.0f} MiB; at most {MAX_BYTES // 2**20} MiB are read")
    try:
        data = json.loads(text)
    except (ValueError, RecursionError) as error:  # a number of thousands of digits is a plain ValueError
        raise Refused(f"{path}: not JSON ({error})") from error
    if not isinstance(data, dict):
        raise Refused(f"{path}: a JSON {type(data).__name__}; pytest-benchmark writes an object")
    return data


def _point(base: Launched, benchmark: Any, where: str) -> Launched:
    """Raises ValueError that begins with `where`."""
    if not isinstance(benchmark, dict):
        raise Refused(f"{where}: not an object")
    name = _text(benchmark, "fullname") or _text(benchmark, "name")
    if not name:
        raise Refused(f"{where}: no fullname")
    stats = _mapping(benchmark, "stats")
    data = stats.get("data")
    if data is not None and not isinstance(data, list):
        raise Refused(f"{where}, {name}: data is not a list of seconds")
    rounds = [_seconds(value, f"{where}, {name}") for value in data or [stats.get("median")]]
    params = {plain(str(key)): _scalar(value) for key, value in _mapping(benchmark, "params").items()}
    config = {**params, "benchmark": name}
    return replace(
        base,
        id=hashlib.sha256(json.dumps(config, sort_keys=True).encode()).hexdigest()[:12],
        label=name,
        axes=params,
        config=config,
        launches=(replace(base.launches[0], values={TIME: median(rounds)}),),
    )


def _seconds(value: Any, where: str) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise Refused(f"{where}: {_shown(value)} is not a time in seconds")
    try:
        seconds = float(value)
    except OverflowError:
        seconds = math.inf
    if not (math.isfinite(seconds) and seconds > 0):
        raise Refused(f"{where}: a time of {_shown(seconds)} s; must be finite and above 0")
    return seconds


def _fingerprint(machine: Mapping[str, Any]) -> dict[str, str]:
    """Without what the file does not say: brand_raw is py-cpuinfo's name since 5.0, brand was it before."""
    cpu = _mapping(machine, "cpu")
    found = {
        "cpu": _text(cpu, "brand_raw") or _text(cpu, "brand"),
        "python": _text(machine, "python_version"),
        "os": f"{_text(machine, 'system')} {_text(machine, 'release')}".strip(),
    }
    return {name: value for name, value in found.items() if value}


def _mapping(data: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    value = data.get(key)
    return value if isinstance(value, dict) else {}


def _text(data: Mapping[str, Any], key: str) -> str:
    value = data.get(key)
    return plain(value) if isinstance(value, str) else ""


def _scalar(value: Any) -> Any:
    """As configurations hold them: lists and objects as JSON."""
    if isinstance(value, str):
        return plain(value)
    return value if isinstance(value, int | float | None) else plain(json.dumps(value))


def _shown(value: Any) -> str:
    text = repr(value)
    return plain(text if len(text) <= 40 else f"{text[:37]}...")
