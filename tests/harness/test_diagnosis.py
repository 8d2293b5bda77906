"""Diagnosis: from hand-made looks at processes to who waits for what."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import pytest

from harness.causes import Diagnosis, Seen, is_busy
from harness.diagnosis import diagnose, signature
from harness.kernel import Task
from harness.stacks import Dump, Stack

PID = 100
SPIN, SPUN = "spin (/app/engines/avatar.py:12)", "spin (engines/avatar.py:12)"
# Numbers of calls on x86-64.
READ, POLL, IOCTL, WAIT4, FUTEX, NANOSLEEP = 0, 7, 16, 61, 202, 230
SIGTIMEDWAIT, OPENAT = 128, 257
Told = dict[str, Any]


def task(number: int, state: str = "S", call: int = -1, first: int = -1, wchan: str = "") -> Task:
    return Task(number, "python", state, wchan, call, first, 1.0)


def stack(number: int, *frames: str, thread: str = "MainThread", gil: bool = False) -> Stack:
    return Stack(PID, thread, gil, frames, number)


def wait(
    number: int, thread: str, kind: str = "", what: str = "", owner: int = 0, child: int = 0, link: str = ""
) -> Told:
    return {
        "number": number, "thread": thread, "is_daemon": True,
        "kind": kind, "what": what, "owner": owner, "child": child,
        "link": link or ("held by" if kind in ("lock", "import") else ""),
    }  # fmt: skip


def seen(
    *tasks: Task,
    stacks: tuple[Stack, ...] = (),
    waits: tuple[Told, ...] | None = (),
    cores: Mapping[int, float] | None = None,
    files: Mapping[int, Mapping[int, str]] | None = None,
    pid: int = PID,
    parent: int = 1,
    moved: tuple[int, ...] = (),
) -> Seen:
    return Seen(
        pid,
        parent,
        Dump(pid, "py-spy --native", stacks, "", "state S"),
        {one.number: one for one in tasks},
        cores or {},
        None if waits is None else {told["number"]: told for told in waits},
        files or {},
        frozenset(moved),
    )


def found(*processes: Seen, number: int = PID, **given: Any) -> Diagnosis:
    return diagnose(PID, number, {process.pid: process for process in processes}, **given)


def told(*processes: Seen, number: int = PID, **given: Any) -> tuple[str, str]:
    diagnosis = found(*processes, number=number, **given)
    return diagnosis.kind, diagnosis.sentence


# --- who else

HELPER = "wait (/app/pool.py:7)"


@pytest.mark.parametrize("parent", [PID, 77], ids=["child", "orphan"])
def test_beside_who_waits_for_others_its_helpers_are_told(parent: int) -> None:
    helper = seen(task(300, call=NANOSLEEP), pid=300, parent=parent, stacks=(stack(300, HELPER),))
    process = seen(task(PID), waits=(wait(PID, "MainThread", "future", "the result of a task"),))
    assert told(process, helper) == (
        "queue",
        "the main thread waits for the result of a task; beside it process 300 sleeps by the clock in wait"
        " (app/pool.py:7)",
    )


def test_a_helper_of_pythons_own_one_with_a_recorder_and_one_that_is_told_already_are_left_out() -> None:
    tracker = seen(task(300, call=READ, first=3), pid=300, parent=PID)
    state = "state S, python -c from multiprocessing.resource_tracker import main"
    tracker = replace(tracker, dump=replace(tracker.dump, state=state))
    worker = seen(task(301, call=FUTEX), pid=301, parent=PID, waits=(wait(301, "MainThread"),))
    process = seen(task(PID, call=POLL))
    assert told(process, tracker, worker)[1].endswith(" is ready")
    joined = seen(task(302, call=READ, first=3), pid=302, parent=PID)
    waiting = seen(task(PID), waits=(wait(PID, "MainThread", "child", "the end of process 302", child=302),))
    assert told(waiting, joined)[1].count("process 302") == 1


# --- futures


def test_who_runs_a_task_is_followed_and_what_it_is_at_is_the_class() -> None:
    process = seen(
        task(PID),
        task(101, call=NANOSLEEP),
        waits=(
            wait(PID, "MainThread", "future", "the result of render", owner=101, link="run by"),
            wait(101, "tiles_0"),
        ),
    )
    assert told(process) == (
        "sleeping",
        "the main thread waits for the result of render, run by tiles_0, which sleeps by the clock",
    )


def test_threads_of_a_pool_that_wait_for_its_own_tasks_are_a_deadlock() -> None:
    starved = "the result of render, not begun as none of its pool's 2 threads is free"
    process = seen(
        task(101),
        task(102),
        task(PID),
        waits=(
            wait(PID, "MainThread", "future", "the result of encode", owner=101, link="run by"),
            wait(101, "tiles_0", "future", starved, owner=102, link="among them"),
            wait(102, "tiles_1", "future", starved, owner=102, link="among them"),
        ),
    )
    assert told(process) == (
        "deadlock",
        f"the main thread waits for the result of encode, run by tiles_0, which waits for {starved}, among"
        f" them tiles_1, which waits for {starved}, among them itself",
    )


# --- one thread


def test_a_thread_that_computes_spins_in_its_innermost_function_of_python() -> None:
    process = seen(
        task(PID, "R"),
        stacks=(stack(PID, "memcpy (libc.so.6)", SPIN, "main (/app/harness/child.py:9)"),),
        cores={PID: 0.98},
    )
    assert told(process) == ("spinning", f"the main thread spins in {SPUN}")


def test_a_thread_that_is_elsewhere_by_now_is_slow_but_moves() -> None:
    process = seen(task(PID, "R"), stacks=(stack(PID, SPIN),), cores={PID: 0.98}, moved=(PID,))
    assert told(process) == ("moving", f"the main thread is slow but moves below {SPUN}")


@pytest.mark.parametrize(
    ("state", "cores", "busy"),
    [("R", 0.9, True), ("R", 0.06, True), ("R", 0.04, False), ("S", 0.31, True), ("S", 0.29, False)],
)
def test_on_a_starved_machine_a_thread_that_can_run_counts_with_little_cpu(
    state: str, cores: float, busy: bool
) -> None:
    process = seen(task(PID, state), stacks=(stack(PID, SPIN),), cores={PID: cores})
    assert is_busy(process, PID) is busy
    assert (told(process)[0] == "spinning") is busy


def test_who_asks_again_and_again_spins_whatever_it_waits_for() -> None:
    waits = (wait(PID, "MainThread", "queue", "an item from empty queue frames"),)
    process = seen(task(PID, "R"), stacks=(stack(PID, SPIN),), cores={PID: 0.9}, waits=waits)
    assert told(process) == ("spinning", f"the main thread spins in {SPUN}")


def test_a_thread_that_could_run_and_hardly_did_is_not_called_idle() -> None:
    process = seen(task(PID, "R"), cores={PID: 0.01})
    assert told(process) == ("unknown", "thread 100 could run, and was hardly given a core")


@pytest.mark.parametrize(
    ("call", "kind", "sentence"),
    [
        (NANOSLEEP, "sleeping", "sleeps by the clock"),
        (FUTEX, "lock", "waits for a native lock"),
        (POLL, "io", "waits until one of several files, pipes or sockets is ready"),
        (WAIT4, "child", "waits for the end of a process that it has started"),
        (-1, "unknown", "does not get on, and nothing tells why"),
        (186, "unknown", "does not get on, and nothing tells why"),
        (SIGTIMEDWAIT, "event", "waits for a signal"),
        (OPENAT, "io", "waits for a file to open: a named pipe needs somebody at its other end"),
    ],
)
def test_where_python_says_nothing_the_kernel_does(call: int, kind: str, sentence: str) -> None:
    process = seen(task(PID, call=call, first=140_731_230), stacks=(stack(PID),), files={PID: {}})
    assert told(process) == (kind, f"the main thread {sentence}")


def test_the_name_of_the_kernels_function_is_enough() -> None:
    process = seen(task(PID, wchan="futex_do_wait"), stacks=(stack(PID),))
    assert told(process) == ("lock", "the main thread waits for a native lock")


def test_openmp_is_named_where_its_threads_are_waited_for() -> None:
    frames = ("0x7f01 (/lib/libgomp.so.1)", "mm (/app/engines/net.py:3)")
    process = seen(task(PID, call=FUTEX), stacks=(stack(PID, *frames),))
    assert told(process)[1] == (
        "the main thread waits in mm (engines/net.py:3) for threads of OpenMP that do not come"
    )


def test_a_read_of_a_pipe_names_the_pipe_and_who_has_it() -> None:
    files = {PID: {5: "pipe:[77]", 6: "pipe:[77]"}}
    process = seen(task(PID, call=READ, first=5), stacks=(stack(PID),), files=files)
    assert told(process) == (
        "io",
        "the main thread waits for pipe 5, of which no other process has an end, while this one holds both"
        " ends",
    )
    shared = replace(process, files={**files, 200: {3: "pipe:[77]"}})
    assert told(shared)[1] == "the main thread waits for pipe 5, shared with process 200"


def test_a_read_of_a_socket_names_it() -> None:
    process = seen(
        task(PID, call=45, first=9), stacks=(stack(PID),), files={PID: {9: "socket:[no such inode]"}}
    )
    assert told(process) == ("io", "the main thread waits for socket 9, of this machine")


def test_a_file_whose_number_is_hidden_is_not_made_up() -> None:
    process = seen(task(PID, wchan="pipe_read"), stacks=(stack(PID),), files={PID: {0: "/dev/null"}})
    assert told(process) == ("io", "the main thread waits for a file, a pipe or a socket")


def test_the_lock_of_a_file_is_named() -> None:
    files = {PID: {7: "/tmp/gpu.lock"}}
    process = seen(task(PID, call=73, first=7), stacks=(stack(PID),), files=files)
    assert told(process) == ("lock", "the main thread waits for the lock of file /tmp/gpu.lock")


def test_a_disk_that_does_not_answer_is_io() -> None:
    files = {PID: {7: "/data/weights.bin"}}
    reading = seen(task(PID, "D", call=READ, first=7), stacks=(stack(PID),), files=files)
    assert told(reading) == ("io", "the main thread waits for file /data/weights.bin")
    assert told(seen(task(PID, "D"), stacks=(stack(PID),))) == (
        "io", "the main thread waits for a disk or a device"
    )  # fmt: skip


@pytest.mark.parametrize("state", ["T", "t"])
def test_a_process_that_is_stopped_is_stopped_whatever_else_is_known(state: str) -> None:
    process = seen(
        task(PID, state, call=READ, first=5),
        stacks=(stack(PID, SPIN, gil=True),),
        waits=(wait(PID, "MainThread", "lock", "lock self._lock"),),
    )
    assert told(process) == ("stopped", f"the main thread is stopped by a signal, as all of process {PID}")


@pytest.mark.parametrize("call", [READ, IOCTL])
def test_who_is_in_a_call_of_nvidias_device_waits_for_the_driver(call: int) -> None:
    files = {PID: {21: "/dev/nvidia0"}}
    process = seen(task(PID, call=call, first=21), stacks=(stack(PID),), files=files)
    assert told(process) == ("driver", "the main thread waits for the GPU's driver")


def test_an_ioctl_of_another_device_is_not_the_drivers() -> None:
    process = seen(task(PID, call=IOCTL, first=21), stacks=(stack(PID),), files={PID: {21: "/dev/fuse"}})
    assert told(process)[0] == "unknown"


@pytest.mark.parametrize(
    ("state", "cores", "sentence"),
    [
        ("S", 0.0, "waits in spin (engines/avatar.py:12) for the GPU's driver"),
        ("R", 0.99, "waits in spin (engines/avatar.py:12) for the CUDA driver, looking again and again"),
    ],
)
def test_a_thread_inside_of_the_drivers_library_waits_for_it(state: str, cores: float, sentence: str) -> None:
    frames = ("0x7f (/usr/lib/libcuda.so.1)", "cuCtxSynchronize (/usr/lib/libcuda.so.1)", SPIN)
    process = seen(task(PID, state, call=FUTEX), stacks=(stack(PID, *frames),), cores={PID: cores})
    assert told(process) == ("driver", f"the main thread {sentence}")


def test_a_process_that_is_gone_is_said_to_be() -> None:
    assert diagnose(PID, 0, {}) == Diagnosis("unknown", "process 100 was gone before it could be looked at")


def test_a_thread_that_is_gone_is_said_to_be() -> None:
    assert told(seen(task(PID)), number=107) == (
        "unknown", "thread 107 was not among the threads of its process any more"
    )  # fmt: skip


@pytest.mark.parametrize("tasks", [(), (task(PID, "Z"),), (task(PID, "X"),)])
@pytest.mark.parametrize("waits", [None, (wait(PID, "MainThread", "lock", "lock a"),)])
def test_a_process_that_ended_meanwhile_waits_for_nothing(
    tasks: tuple[Task, ...], waits: tuple[Told, ...] | None
) -> None:
    process = seen(*tasks, stacks=(stack(PID),), waits=waits)
    assert told(process) == ("unknown", "the main thread had ended by then")


def test_without_a_number_the_first_thread_is_meant() -> None:
    process = seen(task(PID, call=NANOSLEEP), task(101, call=READ), stacks=(stack(PID),))
    assert told(process, number=0) == ("sleeping", "the main thread sleeps by the clock")


# --- by Python's own word


@pytest.mark.parametrize(
    ("kind", "what", "told_kind"),
    [
        ("queue", "room in full queue self.frames (2 of 2)", "queue"),
        ("queue", "an item from an empty queue", "queue"),
        ("event", "an event that nobody has set", "event"),
        ("future", "the result of a task in another thread or process", "queue"),
        ("import", "the import lock of torch", "import_lock"),
        ("join", "the end of thread decode", "unknown"),
    ],
)
def test_what_python_says_is_believed_before_the_kernel(kind: str, what: str, told_kind: str) -> None:
    process = seen(task(PID, call=FUTEX), waits=(wait(PID, "MainThread", kind, what),))
    assert found(process) == Diagnosis(
        told_kind, f"the main thread waits for {what}", (f"Python: MainThread waits for {what}",)
    )


def test_a_lock_that_no_thread_holds_was_never_released() -> None:
    process = seen(task(PID, call=FUTEX), waits=(wait(PID, "MainThread", "lock", "lock self._lock"),))
    assert told(process) == (
        "lock",
        "the main thread waits for lock self._lock, which no thread holds by the lines it is"
        " at: it was never released, or was taken in a function that has returned",
    )


def test_who_holds_a_lock_is_followed_to_what_it_does() -> None:
    process = seen(
        task(PID, call=FUTEX),
        task(101, call=NANOSLEEP),
        waits=(wait(PID, "MainThread", "lock", "lock tts", owner=101), wait(101, "worker 1")),
    )
    assert found(process) == Diagnosis(
        "lock",
        "the main thread waits for lock tts, held by worker 1, which sleeps by the clock",
        ("Python: MainThread waits for lock tts", "kernel: thread 101 in state S, 0.00 cores busy"),
    )


def test_a_lock_that_its_own_thread_holds_is_a_deadlock_of_one() -> None:
    process = seen(task(PID), waits=(wait(PID, "MainThread", "lock", "lock self._lock", owner=PID),))
    assert told(process) == (
        "deadlock", "the main thread waits for lock self._lock, which it holds itself"
    )  # fmt: skip


def circle(size: int) -> Seen:
    """Thread k has lock k and waits for lock k + 1, the last for lock 0."""
    waits = [
        wait(PID + one, f"worker {one}", "lock", f"lock {(one + 1) % size}", owner=PID + (one + 1) % size)
        for one in range(size)
    ]
    return seen(*(task(PID + one, call=FUTEX) for one in range(size)), waits=tuple(waits))


def test_a_deadlock_of_two_names_both_and_both_locks() -> None:
    assert told(circle(2)) == (
        "deadlock",
        "worker 0 waits for lock 1, held by worker 1, which waits for lock 0, held by worker 0: a circle of"
        " worker 0 and worker 1",
    )


def test_a_deadlock_of_three_names_all() -> None:
    kind, sentence = told(circle(3), number=PID + 1)
    assert kind == "deadlock"
    assert sentence.endswith("held by worker 1: a circle of worker 1 and worker 2 and worker 0")
    assert [f"waits for lock {one}" in sentence for one in range(3)] == [True] * 3


def test_who_waits_for_a_deadlock_is_not_one_of_it() -> None:
    process = circle(2)
    outside = wait(110, "MainThread", "join", "the end of thread worker 0", owner=PID)
    process = replace(
        process, tasks={**process.tasks, 110: task(110)}, waits={**(process.waits or {}), 110: outside}
    )
    kind, sentence = told(process, number=110)
    assert kind == "deadlock"
    assert sentence.startswith("the main thread waits for the end of thread worker 0, which waits for lock 1")
    assert sentence.endswith(": a circle of worker 0 and worker 1")


def test_a_join_of_a_thread_that_waits_for_this_ones_lock_is_a_deadlock() -> None:
    process = seen(
        task(PID),
        task(101),
        waits=(
            wait(PID, "MainThread", "join", "the end of thread worker 1", owner=101),
            wait(101, "worker 1", "lock", "lock state", owner=PID),
        ),
    )
    assert told(process) == (
        "deadlock",
        "the main thread waits for the end of thread worker 1, which waits for lock state, held by the main"
        " thread: a circle of the main thread and worker 1",
    )


@pytest.mark.parametrize(("kind", "behind"), [("join", "which"), ("lock", "held by worker 1, which")])
@pytest.mark.parametrize(("moved", "is_slow"), [((101,), True), ((PID,), False), ((), False)])
def test_who_waits_for_a_thread_that_moves_is_slow_and_moves(
    kind: str, behind: str, moved: tuple[int, ...], is_slow: bool
) -> None:
    process = seen(
        task(PID, call=FUTEX),
        task(101, "R"),
        stacks=(stack(101, SPIN, thread="worker 1"),),
        waits=(wait(PID, "MainThread", kind, "worker 1's", owner=101), wait(101, "worker 1")),
        cores={101: 0.9},
        moved=moved,
    )
    does = f"is slow but moves below {SPUN}" if is_slow else f"spins in {SPUN}"
    stuck = {"join": "spinning", "lock": "lock"}[kind]
    assert told(process) == (
        "moving" if is_slow else stuck, f"the main thread waits for worker 1's, {behind} {does}"
    )  # fmt: skip


def test_who_computes_at_the_end_of_a_chain_is_told_wherever_it_is() -> None:
    joined = seen(
        task(PID, call=FUTEX),
        task(101, "R"),
        waits=(wait(PID, "MainThread", "join", "the end of thread worker 1", owner=101),),
        cores={101: 0.9},
    )
    parent = seen(task(PID), waits=(wait(PID, "MainThread", "child", "the end of process 200", child=200),))
    child = seen(task(200, "R"), pid=200, parent=PID, cores={200: 0.9})
    assert found(joined).busy == (PID, 101)
    assert found(parent, child).busy == (200, 200)
    assert found(seen(task(PID, "R"), cores={PID: 0.9})).busy == (PID, PID)
    assert found(seen(task(PID, call=NANOSLEEP))).busy is None
    assert told(parent, child)[0] == "child"
    assert told(parent, replace(child, moved=frozenset({200})))[0] == "moving"


def test_an_import_lock_has_who_imports() -> None:
    process = seen(
        task(PID),
        task(101),
        waits=(
            wait(PID, "MainThread", "import", "the import lock of torch", owner=101),
            wait(101, "importer", "event", "an event that nobody has set"),
        ),
    )
    assert told(process) == (
        "import_lock",
        "the main thread waits for the import lock of torch, held by importer, which waits for an event that"
        " nobody has set",
    )


# --- the deadlock of upstream's close(): the main thread joins a thread that puts into a queue that is full
# for ever, for the one that read from it has died

UPSTREAM = seen(
    task(PID, call=FUTEX),
    task(101, call=FUTEX),
    waits=(
        wait(PID, "MainThread", "join", "the end of thread audio2motion", owner=101),
        wait(101, "audio2motion", "queue", "room in full queue self.audio2motion_queue (100 of 100)"),
    ),
)
DIED = {"pid": PID, "thread": "warp_f3d", "type": "RuntimeError", "message": "CUDA error"}


def test_the_known_deadlock_names_the_thread_that_waits_the_queue_and_who_died_of_what() -> None:
    diagnosis = found(UPSTREAM, hidden=[DIED])
    assert (diagnosis.kind, diagnosis.sentence) == (
        "queue",
        "the main thread waits for the end of thread audio2motion, which waits for room in full queue"
        " self.audio2motion_queue (100 of 100); thread warp_f3d had died of RuntimeError: CUDA error",
    )
    assert diagnosis.because == (
        "Python: MainThread waits for the end of thread audio2motion",
        "Python: audio2motion waits for room in full queue self.audio2motion_queue (100 of 100)",
    )


def test_what_died_in_another_process_is_not_told_here() -> None:
    assert "died" not in told(UPSTREAM, hidden=[DIED | {"pid": 200}])[1]


def test_what_died_has_nothing_to_do_with_a_thread_that_spins() -> None:
    process = seen(task(PID, "R"), stacks=(stack(PID, SPIN),), cores={PID: 1.0})
    assert told(process, hidden=[DIED]) == ("spinning", f"the main thread spins in {SPUN}")


def test_who_waits_beside_it_is_told_from_the_beginning_of_its_chain() -> None:
    """The main thread waits for an answer that a thread, stuck in close(), would have given."""
    process = seen(
        *(task(PID + one) for one in range(4)),
        waits=(
            wait(PID, "MainThread", "queue", "an item from an empty queue"),
            wait(101, "close of job 0", "join", "the end of thread audio2motion", owner=102),
            wait(102, "audio2motion", "queue", "room in full queue frames (100 of 100)"),
            wait(103, "idle", "queue", "an item from an empty queue"),
        ),
    )
    assert told(process) == (
        "queue",
        "the main thread waits for an item from an empty queue; beside it close of job 0 waits for the end of"
        " thread audio2motion, which waits for room in full queue frames (100 of 100)",
    )


def test_of_many_that_wait_beside_it_the_two_longest_chains_are_told() -> None:
    waits = [wait(PID, "MainThread", "queue", "an item from an empty queue")]
    waits += [wait(number, f"lone {number}", "lock", "lock lone") for number in (101, 102)]
    waits += [
        wait(103, "first", "lock", "lock a", owner=104),
        wait(104, "second", "lock", "lock b", owner=105),
    ]
    waits += [wait(105, "third", "queue", "room in full queue c (1 of 1)")]
    sentence = told(seen(*(task(PID + one) for one in range(6)), waits=tuple(waits)))[1]
    _, *beside = sentence.split("; beside it ")
    assert [one.split(" waits")[0] for one in beside] == ["first", "lone 101"]


def test_a_deadlock_beside_it_is_told_although_a_circle_has_no_beginning() -> None:
    process = circle(2)
    process = replace(
        process,
        tasks={**process.tasks, 110: task(110)},
        waits={**(process.waits or {}), 110: wait(110, "MainThread", "queue", "an item from an empty queue")},
    )
    assert told(process, number=110)[1] == (
        "the main thread waits for an item from an empty queue; beside it worker 0 waits for lock 1, held by"
        " worker 1, which waits for lock 0, held by worker 0: a circle of worker 0 and worker 1"
    )


# --- the GIL


def gil(*frames: str, number: int = 101, thread: str = "worker 1", **given: Any) -> Seen:
    holder = stack(number, *frames, thread=thread, gil=True)
    return seen(task(PID), task(101), stacks=(stack(PID, "wait (/t.py:1)"), holder), waits=None, **given)


def test_who_holds_the_gil_and_who_waits_for_it_are_told_apart() -> None:
    process = gil("sleep (libc.so.6)", "_gil (/app/misdeeds.py:5)")
    assert found(process) == Diagnosis(
        "gil",
        "the main thread waits for the GIL, which worker 1 holds in sleep (libc.so.6), called in _gil"
        " (app/misdeeds.py:5)",
        (
            "its witness thread, which needs the GIL, did not answer",
            "py-spy: worker 1 holds the GIL in sleep (libc.so.6)",
            "kernel: thread 101 in state S, 0.00 cores busy",
        ),
    )
    assert told(process, number=101) == (
        "gil",
        "worker 1 holds the GIL in sleep (libc.so.6), called in _gil (app/misdeeds.py:5) and does not come"
        " back: no other thread can run",
    )


def test_a_silent_witness_is_not_the_gil_where_it_is_seen_that_nobody_has_that() -> None:
    """A component's own handler or mask for the witness's signal, or a state() that is stuck itself."""
    process = seen(task(PID, call=FUTEX), waits=None, stacks=(stack(PID, "wait (/app/avatar.py:3)"),))
    assert told(process) == ("lock", "the main thread waits in wait (app/avatar.py:3) for a native lock")


def test_where_nobody_may_look_at_the_stacks_the_silent_witness_is_enough() -> None:
    process = seen(task(PID, call=NANOSLEEP), waits=None)
    assert told(process) == ("gil", f"thread {PID} cannot run: nobody in its process gets the GIL")


def test_a_witness_that_has_not_had_its_turn_yet_makes_no_gil_of_a_loop_in_python() -> None:
    process = gil(SPIN, cores={101: 0.5})
    assert told(process, number=101) == ("spinning", f"worker 1 spins in {SPUN}")


# --- other processes


def test_a_child_is_followed_to_its_grandchild() -> None:
    waiting = wait(PID, "MainThread", "child", "the end of process 200", child=200)
    shell = seen(task(200, call=WAIT4, first=300), pid=200, parent=PID)
    sleeper = seen(task(300, call=NANOSLEEP), pid=300, parent=200)
    assert told(seen(task(PID), waits=(waiting,)), shell, sleeper) == (
        "child",
        "the main thread waits for the end of process 200, which waits for the end of process 300, which"
        " sleeps by the clock",
    )


def test_of_several_children_the_one_that_is_waited_for_is_told() -> None:
    parent = seen(task(PID, call=WAIT4, first=201), stacks=(stack(PID),))
    children = [
        seen(task(200, call=NANOSLEEP), pid=200, parent=PID),
        seen(task(201, call=READ, first=0), pid=201, parent=PID, files={201: {0: "/dev/tty"}}),
    ]
    assert told(parent, *children) == (
        "child", "the main thread waits for the end of process 201, which waits for file /dev/tty"
    )  # fmt: skip


def test_who_waits_for_any_child_waits_for_its_only_one() -> None:
    parent = seen(task(PID, call=WAIT4, first=2**64 - 1), stacks=(stack(PID),))
    only = seen(task(200, call=NANOSLEEP), pid=200, parent=PID)
    stranger = seen(task(300, call=READ), pid=300, parent=1)
    assert told(parent, only, stranger)[1].endswith("the end of process 200, which sleeps by the clock")
    other = seen(task(201, call=READ), pid=201, parent=PID)
    assert told(parent, only, other)[1].endswith("waits for the end of a process that it has started")


def test_a_child_that_is_no_member_of_the_tree_is_told_without_its_doings() -> None:
    waiting = wait(PID, "MainThread", "child", "the end of process 200", child=200)
    assert told(seen(task(PID), waits=(waiting,))) == (
        "child", "the main thread waits for the end of a process that it has started"
    )  # fmt: skip


# --- signatures

STUCK = stack(
    101,
    "0x7f3412 (libc.so.6)",
    "sem_wait (libc.so.6)",
    "acquire (/usr/lib/python3.11/threading.py:300)",
    "infer (/app/engines/avatar.py:120)",
    "feed (/app/engines/avatar.py:80)",
    "run (/app/harness/executors/threads.py:40)",
)
LOCK = Diagnosis("lock", "worker 1 waits for lock 0x7f55, held by thread 101")
PLACE = "stage avatar.render"


def test_a_signature_is_ten_digits() -> None:
    assert len(signature(LOCK, PLACE, STUCK)) == 10
    assert int(signature(LOCK, PLACE, STUCK), 16) >= 0


def changed(old: str, new: str) -> Stack:
    frames = tuple(frame.replace(old, new) for frame in STUCK.frames)
    assert frames != STUCK.frames
    return replace(STUCK, frames=frames)


@pytest.mark.parametrize(
    "other",
    [
        changed(":120)", ":131)"),
        changed("0x7f3412", "0x7f99"),
        changed("/app/", "/home/another/checkout/"),
        changed("threads.py", "processes.py"),
        changed("sem_wait", "__futex_abstimed_wait_common64"),
        replace(STUCK, pid=7, number=8, thread="worker 9"),
        replace(STUCK, frames=STUCK.frames[2:]),  # without the native ones, as py-spy --nonblocking
    ],
)
def test_the_same_hang_has_the_same_signature_at_another_time(other: Stack) -> None:
    later = replace(LOCK, sentence="worker 9 waits for lock 0x7f99, held by thread 8", because=("kernel: 8",))
    assert signature(later, PLACE, other) == signature(LOCK, PLACE, STUCK)


@pytest.mark.parametrize(
    ("diagnosis", "place", "frames"),
    [
        (replace(LOCK, kind="deadlock"), PLACE, STUCK.frames),
        (LOCK, "stage avatar.write", STUCK.frames),
        (LOCK, "load avatar.", STUCK.frames),
        (LOCK, PLACE, changed("infer", "encode").frames),
        (LOCK, PLACE, changed("avatar.py", "speech.py").frames),
        (LOCK, PLACE, ()),
    ],
)
def test_another_hang_has_another_signature(
    diagnosis: Diagnosis, place: str, frames: tuple[str, ...]
) -> None:
    other = signature(diagnosis, place, replace(STUCK, frames=frames))
    assert other != signature(LOCK, PLACE, STUCK)


def test_without_a_stack_class_and_place_are_the_signature() -> None:
    assert signature(LOCK, PLACE, None) == signature(LOCK, PLACE, None)
    assert signature(LOCK, PLACE, None) != signature(LOCK, "load tts.", None)


def test_frames_of_native_code_alone_are_told_apart() -> None:
    one = replace(STUCK, frames=("do_sort (libsort.so)",))
    other = replace(STUCK, frames=("do_copy (libsort.so)",))
    assert signature(LOCK, PLACE, one) != signature(LOCK, PLACE, other)
