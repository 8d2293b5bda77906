"""Quality: the sample of an optimised point against that of the same work with nothing optimised.

What counts as optimised stands in conf/ beside each component (`optimised`: key -> value of the reference):
this file knows no engine. docs/quality.md
"""

from __future__ import annotations

import time
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness import environment, files, likeness, reference, rules, store
from harness.point import Point, flatten
from harness.reference import same_output
from harness.result import Outcome, PointResult

THRESHOLDS = ("psnr_db", "ssim", "lsd_db")
_MOST_BYTES = 2**30  # of a sample when it is unpacked: 10 frames of 7680 x 4320 px have 0.93 GiB

Arrays = Mapping[str, NDArray[Any]]


class NoSample(ValueError):
    """A sample that is not there or cannot be read; in words."""


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
    now, wanted = environment.describe(), same_output(plain(vars(point)))
    return not any(
        found.outcome is Outcome.OK
        and all(found.environment.get(name) == now[name] for name in reference.SAME)
        and not files.changed(point, found.inputs, datetime.fromisoformat(found.started_at).timestamp() + 1)
        for found in _references(wanted, run)
    )


def judged(result: PointResult, folder: Path, run: Path) -> PointResult:
    """An ok result with its `quality`; invalid where that is below a threshold. An earlier verdict is
    forgotten first.

    folder  of this measurement;  run  of all of them. The samples of both must still be there.

    quality: `state` (reference, holds, below, not checked), `text`; where it was compared psnr_db and ssim
    of all frames, least_psnr_db and least_ssim of the worst, frames (their number), lsd_db, `limits` (the
    thresholds) and `reference` (id, repeat, started_at, started_ns).
    """
    result = reference.unjudged(result)
    if result.outcome is not Outcome.OK:
        return result
    asked = result.point.get("quality", {})
    if not asked.get("optimised"):
        return _unchecked(result, "its components leave no samples")
    if not is_optimised(result.point):
        return replace(result, quality={"state": "reference", "text": "nothing in it is optimised"})
    if not asked["frames"]:
        return _unchecked(result, "quality.frames=0")
    found, why_not = _find(result, run)
    return _unchecked(result, why_not) if found is None else _held_against(found, result, folder, run)


def is_outdated(result: PointResult, asked: Mapping[str, Any], run: Path) -> bool:
    """Whether to judge a stored result again: it never was, by other thresholds, or against a reference that
    was measured anew since.
    """
    state = result.quality.get("state")
    if result.outcome is not Outcome.OK and state != "below":
        return False
    if state in ("holds", "below"):
        return result.quality["limits"] != _limits(asked) or reference.is_anew(
            result.quality["reference"], run
        )
    return state is None or (state == "not checked" and is_optimised(result.point))


def renewed(result: PointResult, asked: Mapping[str, Any], folder: Path, run: Path) -> PointResult:
    """A stored result, compared and judged again where what it was held against has changed.

    asked  the thresholds of now, as in Point.quality
    """
    other = reference.is_outdated(result, run)
    if not other and not is_outdated(result, asked, run):
        return result
    result = replace(result, point={**result.point, "quality": dict(asked)})
    return judged(reference.compared(result, folder, run) if other else result, folder, run)


def judge_again(fresh: PointResult, compared: Iterable[PointResult], run: Path) -> list[PointResult]:
    """Judge and store what had no reference until this result was there, or an earlier measurement of it.

    compared  stored results whose outputs were compared again, which makes their quality open
    """
    candidates = list(compared)
    if fresh.outcome is Outcome.OK and fresh.quality.get("state") == "reference":
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
    return {name: asked.get(name) for name in THRESHOLDS}


def _name(found: PointResult) -> str:
    return f"the plain reference {found.id} repeat {found.repeat}"


def _references(key: str, run: Path) -> Iterator[PointResult]:
    """Stored results of the work that `key` names, under any executor, with any number of jobs."""
    for stored in store.results(run):
        unbroken = stored.point.get("fault", {}).get("kind", "none") == "none"
        if unbroken and same_output(stored.point) == key:
            yield stored


def _find(result: PointResult, run: Path) -> tuple[PointResult | None, str]:
    """The first that may judge, or why none may."""
    why_not = "this run has no point of the same work with nothing optimised"
    for stored in _references(same_output(plain(result.point)), run):
        other = reference.unlike(stored, result)
        if stored.outcome is Outcome.OK and not other:
            return stored, ""
        said = f"had other {', '.join(other)}" if other else f"ended {stored.outcome}"
        why_not = f"{_name(stored)} {said}"
    return None, why_not


def _held_against(found: PointResult, result: PointResult, folder: Path, run: Path) -> PointResult:
    began = time.monotonic()
    asked, base = result.point["quality"], store.folder(run, found.id, found.repeat)
    try:
        figures, complaints = _figures(asked["optimised"], folder, base)
    except NoSample as error:
        return _unchecked(result, str(error))
    limits = _limits(asked)
    complaints += _shortfalls(figures, limits)
    quality: dict[str, Any] = {**figures, "limits": limits, "reference": reference.mark(found)}
    overhead = result.overhead | {"quality_s": time.monotonic() - began}
    if not complaints:
        text = f"{_words(figures)}, against {_name(found)}"
        return replace(result, quality={"state": "holds", "text": text, **quality}, overhead=overhead)
    text = f"quality: {complaints[0]}, against {_name(found)}"
    return replace(
        result,
        quality={"state": "below", "text": text, **quality},
        overhead=overhead,
        outcome=Outcome.INVALID,
        reason=text,
        wall_s=None,
    )


def _figures(names: Iterable[str], folder: Path, base: Path) -> tuple[dict[str, Any], list[str]]:
    """What the samples of these components give, and what makes them incomparable, in words."""
    figures: dict[str, Any] = {}
    complaints = []
    for name in names:
        ours, theirs = _read(folder, name), _read(base, name)
        try:
            figures |= _of_frames(ours, theirs) if "frames" in theirs else _of_sound(ours, theirs)
        except ValueError as error:
            complaints.append(f"{name} {error}")
    return figures, complaints


def _read(folder: Path, name: str) -> Arrays:
    """Arrays of a sample that the measured process has stored. Raises NoSample."""
    path = folder / "sample" / f"{name}.npz"
    try:
        with np.load(path, allow_pickle=False) as file:
            if sum(part.file_size for part in file.zip.infolist()) > _MOST_BYTES:
                raise NoSample(f"{path}: more than {_MOST_BYTES >> 20} MiB")
            return dict(file)
    except FileNotFoundError as error:
        raise NoSample(f"{name} left no sample in {folder.parent.name}") from error
    except (OSError, ValueError, EOFError, AttributeError, zipfile.BadZipFile) as error:
        raise NoSample(f"{path}: cannot be read ({error})") from error


def _of_frames(ours: Arrays, theirs: Arrays) -> dict[str, Any]:
    """Raises ValueError for frames that cannot be compared."""
    if "frames" not in ours or ours["frames"].shape[1:] != theirs["frames"].shape[1:]:
        sizes = [
            "x".join(map(str, each["frames"].shape[2:0:-1])) for each in (ours, theirs) if "frames" in each
        ]
        raise ValueError(f"frames are of another size: {' instead of '.join(sizes)}")
    _, mine, other = np.intersect1d(ours["index"], theirs["index"], return_indices=True)
    if not len(mine):
        raise ValueError("drew none of the frames that are compared")
    pairs = [(ours["frames"][one], theirs["frames"][two]) for one, two in zip(mine, other, strict=True)]
    errors = [likeness.square_error(*pair) for pair in pairs]
    similar = [likeness.ssim(*pair) for pair in pairs]
    return {
        "psnr_db": round(likeness.psnr_of(float(np.mean(errors))), 2),
        "least_psnr_db": round(likeness.psnr_of(max(errors)), 2),
        "ssim": round(float(np.mean(similar)), 5),
        "least_ssim": round(min(similar), 5),
        "frames": len(pairs),
    }


def _of_sound(ours: Arrays, theirs: Arrays) -> dict[str, Any]:
    """Raises ValueError for sound that cannot be compared."""
    rate = int(theirs["rate"])
    if "audio" not in ours or int(ours["rate"]) != rate:
        raise ValueError("speaks at another sampling rate")
    if not np.isfinite(ours["audio"]).all():
        raise ValueError("speaks samples that are no finite numbers")
    return {"lsd_db": round(likeness.lsd_db(ours["audio"], theirs["audio"], rate), 4)}


def _shortfalls(figures: Mapping[str, Any], limits: Mapping[str, Any]) -> Iterator[str]:
    """A sentence for each threshold that is missed; null is none. The worst frame counts."""
    least, similar, apart = (figures.get(name) for name in ("least_psnr_db", "least_ssim", "lsd_db"))
    worst = f"the worst of {figures.get('frames')} frames has"
    if least is not None and limits["psnr_db"] is not None and least < limits["psnr_db"]:
        yield f"{worst} {least:g} dB PSNR, at least {limits['psnr_db']:g} (quality.psnr_db)"
    if similar is not None and limits["ssim"] is not None and similar < limits["ssim"]:
        yield f"{worst} an SSIM of {similar:.4f}, at least {limits['ssim']:g} (quality.ssim)"
    if apart is not None and limits["lsd_db"] is not None and apart > limits["lsd_db"]:
        yield f"the sound is {apart:.2f} dB off in spectrum, at most {limits['lsd_db']:g} (quality.lsd_db)"


def _words(figures: Mapping[str, Any]) -> str:
    parts: Sequence[tuple[str, str]] = (
        ("psnr_db", "PSNR {psnr_db:.1f} dB (worst frame {least_psnr_db:.1f})"),
        ("ssim", "SSIM {ssim:.4f} (worst {least_ssim:.4f})"),
        ("lsd_db", "log-spectral distance {lsd_db:.2f} dB"),
    )
    return ", ".join(form.format(**figures) for name, form in parts if name in figures)
