"""Bisect of a stored point: finds it, measures its variants into the same run, writes down the answer."""

from __future__ import annotations

import json
import logging
import math
import re
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import hydra
from omegaconf import DictConfig, OmegaConf

from harness import bisect, bisect_words, devices, quality, rules, settings, simpler, store
from harness.bisect import Answer, Trial
from harness.point import Point
from harness.reductions import reductions
from harness.result import Outcome, PointResult
from harness.settings import Planned, SettingError
from harness.simpler import Simple

log = logging.getLogger("harness")

# Measures a point unless it is stored, and stores it. Takes its title too, and which one it is, from 0.
MeasureStored = Callable[[Planned, str, int], object]

KEY = "of"  # a configuration that has it asks for a bisect
_MAY_BE_GIVEN = (
    KEY, "bisect.tries", "bisect.budget_min", "sweep", "name", "report", "force", "price_usd_per_h"
)  # fmt: skip
# Of a stored workload and its limits: what has a default where it is read, and what is no setting.
_MAY_LACK = {"name", "seconds", "moving", "stages", "rules", "check"}


@dataclass(frozen=True)
class Asked:
    """A stored failure, what is simpler, and how much may be spent on it. budget_s is inf for no limit."""

    run: Path
    failed: PointResult
    point: Point
    simple: Simple
    tries: int
    budget_s: float


def check_given(keys: Iterable[str]) -> None:
    """Raises SettingError for a key that would change the point: it is the one that is stored."""
    for key in keys:
        if not _is_asked(key):
            raise SettingError(f"{key}: a bisect takes the point as it is stored; leave it out")


def _is_asked(key: str) -> bool:
    return key in _MAY_BE_GIVEN or key.startswith("comparability.")


def check_single(keys: Iterable[str]) -> None:
    """Raises SettingError for a key that was given several values."""
    for key in keys:
        raise SettingError(f"{key}: a bisect looks at one point; give a single value")


def asked(config: DictConfig, of: str | None) -> Asked:
    """What the command asks for. Writes nothing. Raises SettingError, and store.UnreadableResult where any
    result of the run is damaged: variants may be stored there, and which ones nobody knows before.

    of  as it was typed: 123e45 is an id and no number
    """
    allowed: dict[str, Any] = OmegaConf.to_container(config.rules)  # type: ignore[assignment]
    for key, rule in allowed.items():
        value = of if key == KEY else OmegaConf.select(config, key)
        wrong = rules.complaint(value, rule) if _is_asked(key) else ""
        if wrong:
            hint = f"; {rule['hint']}" if "hint" in rule else ""
            raise SettingError(f"{key}={rules.word(value)}: {wrong}{hint}")
    run = _run(config.name)
    failed = _failed(run, _id(run, of))
    budget_min = config.bisect.budget_min
    budget_s = math.inf if budget_min is None else 60.0 * budget_min
    point = _point(failed, config)
    for path in () if config.force else _stored(run):
        store.load_result(path)
    return Asked(run, failed, point, _simple(point), config.bisect.tries, budget_s)


def _run(name: Any) -> Path:
    """The folder of a run that is there; any other name is never made a path of."""
    runs = [path.name for path in Path("runs").iterdir() if path.is_dir()] if Path("runs").is_dir() else []
    if str(name) not in runs:
        raise SettingError(f"name={rules.word(name)}: there is no such run; see the folders of runs/")
    return Path("runs") / str(name)


def _id(run: Path, of: str | None) -> str:
    ids = sorted({path.parent.name for path in _stored(run)})
    if of is None:
        raise SettingError(f"of=null: which point of {run}? give its id, or its first digits, as of=6243bd")
    matching = [each for each in ids if each.startswith(of)]
    if not matching:
        raise SettingError(f"of={of}: no such point in {run}; it has {_some(ids) or 'none'}")
    if len(matching) > 1:
        raise SettingError(f"of={of}: {len(matching)} points of {run} begin so, {_some(matching)}; give more")
    return matching[0]


def _stored(run: Path) -> list[Path]:
    """The folders of a run's results: of each point by repeat."""
    found = [path.parent for path in run.glob("*/*/result.json") if path.parent.name.isdigit()]
    ours = [path for path in found if re.fullmatch("[0-9a-f]{12}", path.parent.name)]
    return sorted(ours, key=lambda path: (path.parent.name, int(path.name)))


def _some(ids: list[str], most: int = 6) -> str:
    return ", ".join(ids[:most]) + (f" and {len(ids) - most} more" if len(ids) > most else "")


def _failed(run: Path, point_id: str) -> PointResult:
    """The first repeat of a point that did not end ok."""
    results = [store.load_result(path) for path in _stored(run) if path.parent.name == point_id]
    good = (Outcome.OK, Outcome.SKIPPED)
    failed = next((result for result in results if result.outcome not in good), None)
    if failed is None:
        ended = ", ".join(dict.fromkeys(str(result.outcome) for result in results)) or "never"
        raise SettingError(f"of={point_id}: it ended {ended}; give a point of {run} that failed")
    return failed


def _point(failed: PointResult, config: DictConfig) -> Point:
    """The stored configuration. Raises SettingError where it cannot be measured again as it was."""
    try:
        point = Point(**failed.point)
        same = point.id == failed.id and not any(_lacking(point, config))
    except (TypeError, ValueError, KeyError, AttributeError):  # keys or values of another version
        same = False
    if not same:
        raise SettingError(
            f"of={failed.id}: stored by another version of the harness; measure it again, give its new id"
        )
    data = asdict(point)
    data["executor"].setdefault("devices", None)
    missing = devices.complaint(data) or next(devices.missing(data), "")
    if missing:
        raise SettingError(f"of={failed.id}: {missing}")
    return point


def _lacking(point: Point, config: DictConfig) -> Iterator[str]:
    """Keys of this version without which nothing can be measured."""
    for part, given in (("workload", point.workload), ("limits", point.limits)):
        yield from (f"{part}.{key}" for key in config[part] if key not in {*given, *_MAY_LACK})


def run(config: DictConfig, measure: MeasureStored) -> Outcome:
    """Search, and store what was found beside the run's points. Returns ok if there is an answer, else how
    the point had failed.

    config   with `of` as the whole id
    measure  raises nothing for what is measured, and leaves a stored result
    """
    known = asked(config, str(config[KEY]))
    steps = reductions(known.point, known.failed.job, known.simple)
    measuring = _Measuring(known, config, measure)
    answer = bisect.search(known.point, known.failed, steps, measuring, known.tries, _tell)
    _write(answer, known.run)
    log.info("%s", bisect_words.text(answer))
    log.info("written to %s", known.run / f"bisect-{known.failed.id}.md")
    return Outcome.OK if answer.ending is bisect.Ending.FOUND else known.failed.outcome


def _simple(point: Point) -> Simple:
    """What conf/ has that is simpler, with the point's own voice and portrait, which must still be there."""

    def made(*options: str) -> Point:
        base = ["avatar=simulated", "asr=none", "traffic=closed", *options]
        config = hydra.compose("config", base)
        config.workload.voice, config.workload.portrait = point.workload["voice"], point.workload["portrait"]
        if "file" in config.tts:
            config.tts.file = point.workload["voice"]
        return settings.read(config).point

    one, apart = made("tts=simulated", "executor=sequential"), made("tts=canned", "executor=processes")
    return Simple(
        tts=one.tts,
        recording=apart.tts,
        avatar=one.avatar,
        sequential=one.executor,
        processes=apart.executor,
        traffic=one.traffic,
        resolution=one.workload["resolution"],
    )


class _Measuring:
    """One more try of a point: its next repeat, which may be stored already. Raises bisect.OutOfTime."""

    def __init__(self, known: Asked, config: DictConfig, measure: MeasureStored) -> None:
        self._known, self._config, self._measure = known, config, measure
        self._until = time.monotonic() + known.budget_s
        # The failure itself is no try: what comes behind it shows whether it fails again.
        self._next = {known.point.id: known.failed.repeat + 1}
        self._done: set[tuple[str, int]] = set()

    def __call__(self, point: Point) -> PointResult:
        for other in _references(point, self._known.failed, self._known.simple):
            if other.id != point.id and (other.id, 0) not in self._done:
                self._one(other, 0)
        repeat = self._next.get(point.id, 0)
        self._next[point.id] = repeat + 1
        return self._one(point, repeat)

    def _one(self, point: Point, repeat: int) -> PointResult:
        run = self._known.run
        force = bool(self._config.force) and (point.id, repeat) not in self._done  # once in a search
        if time.monotonic() > self._until:
            return self._known_already(point, repeat, force)
        self._done.add((point.id, repeat))
        planned = Planned(
            point,
            run,
            repeat,
            num_points=0,  # each try decides on the next one
            force=force,
            price_usd_per_h=self._config.price_usd_per_h,
            comparability=OmegaConf.to_container(self._config.comparability),  # type: ignore[arg-type]
        )
        self._measure(planned, bisect_words.described(point), len(self._done) - 1)
        return store.load_result(store.folder(run, point.id, repeat))

    def _known_already(self, point: Point, repeat: int, force: bool) -> PointResult:
        """What is stored, as it is: the time is over, and to measure may renew it for many a reason. Raises
        bisect.OutOfTime where there is nothing, or where other limits decided what is a hang.
        """
        run = self._known.run
        if force or not store.is_stored(run, point.id, repeat):
            raise bisect.OutOfTime
        stored = store.load_result(store.folder(run, point.id, repeat))
        if stored.outcome in (Outcome.HUNG, Outcome.TIMEOUT) and stored.point["limits"] != point.limits:
            raise bisect.OutOfTime
        return stored


def _references(point: Point, failed: PointResult, simple: Simple) -> Iterator[Point]:
    """What must be measured before a variant of other work can be found wrong as the failed point was."""
    if bisect.differs_from_reference(failed):
        yield simpler.alone(point, simple)
    if bisect.is_below_quality(failed):
        plain = Point(**quality.plain(asdict(point)))
        yield simpler.alone(plain, simple)


def _tell(trial: Trial) -> None:
    log.info("bisect: %s: %s, tries=%d", trial.change, trial.verdict, len(trial.results))


def _write(answer: Answer, run: Path) -> None:
    """By rename: whole, or as it was."""
    pages = {
        "md": bisect_words.markdown(answer),
        "json": json.dumps(bisect_words.data(answer), indent=1) + "\n",
    }
    for ending, page in pages.items():
        path = run / f"bisect-{answer.failed.id}.{ending}"
        temporary = path.with_suffix(f".{ending}.tmp")
        temporary.write_text(page)
        temporary.replace(path)
