"""What is measured runs here: `python -m harness.child FOLDER [JSON]`.

Reads point.json in FOLDER, builds the components by name and runs the executor over the jobs. Talks to the
parent by the flight recorder and by lines of JSON in events.jsonl alone. A worker process is told its number
and its executor's file descriptors in JSON. Needs the standard library and the engines' packages.
"""

from __future__ import annotations

import contextlib
import ctypes
import faulthandler
import functools
import importlib
import json
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from engines.contract import Job, NotApplicable
from harness import tree, witness
from harness.builder import Builder
from harness.events import Events
from harness.executors.arrivals import Requests
from harness.executors.job import SHARED, WorkerDied
from harness.point import Point
from harness.recorder import Recorder

NOT_APPLICABLE = 3  # exit code
# By name, as the engines: it needs torch or memray, which only they bring.
_PROFILER, _PROFILE = "engines.profiling", "HARNESS_PROFILE"
_STATE_S = 0.3  # more than this nobody waits for a witness that has others to ask, too
_PR_SET_PDEATHSIG = 1
_PR_SET_PTRACER = 0x59616D61
_PR_SET_PTRACER_ANY = -1


def jobs_of(point: Point, folder: Path) -> list[Job]:
    """The point's jobs: job k has text k mod n, its language and seed + k, the same under every executor."""
    workload = point.workload
    width, height = (int(part) for part in workload["resolution"].split("x"))
    texts = workload["texts"]
    forced = not _has_checkpoint(point.tts)
    return [
        Job(
            index=index,
            text=texts[index % len(texts)],
            language=_language(workload, index % len(texts)),
            voice=workload["voice"],
            portrait=workload["portrait"],
            width=width,
            height=height,
            output=str(folder / "output" / f"job{index}.mp4"),
            seed=workload["seed"] + index,
            num_tokens=num_tokens(texts[index % len(texts)], workload["tokens_per_char"]) if forced else None,
        )
        for index in range(point.num_jobs)
    ]


def _language(workload: Mapping[str, Any], text: int) -> str:
    """The language of a text: one for all, or a list with one for each."""
    language = workload["language"]
    return str(language if isinstance(language, str) else language[text])


def num_tokens(text: str, tokens_per_char: float) -> int:
    """With random weights speech has no natural end, so the text's length decides: at least 10 tokens."""
    return max(10, round(len(text) * tokens_per_char))


def _has_checkpoint(tts: Mapping[str, Any]) -> bool:
    return bool(tts.get("weights", "random") != "random")


def prepare_process(folder: Path) -> None:
    """Die with the parent, let py-spy look in without root, print stacks on SIGUSR1 as the last resort, and
    answer on SIGUSR2 what the components are at.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    started_by = os.environ.get(tree.STARTED_BY)
    if started_by and not tree.is_alive(int(started_by)):  # too early for the signal
        sys.exit(f"process {started_by}, which started this one, is no more: so this one ends")
    libc.prctl(_PR_SET_PTRACER, ctypes.c_ulong(_PR_SET_PTRACER_ANY))
    stacks = (folder / f"faulthandler-{os.getpid()}.txt").open("w")
    faulthandler.enable(file=stacks)
    faulthandler.register(signal.SIGUSR1, file=stacks, all_threads=True)
    witness.prepare()


def run(folder: Path, given: Mapping[str, int]) -> None:
    """Run the point's executor to the end, or one worker of it, which is given its number."""
    prepare_process(folder)
    worker = given.get("worker")
    point = Point.load(folder / "point.json")
    events = Events(folder)
    threading.excepthook = functools.partial(_tell_hidden, events)
    jobs = jobs_of(point, folder)
    recorder = Recorder(folder)
    build = Builder(point, jobs, recorder, events, folder)
    tell = functools.partial(build.report_state, _STATE_S)
    witness.start(tell, lambda number: events("listens", thread=number))

    def finished(job: Job, worker: int, video: Mapping[str, Any]) -> None:
        events("job", job=job.index, worker=worker, **video)

    def unfinished(job: int, due_ns: int, left_ns: int) -> None:
        events("unfinished", job=job, due_ns=due_ns, left_ns=left_ns)

    options = {**point.executor, **given, "timing": point.timing, "folder": str(folder)}
    try:
        executor = importlib.import_module(f"harness.executors.{point.executor['name']}")
        work = executor.run if worker is None else executor.work
        with _profile(folder) as begin:
            requests = Requests(jobs, point.traffic, recorder, unfinished, begin)
            work(build, requests, recorder, options, finished)
        build.report_end()
        build.close()
    except NotApplicable as reason:
        events("not_applicable", reason=str(reason), worker=worker)
        _leave(NOT_APPLICABLE)
    except BaseException as error:  # noqa: BLE001 - whatever it is, it must be told before this process ends
        traceback.print_exc()
        events("failure", **_described(error), worker=worker)
        try:
            build.report_state()
        finally:
            _leave(1)
    recorder.begin("shutdown", recorder.name("", ""), SHARED if worker is None else worker)
    events("done", worker=worker)


def _profile(folder: Path) -> contextlib.AbstractContextManager[Callable[[], None]]:
    kind = os.environ.get(_PROFILE)
    if not kind:
        return contextlib.nullcontext(lambda: None)
    found: contextlib.AbstractContextManager[Callable[[], None]] = importlib.import_module(_PROFILER).around(
        kind, folder
    )
    return found


def _tell_hidden(events: Events, died: threading.ExceptHookArgs) -> None:
    """An exception that ended a thread, which nobody else need ever hear of. SystemExit is none: by
    sys.exit() a thread ends in order, and Python's own hook is silent about it, too.
    """
    if died.exc_type is SystemExit:
        return
    traceback.print_exception(died.exc_type, died.exc_value, died.exc_traceback)
    name = died.thread.name if died.thread else "?"
    events("hidden", thread=name, type=died.exc_type.__name__, message=str(died.exc_value or ""))


def _described(error: BaseException) -> dict[str, Any]:
    text = {"type": type(error).__name__, "message": str(error), "traceback": traceback.format_exc()}
    if isinstance(error, WorkerDied):
        return {**text, "dead_worker": error.worker, "exit_code": error.code}
    return text


def _leave(code: int) -> None:
    """End at once: threads that are stuck or still at work must not keep a failed process alive."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def main(arguments: list[str]) -> None:
    folder = Path(arguments[0])
    (folder / "output").mkdir(exist_ok=True)
    run(folder, json.loads(arguments[1]) if len(arguments) > 1 else {})


if __name__ == "__main__":
    main(sys.argv[1:])
