"""Reductions: what can be taken away from a point, in words of the command line. Pure."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from functools import partial
from typing import Any

from harness import rules, simpler
from harness.bisect import Apply, Reduction, Words
from harness.point import Point, flatten
from harness.simpler import Simple

# Settings of executors at their simplest, and what goes with any other value.
_EXECUTOR: tuple[tuple[str, Any, str], ...] = (
    ("lazy", False, "lazy load"),
    ("loading", "serial", "parallel load"),
    ("order", None, "its load order"),
    ("devices", None, "its choice of GPUs"),
    ("mps", False, "MPS"),
    ("split", "component", "a thread for each stage"),
    ("stages", "threads", "avatars in processes of their own"),
)
_MODES = (("tts", "full"), ("avatar", "offline"))


def reductions(point: Point, job: int, simple: Simple) -> list[Reduction]:
    """All that may be tried on a point, in this order: what is beside the work, the jobs, how they are
    spread, what does them.

    job  that it failed in, -1 for none
    """
    smaller = f"workload.resolution={simple.resolution}"
    return [
        Reduction("asr=none", _named("asr"), simpler.without_asr),
        Reduction("traffic=closed", _traffic, partial(simpler.closed, simple=simple)),
        *_of_jobs(job),
        *_of_executor(simple),
        Reduction("avatar=simulated", _named("avatar"), partial(simpler.without_avatar, simple=simple)),
        Reduction("tts=canned", _named("tts"), partial(simpler.with_recording, simple=simple)),
        Reduction("tts=simulated", _named("tts"), partial(simpler.without_tts, simple=simple)),
        *_of_optimised(point),
        *(Reduction(f"{name}.mode={mode}", _typed(name, "mode"), _mode(name, mode)) for name, mode in _MODES),
        Reduction(smaller, _typed("workload", "resolution"), partial(simpler.smaller, simple=simple)),
    ]


def _of_jobs(job: int) -> Iterator[Reduction]:
    """job  that failed; where it is the first one, or none, one job is the same as this job alone"""
    yield Reduction("workload.jobs=1", _jobs, partial(simpler.fewer_jobs, jobs=1))
    if job > 0:
        beside = _always(f"jobs beside job {job}")
        yield Reduction(f"job {job} alone", beside, partial(simpler.only_job, job=job))
    yield Reduction("one job for each worker", _jobs, lambda p: simpler.fewer_jobs(p, p.workers))
    if job > 0:
        after = _always(f"jobs after job {job}")
        yield Reduction(f"workload.jobs={job + 1}", after, partial(simpler.fewer_jobs, jobs=job + 1))


def _of_executor(simple: Simple) -> Iterator[Reduction]:
    yield Reduction("executor=sequential", _with_workers, partial(simpler.sequential, simple=simple))
    for count in (1, 2):
        yield Reduction(f"executor.workers={count}", _workers, partial(simpler.fewer_workers, count=count))
    yield Reduction("executor=processes", _executor, partial(simpler.in_processes, simple=simple))
    yield Reduction("executor.share=own", _shared, partial(simpler.unshared, share="own"))
    yield Reduction("executor.share=locked", _always("no lock"), partial(simpler.unshared, share="locked"))
    for key, value, words in _EXECUTOR:
        simplest = partial(simpler.set_executor, key=key, value=value)
        yield Reduction(f"executor.{key}={rules.word(value)}", _always(words), simplest)
    yield Reduction("executor.streams=default", _always("a CUDA stream for each"), simpler.one_stream)
    yield Reduction("executor.cpu_threads=1", _cpu_threads, simpler.one_cpu_thread)


def _of_optimised(point: Point) -> Iterator[Reduction]:
    """Each component with nothing optimised at all, and each such key by itself."""
    optimised: Mapping[str, Mapping[str, Any]] = point.quality.get("optimised", {})
    for name in optimised:
        nothing = partial(simpler.unoptimised, name=name)
        yield Reduction(f"{name} with nothing optimised", _optimised(name), nothing)
    for name, values in optimised.items():
        for key, value in flatten(values):
            one = partial(simpler.unoptimised, name=name, key=key)
            yield Reduction(f"{name}.{key}={rules.word(value)}", _typed(name, key), one)


def _mode(name: str, mode: str) -> Apply:
    return partial(simpler.set_mode, name=name, mode=mode)


def _always(words: str) -> Words:
    return lambda point: words


def _jobs(point: Point) -> str:
    return f"{point.num_jobs} jobs"


def _executor(point: Point) -> str:
    return str(point.executor["name"])


def _workers(point: Point) -> str:
    return f"{point.workers} worker{'s' * (point.workers > 1)}"


def _with_workers(point: Point) -> str:
    """What a sequential point has not; processes are the least that several workers take."""
    several = _executor(point) == "processes" and point.workers > 1
    return _workers(point) if several else f"{_executor(point)} with {_workers(point)}"


def _shared(point: Point) -> str:
    return f"shared {' and '.join(simpler.shared_names(point))}"


def _cpu_threads(point: Point) -> str:
    counts = [part.get("cpu_threads", 1) for part in (point.executor, *point.components().values())]
    return f"{max(counts)} CPU threads"


def _traffic(point: Point) -> str:
    until_s = point.traffic.get("until_s")
    return f"requests for {until_s:g} s" if until_s else f"{point.traffic.get('kind', 'closed')} traffic"


def _named(name: str) -> Words:
    """The class that does it."""
    return lambda point: f"{str(getattr(point, name).get('_target_')).rpartition('.')[2]} as {name}"


def _typed(part: str, key: str) -> Words:
    return lambda point: f"{part}.{key}={rules.word(simpler.setting(getattr(point, part), key))}"


def _optimised(name: str) -> Words:
    """All that differs from the reference of quality."""

    def words(point: Point) -> str:
        reference = getattr(simpler.unoptimised(point, name), name)
        keys = [key for key, _ in flatten(point.quality["optimised"][name])]
        own = [
            key
            for key in keys
            if simpler.setting(getattr(point, name), key) != simpler.setting(reference, key)
        ]
        return " and ".join(_typed(name, key)(point) for key in own)

    return words
