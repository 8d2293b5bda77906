"""Quality: the sample of an optimised point against that of the same work with nothing optimised.

What counts as optimised stands in conf/ beside each component (`optimised`: key -> value of the reference):
this file knows no engine. docs/quality.md
"""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

from harness import environment, files, reference, rules, sample, store
from harness.point import Point, flatten
from harness.reference import same_output
from harness.result import Outcome, PointResult
from harness.sample import NoSample


def is_optimised(point: Mapping[str, Any]) -> bool:
    """Whether any key that is listed as optimised differs from the reference's."""
    return same_output(point) != same_output(plain(point))


def plain(point: Mapping[str, Any]) -> dict[str, Any]:
    """The point with every such key as the reference has it."""
    optimised = point.get("quality", {}).get("optimised", {})
    return {**point, **{name: _with(point[name], values) for name, values in optimised.items()}}


def _with(config: Mapping[str, Any], values: Mapping[str, Any]) -> dict[str, Any]:
    """Values of nested mappings are put in one by one."""
    return {
        **config,
        **{
            key: _with(config.get(key) or {}, value) if isinstance(value, Mapping) else value
            for key, value in values.items()
        },
    }


def overrides(point: Mapping[str, Any]) -> list[str]:
    """What makes the reference of a point, as typed on the command line."""
    return [f"{key}={rules.word(value)}" for key, value in flatten(point["quality"]["optimised"])]


def is_wanting(point: Point, run: Path, repeat: int, force: bool) -> bool:
    """Whether a point must be judged, and nothing stored in the run can judge it here and now."""
    if not is_optimised(vars(point)) or not point.quality["frames"] or point.fault["kind"] != "none":
        return False
    if store.is_stored(run, point.id, repeat) and not force:
        stored = store.load_result(store.folder(run, point.id, repeat))
        if stored.outcome is not Outcome.OK or stored.quality.get("state") == "holds":
            return False
    return not any(
        found.outcome is Outcome.OK and _has_sample(found, point, run) and _is_of_now(found, point)
        for found in _references(same_output(plain(vars(point))), run)
    )


def has_failed(point: Point, run: Path) -> str:
    """How the point ended that would be measured as a reference, if here and now it would end so again."""
    folder = store.folder(run, point.id, 0)
    if not store.is_stored(run, point.id, 0):
        return ""
    found = store.load_result(folder)
    too_slow = found.outcome in (Outcome.HUNG, Outcome.TIMEOUT)
    if found.outcome in (Outcome.OK, Outcome.SKIPPED) or (too_slow and found.point["limits"] != point.limits):
        return ""
    return str(found.outcome) if _is_of_now(found, point) else ""


def is_unsampled(stored: PointResult, point: Point) -> bool:
    """Whether a stored ok result was measured with quality.frames=0, and is now to be judged."""
    judges = is_optimised(vars(point)) and point.quality["frames"]
    return bool(judges and stored.outcome is Outcome.OK and not _num_frames(stored))


def _num_frames(stored: PointResult) -> int:
    return int(stored.point.get("quality", {}).get("frames", 0))


def _has_sample(found: PointResult, point: Point, run: Path) -> bool:
    folder = store.folder(run, found.id, found.repeat)
    kept = all(sample.path_of(folder, name).is_file() for name in point.quality["optimised"])
    return kept and _num_frames(found) == point.quality["frames"]


def _is_of_now(found: PointResult, point: Point) -> bool:
    """Whether it was measured by this code on this machine, with the inputs that the point has now."""
    now, since = environment.describe(), datetime.fromisoformat(found.started_at).timestamp() + 1
    same = all(found.environment.get(name) == now[name] for name in reference.SAME)
    return same and not files.changed(point, found.inputs, since)


def judged(result: PointResult, folder: Path, run: Path) -> PointResult:
    """An ok result with its `quality`; invalid where that is below a threshold. Where samples cannot be
    compared any more, the thresholds are applied to what an earlier comparison gave.

    folder  of this measurement;  run  of all of them

    quality: `state` (reference, holds, below, not checked; open while a comparison is forgotten), `text`;
    where it was compared psnr_db and ssim of all frames, least_psnr_db and least_ssim of the worst, frames
    (their number), lsd_db, worst_lsd_db (of 0.25 s), `complaints` (what cannot be compared at all, if
    anything), `limits` (the thresholds) and `reference` (id, repeat, started_at, started_ns).
    """
    result = reference.unjudged(result)
    if result.outcome is not Outcome.OK:
        return result
    asked = result.point.get("quality", {})
    unseen = " and ".join(asked.get("unsampled", ()))
    if not asked.get("optimised") or (unseen and not is_optimised(result.point)):
        return _unchecked(
            result, f"{unseen} leaves no sample" if unseen else "its components leave no samples"
        )
    if not is_optimised(result.point):
        return replace(result, quality={"state": "reference", "text": "nothing in it is optimised"})
    began = time.monotonic()
    try:
        quality, where = _compared(result, folder, run)
        result = replace(result, overhead=result.overhead | {"quality_s": time.monotonic() - began})
    except NoSample as error:
        if not result.quality:
            return _unchecked(result, str(error))
        quality, where = result.quality, f", as compared before ({error})"
    return _weighed(result, quality, where, unseen)


def is_outdated(result: PointResult, asked: Mapping[str, Any], run: Path) -> bool:
    """Whether to judge a stored result again: it never was, by other thresholds, or against a reference that
    was measured anew since.
    """
    state = result.quality.get("state")
    if result.outcome is not Outcome.OK and state != "below":
        return False
    if state == "reference":
        return bool(asked.get("unsampled"))
    if state in ("holds", "below"):
        return result.quality["limits"] != _limits(asked) or reference.is_anew(
            result.quality["reference"], run
        )
    return state in (None, "open") or (state == "not checked" and is_optimised(result.point))


def renewed(result: PointResult, asked: Mapping[str, Any], folder: Path, run: Path) -> PointResult:
    """A stored result, compared and judged again where what it was held against has changed.

    asked  the thresholds of now, as in Point.quality
    """
    other = reference.is_outdated(result, run)
    if not other and not is_outdated(result, asked, run):
        return result
    as_measured = {**asked, "frames": _num_frames(result)}
    result = replace(result, point={**result.point, "quality": as_measured})
    return judged(reference.compared(result, folder, run) if other else result, folder, run)


def judge_again(fresh: PointResult, compared: Iterable[PointResult], run: Path) -> list[PointResult]:
    """Judge and store what had no reference until this result was there, or an earlier measurement of it.

    compared  stored results whose outputs were compared again, which makes their quality open
    """
    candidates = list(compared)
    if fresh.outcome is Outcome.OK and not is_optimised(fresh.point):
        key, known = same_output(fresh.point), [(one.id, one.repeat) for one in candidates]
        others = (one for one in store.results(run) if (one.id, one.repeat) not in known)
        candidates += [
            one for one in others if is_optimised(one.point) and same_output(plain(one.point)) == key
        ]
    again = []
    for stored in candidates:
        if is_outdated(stored, stored.point.get("quality", {}), run):
            folder = store.folder(run, stored.id, stored.repeat)
            result = judged(stored, folder, run)
            if result != stored:
                store.save_result(result, folder)
                again.append(result)
    return again


def _unchecked(result: PointResult, why: str) -> PointResult:
    return replace(result, quality={"state": "not checked", "text": f"not checked: {why}"})


def _limits(asked: Mapping[str, Any]) -> dict[str, Any]:
    return {name: asked.get(name) for name in sample.THRESHOLDS}


def _references(key: str, run: Path) -> Iterator[PointResult]:
    """Stored results of the work that `key` names, under any executor, with any number of jobs."""
    for stored in store.results(run):
        unbroken = stored.point.get("fault", {}).get("kind", "none") == "none"
        if unbroken and same_output(stored.point) == key:
            yield stored


def _compared(result: PointResult, folder: Path, run: Path) -> tuple[dict[str, Any], str]:
    """Figures, complaints and reference of the first that can judge. Raises NoSample: why none can."""
    if not _num_frames(result):
        raise NoSample("it was measured with quality.frames=0; force=true measures it anew")
    why_not = NoSample("this run has no point of the same work with nothing optimised")
    for found in _references(same_output(plain(result.point)), run):
        try:
            figures, complaints = _held_against(found, result, folder, run)
        except NoSample as error:
            why_not = error
            continue
        wrong = {"complaints": complaints} if complaints else {}
        return {**figures, **wrong, "reference": reference.mark(found)}, ""
    raise why_not


def _held_against(
    found: PointResult, result: PointResult, folder: Path, run: Path
) -> tuple[dict[str, Any], list[str]]:
    """Figures and complaints. Raises NoSample where this one cannot judge."""
    name, asked = _name(reference.mark(found)), result.point["quality"]
    if other := reference.unlike(found, result):
        raise NoSample(f"{name} had other {', '.join(other)}")
    if found.outcome is not Outcome.OK:
        raise NoSample(f"{name} ended {found.outcome}")
    if "avatar" in asked["optimised"] and _num_frames(found) != asked["frames"]:
        frames = f"quality.frames={_num_frames(found)}, and this point with {asked['frames']}"
        raise NoSample(f"{name} was measured with {frames}; force=true measures both alike")
    return sample.figures(asked["optimised"], folder, store.folder(run, found.id, found.repeat))


def _name(marked: Mapping[str, Any]) -> str:
    return f"the plain reference {marked['id']} repeat {marked['repeat']}"


def _weighed(result: PointResult, quality: Mapping[str, Any], where: str, unseen: str) -> PointResult:
    """The result with a state for these figures, by the thresholds of now.

    where   what to say of how they were come by, unseen  components of which there are none
    """
    limits, against = _limits(result.point["quality"]), f"against {_name(quality['reference'])}{where}"
    complaints = [*quality.get("complaints", ()), *sample.shortfalls(quality, limits)]
    if complaints:
        text = f"quality: {complaints[0]}, {against}"
        below = {**quality, "state": "below", "text": text, "limits": limits}
        return replace(result, quality=below, outcome=Outcome.INVALID, reason=text, wall_s=None)
    state, text = "holds", f"{sample.words(quality)}, {against}"
    if unseen:
        state, text = "not checked", f"not checked: {unseen} leaves no sample; of the rest {text}"
    return replace(result, quality={**quality, "state": state, "text": text, "limits": limits})
