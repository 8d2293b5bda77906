"""`python -m harness`: Hydra composes a configuration, the supervisor measures it, the store keeps the
result.
"""

from __future__ import annotations

import difflib
import functools
import logging
import os
import re
import shutil
import signal
import sys
from dataclasses import asdict
from datetime import datetime, timezone
from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from harness import environment, gpu, settings, store, supervisor
from harness.point import Point, flatten
from harness.progress import Progress
from harness.result import Measurement, Outcome, PointResult
from hydra_plugins import planned as sweeper

log = logging.getLogger("harness")

CONF = Path(__file__).resolve().parent.parent / "conf"

# One for each process that measures: a launcher may spread the points over several.
_guard = functools.cache(supervisor.start_guard)
_progress = functools.cache(Progress)


@hydra.main(version_base="1.3", config_path=str(CONF), config_name="config")
def measure_point(config: DictConfig) -> str:
    """One Hydra job: measure one point unless it is stored. Returns its outcome."""
    planned = settings.read(config)
    point = planned.point
    folder = store.folder(planned.run, point.id, planned.repeat)
    title = f"{_title(point)} repeat {planned.repeat}" if planned.repeat else _title(point)
    if not planned.force and store.is_stored(planned.run, point.id, planned.repeat):
        result = store.load_result(folder)
        other = result.environment.get("code") not in (None, environment.code_hash())
        by = " by other code" if other else ""
        log.info("%s  %s %s  stored before%s; force=true measures again", title, point.id, result.outcome, by)
        return str(result.outcome)
    progress = _progress()
    progress.begin(HydraConfig.get().job.num, planned.num_points, title)
    measurement = (
        _skipped(planned, folder) if planned.not_applicable else _measured(planned, folder, progress)
    )
    store.save(measurement, folder)
    progress.end(measurement.result, str(folder))
    return str(measurement.result.outcome)


def _measured(planned: settings.Planned, folder: Path, progress: Progress) -> Measurement:
    return supervisor.measure(
        planned.point, folder, _guard(), planned.repeat, planned.price_usd_per_h, progress.update
    )


def _skipped(planned: settings.Planned, folder: Path) -> Measurement:
    if folder.exists():
        shutil.rmtree(folder)
    folder.mkdir(parents=True)
    result = PointResult(
        id=planned.point.id,
        repeat=planned.repeat,
        outcome=Outcome.SKIPPED,
        point=asdict(planned.point),
        started_at=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        duration_s=0.0,
        reason=planned.not_applicable,
        environment=environment.describe(),
    )
    return Measurement(result, folder=str(folder))


def _title(point: Point) -> str:
    return f"{point.executor['name']} x {point.workers}"


def _one_line(error: Exception) -> str:
    """Hydra's explanations take several lines; the first says what, the second often where."""
    text = str(error)
    missing = re.search(
        r"Could not find '(\w+)/(.+?)'\s+Available options in '\w+':(.*?)\n\S", text, re.DOTALL
    )
    if missing:
        group, option, files = missing.groups()
        return f"{group}={option}: choose from {', '.join(files.split())}"
    unknown = re.search(r"Could not (?:override|append to config.*?key) '(.+?)'", text)
    if unknown:
        key = unknown.group(1).removeprefix("+")
        near = difflib.get_close_matches(key, _known_keys(), n=1)
        return f"{key}: there is no such key" + (f"; did you mean {near[0]}?" if near else "; see --cfg job")
    return " ".join(line.strip() for line in text.splitlines() if line.strip())


def _known_keys() -> list[str]:
    """Every key of every file in conf/, as on the command line."""
    found = []
    for path in CONF.glob("*.yaml"):
        found += [key for key, _ in flatten(OmegaConf.to_container(OmegaConf.load(path)))]  # type: ignore[arg-type]
    for path in CONF.glob("*/*.yaml"):
        data = OmegaConf.to_container(OmegaConf.load(path))
        found += [f"{path.parent.name}.{key}" for key, _ in flatten(data)]  # type: ignore[arg-type]
    return sorted({*found, *(path.parent.name for path in CONF.glob("*/*.yaml"))})


def _end_by_signal(number: int, frame: object) -> None:
    raise KeyboardInterrupt


def main() -> int:
    """Exit code: 0 every point ok or skipped, 1 one was not, 2 wrong settings, 130 interrupted."""
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    logging.getLogger("hydra").setLevel(logging.WARNING)
    os.environ["HYDRA_FULL_ERROR"] = "1"  # errors reach the handlers below instead of Hydra's own print
    signal.signal(signal.SIGTERM, _end_by_signal)
    settings.register_resolvers(has_gpu=bool(gpu.handles()))
    try:
        measure_point()
    except (settings.SettingError, store.UnreadableResult) as error:
        print(error, file=sys.stderr)
        return 2
    except (HydraException, OmegaConfBaseException) as error:
        print(_one_line(error), file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(
            "interrupted; finished points are stored: the same command goes on with the rest,",
            file=sys.stderr,
        )
        print("and `python -m reports NAME` writes the report of what is there", file=sys.stderr)
        return 130
    good = (Outcome.OK, Outcome.SKIPPED)
    # Looked up now: Hydra runs plugin modules again when it finds them, which makes the class anew.
    return 0 if all(outcome in good for outcome in sweeper.PlannedSweeper.outcomes) else 1


if __name__ == "__main__":
    sys.exit(main())
