"""Settings: from a resolved configuration to a Point, and what is wrong with it in one line.

The rules stand in conf/ beside the keys that they are about (`rules`, `impossible`), so this file knows no
engine, and a wrong value is told before anything is loaded.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from harness import gpu
from harness.point import Point, flatten

JOBS_PER_WORKER = 4

GROUPS = ("tts", "avatar", "asr", "executor", "workload", "limits")
_NOT_MEASURED = ("rules", "impossible")


class SettingError(ValueError):
    """A wrong setting: one line with setting, value, rule and remedy in the words of the command line."""


@dataclass(frozen=True)
class Planned:
    """A point to measure, and where it goes. not_applicable says why it cannot be measured here, "" if it
    can.
    """

    point: Point
    run: Path
    repeat: int
    num_points: int
    force: bool
    price_usd_per_h: float
    not_applicable: str = ""


def register_resolvers(has_gpu: bool) -> None:
    """What the files of conf/ call: the defaults that depend on this machine and on the size."""
    OmegaConf.register_new_resolver("device_here", lambda: "cuda" if has_gpu else "cpu", replace=True)
    OmegaConf.register_new_resolver(
        "size_for", lambda device: "full" if device == "cuda" else "tiny", replace=True
    )
    OmegaConf.register_new_resolver(
        "by_size", lambda size, tiny, full: full if size == "full" else tiny, replace=True
    )


def read(config: DictConfig) -> Planned:
    """Check a composed configuration and make a Point of it. Raises SettingError."""
    try:
        data: dict[str, Any] = OmegaConf.to_container(config, resolve=True, throw_on_missing=True)  # type: ignore[assignment]
    except Exception as error:
        if type(error).__module__.startswith("omegaconf"):
            raise SettingError(str(error).splitlines()[0]) from error
        raise
    run = _run_folder(data["name"])
    _check_rules("", data, data)
    for group in GROUPS:
        _check_rules(f"{group}.", data[group], data[group])
    _check_device(data)
    workload = _checked_workload(data)
    point = Point(
        **{group: _measured(data[group]) for group in GROUPS if group != "workload"},
        workload=workload,
        fault=data["fault"],
        timing=data["timing"],
    )
    _check_fault(point)
    point.limits["stages"] = _checked_stage_limits(point)
    return Planned(
        point,
        run,
        data["repeat"],
        data["points"],
        data["force"],
        data["price_usd_per_h"],
        next(_impossible(data), ""),
    )


def check_sweep(points: Sequence[Planned]) -> None:
    """Raises SettingError if no point can run here, or if the fault can strike at none of them."""
    if all(planned.not_applicable for planned in points):
        raise SettingError(points[0].not_applicable)
    fault = points[0].point.fault
    most = max(planned.point.workers for planned in points)
    if fault["kind"] != "none" and fault["worker"] is not None and not -1 <= fault["worker"] < most:
        raise SettingError(f"fault.worker={fault['worker']}: workers count from 0 to {most - 1} here")


def check_added(keys: Iterable[str]) -> None:
    """Raises SettingError for keys given with a plus, but for a sweep and the limits of single stages."""
    for key in keys:
        if key != "sweep" and not key.startswith("limits.stages."):
            raise SettingError(
                f"+{key}: only +sweep=NAME and +limits.stages.COMPONENT.STAGE=SECONDS may be added"
            )


def _measured(group: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in group.items() if key not in _NOT_MEASURED}


def _run_folder(name: Any) -> Path:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]*", str(name)):
        raise SettingError(
            f"name={name}: a folder name of letters, digits, '.', '_' and '-'; use name=my_run"
        )
    return Path("runs") / str(name)


def _check_rules(prefix: str, group: Mapping[str, Any], values: Mapping[str, Any]) -> None:
    flat = dict(flatten(values))
    for key, rule in group.get("rules", {}).items():
        value = flat.get(key)
        if key not in flat and key not in values:
            raise SettingError(f"{prefix}rules.{key}: there is no such key; mend the rule in conf/")
        complaint = _complaint(value if key in flat else values[key], rule)
        if complaint:
            hint = f"; {rule['hint']}" if "hint" in rule else ""
            raise SettingError(f"{prefix}{key}={_short(value)}: {complaint}{hint}")


def _complaint(value: Any, rule: Mapping[str, Any]) -> str:
    """What a rule has against a value, "" for nothing. One branch for each kind of rule."""
    if value is None and (rule.get("optional") or None in rule.get("choices", ())):
        return ""
    if "choices" in rule:
        return "" if value in rule["choices"] else f"choose from {', '.join(map(_word, rule['choices']))}"
    if "min" in rule or "max" in rule:
        return _number_complaint(value, rule)
    if "pattern" in rule:
        return "" if re.fullmatch(rule["pattern"], str(value)) else "does not have the right form"
    if rule.get("nonempty"):
        return _list_complaint(value)
    if "path_or" in rule and value in rule["path_or"]:
        return ""
    words = " or ".join([*rule.get("path_or", ()), "the path of something that exists"])
    return "" if isinstance(value, str) and _exists(value) else f"not found; give {words}"


def _exists(path: str) -> bool:
    try:
        return Path(path).expanduser().exists()
    except (OSError, RuntimeError):  # longer than a path can be, or the home of nobody
        return False


def _list_complaint(value: Any) -> str:
    if not isinstance(value, Sequence) or isinstance(value, str):
        return "must be a list, like [one,two]"
    return "" if value and all(str(item).strip() for item in value) else "must not be empty"


def _number_complaint(value: Any, rule: Mapping[str, Any]) -> str:
    low, high = rule.get("min"), rule.get("max")
    whole = isinstance(low, int) and isinstance(high, int)
    if isinstance(value, bool) or not isinstance(value, int if whole else (int, float)):
        return "must be a whole number" if whole else "must be a number"
    if not math.isfinite(value):
        return "must be a finite number"
    if low is not None and value < low:
        return f"must be at least {low}"
    if high is not None and value > high:
        return f"must be at most {high}"
    return ""


def _short(value: Any) -> str:
    text = "null" if value is None else str(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _word(value: Any) -> str:
    return "null" if value is None else str(value)


def _check_device(data: Mapping[str, Any]) -> None:
    wants = [group for group in ("tts", "avatar", "asr") if data[group].get("device") == "cuda"]
    if wants and not gpu.handles():
        raise SettingError(f"{wants[0]}.device=cuda: no NVIDIA GPU and driver found here; use device=cpu")


def _checked_workload(data: Mapping[str, Any]) -> dict[str, Any]:
    workload = _measured(data["workload"])
    least = JOBS_PER_WORKER * data["executor"]["workers"]
    if workload["jobs"] is None:
        workload["jobs"] = least
    if workload["jobs"] < least:
        raise SettingError(
            f"workload.jobs={workload['jobs']}: executor.workers={data['executor']['workers']} needs "
            f"at least "
            f"{least}, {JOBS_PER_WORKER} each, or the last ones decide; use {least} or null"
        )
    return workload


def _check_fault(point: Point) -> None:
    fault = point.fault
    if fault["kind"] == "none":
        return
    if fault["component"] not in point.components():
        chosen = ", ".join(point.components())
        raise SettingError(
            f"fault.component={_word(fault['component'])}: choose one that is loaded: {chosen}"
        )
    stages = point.components()[fault["component"]].get("stages")
    if fault["stage"] and isinstance(stages, dict) and fault["stage"] not in stages:
        raise SettingError(f"fault.stage={fault['stage']}: choose from {', '.join(stages)}")
    if fault["job"] is not None and fault["job"] >= point.num_jobs:
        raise SettingError(f"fault.job={fault['job']}: jobs count from 0 to {point.num_jobs - 1} here")


def _checked_stage_limits(point: Point) -> dict[str, float]:
    """limits.stages with dotted keys: {"avatar.motion": 600}."""
    limits = dict(flatten(point.limits["stages"]))
    for key, limit_s in limits.items():
        component, _, stage = key.partition(".")
        stages = point.components().get(component, {}).get("stages")
        if component not in point.components() or (isinstance(stages, dict) and stage not in stages):
            known = ", ".join(stages or point.components())
            raise SettingError(
                f"limits.stages.{key}={_short(limit_s)}: there is no such stage; choose from {known}"
            )
        complaint = _number_complaint(limit_s, {"min": 0.05})
        if complaint:
            raise SettingError(f"limits.stages.{key}={_short(limit_s)}: {complaint}")
    return limits


def _impossible(data: Mapping[str, Any]) -> Iterator[str]:
    """Why a combination cannot be run; the words stand in conf/."""
    for group in GROUPS:
        for rule in data[group].get("impossible", ()):
            conditions = {key: wanted for key, wanted in rule.items() if key != "because"}
            if all(_matches(data[group][key], wanted) for key, wanted in conditions.items()):
                named = ", ".join(f"{group}.{key}={data[group][key]}" for key in conditions)
                yield f"{named}: {rule['because']}"


def _matches(value: Any, wanted: Any) -> bool:
    if isinstance(wanted, Mapping):
        return not _number_complaint(value, wanted)
    return value in wanted if isinstance(wanted, list) else bool(value == wanted)
