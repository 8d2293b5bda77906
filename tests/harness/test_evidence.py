"""Evidence of real processes that are stuck: what is gathered, and what is left when a collector fails."""

from __future__ import annotations

import functools
import os
import re
import secrets
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest

from harness import child, events, evidence, gpu, kernel, stacks, tree
from harness.causes import Seen
from harness.deadlines import Breach
from harness.events import Events
from harness.evidence import Incident
from harness.kernel import Task
from harness.result import Outcome, Span
from harness.stacks import Dump, Stack
from tests.harness.points import environment, wait_until, without_lines

# Prepared as harness/child.py prepares itself; strikes when it is told to, or at once, or in another thread
# whose end it waits for.
STUCK = """
import functools, subprocess, sys, threading, time
from pathlib import Path
from engines import misdeeds
from harness import child, waits, witness
from harness.events import Events

folder, kind = Path(sys.argv[1]), sys.argv[2]
child.prepare_process(folder)
events = Events(folder)
threading.excepthook = functools.partial(child._tell_hidden, events)

def tell():
    events("threads", threads=waits.look(), channels=[{"name": "tts -> avatar", "items": 2, "depth": 2}])
    events("witness")

witness.start(tell, lambda number: events("listens", thread=number))
(folder / "ready").touch()
while kind.endswith("_later") and not (folder / "strike").exists():
    time.sleep(0.02)
fault = {"kind": kind.partition("_joined")[0].removesuffix("_later"), "seconds": 60}
if kind == "copy":
    subprocess.run(["dd", "if=/dev/zero", "of=/dev/null"], stderr=subprocess.DEVNULL)
if kind.endswith("_joined"):
    worker = threading.Thread(target=misdeeds.strike, args=(fault,), name="worker", daemon=True)
    worker.start()
    worker.join()
misdeeds.strike(fault)
"""
PYTHON = sys.executable  # a test puts another in its place, to hide the py-spy beside it


@dataclass(frozen=True)
class Point:
    """A process that is stuck, with its folder and its token."""

    pid: int
    folder: Path
    token: str

    def late(self, **changes: Any) -> Breach:
        span = Span(self.pid, "stage", "avatar", "render", 0, 3, 0, time.monotonic_ns(), 0, thread=self.pid)
        return Breach(Outcome.HUNG, "stage", 2.0, 0.1, replace(span, **changes))

    def gathered(self, breach: Breach | None = None, recorded: bool = True) -> Incident:
        breach = breach or self.late()
        spans = [breach.span] if breach.span else []
        asked = {self.pid} if recorded else set()
        return evidence.gather(self.token, self.pid, asked, breach, spans, self.folder)


Make = Callable[[str], Point]


@pytest.fixture
def stuck(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Make]:
    """Starts a process that does one of engines/misdeeds.py, and comes back once it does; ended after the
    test with all that it has started.
    """
    monkeypatch.setattr(evidence, "LOOK_S", 0.4)
    token = secrets.token_hex(8)
    started: list[subprocess.Popen[bytes]] = []

    def start(kind: str) -> Point:
        given = environment() | {tree.VARIABLE: token}
        command = [PYTHON, "-c", STUCK, str(tmp_path), kind]
        started.append(subprocess.Popen(command, env=given, stderr=subprocess.PIPE, start_new_session=True))
        assert wait_until((tmp_path / "ready").exists)
        time.sleep(0.2)  # from there it is some lines to where it is stuck
        return Point(started[0].pid, tmp_path, token)

    yield start
    for process in started:
        tree.end(token, process.pid, grace_s=0.1)
        process.communicate()


@pytest.fixture
def py_spy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str], None]:
    """Puts a script in the place of py-spy."""

    def replace_by(script: str) -> None:
        folder = tmp_path / "bin"
        folder.mkdir()
        (folder / "py-spy").write_text(script)
        (folder / "py-spy").chmod(0o755)
        monkeypatch.setattr(sys, "executable", str(folder / "python"))
        monkeypatch.setattr(evidence, "_STACKS_S", 0.3)

    return replace_by


HANGS = "#!/bin/sh\nexec /bin/sleep 60\n"
DENIES = "#!/bin/sh\necho 'Permission Denied: Try running again with elevated permissions' >&2\nexit 1\n"
TALKS = "#!/bin/sh\necho '[{\"thread_name\": '\n"
UNUSABLE = "\x7fELF of another machine"

SENTENCES = {  # without the numbers of lines
    "lock": (
        "lock",
        "the main thread waits in _take (engines/misdeeds.py) for lock lock, which no thread holds by the"
        " lines it is at: it was never released, or was taken in a function that has returned",
    ),
    "lock_order": (
        "deadlock",
        "the main thread waits in _lock_order (engines/misdeeds.py) for lock second, held by other way round,"
        " which waits in other_way_round (engines/misdeeds.py) for lock first, held by the main thread: a"
        " circle of the main thread and other way round",
    ),
    "import_lock": (
        "import_lock",
        "the main thread waits in _import_lock (engines/misdeeds.py) for the import lock of never_done, held"
        " by importer, which waits in <module> (TMP/never_done.py) for an event that nobody has set",
    ),
    "queue_full": (
        "queue",
        "the main thread waits in _queue_full (engines/misdeeds.py) for room in full queue nobody_reads (2 of"
        " 2)",
    ),
    "hidden": (
        "queue",
        "the main thread waits in _hidden (engines/misdeeds.py) for an item from empty queue answers; thread"
        " answering had died of RuntimeError: raised on purpose in a thread by fault.kind=hidden",
    ),
    "hang": (
        "event",
        "the main thread waits in _hang (engines/misdeeds.py) for an event that nobody has set",
    ),
    "sleep": ("sleeping", "the main thread sleeps by the clock in _sleep (engines/misdeeds.py)"),
}


def told_of(incident: Incident) -> tuple[str, str]:
    """Class and sentence; folders of a point's own have names of their own."""
    sentence = re.sub(r"\(tmp\w+/", "(TMP/", without_lines(incident.diagnosis.sentence))
    return incident.diagnosis.kind, sentence.replace("_lock_order.<locals>.", "")  # since Python 3.11


@pytest.mark.parametrize("kind", ["lock_order", "hidden"])
def test_what_is_stuck_is_told_with_its_evidence(stuck: Make, kind: str) -> None:
    point = stuck(kind)
    incident = point.gathered()
    told = incident.evidence
    assert told_of(incident) == SENTENCES[kind]
    assert incident.breach.note == f"{SENTENCES[kind][0]}: {incident.diagnosis.sentence}"
    assert (told["limit"], told["limit_s"], told["detected_after_s"]) == ("limits.stage", 2.0, 0.1)
    assert told["diagnosis"]["sentence"] == incident.diagnosis.sentence
    assert told["processes"][0].startswith(f"{point.pid}: state S")
    assert f"process {point.pid}, MainThread: waits for " in "\n".join(told["threads"])
    assert told["channels"] == ["tts -> avatar: 2 of 2"]
    assert told["last"] == ["stage avatar.render of job 3 on worker 0: open"]
    assert f"_{kind} (" in told["excerpt"]
    assert f"_{kind} (" in (point.folder / "stacks.txt").read_text()
    assert "failed" not in told
    assert ("hidden" in told) is (kind == "hidden")


@pytest.mark.parametrize(("error", "told"), [(SystemExit(0), []), (KeyError("name"), ["KeyError"])])
def test_a_thread_that_ends_by_sys_exit_did_not_die_of_an_exception(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, error: BaseException, told: list[str]
) -> None:
    def ends() -> None:
        raise error

    monkeypatch.setattr(threading, "excepthook", functools.partial(child._tell_hidden, Events(tmp_path)))
    thread = threading.Thread(target=ends)
    thread.start()
    thread.join(5.0)
    assert [event["type"] for event in events.read(tmp_path) if event["event"] == "hidden"] == told


@pytest.mark.slow
@pytest.mark.parametrize(
    ("kind", "script"),
    [("lock_order", HANGS), ("hidden", DENIES), ("sleep", TALKS)],
    ids=["hangs", "denies", "talks"],
)
def test_without_py_spys_answer_class_and_sentence_stay(
    stuck: Make, py_spy: Callable[[str], None], kind: str, script: str
) -> None:
    py_spy(script)
    point = stuck(kind)
    incident = point.gathered()
    assert told_of(incident) == SENTENCES[kind]
    assert f"    _{kind} (" in (point.folder / "stacks.txt").read_text()  # by the witness
    assert f"_{kind} (" in incident.evidence["excerpt"]
    [failed] = incident.evidence["failed"]
    assert failed.startswith(f"stacks of process {point.pid}: py-spy --native: ")
    assert "py-spy --nonblocking: " in failed
    assert incident.breach.span is not None
    assert (incident.breach.span.pid, incident.breach.span.thread) == (point.pid, point.pid)


@pytest.mark.slow
@pytest.mark.parametrize("script", [HANGS, DENIES], ids=["hangs", "denies"])
@pytest.mark.parametrize("kind", sorted(SENTENCES))
def test_without_py_spys_answer_every_class_stays(
    stuck: Make, py_spy: Callable[[str], None], script: str, kind: str
) -> None:
    py_spy(script)
    assert told_of(stuck(kind).gathered()) == SENTENCES[kind]


@pytest.mark.parametrize(
    ("kind", "told"),
    [
        ("gil", "gil"),
        *(pytest.param(*one, marks=pytest.mark.slow) for one in (("busy", "spinning"), ("network", "io"))),
        pytest.param("sigstop", "stopped", marks=pytest.mark.slow),
    ],
)
def test_classes_that_the_kernel_tells_need_no_py_spy(
    stuck: Make, py_spy: Callable[[str], None], kind: str, told: str
) -> None:
    py_spy(DENIES)
    assert stuck(kind).gathered().diagnosis.kind == told


def test_a_connection_without_an_answer_is_told_with_its_address(stuck: Make) -> None:
    diagnosis = stuck("network").gathered().diagnosis
    assert diagnosis.kind == "io"
    assert " connected to 127.0.0.1:" in diagnosis.sentence


def test_a_child_that_is_waited_for_is_followed(stuck: Make) -> None:
    point = stuck("child")
    [child] = [one.pid for one in tree.members(point.token) if one.pid != point.pid]
    diagnosis = point.gathered().diagnosis
    assert (diagnosis.kind, without_lines(diagnosis.sentence)) == (
        "child",
        f"the main thread waits in _child (engines/misdeeds.py) for the end of process {child}, which sleeps"
        " by the clock",
    )
    assert tree.is_alive(child)  # who has no witness is not sent its signal, which would end it


JOINS = "the main thread waits for the end of thread worker, which "


@pytest.mark.parametrize("script", ["", pytest.param(DENIES, marks=pytest.mark.slow)], ids=["", "denies"])
@pytest.mark.parametrize(("kind", "who"), [("crawl", "the main thread "), ("crawl_joined", JOINS)])
def test_one_that_is_elsewhere_at_a_second_look_moves_and_so_does_who_waits_for_it(
    stuck: Make, py_spy: Callable[[str], None], kind: str, who: str, script: str
) -> None:
    if script:
        py_spy(script)
    point = stuck(kind)
    # Of some looks, for it may be in the same function twice.
    found = wait_until(
        lambda: next((d for d in [point.gathered().diagnosis] if d.kind == "moving"), None), 15.0
    )
    assert found
    assert found.sentence.startswith(f"{who}is slow but moves below ")
    assert ".py:" in found.sentence


@pytest.mark.parametrize("script", ["", pytest.param(DENIES, marks=pytest.mark.slow)], ids=["", "denies"])
@pytest.mark.parametrize(("kind", "who"), [("busy", "the main thread "), ("busy_joined", JOINS)])
def test_one_that_spins_in_one_function_does_not_move(
    stuck: Make, py_spy: Callable[[str], None], kind: str, who: str, script: str
) -> None:
    if script:
        py_spy(script)
    point = stuck(kind)
    for _ in range(2):
        diagnosis = point.gathered().diagnosis
        assert diagnosis.kind == "spinning"
        assert diagnosis.sentence.startswith(f"{who}spins in _busy (")


def test_who_waits_for_a_program_that_reads_and_writes_is_slow_and_moves(stuck: Make) -> None:
    diagnosis = stuck("copy").gathered().diagnosis
    assert diagnosis.kind == "moving"
    assert "waits for the end of process " in diagnosis.sentence


# --- collectors that fail


def test_a_collector_that_raises_leaves_a_line_and_the_others_their_finds(
    stuck: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken() -> tuple[Any, ...]:
        raise RuntimeError("NVML has gone away")

    monkeypatch.setattr(gpu, "handles", broken)
    incident = stuck("lock_order").gathered()
    assert incident.evidence["failed"] == ["GPU: RuntimeError: NVML has gone away"]
    assert told_of(incident) == SENTENCES["lock_order"]
    assert "_lock_order (" in incident.evidence["excerpt"]


def test_a_collector_that_hangs_leaves_a_line_after_its_limit(
    stuck: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    end = threading.Event()
    monkeypatch.setattr(gpu, "handles", lambda: end.wait() and ())
    monkeypatch.setattr(evidence, "_GPU_S", 0.3)
    point, began = stuck("lock_order"), time.monotonic()
    incident = point.gathered()
    end.set()
    assert time.monotonic() - began < 5.0
    assert incident.evidence["failed"] == ["GPU: no answer within 0.3 s"]
    assert incident.diagnosis.kind == "deadlock"


@pytest.mark.parametrize("how", ["hangs", "raises"])
def test_without_any_stacks_python_and_the_kernel_tell_the_class(
    stuck: Make, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    end = threading.Event()

    def broken(*given: Any, **more: Any) -> list[Dump]:
        if how == "raises":
            raise OSError(8, "Exec format error")
        end.wait()
        return []

    monkeypatch.setattr(stacks, "dump", broken)
    monkeypatch.setattr(evidence, "_STACKS_S", 0.2)
    point = stuck("lock_order")
    incident = point.gathered()
    end.set()
    wrong = "OSError: [Errno 8] Exec format error" if how == "raises" else "no answer within 0.6 s"
    assert incident.evidence["failed"] == [f"stacks: {wrong}"]
    assert told_of(incident) == SENTENCES["lock_order"]
    assert incident.breach.span is not None
    assert incident.breach.span.pid == point.pid


def test_a_process_that_ends_meanwhile_is_said_to_have_ended(
    stuck: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    point, dump = stuck("lock"), stacks.dump

    def kill_and_dump(*given: Any, **more: Any) -> list[Dump]:
        os.kill(point.pid, signal.SIGKILL)
        assert wait_until(lambda: not tree.is_alive(point.pid))
        return dump(*given, **more)

    monkeypatch.setattr(stacks, "dump", kill_and_dump)
    incident = point.gathered()
    assert incident.diagnosis.sentence.endswith(" had ended by then")
    assert incident.evidence["limit"] == "limits.stage"


WRITES = """
import os
reading, writing = os.pipe()
os.write(writing, bytes(10_000_000))
"""


def is_writing(pid: int) -> bool:
    return any(kernel.writes(pid, task) for task in kernel.tasks(pid).values())


def test_who_is_stuck_in_a_write_is_not_paused_for_that_would_end_it(tmp_path: Path) -> None:
    given = environment() | {tree.VARIABLE: "writes.1"}
    writer = subprocess.Popen([PYTHON, "-c", WRITES], env=given, start_new_session=True)
    assert wait_until(lambda: is_writing(writer.pid))
    incident = Point(writer.pid, tmp_path, "writes").gathered(recorded=False)
    is_stuck = writer.poll() is None and is_writing(writer.pid)
    writer.kill()
    writer.wait()
    assert is_stuck
    assert incident.diagnosis.kind == "io"
    assert "of which no other process has an end" in incident.diagnosis.sentence
    assert "py-spy --nonblocking" in (tmp_path / "stacks.txt").read_text()


def test_a_tree_that_has_ended_before_the_look_is_said_to_be_gone(tmp_path: Path) -> None:
    gone = subprocess.Popen(["/bin/true"])
    gone.wait()
    point = Point(gone.pid, tmp_path, secrets.token_hex(8))
    incident = point.gathered()
    assert incident.diagnosis.sentence == f"process {gone.pid} was gone before it could be looked at"
    assert incident.breach.note == f"unknown: {incident.diagnosis.sentence}"
    assert incident.evidence["stacks"] == "stacks.txt"


# --- who is told what


def test_a_timeout_has_evidence_but_no_class_in_its_reason(stuck: Make) -> None:
    point = stuck("lock_order")
    incident = point.gathered(replace(point.late(), outcome=Outcome.TIMEOUT))
    assert incident.breach.note == ""
    assert incident.diagnosis.kind == "deadlock"


def test_where_no_span_is_open_the_first_process_is_looked_at(stuck: Make) -> None:
    point = stuck("hang")
    incident = point.gathered(Breach(Outcome.HUNG, "idle", 2.0, 0.1, None))
    assert told_of(incident) == SENTENCES["hang"]


def test_the_same_hang_has_the_same_signature_in_another_process(stuck: Make, tmp_path: Path) -> None:
    point = stuck("lock_order")
    first, again = point.gathered(), point.gathered()
    other_job = point.gathered(point.late(job=7, worker=1))
    assert first.evidence["signature"] == again.evidence["signature"] == other_job.evidence["signature"]
    assert point.gathered(point.late(stage="write")).evidence["signature"] != first.evidence["signature"]


def seen(*given: Stack, waits: dict[int, Any] | None) -> Seen:
    tasks = {one.number: Task(one.number, "python", "S", "", -1, -1, 0.0) for one in given}
    return Seen(100, 1, Dump(100, "py-spy", given, "", ""), tasks, {}, waits)


MAIN, HOLDER = Stack(100, "MainThread", False, (), 100), Stack(100, "worker 1", True, (), 101)
LATE = Span(100, "stage", "avatar", "render", 0, 0, 0, 10_000_000_000, 0, thread=100)
BREACH = Breach(Outcome.HUNG, "stage", 4.0, 0.1, LATE)


@pytest.mark.parametrize(("after_s", "is_blamed"), [(-5.0, True), (1.9, True), (2.1, False)])
def test_who_holds_the_gil_is_blamed_if_it_has_done_so_about_as_long(after_s: float, is_blamed: bool) -> None:
    its = replace(LATE, worker=1, thread=101, start_ns=LATE.start_ns + round(after_s * 1e9))
    blamed = evidence._blamed(BREACH, {100: seen(MAIN, HOLDER, waits=None)}, [LATE, its])
    assert blamed.span == (its if is_blamed else LATE)


def test_who_holds_the_gil_at_the_moment_is_not_blamed_where_the_witness_could_speak() -> None:
    its = replace(LATE, worker=1, thread=101)
    blamed = evidence._blamed(BREACH, {100: seen(MAIN, HOLDER, waits={})}, [LATE, its])
    assert blamed == BREACH


def test_a_witness_that_has_answered_once_and_is_silent_now_is_silent(stuck: Make) -> None:
    point = stuck("gil_later")
    assert point.gathered().diagnosis.kind == "sleeping"
    (point.folder / "strike").touch()
    time.sleep(0.3)
    assert point.gathered().diagnosis.kind == "gil"


def test_a_py_spy_that_cannot_be_started_does_not_stop_the_sweep(
    stuck: Make, py_spy: Callable[[str], None]
) -> None:
    py_spy(UNUSABLE)
    assert stuck("busy").gathered().diagnosis.kind == "spinning"


@pytest.mark.slow
def test_looks_without_py_spy_end_no_process_that_computes(
    stuck: Make, py_spy: Callable[[str], None]
) -> None:
    """faulthandler's print from within a signal did, one time in some dozens."""
    py_spy(UNUSABLE)
    for _ in range(3):
        point = stuck("crawl_joined")
        for _ in range(8):
            assert point.gathered().diagnosis.kind in ("moving", "spinning")
        assert tree.is_alive(point.pid)


def test_where_py_spy_cannot_be_started_the_process_tells_its_own_stacks(
    stuck: Make, py_spy: Callable[[str], None], tmp_path: Path
) -> None:
    py_spy(UNUSABLE)
    stuck("lock_order").gathered()
    text = (tmp_path / "stacks.txt").read_text()
    assert " (witness): state S" in text
    assert "    _lock_order (" in text
