"""`python -m harness`: Hydra composes a configuration, the supervisor measures it, the store keeps the
result.
"""

from __future__ import annotations

import contextlib
import difflib
import functools
import logging
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict, replace
from datetime import datetime, timezone
from pathlib import Path

import hydra
from hydra.core.hydra_config import HydraConfig
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from harness import environment, gpu, locks, reference, settings, store, supervisor
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
    if store.is_stored(planned.run, point.id, planned.repeat) and not planned.force:
        stored = store.load_result(folder)
        if _still_holds(stored, planned):
            return _kept(stored, planned, folder, title)
    progress = _progress()
    progress.begin(HydraConfig.get().job.num, planned.num_points, title)
    try:
        with _former_result_kept_until_saved(folder):
            measure = _skipped if planned.not_applicable else _measured
            measurement = measure(planned, folder, progress)
            judged = reference.compared(measurement.result, folder, planned.run)
            measurement = replace(measurement, result=judged)
            store.save(measurement, folder)
    finally:
        progress.close()
    progress.end(measurement.result, str(folder))
    return str(measurement.result.outcome)


def _still_holds(stored: PointResult, planned: settings.Planned) -> bool:
    """Whether a stored result answers this configuration too: limits are no part of the point's id, but they
    decide what counts as hung; and what could not run once may run now.
    """
    if stored.outcome in (Outcome.HUNG, Outcome.TIMEOUT):
        return bool(stored.point["limits"] == planned.point.limits)
    return stored.outcome is not Outcome.SKIPPED


def _kept(stored: PointResult, planned: settings.Planned, folder: Path, title: str) -> str:
    """Say that a stored result is used. The price is no part of the id and follows the command."""
    kept = replace(stored, price_usd_per_h=planned.price_usd_per_h)
    if stored.compared.startswith("not compared"):
        kept = reference.compared(kept, folder, planned.run)  # which may have been measured since
    if kept != stored:
        store.save_result(kept, folder)
        stored = kept
    now = environment.describe()
    differing = [key for key in ("code", "machine", "gpus") if stored.environment.get(key) != now[key]]
    where = f" with other {', '.join(differing)}" if differing else ""
    if newer := _changed_since(planned.point, stored.started_at):
        where += f", and {newer} has changed since"
    log.info("%s  %s %s  stored before%s; force=true measures again", title, stored.id, stored.outcome, where)
    return str(stored.outcome)


def _changed_since(point: Point, started_at: str) -> str:
    """A file or folder of the point that is newer than its result: the id holds paths and no contents."""
    since = datetime.fromisoformat(started_at).timestamp() + 1  # it is stored in whole seconds
    named = {value for _, value in flatten(asdict(point)) if isinstance(value, str) and "/" in value}
    for path in sorted(Path(value) for value in named):
        with contextlib.suppress(OSError, ValueError):  # a text with a slash is no path
            if path.exists():
                inside = [*path.glob("*"), *path.glob("*/*")]
                if max(each.stat().st_mtime for each in [path, *inside]) > since:
                    return str(path)
    return ""


@contextlib.contextmanager
def _former_result_kept_until_saved(folder: Path) -> Iterator[None]:
    """Set a stored measurement aside while its point is measured again, and bring it back if that fails."""
    aside = folder.parent / f".{folder.name}.former"
    if not (folder / "result.json").is_file():
        yield
        return
    shutil.rmtree(aside, ignore_errors=True)
    folder.rename(aside)
    try:
        yield
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        aside.rename(folder)
        raise
    shutil.rmtree(aside)


def _measured(planned: settings.Planned, folder: Path, progress: Progress) -> Measurement:
    return supervisor.measure(
        planned.point, folder, _guard(), planned.repeat, planned.price_usd_per_h, progress.update
    )


def _skipped(planned: settings.Planned, folder: Path, progress: Progress) -> Measurement:
    shutil.rmtree(folder, ignore_errors=True)
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
    except (settings.SettingError, store.UnreadableResult, locks.RunInUse) as error:
        print(error, file=sys.stderr)
        return 2
    except (HydraException, OmegaConfBaseException) as error:
        print(_one_line(error), file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        print(
            "interrupted; finished points are stored, the same command goes on with the rest", file=sys.stderr
        )
        return 130
    finally:
        reported = _write_report()
    good = (Outcome.OK, Outcome.SKIPPED)
    # Looked up now: Hydra runs plugin modules again when it finds them, which makes the class anew.
    return 0 if reported and all(outcome in good for outcome in sweeper.PlannedSweeper.outcomes) else 1


def _write_report() -> bool:
    """The report of what is stored, also when interrupted; by a process of its own, which may fail alone."""
    run = sweeper.PlannedSweeper.run
    if run is None or not sweeper.PlannedSweeper.report:
        return True
    return subprocess.run([sys.executable, "-m", "reports", str(run)], check=False).returncode == 0


if __name__ == "__main__":
    sys.exit(main())
