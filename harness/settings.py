"""Settings: from a resolved configuration to a Point, and what is wrong with it in one line.

The rules stand in conf/ beside the keys that they are about (`rules`, `impossible`), so this file knows no
engine, and a wrong value is told before anything is loaded.
"""

from __future__ import annotations

import importlib
import itertools
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from omegaconf import DictConfig, OmegaConf

from harness import devices, profiles, rules
from harness.point import Point, flatten

JOBS_PER_WORKER = 4

GROUPS = ("tts", "avatar", "asr", "executor", "workload", "traffic", "limits")
_RULES = frozenset(("rules", "impossible", "check", "optimised"))
_NOT_MEASURED = _RULES | {"stage_names", "fault_stages"}


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
    num_points: int  # in the sweep; 0 where nobody knows
    force: bool
    price_usd_per_h: float | None
    not_applicable: str = ""
    shared: Sequence[str] = ()  # components that the executor loads once, as worker -1
    comparability: Mapping[str, Any] = field(default_factory=dict)  # what counts as disturbed
    profile: str = "none"  # a pass under a profiler besides, with so many jobs for each worker
    profile_jobs: int = 1

    def can_strike(self) -> bool:
        """Whether the fault, if there is one, meets a worker and a job that exist."""
        fault = self.point.fault
        own = range(self.point.workers) if fault["component"] not in self.shared else [-1]
        worker_there = fault["worker"] is None or fault["worker"] in own
        return worker_there and (fault["job"] is None or fault["job"] < self.point.num_jobs)


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
    if wrong := devices.complaint(data) or profiles.complaint(data["profile"]):
        raise SettingError(wrong)
    workload = _checked_workload(data)
    data["workload"]["jobs"] = workload["jobs"]  # how many there are, for the checks too
    cannot = [reason for group in GROUPS if (reason := _run_check(data[group], data))]
    point = Point(
        **{group: _measured(data[group]) for group in GROUPS if group != "workload"},
        workload=workload,
        fault=data["fault"],
        timing=data["timing"],
        quality=_quality(data),
    )
    stages = {name: _stage_names(name, data[name]) for name in point.components()}
    _check_fault(point, {name: data[name].get("fault_stages", names) for name, names in stages.items()})
    point.limits["stages"] = _checked_stage_limits(point, stages)
    return Planned(
        point,
        run,
        data["repeat"],
        data["points"],
        data["force"],
        data["price_usd_per_h"],
        next(itertools.chain(_impossible(data), cannot, devices.missing(data)), ""),
        data["executor"].get("shared", ()) if data["executor"].get("share", "own") != "own" else (),
        data["comparability"],
        data["profile"],
        data["profile_jobs"],
    )


def check_sweep(points: Sequence[Planned]) -> None:
    """Raises SettingError if no point can run here, or if the fault can strike at none of them."""
    if all(planned.not_applicable for planned in points):
        raise SettingError(points[0].not_applicable)
    broken = [planned for planned in points if planned.point.fault["kind"] != "none"]
    if broken and not any(planned.can_strike() for planned in broken):
        fault = broken[0].point.fault
        named = ", ".join(f"fault.{key}={rules.word(fault[key])}" for key in ("component", "worker", "job"))
        raise SettingError(
            f"{named}: strikes nowhere; workers and jobs count from 0, a shared component is -1"
        )


def check_added(keys: Iterable[str]) -> None:
    """Raises SettingError for keys given with a plus, but for a sweep and the limits of single stages."""
    for key in keys:
        if key != "sweep" and not key.startswith("limits.stages."):
            raise SettingError(
                f"+{key}: only +sweep=NAME and +limits.stages.COMPONENT.STAGE=SECONDS may be added"
            )


def check_removed(keys: Iterable[str]) -> None:
    """Raises SettingError for any key or group given with a tilde."""
    for key in keys:
        raise SettingError(f"~{key}: nothing can be taken away; leave it out, or give it another value")


def check_given(values: Mapping[str, Sequence[Any]]) -> None:
    """Raises SettingError for several options of a group at once, and for a rule of conf/ given as a setting.

    values  for each key all that it takes in the sweep
    """
    for key, taken in values.items():
        if not _RULES.isdisjoint(key.split(".")[:2]):
            raise SettingError(f"{key}: what conf/ checks is no setting; leave it out")
        wrong = [value for value in taken if isinstance(value, list)]
        if key in GROUPS and wrong:
            options = ",".join(map(rules.word, wrong[0]))
            raise SettingError(
                f"{key}=[{options}]: takes one option at a time; use {key}={options or 'OPTION'}"
            )


def _measured(group: Mapping[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in group.items() if key not in _NOT_MEASURED}


def _quality(data: Mapping[str, Any]) -> dict[str, Any]:
    """How the point is judged; `optimised` of the groups that have it. `unsampled`: networks without it, of
    which nobody sees what they show. What has no `device`, as a recording, has no network.
    """
    asked = {key: value for key, value in data["quality"].items() if key != "reference"}
    networks = [group for group in ("tts", "avatar") if {"optimised", "device"} & data[group].keys()]
    optimised = {group: data[group]["optimised"] for group in networks if "optimised" in data[group]}
    return {
        **asked, "optimised": optimised, "unsampled": [group for group in networks if group not in optimised]
    }  # fmt: skip


def _stage_names(component: str, group: Mapping[str, Any]) -> list[str]:
    """As conf/ names them; a simulated component's stages are its keys."""
    if "stage_names" in group:
        return list(group["stage_names"])
    return list(_keys_of(f"{component}.stages", group.get("stages", {})))


def _keys_of(name: str, value: Any) -> Mapping[str, Any]:
    if not isinstance(value, Mapping):
        raise SettingError(f"{name}={_short(value)}: holds keys; give one of them, as {name}.KEY=VALUE")
    return value


def _run_folder(name: Any) -> Path:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{,99}", str(name)):
        raise SettingError(
            f"name={_short(name)}: a folder name of letters, digits, '.', '_' and '-', 100 at most; "
            "use name=my_run"
        )
    return Path("runs") / str(name)


def _check_rules(prefix: str, group: Mapping[str, Any], values: Mapping[str, Any]) -> None:
    for key, rule in group.get("rules", {}).items():
        try:
            value = _value_at(prefix, key, values)
        except KeyError as error:
            wrong = f"{prefix}rules.{key}: there is no such key; mend the rule in conf/"
            raise SettingError(wrong) from error
        complaint = rules.complaint(value, rule)
        if complaint:
            hint = f"; {rule['hint']}" if "hint" in rule else ""
            raise SettingError(f"{prefix}{key}={_short(value)}: {complaint}{hint}")


def _value_at(prefix: str, key: str, values: Mapping[str, Any]) -> Any:
    """What stands at a key with dots; a mapping too, where a single value should be."""
    *outer, last = key.split(".")
    name = prefix.rstrip(".")
    for part in outer:
        name = f"{name}.{part}" if name else part
        values = _keys_of(name, values[part])
    return values[last]


def _run_check(group: Mapping[str, Any], data: Mapping[str, Any]) -> str:
    """Let the group's own `check` (module.function, light to import) look at files and other groups.

    It raises ValueError for a wrong setting, and may return why the point cannot be measured here.
    """
    if "check" not in group:
        return ""
    module, _, function = group["check"].rpartition(".")
    try:
        return getattr(importlib.import_module(module), function)(data) or ""
    except ValueError as error:
        raise SettingError(str(error)) from error


def _short(value: Any) -> str:
    text = "null" if value is None else rules.one_line(str(value))
    return text if len(text) <= 80 else f"{text[:77]}..."


def _checked_workload(data: Mapping[str, Any]) -> dict[str, Any]:
    workload = _measured(data["workload"])
    if "seconds" not in data["tts"]:  # it speaks the texts: the lengths change nothing that is measured
        workload.pop("seconds", None)
    least = JOBS_PER_WORKER * data["executor"]["workers"]
    if workload["jobs"] is None:
        workload["jobs"] = max(least, len(workload["texts"]), len(data["tts"].get("seconds") or ()))
    if workload["jobs"] < least:
        raise SettingError(
            f"workload.jobs={workload['jobs']}: executor.workers={data['executor']['workers']} needs "
            f"at least {least}, {JOBS_PER_WORKER} each, or the last ones decide; use {least} or null"
        )
    return workload


def _check_fault(point: Point, strikes: Mapping[str, Sequence[str]]) -> None:
    fault = point.fault
    if fault["kind"] == "none":
        return
    component, phase = fault["component"], fault["phase"]
    needed: dict[str, str | None] = {} if phase == "stage" else {"stage": None, "job": None}
    why = f"fault.phase={phase} has neither stages nor jobs; leave it out or use fault.phase=stage"
    if fault["kind"] == "wrong":
        needed = {"component": "avatar", "phase": "stage", "stage": None}
        why = "fault.kind=wrong spoils a video; use fault.component=avatar fault.phase=stage fault.stage=null"
    if unmet := [f"fault.{key}={_short(fault[key])}" for key in needed if fault[key] != needed[key]]:
        raise SettingError(f"{', '.join(unmet)}: {why}")
    if component not in point.components():
        loaded = ", ".join(point.components())
        raise SettingError(f"fault.component={rules.word(component)}: choose one that is loaded: {loaded}")
    names = strikes[component]
    if phase == "stage" and not names:
        raise SettingError(f"fault.component={component}: has no stages; use fault.phase=load")
    if fault["stage"] and fault["stage"] not in names:
        raise SettingError(f"fault.stage={fault['stage']}: choose from {', '.join(names)}")


def _checked_stage_limits(point: Point, stages: Mapping[str, Sequence[str]]) -> dict[str, float]:
    """limits.stages with dotted keys: {"avatar.motion": 600}."""
    limits = dict(flatten(_keys_of("limits.stages", point.limits["stages"])))
    for key, limit_s in limits.items():
        known = [f"{component}.{stage}" for component in stages for stage in stages[component]]
        if key not in known:
            raise SettingError(f"limits.stages.{key}: there is no such stage; choose from {', '.join(known)}")
        complaint = rules.number_complaint(limit_s, {"min": 0.05})
        if complaint:
            raise SettingError(f"limits.stages.{key}={_short(limit_s)}: {complaint}")
    return limits


def _impossible(data: Mapping[str, Any]) -> Iterator[str]:
    """Why a combination cannot be run; the words stand in conf/. A key with a dot is one of another group."""
    flat = dict(flatten(data))
    for group in GROUPS:
        for rule in data[group].get("impossible", ()):
            conditions = {
                key if "." in key else f"{group}.{key}": wanted
                for key, wanted in rule.items()
                if key != "because"
            }
            if all(rules.matches(flat.get(key), wanted) for key, wanted in conditions.items()):
                named = ", ".join(f"{key}={flat[key]}" for key in conditions)
                yield f"{named}: {rule['because']}"
