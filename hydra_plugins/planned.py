"""Hydra's basic sweeper, which checks every point of a sweep before the first one runs.

Hydra accepts plugins only in a package of this name.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, ClassVar

from hydra._internal.core_plugins.basic_sweeper import BasicSweeper
from hydra.core.config_loader import ConfigLoader
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, open_dict

from harness import settings


class PlannedSweeper(BasicSweeper):
    """A grid like Hydra's own; `repeats=N` goes over the whole grid N times, which spreads drift over the
    points.

    Raises SettingError before anything is written if any point has a wrong setting, or if no point can run
    here.
    """

    outcomes: ClassVar[list[str]] = []  # of the last sweep, in order

    def sweep(self, arguments: list[str]) -> Any:
        batch = self._plan(arguments)
        self.params = {}
        count = f"points={len(batch)}"
        self.split_arguments = lambda *_: [[[*overrides, count] for overrides in batch]]  # type: ignore[method-assign]
        returns = super().sweep([])
        type(self).outcomes[:] = [job.return_value for jobs in returns for job in jobs]
        return returns

    def validate_batch_is_legal(self, batch: Sequence[Sequence[str]]) -> None:
        """Done by _plan, before the run's folder is made."""

    def _plan(self, arguments: list[str]) -> list[list[str]]:
        assert self.config is not None
        assert self.hydra_context is not None
        loader = self.hydra_context.config_loader
        given = [*self._parse_config(), *arguments]
        if self.config.repeats > 1:
            given.insert(0, f"repeat=range({self.config.repeats})")
        parsed = OverridesParser.create(config_loader=loader).parse_overrides(given)
        settings.check_added(
            override.get_key_element().lstrip("+")
            for override in parsed
            if override.is_add() or override.is_force_add()
        )
        [batch] = self.split_arguments(parsed, None)
        planned = [settings.read(_without_hydra(loader, self.config, overrides)) for overrides in batch]
        settings.check_sweep(planned)
        return batch


def _without_hydra(loader: ConfigLoader, config: DictConfig, overrides: list[str]) -> DictConfig:
    composed = loader.load_sweep_config(config, overrides)
    with open_dict(composed):
        del composed["hydra"]
    return composed
