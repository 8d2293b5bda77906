"""Hydra's basic sweeper, which checks every point of a sweep before the first one runs.

Hydra accepts plugins only in a package of this name.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, ClassVar

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ChoiceSweep, Override
from omegaconf import open_dict

from harness import locks, quality, reference, settings, store

log = logging.getLogger("harness")


class PlannedSweeper(BasicSweeper):
    """A grid like Hydra's own; `repeats=N` goes over the whole grid N times, which spreads drift over the
    points. A sequential point comes before those whose outputs are compared with its own, and so does one
    with nothing optimised before those whose quality is compared with its own; if there is none it is added.

    Before anything is written it raises SettingError if a point has a wrong setting or none can run here, and
    store.UnreadableResult if a stored result is damaged; then locks.RunInUse if another harness is there.
    """

    outcomes: ClassVar[list[str]] = []  # of the last sweep, in order
    run: ClassVar[Path | None] = None  # where it measures; None before it has begun
    report: ClassVar[bool] = True  # whether a report is wanted of it

    def sweep(self, arguments: list[str]) -> Any:
        assert self.config is not None
        batch, run = self._plan(arguments)
        self.params = {}
        count = f"points={len(batch)}"
        self.split_arguments = lambda *_: [[[*overrides, count] for overrides in batch]]  # type: ignore[method-assign]
        with locks.run_folder(run):
            type(self).run, type(self).report = run, self.config.report
            returns = super().sweep([])
        type(self).outcomes[:] = [job.return_value for jobs in returns for job in jobs]
        return returns

    def validate_batch_is_legal(self, batch: Sequence[Sequence[str]]) -> None:
        """Done by _plan, before the run's folder is made."""

    def _plan(self, arguments: list[str]) -> tuple[list[list[str]], Path]:
        """The overrides of each point, and the run's folder."""
        assert self.config is not None
        assert self.hydra_context is not None
        loader = self.hydra_context.config_loader
        given = [*self._parse_config(), *arguments]
        if self.config.repeats > 1:
            given.insert(0, f"repeat=range({self.config.repeats})")
        parsed = OverridesParser.create(config_loader=loader).parse_overrides(given)
        _check_overrides(parsed)
        [batch] = self.split_arguments(parsed, None)
        planned = [self._read(overrides) for overrides in batch]
        if self.config.workload.jobs is None and len({point.point.num_jobs for point in planned}) > 1:
            # The same jobs at every point: other texts at other points would pass for a speed-up.
            jobs = f"workload.jobs={max(point.point.num_jobs for point in planned)}"
            batch = [[*overrides, jobs] for overrides in batch]
            planned = [self._read(overrides) for overrides in batch]
        settings.check_sweep(planned)
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
        return [batch[index] for index in order], planned[0].run

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
    kept = [
        one for one in overrides if one.partition("=")[0] not in ("repeat", "executor", "executor.workers")
    ]
    alone = ["executor=sequential", "executor.workers=1", f"workload.jobs={point['workload']['jobs']}"]
    return [*kept, *quality.overrides(point), *alone, "force=true"]


def _check_overrides(overrides: Sequence[Override]) -> None:
    """Raises SettingError for what Hydra would do, but no measurement can want."""
    added = [one for one in overrides if one.is_add() or one.is_force_add()]
    settings.check_added(one.get_key_element().lstrip("+") for one in added)
    settings.check_removed(one.key_or_group for one in overrides if one.is_delete())
    settings.check_given({one.key_or_group: _values(one) for one in overrides})


def _values(override: Override) -> list[Any]:
    value = override.value()
    return value.list if isinstance(value, ChoiceSweep) else [value]
