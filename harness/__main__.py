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

from harness import (
    environment,
    files,
    gpu,
    locks,
    marks,
    quality,
    reference,
    rules,
    settings,
    store,
    supervisor,
)
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
    earlier: marks.Tries = ()
    if store.is_stored(planned.run, point.id, planned.repeat) and not planned.force:
        stored = marks.stored(folder, planned.comparability)
        if marks.is_wanting(stored, planned.comparability["again"]):
            earlier = marks.tries(stored)
        elif _still_holds(stored, planned):
            return _kept(stored, planned, folder, title)
    progress = _progress()
    progress.begin(HydraConfig.get().job.num, planned.num_points, title)
    try:
        with _former_result_kept_until_saved(folder):
            if planned.not_applicable:
                measurement = _skipped(planned, folder)
            else:
                measurement = _measured(planned, folder, progress, earlier)
            judged = quality.judged(
                reference.compared(measurement.result, folder, planned.run), folder, planned.run
            )
            measurement = replace(measurement, result=judged)
            store.save(measurement, folder)
        _look_again(measurement.result, planned.run)
    finally:
        progress.close()
    progress.end(measurement.result, str(folder))
    return str(measurement.result.outcome)


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


def _skipped(planned: settings.Planned, folder: Path) -> Measurement:
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
    missing = re.search(r"Could not find '(\w+)/(.*?)'\s+Available options in '\w+':", text, re.DOTALL)
    if missing:
        group, option = missing.groups()
        return f"{group}={option}: choose from {', '.join(_options(group))}"
    unknown = re.search(r"Could not (?:override|append to config.*?key) '(.+?)'", text)
    if unknown:
        key = unknown.group(1).removeprefix("+")
        inside = getattr(error.__cause__, "full_key", None) or key  # of {a: b} a may be what is not there
        return _no_such_key(inside if inside.startswith(f"{key}.") else key)
    unmerged = re.match("Error merging override (.*)", text, re.DOTALL)
    if unmerged and "ListConfig" in str(error.__cause__):
        return f"{unmerged.group(1)}: must be a list, like [1,2] or [one,two]"
    if unmerged:
        return f"{unmerged.group(1)}: {str(error.__cause__).partition(chr(10))[0]}"
    return " ".join(line.strip() for line in text.splitlines() if line.strip())


def _options(group: str) -> list[str]:
    return sorted(path.stem for path in (CONF / group).glob("*.yaml")) if group else []


def _no_such_key(key: str) -> str:
    """Of a group, of an option that is not chosen, or of nothing."""
    group = key.partition(".")[0]
    if key == "sweep":
        return f"sweep: takes a plus, as +sweep={_options(key)[0]}"
    if _options(key):
        return f"{key}: choose from {', '.join(_options(key))}"
    files = [CONF / group / f"{option}.yaml" for option in _options(group)]
    having = [path.stem for path in files if key in _keys(path, f"{group}.")]
    if having and group != "sweep":
        chosen = " or ".join(f"{group}={option}" for option in having)
        return f"{key}: a key of {chosen} alone; add that, or leave the key out"
    near = difflib.get_close_matches(key, _known_keys(), n=1)
    return f"{key}: there is no such key" + (f"; did you mean {near[0]}?" if near else "; see --cfg job")


def _keys(path: Path, prefix: str) -> set[str]:
    """What a file of conf/ lets be given, as on the command line; rules are no settings."""
    data = OmegaConf.to_container(OmegaConf.load(path))
    keys = {f"{prefix}{key}" for key, _ in flatten(data)}  # type: ignore[arg-type]
    outer = {key[:place] for key in keys for place in range(len(prefix), len(key)) if key[place] == "."}
    return {
        key for key in keys | outer if not re.search(r"\b(rules|impossible|check|optimised|defaults)\b", key)
    }


def _known_keys() -> list[str]:
    """Every key of every file in conf/."""
    found = _keys(CONF / "config.yaml", "") | _keys(CONF / "workload_base.yaml", "workload.")
    for path in CONF.glob("*/*.yaml"):
        group = path.parent.name
        found |= {group} if group == "sweep" else {group, *_keys(path, f"{group}.")}
    return sorted(found)


def _wrong_option(error: ValueError) -> str:
    """Hydra refuses `avatar=null` without naming the group; what was typed does. Raises any other error."""
    if not str(error).startswith("Config group override"):
        raise error
    for group, _, value in (argument.partition("=") for argument in sys.argv[1:]):
        options = _options(group.lstrip("+"))
        if options and not set(value.split(",")) <= set(options):
            return f"{group}={value}: choose from {', '.join(options)}"
    return str(error)


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
        print(rules.one_line(_one_line(error)), file=sys.stderr)
        return 2
    except ValueError as error:
        print(rules.one_line(_wrong_option(error)), file=sys.stderr)
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
