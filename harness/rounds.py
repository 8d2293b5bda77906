"""Rounds: after its first pass a sweep goes on with those points whose figure is not known well enough.

What decides is what is stored of a point in the run, so a later command goes on where one has stopped.
"""

from __future__ import annotations

import functools
import itertools
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from harness import precision, rules, store
from harness.metrics import METRICS
from harness.precision import Standing
from harness.result import Outcome
from harness.settings import Planned, SettingError

# Of the sweep as a whole: no axes.
SETTINGS = ("repeats", "precision_target", "precision_metric", "precision_most", "precision_budget_min")
_NAMED = 6  # points in a line


@dataclass(frozen=True)
class Asked:
    """What is asked of each point's repeats: settings of conf/config.yaml.

    target    relative half-width of the 95 % interval, None for no rounds
    repeats   in the first pass; with a target FIRST at least
    budget_s  inf for none
    """

    repeats: int
    target: float | None
    metric: str
    most: int
    budget_s: float


@dataclass(frozen=True)
class Look:
    """A point of the sweep as it stands. repeat is its next one, last_s how long the last one took."""

    title: str
    overrides: tuple[str, ...]
    standing: Standing
    more: int | None
    repeat: int
    last_s: float


def asked(config: Mapping[str, Any], allowed: Mapping[str, Any]) -> Asked:
    """The settings of this file, held against the rules of conf/. Raises SettingError."""
    for key in SETTINGS:
        value = config[key]
        wrong = (
            _metric_complaint(value) if key == "precision_metric" else rules.complaint(value, allowed[key])
        )
        if wrong:
            hint = f"; {allowed[key]['hint']}" if "hint" in allowed.get(key, {}) else ""
            raise SettingError(f"{key}={rules.word(value)}: {wrong}{hint}")
    target, budget_min = config["precision_target"], config["precision_budget_min"]
    return Asked(
        max(config["repeats"], precision.FIRST if target is not None else 1),
        target,
        config["precision_metric"],
        config["precision_most"],
        math.inf if budget_min is None else 60.0 * budget_min,
    )


def check_swept(keys: Iterable[str]) -> None:
    """Raises SettingError for a setting of the whole sweep among those that take several values."""
    for key in keys:
        if key in SETTINGS:
            raise SettingError(f"{key}: is one for the whole sweep; give it a single value")


def _metric_complaint(name: Any) -> str:
    # What is neither measured in something nor better one way is text.
    numeric = [metric.name for metric in METRICS if metric.unit or metric.better]
    if name in numeric:
        return ""
    near = get_close_matches(str(name), numeric) or ["rtf_aggregate", "clips_per_h"]
    return f"no figure of a measurement; use {', '.join(near)} or another numeric column of results.csv"


def stored(run: Path, point_id: str) -> list[int]:
    """The repeats of a point that the run has, whatever came of them."""
    files = (run / point_id).glob("*/result.json")
    return sorted(int(file.parent.name) for file in files if file.parent.name.isdigit())


def look(planned: Planned, overrides: Sequence[str], asked: Asked) -> Look | None:
    """None for a point of which a repeat did not end ok, for more of them would not help it."""
    run, point = planned.run, planned.point
    repeats = stored(run, point.id)
    results = [store.load_result(store.folder(run, point.id, repeat)) for repeat in repeats]
    if not results or any(result.outcome is not Outcome.OK for result in results):
        return None
    figures = [_figure(run, point.id, one.repeat, one.started_at, asked.metric) for one in results]
    known = [figure for figure in figures if figure is not None]
    target = asked.target if asked.target is not None else math.inf
    standing = precision.standing(known, target, asked.most)
    if len(known) < len(figures):
        standing = Standing("unmeasured", len(known), math.inf)
    return Look(
        f"{point.executor['name']} x {point.workers} {point.id}",
        tuple(one for one in overrides if not one.startswith("repeat=")),
        standing,
        precision.projected(known, target),
        next(number for number in itertools.count() if number not in repeats),
        results[-1].duration_s,
    )


@functools.cache
def _figure(run: Path, point_id: str, repeat: int, started_at: str, name: str) -> float | None:
    """Read once: spans and samples of twenty repeats are many."""
    [metric] = [metric for metric in METRICS if metric.name == name]
    value = metric.compute(store.load(store.folder(run, point_id, repeat)))
    return float(value) if isinstance(value, int | float) else None


def fitting(wide: Sequence[Look], left_s: float) -> list[Look]:
    """Those expected to end within the seconds left, one after the other, by how long each last took."""
    found: list[Look] = []
    for one in wide:
        if one.last_s <= left_s:
            found.append(one)
            left_s -= one.last_s
    return found


def in_state(looks: Sequence[Look], state: str) -> list[Look]:
    return [one for one in looks if one.standing.state == state]


def beginning(number: int, looks: Sequence[Look], todo: Sequence[Look], asked: Asked) -> str:
    """A round in one line: which points are too wide, widest first, and by how much."""
    wide = sorted(in_state(looks, "wide"), key=lambda one: -one.standing.half_width)
    told = [f"{_width(one)} ({_outlook(one, asked)})" for one in wide]
    fewer = f", {len(todo)} of them before the budget ends" if len(todo) < len(wide) else ""
    return (
        f"precision: round {number} for {asked.metric} within {_percent(asked.target)}, "
        f"{len(wide)} of {len(looks)} points once more{fewer}: {_listed(told)}"
    )


def ending(looks: Sequence[Look], asked: Asked) -> str:
    """What is known well enough, what is not, and why it was left so."""
    narrow = in_state(looks, "narrow")
    text = f"precision: {asked.metric} of {len(narrow)} of {len(looks)} ok points is within "
    text += _percent(asked.target)
    whys = {
        "most": f"too wide with precision_most={asked.most} reached",
        "wide": f"not settled with precision_budget_min={asked.budget_s / 60:g} spent",
    }
    for state, why in whys.items():
        if left := in_state(looks, state):
            text += f"; {why}: {_listed([_width(one) for one in left])}"
    if unmeasured := in_state(looks, "unmeasured"):
        text += f"; not measured at {_listed([one.title for one in unmeasured])}"
    return text


def _width(one: Look) -> str:
    return f"{one.title} {_percent(one.standing.half_width)} after {one.standing.n}"


def _outlook(one: Look, asked: Asked) -> str:
    if asked.target is not None and one.standing.half_width <= asked.target:
        return f"narrow, {one.more} more to confirm it"
    allowed = asked.most - one.standing.n
    over = f", {allowed} allowed" if one.more is None or one.more > allowed else ""
    return f"projection: {one.more or f'over {precision.MOST}'} more{over}"


def _percent(share: float | None) -> str:
    return "±?" if share is None or math.isinf(share) else f"±{100 * share:.2g} %"


def _listed(texts: Sequence[str]) -> str:
    more = f" and {len(texts) - _NAMED} more" if len(texts) > _NAMED else ""
    return f"{', '.join(texts[:_NAMED])}{more}"
