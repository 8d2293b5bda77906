"""Hydra's basic sweeper, which checks every point of a sweep before the first one runs.

Hydra accepts plugins only in a package of this name.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import Any, ClassVar

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.override_parser.overrides_parser import OverridesParser
from hydra.core.override_parser.types import ChoiceSweep, Override
from omegaconf import open_dict

from harness import locks, reference, settings, store


class PlannedSweeper(BasicSweeper):
    """A grid like Hydra's own; `repeats=N` goes over the whole grid N times, which spreads drift over the
    points. A sequential point comes before those whose outputs are compared with its own.

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
        order = reference.references_first(
            [asdict(one.point) for one in planned], [one.repeat for one in planned]
        )
        return [batch[index] for index in order], planned[0].run

    def _read(self, overrides: list[str]) -> settings.Planned:
        assert self.hydra_context is not None
        assert self.config is not None
        composed = self.hydra_context.config_loader.load_sweep_config(self.config, overrides)
        with open_dict(composed):
            del composed["hydra"]
        return settings.read(composed)


def _check_overrides(overrides: Sequence[Override]) -> None:
    """Raises SettingError for what Hydra would do, but no measurement can want."""
    added = [one for one in overrides if one.is_add() or one.is_force_add()]
    settings.check_added(one.get_key_element().lstrip("+") for one in added)
    settings.check_removed(one.key_or_group for one in overrides if one.is_delete())
    settings.check_given({one.key_or_group: _values(one) for one in overrides})


def _values(override: Override) -> list[Any]:
    value = override.value()
    return value.list if isinstance(value, ChoiceSweep) else [value]
