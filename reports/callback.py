"""Hydra callback: writes the run's report when a sweep has ended."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig

from harness.store import UnreadableResult


class WriteReport(Callback):
    """Named in conf/config.yaml; pandas and matplotlib are imported only when there is something to write."""

    def on_multirun_end(self, config: DictConfig, **kwargs: Any) -> None:
        from reports.page import write
        from reports.tables import EmptyRun

        try:
            page = write(Path("runs") / str(config.name))
        except (FileNotFoundError, EmptyRun, UnreadableResult) as error:
            sys.stderr.write(f"no report: {error}\n")
            return
        sys.stdout.write(f"report: {page}\n")
