"""Hydra's basic sweeper, which checks every point of a sweep before the first one runs.

Hydra accepts plugins only in a package of this name.
"""

from __future__ import annotations

import itertools
import logging
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, ClassVar

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ChoiceSweep, Override
from hydra.core.utils import JobReturn
from omegaconf import DictConfig, OmegaConf, open_dict

from harness import bisect_stored, locks, quality, reference, rounds, settings, store

log = logging.getLogger("harness")

_Swept = tuple[settings.Planned, list[str]]  # a point, and the overrides that make it


class PlannedSweeper(BasicSweeper):
    """A grid like Hydra's own; `repeats=N` goes over the whole grid N times, which spreads drift over the
    points, and with `precision_target` again and again over those whose figure is not known well enough.
    A sequential point comes before those whose outputs are compared with its own, and so does one with
    nothing optimised before those whose quality is compared with its own; if there is none it is added.

    Before anything is written it raises SettingError if a point has a wrong setting or none can run here, and
    store.UnreadableResult if a stored result is damaged; then locks.RunInUse if another harness is there.
    """

    outcomes: ClassVar[list[str]] = []  # of the last sweep, in order
    run: ClassVar[Path | None] = None  # where it measures; None before it has begun
    report: ClassVar[bool] = True  # whether a report is wanted of it

    def sweep(self, arguments: list[str]) -> Any:
        assert self.config is not None
        if bisect_stored.KEY in self.config:
            return self._bisect(arguments)
        batch, swept = self._plan(arguments)
        if self._asked.repeats > self.config.repeats:
            log.info("precision: repeats=%d, for fewer have no interval to speak of", self._asked.repeats)
        run = next(iter(swept.values()))[0].run
        self.params = {}
        count = f"points={len(batch)}"
        self.split_arguments = lambda *_: [[[*overrides, count] for overrides in batch]]  # type: ignore[method-assign]
        with locks.run_folder(run):
            type(self).run, type(self).report = run, self.config.report
            returns = super().sweep([])
            if self._asked.target is not None:
                returns += self._rounds(list(swept.values()), len(batch))
        type(self).outcomes[:] = [job.return_value for jobs in returns for job in jobs]
        return returns

    def _bisect(self, arguments: list[str]) -> Any:
        """One job, which measures the variants of one stored point."""
        assert self.config is not None
        assert self.hydra_context is not None
        parsed = OverridesParser.create(config_loader=self.hydra_context.config_loader).parse_overrides(
            arguments
        )
        _check_overrides(parsed)
        bisect_stored.check_single(one.key_or_group for one in parsed if one.is_sweep_override())
        bisect_stored.check_given(one.key_or_group for one in parsed)
        asked = bisect_stored.asked(self.config, _typed(parsed, bisect_stored.KEY))
        others = [str(one.input_line) for one in parsed if one.key_or_group != bisect_stored.KEY]
        job = [*others, f"{bisect_stored.KEY}='{asked.point.id}'"]  # quoted: 123e45 would be a number
        self.split_arguments = lambda *_: [[job]]  # type: ignore[method-assign]
        with locks.run_folder(asked.run):
            type(self).run, type(self).report = asked.run, self.config.report
            returns = super().sweep([])
        type(self).outcomes[:] = [job.return_value for jobs in returns for job in jobs]
        return returns

    def validate_batch_is_legal(self, batch: Sequence[Sequence[str]]) -> None:
        """Done by _plan, before the run's folder is made."""

    def _rounds(self, swept: Sequence[_Swept], measured: int) -> Iterator[Sequence[JobReturn]]:
        """Measure once more, round after round, what is too wide yet, as long as the budget lasts."""
        assert self.launcher is not None
        asked, ends = self._asked, time.monotonic() + self._asked.budget_s
        for number in itertools.count(1):
            looks = [seen for one in swept if (seen := rounds.look(*one, asked))]
            todo = rounds.fitting(rounds.in_state(looks, "wide"), ends - time.monotonic())
            if not todo:
                log.info("%s", rounds.ending(looks, asked))
                return
            log.info("%s", rounds.beginning(number, looks, todo, asked))
            points = f"points={measured + len(todo)}"
            batch = [[*one.overrides, f"repeat={one.repeat}", points] for one in todo]
            returned = self.launcher.launch(batch, initial_job_idx=measured)
            for job in returned:
                _ = job.return_value  # raises what the job raised
            measured += len(todo)
            yield returned

    def _plan(self, arguments: list[str]) -> tuple[list[list[str]], dict[str, _Swept]]:
        """The overrides of all measurements of the first pass, in their order, and the points by their id."""
        assert self.config is not None
        assert self.hydra_context is not None
        loader = self.hydra_context.config_loader
        parser = OverridesParser.create(config_loader=loader)
        parsed = parser.parse_overrides([*self._parse_config(), *arguments])
        _check_overrides(parsed)
        self._asked = _asked(self.config)
        if self._asked.repeats > 1:
            parsed = parser.parse_overrides([f"repeat=range({self._asked.repeats})"]) + parsed
        [batch] = self.split_arguments(parsed, None)
        planned = [self._read(overrides) for overrides in batch]
        if self.config.workload.jobs is None and len({point.point.num_jobs for point in planned}) > 1:
            # The same jobs at every point: other texts at other points would pass for a speed-up.
            jobs = f"workload.jobs={max(point.point.num_jobs for point in planned)}"
            batch = [[*overrides, jobs] for overrides in batch]
            planned = [self._read(overrides) for overrides in batch]
        settings.check_sweep(planned)
        swept = {one.point.id: (one, overrides) for one, overrides in zip(planned, batch, strict=True)}
        for one, overrides in self._stored_before(swept):
            planned.append(one)
            batch.append(overrides)
        for point in planned:
            if not point.force:
                store.check_readable(point.run, point.point.id, point.repeat)
        if self.config.quality.reference:
            added = self._references(batch, planned)
            batch = [*added, *batch]
            planned = [*map(self._read, added), *planned]
        points, repeats = [asdict(one.point) for one in planned], [one.repeat for one in planned]
        order = reference.references_first(points, repeats)
        order.sort(key=lambda index: (repeats[index], quality.is_optimised(points[index])))
        return [batch[index] for index in order], swept

    def _stored_before(self, swept: Mapping[str, _Swept]) -> Iterator[_Swept]:
        """Repeats of these points beyond the first pass: they count, so they are kept up like the others."""
        for one, overrides in swept.values() if self._asked.target is not None else ():
            for repeat in rounds.stored(one.run, one.point.id):
                if repeat >= self._asked.repeats:
                    yield replace(one, repeat=repeat), [*_without(overrides, "repeat"), f"repeat={repeat}"]

    def _references(self, batch: Sequence[list[str]], planned: Sequence[settings.Planned]) -> list[list[str]]:
        """Overrides of what optimised points are compared with and neither the sweep nor the run has."""
        points = [asdict(one.point) for one in planned]
        known = {
            reference.same_output(point) for one, point in zip(planned, points, strict=True) if _is_new(one)
        }
        added = []
        for overrides, one, point in zip(batch, planned, points, strict=True):
            wanted = reference.same_output(quality.plain(point))
            if wanted in known or not _is_usable(one):
                continue
            if quality.is_wanting(one.point, one.run, one.repeat, one.force):
                known.add(wanted)
                made = _reference(overrides, point)
                plain = self._read(made)
                if not plain.not_applicable and not _is_hopeless(plain, one):
                    added.append(made)
        if added:
            count = "1 point is" if len(added) == 1 else f"{len(added)} points are"
            log.info(
                "quality: %s added to compare the optimised ones with; quality.reference=false: none", count
            )
        return added

    def _read(self, overrides: list[str]) -> settings.Planned:
        assert self.hydra_context is not None
        assert self.config is not None
        composed = self.hydra_context.config_loader.load_sweep_config(self.config, overrides)
        with open_dict(composed):
            del composed["hydra"]
        return settings.read(composed)


def _asked(config: DictConfig) -> rounds.Asked:
    """What is asked of the sweep as a whole. Raises SettingError."""
    allowed: dict[str, Any] = OmegaConf.to_container(config.rules)  # type: ignore[assignment]
    return rounds.asked({key: config[key] for key in rounds.SETTINGS}, allowed)


def _is_usable(one: settings.Planned) -> bool:
    return not one.not_applicable and one.point.fault["kind"] == "none"


def _is_new(one: settings.Planned) -> bool:
    """Whether the sweep itself measures it, with a sample; what is stored may have none."""
    stored = store.is_stored(one.run, one.point.id, one.repeat) and not one.force
    return _is_usable(one) and not stored


def _is_hopeless(plain: settings.Planned, asking: settings.Planned) -> bool:
    """Whether a reference failed here before, and nothing has changed since."""
    ended = "" if asking.force else quality.has_failed(plain.point, plain.run)
    if ended:
        log.info(
            "quality: the reference %s ended %s before and is not measured again; force=true does",
            plain.point.id,
            ended,
        )
    return bool(ended)


def _reference(overrides: Sequence[str], point: Mapping[str, Any]) -> list[str]:
    """The same jobs one after the other, once, with nothing optimised. By force: what is stored of it, if
    anything is, was found of no use.
    """
    kept = _without(overrides, "repeat", "executor", "executor.workers")
    alone = ["executor=sequential", "executor.workers=1", f"workload.jobs={point['workload']['jobs']}"]
    return [*kept, *quality.overrides(point), *alone, "force=true"]


def _without(overrides: Sequence[str], *keys: str) -> list[str]:
    return [one for one in overrides if one.partition("=")[0] not in keys]


def _check_overrides(overrides: Sequence[Override]) -> None:
    """Raises SettingError for what Hydra would do, but no measurement can want."""
    added = [one for one in overrides if one.is_add() or one.is_force_add()]
    settings.check_added(one.get_key_element().lstrip("+") for one in added)
    settings.check_removed(one.key_or_group for one in overrides if one.is_delete())
    rounds.check_swept(one.key_or_group for one in overrides if one.is_sweep_override())
    settings.check_given({one.key_or_group: _values(one) for one in overrides})


def _values(override: Override) -> list[Any]:
    value = override.value()
    return value.list if isinstance(value, ChoiceSweep) else [value]


def _typed(overrides: Sequence[Override], key: str) -> str | None:
    """The text of a key's value, None where it was not given."""
    given = [str(one.input_line).partition("=")[2] for one in overrides if one.key_or_group == key]
    return given[-1].strip("\"'") if given else None
