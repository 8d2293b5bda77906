"""`python -m harness`: Hydra composes a configuration, the supervisor measures it, the store keeps the
result.
"""

from __future__ import annotations

import contextlib
import functools
import logging
import os
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
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from harness import (
    bisect_stored,
    environment,
    files,
    gpu,
    leftovers,
    locks,
    marks,
    profiles,
    quality,
    reference,
    rules,
    settings,
    store,
    supervisor,
    timeline,
    wording,
)
from harness.point import Point
from harness.progress import Progress
from harness.result import Measurement, Outcome, PointResult
from hydra_plugins import planned as sweeper

log = logging.getLogger("harness")

# One for each process that measures: a launcher may spread the points over several.
_guard = functools.cache(supervisor.start_guard)
_progress = functools.cache(Progress)


@hydra.main(version_base="1.3", config_path=str(wording.CONF), config_name="config")
def measure_point(config: DictConfig) -> str:
    """One Hydra job: measure one point unless it is stored, or the variants of a stored one. Returns its
    outcome.
    """
    if bisect_stored.KEY in config:
        return str(bisect_stored.run(config, _measure_unless_stored))
    planned = settings.read(config)
    outcome = _measure_unless_stored(planned, _title(planned.point), HydraConfig.get().job.num)
    _profile(planned)
    return outcome


def _measure_unless_stored(planned: settings.Planned, title: str, number: int) -> str:
    """Measure and store a point, the number-th of the sweep from 0. Returns its outcome."""
    point = planned.point
    folder = store.folder(planned.run, point.id, planned.repeat)
    title = f"{title} repeat {planned.repeat}" if planned.repeat else title
    earlier: marks.Tries = ()
    if store.is_stored(planned.run, point.id, planned.repeat) and not planned.force:
        stored = marks.stored(folder, planned.comparability)
        if marks.is_wanting(stored, planned.comparability["again"]):
            earlier = marks.tries(stored)
        elif _still_holds(stored, planned):
            return _kept(stored, planned, folder, title)
    progress = _progress()
    progress.begin(number, planned.num_points, title)
    try:
        with _former_result_kept_until_saved(folder):
            if barred := planned.not_applicable or _quarantined(planned):
                measurement = _skipped(planned, folder, barred)
            else:
                measurement = _measured(planned, folder, progress, earlier)
            judged = quality.judged(
                reference.compared(measurement.result, folder, planned.run), folder, planned.run
            )
            measurement = replace(measurement, result=judged)
            store.save(measurement, folder)
        timeline.write(measurement, folder / "timeline.json.gz")  # the result does not depend on it
        _look_again(measurement.result, planned.run)
    finally:
        progress.close()
    progress.end(measurement.result, str(folder))
    return str(measurement.result.outcome)


def _profile(planned: settings.Planned) -> None:
    """Run the point once more under a profiler, where that is asked for and not there yet; no figure of it
    is kept.
    """
    kind, point = planned.profile, planned.point
    folder = profiles.folder(planned.run, point.id, kind)
    if kind == "none" or planned.repeat or planned.not_applicable:
        return
    if (folder / "profile.json").is_file() and not planned.force:
        log.info("%s profile=%s stored before in %s; force=true makes it again", point.id, kind, folder)
        return
    if barred := _quarantined(planned):
        log.warning("%s profile=%s left out: %s", point.id, kind, barred)
        return
    short = profiles.shortened(point, planned.profile_jobs)
    measured = supervisor.measure(short, folder, _guard(), profile=kind)
    found = profiles.keep(kind, measured.result, folder)
    ended = ", ".join(filter(None, (found["outcome"], rules.one_line(found["reason"]))))
    first = next(iter(found["problems"] + found["top"]), ended)
    log.info("%s profile=%s in %s: %s", point.id, kind, folder, first)


def _quarantined(planned: settings.Planned) -> str:
    return leftovers.quarantined(planned.run) if planned.point.uses_gpu else ""


def _look_again(fresh: PointResult, run: Path) -> None:
    """At stored results that were held against an earlier measurement of this one, or against none."""
    compared = reference.compare_again(fresh, run)
    for other in compared:
        log.info("%s repeat %d compared again: %s", other.id, other.repeat, other.compared)
    for other in quality.judge_again(fresh, compared, run):
        log.info("%s repeat %d judged again: %s", other.id, other.repeat, other.quality["text"])


def _still_holds(stored: PointResult, planned: settings.Planned) -> bool:
    """Whether a stored result answers this configuration too: limits are no part of the point's id, but they
    decide what counts as hung; what could not run once may run now; and without a sample none is judged.
    """
    if stored.outcome in (Outcome.HUNG, Outcome.TIMEOUT):
        return bool(stored.point["limits"] == planned.point.limits)
    return stored.outcome is not Outcome.SKIPPED and not quality.is_unsampled(stored, planned.point)


def _kept(stored: PointResult, planned: settings.Planned, folder: Path, title: str) -> str:
    """Say that a stored result is used. The price and what is promised of the traffic are no part of the id
    and follow the command.
    """
    point = {**stored.point, "traffic": planned.point.traffic}
    kept = replace(stored, price_usd_per_h=planned.price_usd_per_h, point=point)
    kept = quality.renewed(kept, planned.point.quality, folder, planned.run)
    if kept != stored:
        store.save_result(kept, folder)
        stored = kept
    now = environment.describe()
    differing = [key for key in reference.SAME if stored.environment.get(key) != now[key]]
    where = f" with other {', '.join(differing)}" if differing else ""
    since = datetime.fromisoformat(stored.started_at).timestamp() + 1  # it is stored in whole seconds
    if changed := files.changed(planned.point, stored.inputs, since):
        where += f", and {changed} has changed since"
    if told := marks.words(stored):
        where += f", {told}"
    log.info("%s  %s %s  stored before%s; force=true measures again", title, stored.id, stored.outcome, where)
    return str(stored.outcome)


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


def _measured(
    planned: settings.Planned, folder: Path, progress: Progress, earlier: marks.Tries
) -> Measurement:
    def once() -> Measurement:
        price = planned.price_usd_per_h
        return supervisor.measure(planned.point, folder, _guard(), planned.repeat, price, progress.update)

    return marks.measured(once, planned.comparability, earlier)


def _skipped(planned: settings.Planned, folder: Path, reason: str) -> Measurement:
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    result = PointResult(
        id=planned.point.id,
        repeat=planned.repeat,
        outcome=Outcome.SKIPPED,
        point=asdict(planned.point),
        started_at=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        duration_s=0.0,
        reason=reason,
        environment=environment.describe(),
    )
    return Measurement(result, folder=str(folder))


def _title(point: Point) -> str:
    return f"{point.executor['name']} x {point.workers}"


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
        print(rules.one_line(str(error)), file=sys.stderr)
        return 2
    except (HydraException, OmegaConfBaseException) as error:
        print(rules.one_line(wording.of_hydra(error)), file=sys.stderr)
        return 2
    except ValueError as error:
        print(rules.one_line(wording.of_option(error)), file=sys.stderr)
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
