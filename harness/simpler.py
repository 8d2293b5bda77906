"""Simpler: functions from a point to one that has less in it. Pure.

Each gives the point as it is where there is nothing to take away.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from harness import quality
from harness.point import Point, flatten

# What every executor has, but for `loading`, which means another thing in each.
_OF_EVERY_EXECUTOR = ("workers", "cpu_threads", "order", "lazy", "devices")


@dataclass(frozen=True)
class Simple:
    """What conf/ has that is simpler, as plain data of a Point.

    recording   a TTS that replays a sound: a real avatar cannot draw what the simulated one says
    resolution  WIDTHxHEIGHT in px
    """

    tts: Mapping[str, Any]
    recording: Mapping[str, Any]
    avatar: Mapping[str, Any]
    sequential: Mapping[str, Any]
    processes: Mapping[str, Any]
    traffic: Mapping[str, Any]
    resolution: str


def put(point: Point, part: str, **values: Any) -> Point:
    """The point with other values of one of its parts."""
    changed: dict[str, Any] = {part: {**getattr(point, part), **values}}
    return replace(point, **changed)


def without_asr(point: Point) -> Point:
    return replace(point, asr={})


def closed(point: Point, simple: Simple) -> Point:
    return replace(point, traffic=dict(simple.traffic))


def fewer_jobs(point: Point, jobs: int) -> Point:
    return put(point, "workload", jobs=min(jobs, point.num_jobs))


def only_job(point: Point, job: int) -> Point:
    """One job, with that one's text, language, length and seed."""
    if job >= point.num_jobs:
        return point
    workload = point.workload
    own = {key: _one_of(workload[key], job) for key in ("texts", "language", "seconds") if key in workload}
    only = put(point, "workload", **own, seed=workload["seed"] + job, jobs=1)
    return put(only, "tts", seconds=_one_of(point.tts["seconds"], job)) if "seconds" in point.tts else only


def _one_of(values: Any, job: int) -> Any:
    """Of a list the item that is the job's, as a list; anything else is for all jobs."""
    return [values[job % len(values)]] if isinstance(values, list) else values


def sequential(point: Point, simple: Simple) -> Point:
    return _executed(point, simple.sequential, workers=1, loading="serial")


def in_processes(point: Point, simple: Simple) -> Point:
    if point.executor["name"] in ("processes", "sequential"):
        return point
    return _executed(point, simple.processes, loading=loading(point))


def _executed(point: Point, executor: Mapping[str, Any], **values: Any) -> Point:
    """By another executor, with what both have as it is."""
    common = {key: point.executor[key] for key in _OF_EVERY_EXECUTOR if key in point.executor}
    return replace(point, executor={**executor, **common, **values})


def alone(point: Point, simple: Simple) -> Point:
    """The same work one job after the other, with nothing broken: what outputs are compared with."""
    return sequential(closed(put(point, "fault", kind="none"), simple), simple)


def loading(point: Point) -> str:
    """As executor.loading has it; older points do not name it."""
    usual = "parallel" if point.executor["name"] == "processes" else "serial"
    return str(point.executor.get("loading", usual))


def fewer_workers(point: Point, count: int) -> Point:
    return put(point, "executor", workers=min(count, point.workers))


def unshared(point: Point, share: str) -> Point:
    """own: each worker everything of its own; locked: taking turns, where they do not yet."""
    executor = point.executor
    before = ("locked", "unlocked") if share == "own" else ("unlocked",)
    # One TTS for avatars that are processes: conf/executor/pipelined.yaml has it as impossible.
    apart = executor.get("stages") == "processes" and point.workers > 1
    if executor.get("share") not in before or not shared_names(point) or apart:
        return point
    return put(point, "executor", share=share)


def shared_names(point: Point) -> list[str]:
    """The components that are loaded once for all workers."""
    return [name for name in point.executor.get("shared", ()) if name in point.components()]


def set_executor(point: Point, key: str, value: Any) -> Point:
    """Where the executor has such a setting and another value of it."""
    known = {"loading": loading(point), **point.executor}
    return put(point, "executor", **{key: value}) if known.get(key, value) != value else point


def one_stream(point: Point) -> Point:
    on_gpu = any(config.get("device") == "cuda" for config in point.components().values())
    return set_executor(point, "streams", "default") if on_gpu else point


def one_cpu_thread(point: Point) -> Point:
    for part in ("executor", *point.components()):
        if "cpu_threads" in getattr(point, part):
            point = put(point, part, cpu_threads=1)
    return point


def without_avatar(point: Point, simple: Simple) -> Point:
    return _instead(point, "avatar", simple.avatar) if is_drawn(point, simple) else point


def with_recording(point: Point, simple: Simple) -> Point:
    """Where the avatar is real: beside a simulated one the TTS can be simulated, too."""
    simpler = (simple.tts["_target_"], simple.recording["_target_"])
    if not is_drawn(point, simple) or point.tts.get("_target_") in simpler:
        return point
    return _speaking(point, simple.recording)


def without_tts(point: Point, simple: Simple) -> Point:
    """Where the avatar is simulated."""
    if is_drawn(point, simple) or point.tts.get("_target_") == simple.tts["_target_"]:
        return point
    return _speaking(point, simple.tts)


def is_drawn(point: Point, simple: Simple) -> bool:
    """Whether there is a picture: by an avatar that is not simulated."""
    return bool(point.avatar.get("_target_") != simple.avatar["_target_"])


def _speaking(point: Point, config: Mapping[str, Any]) -> Point:
    """By another TTS. The workload names lengths for one that takes them alone; see harness/settings.py."""
    workload = {key: value for key, value in point.workload.items() if key != "seconds"}
    if "seconds" in config:
        workload["seconds"] = config["seconds"]
    return _instead(replace(point, workload=workload), "tts", config)


def _instead(point: Point, name: str, config: Mapping[str, Any]) -> Point:
    """Another component. It leaves no sample, and a fault in a stage that it does not have cannot strike."""
    judged = dict(point.quality)
    if "optimised" in judged:
        judged["optimised"] = {key: value for key, value in judged["optimised"].items() if key != name}
    if "unsampled" in judged:
        judged["unsampled"] = [each for each in judged["unsampled"] if each != name]
    fault = dict(point.fault)
    if (
        fault.get("component") == name
        and fault.get("stage")
        and fault["stage"] not in config.get("stages", {})
    ):
        fault["kind"] = "none"
    changed: dict[str, Any] = {name: dict(config), "quality": judged, "fault": fault}
    return replace(point, **changed)


def unoptimised(point: Point, name: str, key: str = "") -> Point:
    """A component, or one key of it, as the reference of quality has it; see harness/quality.py."""
    if name not in point.quality.get("optimised", {}):  # another component took its place
        return point
    reference = quality.plain(vars(point))[name]
    if not key:
        return put(point, name, **reference)
    first = key.partition(".")[0]
    config = getattr(point, name)
    return put(point, name, **{first: _put(config, key.split("."), setting(reference, key))[first]})


def _put(config: Mapping[str, Any], keys: Sequence[str], value: Any) -> dict[str, Any]:
    first, *inner = keys
    return {**config, first: _put(config.get(first) or {}, inner, value) if inner else value}


def setting(config: Mapping[str, Any], key: str) -> Any:
    """The value of a key with dots, None where there is none."""
    return dict(flatten(config)).get(key)


def set_mode(point: Point, name: str, mode: str) -> Point:
    """Where the component has modes, and another one."""
    return put(point, name, mode=mode) if getattr(point, name).get("mode", mode) != mode else point


def smaller(point: Point, simple: Simple) -> Point:
    """A picture of fewer pixels, where there is one at all."""
    fewer = _pixels(simple.resolution) < _pixels(point.workload["resolution"])
    return (
        put(point, "workload", resolution=simple.resolution) if fewer and is_drawn(point, simple) else point
    )


def _pixels(resolution: str) -> int:
    width, height = map(int, resolution.split("x"))
    return width * height
