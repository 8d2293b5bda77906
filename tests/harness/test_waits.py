"""Waits: what real threads say they wait for, and who holds it, while they are stuck."""

from __future__ import annotations

import _thread
import collections
import concurrent.futures
import functools
import gc
import json
import multiprocessing
import os
import queue
import random
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from harness import spots, waits
from harness.executors.crew import Channel
from harness.unseen import Unseen
from tests.harness import stuck_threads as ways
from tests.harness.points import environment, wait_until

Start = Callable[..., threading.Thread]
Told = dict[str, Any]


@pytest.fixture
def start(end: threading.Event) -> Iterator[Start]:
    """Starts a thread by a function and its arguments. All have ended after the test, or it fails."""
    threads: list[threading.Thread] = []

    def begin(target: Callable[..., object], *arguments: object, name: str = "") -> threading.Thread:
        threads.append(threading.Thread(target=target, args=arguments, daemon=True, name=name or None))
        threads[-1].start()
        return threads[-1]

    yield begin
    end.set()
    for thread in threads:
        thread.join(5.0)
    assert [thread.name for thread in threads if thread.is_alive()] == []


@pytest.fixture
def holder(start: Start, end: threading.Event) -> Callable[..., threading.Thread]:
    """A thread that has taken a lock in one of the ways, and keeps it."""

    def begin(lock: Any, way: Callable[..., object] = ways.holds_by_with) -> threading.Thread:
        taken = threading.Event()
        thread = start(way, lock, taken, end, name="holder")
        assert taken.wait(5.0)
        return thread

    return begin


def of(thread: threading.Thread, kind: str = "", seconds: float = 5.0) -> Told:
    """What is told of a thread as soon as it waits, for a thing of this kind, or what is told at the end."""
    found: Told = {}

    def is_told() -> bool:
        [told] = [one for one in waits.look() if one["number"] == thread.native_id]
        found.update(told)
        return bool(told["kind"] == kind if kind else told["kind"])

    wait_until(is_told, seconds)
    return found


def words(told: Told) -> tuple[str, str, int]:
    return told["kind"], told["what"], told["owner"]


@pytest.mark.parametrize("way", ways.HOLDING, ids=lambda way: way.__name__)
def test_who_holds_a_lock_is_told_by_the_lines_that_it_is_in(
    start: Start, holder: Start, way: Callable[..., object]
) -> None:
    lock = threading.Lock()
    has_it = holder(lock, way)
    assert words(of(start(ways.waits_by_with, lock))) == ("lock", "lock lock", has_it.native_id)


@pytest.mark.parametrize("way", ways.RELEASED, ids=lambda way: way.__name__)
def test_who_has_released_a_lock_or_never_taken_it_is_not_its_holder(
    start: Start, holder: Start, way: Callable[..., object]
) -> None:
    lock = threading.Lock()
    lock_of_another = threading.Lock()
    holder(lock, way)
    with lock_of_another:
        lock.acquire()  # by this thread, of which nobody looks at the lines
        waiting = of(start(ways.waits_by_with, lock))
        lock.release()
    assert words(waiting) == ("lock", "lock lock", 0)


@pytest.mark.parametrize("way", ways.WAITING_LONGER, ids=lambda way: way.__name__)
def test_who_did_not_get_a_lock_in_time_does_not_wait_for_itself(
    start: Start, holder: Start, way: Callable[..., object]
) -> None:
    lock, tried = threading.Lock(), threading.Event()
    holder(lock, ways.holds_out_of_sight)
    waiter = start(way, lock, tried)
    assert tried.wait(5.0)
    assert words(of(waiter)) == ("lock", "lock lock", 0)


@pytest.mark.parametrize("way", ways.TOO_LATE, ids=lambda way: way.__name__)
def test_who_did_not_get_a_lock_in_time_is_not_its_holder(
    start: Start, holder: Start, way: Callable[..., object]
) -> None:
    lock = threading.Lock()
    with lock:  # by this thread, of which nobody looks at the lines
        holder(lock, way)
        waiting = of(start(ways.waits_by_with, lock))
    assert words(waiting) == ("lock", "lock lock", 0)


@pytest.mark.parametrize("way", [ways.holds_by_with, ways.holds_by_acquire])
@pytest.mark.parametrize("is_first", [True, False], ids=["tried first", "tried last"])
def test_who_may_have_got_a_lock_in_time_comes_behind_who_has_it(
    start: Start, holder: Start, end: threading.Event, way: Callable[..., object], is_first: bool
) -> None:
    lock = threading.Lock()
    if is_first:
        with lock:
            holder(lock, ways.may_have_got_it)
    has_it = holder(lock, way)
    if not is_first:
        holder(lock, ways.may_have_got_it)
    assert of(start(ways.waits_by_with, lock))["owner"] == has_it.native_id


@pytest.mark.parametrize(("way", "expression"), ways.WAITING, ids=lambda way: getattr(way, "__name__", ""))
def test_the_lock_that_is_waited_for_is_named_as_in_the_line(
    start: Start, holder: Start, way: Callable[..., object], expression: str
) -> None:
    lock = threading.Lock()
    has_it = holder(lock)
    assert words(of(start(way, lock))) == ("lock", f"lock {expression}", has_it.native_id)


@pytest.mark.parametrize("kind", [threading.RLock, threading.Condition, ways.condition_of_a_lock])
def test_locks_of_every_kind_have_their_owner(start: Start, holder: Start, kind: Callable[[], Any]) -> None:
    lock = kind()
    has_it = holder(lock)
    assert words(of(start(ways.waits_by_with, lock))) == ("lock", "lock lock", has_it.native_id)


def test_a_re_entrant_lock_knows_its_owner_where_its_lines_do_not(start: Start, holder: Start) -> None:
    lock = threading.RLock()
    has_it = holder(lock, ways.holds_out_of_sight)
    assert of(start(ways.waits_by_with, lock))["owner"] == has_it.native_id


def test_a_condition_is_held_by_who_took_the_lock_that_was_given_to_it(start: Start, holder: Start) -> None:
    lock = threading.Lock()
    has_it = holder(lock)
    waiting = of(start(ways.waits_by_with, threading.Condition(lock)))
    assert words(waiting) == ("lock", "lock lock", has_it.native_id)


@pytest.mark.parametrize("way", [ways.waits_for_news, ways.waits_for_what_is_so])
def test_who_waits_for_news_has_let_go_of_the_conditions_lock(
    start: Start, holder: Start, end: threading.Event, way: Callable[..., object]
) -> None:
    changed, is_so = ways.condition_of_a_lock(), threading.Event()
    of(start(way, changed, is_so))
    has_it = holder(changed)
    waiting = of(start(ways.waits_by_with, changed))
    end.set()
    is_so.set()
    with changed:
        changed.notify_all()
    assert words(waiting) == ("lock", "lock lock", has_it.native_id)


@pytest.mark.parametrize("is_in_sight", [True, False], ids=["held in sight", "held out of sight"])
def test_who_waits_for_an_item_has_let_go_of_the_queues_lock(
    start: Start, holder: Start, end: threading.Event, is_in_sight: bool
) -> None:
    answers: queue.Queue[int] = queue.Queue()
    of(start(ways.gets, answers))
    has_it = holder(answers.mutex, ways.holds_by_with if is_in_sight else ways.holds_out_of_sight)
    waiting = of(start(ways.waits_by_with, answers.mutex))
    end.set()
    answers.put(1)
    assert words(waiting) == ("lock", "lock lock", (has_it.native_id or 0) * is_in_sight)


def test_a_semaphore_is_named_and_has_one_who_took_it(start: Start, holder: Start) -> None:
    slots = threading.Semaphore(2)
    owners = {holder(slots).native_id, holder(slots).native_id}
    waiting = of(start(ways.waits_by_with, slots))
    assert words(waiting)[:2] == ("lock", "semaphore lock")
    assert waiting["owner"] in owners


def test_a_lock_of_a_thread_that_a_native_library_started_is_not_told_as_nobodys(
    start: Start, end: threading.Event
) -> None:
    lock, taken = threading.Lock(), threading.Event()
    _thread.start_new_thread(ways.holds_by_with, (lock, taken, end))
    assert taken.wait(5.0)
    found = of(start(ways.waits_by_with, lock))
    assert words(found) == ("lock", "lock lock, held by a thread that the module threading does not know", 0)
    assert found["link"] == ""


def test_a_lock_out_of_sight_has_no_owner(start: Start, holder: Start) -> None:
    lock = threading.Lock()
    holder(lock, ways.holds_out_of_sight)
    assert words(of(start(ways.waits_by_with, lock))) == ("lock", "lock lock", 0)


def test_the_second_lock_of_a_with_is_waited_for_while_the_first_is_held(start: Start, holder: Start) -> None:
    first, second = threading.Lock(), threading.Lock()
    has_second = holder(second)
    has_first = start(ways.waits_for_both, first, second)
    assert words(of(has_first)) == ("lock", "lock second", has_second.native_id)
    assert words(of(start(ways.waits_by_with, first))) == ("lock", "lock lock", has_first.native_id)


def test_the_first_lock_of_a_with_is_waited_for_while_both_are_taken(start: Start, holder: Start) -> None:
    first, second = threading.Lock(), threading.Lock()
    has_first, _ = holder(first), holder(second)
    assert words(of(start(ways.waits_for_both, first, second))) == (
        "lock", "lock first", has_first.native_id
    )  # fmt: skip


def test_two_threads_that_wait_for_each_other_own_what_the_other_waits_for(start: Start) -> None:
    first, second = threading.Lock(), threading.Lock()
    meet = threading.Barrier(2)
    one = start(ways.waits_inside, first, second, meet)
    other = start(ways.waits_inside, second, first, meet)
    assert (of(one, "lock")["owner"], of(other, "lock")["owner"]) == (other.native_id, one.native_id)
    first.release()


@pytest.mark.parametrize("way", [ways.waits_for_its_own, ways.waits_for_its_own_in_a_branch])
def test_a_thread_that_waits_for_its_own_lock_owns_it(start: Start, way: Callable[..., object]) -> None:
    lock = threading.Lock()
    itself = start(way, lock)
    assert words(of(itself)) == ("lock", "lock lock", itself.native_id)
    lock.release()


def test_of_a_function_without_source_nothing_is_told(start: Start, holder: Start) -> None:
    lock = threading.Lock()
    known: dict[str, Any] = {}
    exec("def waits(lock):\n    with lock:\n        pass\n", known)
    holder(lock)
    assert words(of(start(known["waits"], lock), seconds=0.3)) == ("", "", 0)


@pytest.mark.parametrize("text", ["{% block %}\n'''\n(((\n", "\0\0", "", "x = 1\n" * 9, "def f(:\n  with"])
def test_of_a_source_that_is_no_python_nothing_is_told(
    start: Start, holder: Start, tmp_path: Path, text: str
) -> None:
    lock = threading.Lock()
    known: dict[str, Any] = {}
    (tmp_path / "page.html").write_text(text)
    source = "\ndef waits(lock):\n    with lock:\n        pass\n"
    exec(compile(source, str(tmp_path / "page.html"), "exec"), known)
    holder(lock)
    assert words(of(start(known["waits"], lock), seconds=0.3)) == ("", "", 0)


def test_no_code_of_the_program_is_run(start: Start, holder: Start) -> None:
    lock = threading.Lock()
    holder(lock)
    watchful = ways.Watchful(lock)
    thread = start(watchful.waits)
    assert wait_until(lambda: watchful.ran == ["lock"])
    assert words(of(thread, seconds=0.3)) == ("", "", 0)
    other = start(watchful.waits_by_item)
    assert wait_until(lambda: watchful.ran == ["lock", "item"])
    assert words(of(other, seconds=0.3)) == ("", "", 0)
    assert watchful.ran == ["lock", "item"]


def test_an_empty_slot_is_no_lock(start: Start, end: threading.Event) -> None:
    lock, lost = threading.Lock(), threading.Event()
    start(ways.Slotted(lock).loses_it, lost, end)
    assert lost.wait(5.0)
    assert words(of(start(ways.waits_by_with, lock))) == ("lock", "lock lock", 0)


# --- queues


def test_a_full_queue_that_nobody_reads_is_named(start: Start, end: threading.Event) -> None:
    frames: queue.Queue[int] = queue.Queue(maxsize=2)
    thread = start(ways.puts_three, frames)
    assert words(of(thread)) == ("queue", "room in full queue frames (2 of 2)", 0)
    frames.get()


def test_an_empty_queue_is_named_and_one_without_a_name_is_not(start: Start) -> None:
    answers: queue.Queue[int] = queue.Queue()
    assert words(of(start(ways.gets, answers))) == ("queue", "an item from empty queue answers", 0)
    answers.put(1)
    made: list[queue.Queue[int]] = []
    assert words(of(start(ways.gets_of_the_last, made))) == ("queue", "an item from an empty queue", 0)
    made[0].put(1)


@pytest.mark.parametrize("kind", [queue.LifoQueue, queue.PriorityQueue])
def test_queues_of_every_order_are_queues(start: Start, kind: Callable[[int], queue.Queue[int]]) -> None:
    frames = kind(2)
    assert of(start(ways.puts_three, frames))["what"] == "room in full queue frames (2 of 2)"
    frames.get()


def test_a_simple_queue_is_named(start: Start) -> None:
    answers: queue.SimpleQueue[int] = queue.SimpleQueue()
    assert words(of(start(ways.gets, answers))) == ("queue", "an item from empty queue answers", 0)
    answers.put(1)


def test_a_channel_tells_its_name_and_how_full_it_is(start: Start, end: threading.Event) -> None:
    channel: Channel[int] = Channel(2, end, name="tts -> avatar")
    empty: Channel[int] = Channel(2, end, name="avatar -> mux")
    putting, getting = start(ways.puts_three_quietly, channel), start(ways.gets_quietly, empty)
    assert words(of(putting)) == ("queue", "room in full queue tts -> avatar (2 of 2)", 0)
    assert words(of(getting)) == ("queue", "an item from empty queue avatar -> mux", 0)


# --- other threads


def test_a_join_tells_whose_end_is_waited_for(start: Start, end: threading.Event) -> None:
    worker = start(end.wait, name="audio2motion")
    joining = start(worker.join)
    assert words(of(joining)) == ("join", "the end of thread audio2motion", worker.native_id)


def test_an_event_is_named_where_it_has_a_name(start: Start, end: threading.Event) -> None:
    assert words(of(start(ways.waits_for_event, end))) == ("event", "event is_set that nobody has set", 0)
    made: list[threading.Event] = []
    waiting = start(ways.waits_for_an_event_of_its_own, made)
    assert words(of(waiting)) == ("event", "an event that nobody has set", 0)
    made[0].set()


@pytest.mark.parametrize("way", [ways.waits_for_news, ways.waits_for_what_is_so])
def test_a_condition_that_nobody_notifies_is_told(start: Start, way: Callable[..., object]) -> None:
    changed, is_so = threading.Condition(), threading.Event()
    thread = start(way, changed, is_so)
    assert words(of(thread)) == ("event", "condition changed that nobody has notified", 0)
    is_so.set()
    with changed:
        changed.notify_all()


def test_a_barrier_tells_how_many_are_there(start: Start) -> None:
    barrier = threading.Barrier(3)
    threads = [start(ways.waits_at, barrier) for _ in range(2)]
    assert wait_until(lambda: barrier.n_waiting == 2)
    told = words(of(threads[0]))
    assert told == ("event", "barrier barrier, where 2 of 3 threads are there", 0)
    barrier.abort()


@pytest.mark.parametrize(
    "way", [ways.waits_for_result, ways.waits_for_error, ways.waits_for_futures, ways.waits_for_the_next]
)
def test_a_future_is_told_however_it_is_waited_for(start: Start, way: Callable[..., object]) -> None:
    future: concurrent.futures.Future[int] = concurrent.futures.Future()
    told = words(of(start(way, future)))
    assert told == ("future", "the result of a task in another thread or process", 0)
    future.set_result(1)


def test_a_pool_that_ends_waits_for_its_thread(start: Start, end: threading.Event) -> None:
    pool = concurrent.futures.ThreadPoolExecutor(1, thread_name_prefix="decode")
    pool.submit(end.wait)
    told = of(start(pool.shutdown))
    assert (told["kind"], told["what"]) == ("join", "the end of thread decode_0")
    assert told["owner"] in {thread.native_id for thread in threading.enumerate()}


def test_a_child_is_told_by_its_number(start: Start) -> None:
    child = subprocess.Popen(["/bin/sleep", "60"])
    told = of(start(child.wait))
    child.kill()
    assert (told["kind"], told["what"], told["child"]) == (
        "child",
        f"the end of process {child.pid}",
        child.pid,
    )


SLEEP = ["/bin/sleep", "60"]


@pytest.mark.parametrize(
    "given",
    [{"capture_output": True}, {"stdout": subprocess.PIPE}, {"capture_output": True, "timeout": 60}],
    ids=lambda given: " ".join(given),
)
def test_a_command_whose_output_is_read_is_a_child(start: Start, given: dict[str, Any]) -> None:
    told = of(start(functools.partial(subprocess.run, SLEEP, **given)), "child")
    command = Path(f"/proc/{told['child']}/cmdline").read_bytes()
    os.kill(told["child"], signal.SIGKILL)
    assert (told["kind"], told["what"]) == ("child", f"the end of process {told['child']}")
    assert command.split(b"\0")[:2] == [word.encode() for word in SLEEP]


def test_a_command_that_has_ended_but_left_its_output_to_another_is_not_waited_for(start: Start) -> None:
    command = subprocess.Popen("sleep 60 & echo $!", shell=True, stdout=subprocess.PIPE)
    assert command.stdout is not None
    left = int(command.stdout.readline())
    reader = start(command.communicate)
    assert wait_until(lambda: "\nState:\tZ" in Path(f"/proc/{command.pid}/status").read_text())
    told = of(reader, seconds=0.3)
    os.kill(left, signal.SIGKILL)
    assert (told["kind"], told["child"]) == ("", 0)


@pytest.mark.parametrize("limit_s", [None, 60.0])
@pytest.mark.parametrize("method", ["spawn", "forkserver"])
def test_a_process_of_multiprocessing_is_a_child(start: Start, method: str, limit_s: float | None) -> None:
    process = multiprocessing.get_context(method).Process(target=time.sleep, args=(60,))
    process.start()
    told = of(start(process.join, limit_s), "child")
    process.kill()
    assert (told["what"], told["child"]) == (f"the end of process {process.pid}", process.pid)


# --- whole processes

TELLS = """
import json, os, sys, threading, time
from harness import waits

def tell():
    while True:
        time.sleep(0.02)
        told = {one["thread"]: one for one in waits.look()}
        if told["MainThread"]["kind"] == sys.argv[1]:
            print(json.dumps(told), flush=True)
            os._exit(0)

threading.Thread(target=tell, daemon=True).start()
"""


def told_by(kind: str, script: str) -> dict[str, Told]:
    """What a process of its own says as soon as its main thread waits for something of this kind."""
    command = [sys.executable, "-c", TELLS + script, kind]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=20, check=True)
    found: dict[str, Told] = json.loads(done.stdout)
    return found


def test_the_interpreters_end_waits_for_a_thread_that_is_no_daemon() -> None:
    told = told_by("join", 'threading.Thread(target=threading.Event().wait, name="left behind").start()')
    assert told["MainThread"]["what"] == "the end of thread left behind, no daemon"
    assert told["MainThread"]["owner"] == told["left behind"]["number"]
    assert not told["left behind"]["is_daemon"]


def test_an_import_lock_has_its_owner() -> None:
    told = told_by("import", 'from engines import misdeeds; misdeeds.strike({"kind": "import_lock"})')
    assert told["MainThread"]["what"] == "the import lock of never_done"
    assert told["MainThread"]["owner"] == told["importer"]["number"]
    assert words(told["importer"])[:2] == ("event", "an event that nobody has set")


def test_the_main_thread_has_the_number_of_its_process() -> None:
    script = "print(os.getpid(), flush=True); threading.Lock().acquire(); lock = threading.Lock()\n"
    command = [sys.executable, "-c", TELLS + script + "lock.acquire(); threading.Event().wait()", "event"]
    done = subprocess.run(command, env=environment(), capture_output=True, text=True, timeout=20, check=True)
    pid, told = done.stdout.splitlines()
    assert json.loads(told)["MainThread"]["number"] == int(pid)


# --- looking itself


def test_who_looks_is_left_out_and_all_others_are_told(start: Start, end: threading.Event) -> None:
    others = {start(end.wait).native_id for _ in range(3)}
    numbers = {told["number"] for told in waits.look()}
    assert others <= numbers
    assert threading.get_native_id() not in numbers


def test_a_thread_of_no_name_in_threading_is_told_too(end: threading.Event) -> None:
    gone = threading.Event()
    ident = _thread.start_new_thread(ways.waits_and_says_so, (end, gone))
    assert wait_until(lambda: f"thread {ident}" in [told["thread"] for told in waits.look()])
    end.set()
    assert gone.wait(5.0)


def test_an_object_that_is_not_what_its_class_says_costs_its_own_thread_alone(
    start: Start, end: threading.Event
) -> None:
    broken: queue.Queue[int] = queue.Queue(maxsize=1)
    thread, other = start(ways.gets, broken), start(ways.waits_for_event, end)
    assert of(thread)["kind"] == "queue"
    maxsize, broken.__dict__["maxsize"] = broken.maxsize, None  # a comparison with it raises
    del broken.__dict__["queue"]
    told = {one["number"]: one for one in waits.look()}
    broken.queue = collections.deque([1])
    broken.maxsize = maxsize
    with broken.not_empty:
        broken.not_empty.notify()
    assert told[thread.native_id]["kind"] == ""
    assert told[other.native_id]["kind"] == "event"


def test_threads_may_end_while_it_looks() -> None:
    until = time.monotonic() + 0.5
    started: list[threading.Thread] = []

    def come_and_go() -> None:
        while time.monotonic() < until:
            started.append(threading.Thread(target=time.sleep, args=(random.random() / 500,), daemon=True))
            started[-1].start()

    starter = threading.Thread(target=come_and_go, daemon=True)
    starter.start()
    looks = 0
    while time.monotonic() < until:
        assert all(isinstance(told["number"], int) for told in waits.look())
        looks += 1
    for thread in (starter, *started):
        thread.join(5.0)
    assert looks > 5
    assert len(started) > 20


@pytest.fixture
def often() -> Iterator[Callable[[float], None]]:
    before = sys.getswitchinterval()
    yield sys.setswitchinterval
    sys.setswitchinterval(before)


def test_what_library_code_does_meanwhile_never_raises(
    start: Start, end: threading.Event, often: Callable[[float], None]
) -> None:
    for seed in range(6):
        start(ways.runs_library_code, end, seed)
    until = time.monotonic() + 20.0
    seen: set[str] = set()
    often(0.0001)  # who looks has the GIL in its turn, and there are six others
    while len(seen) <= 40 and time.monotonic() < until:
        for ident, frame in sys._current_frames().items():
            for one in spots.outwards(frame if ident != threading.get_ident() else None):
                waits._wait(
                    one, waits.Owners({}, Unseen()), {}
                )  # without what look() does where something raises
                for taken in spots.above(one):
                    spots.value(taken.lock, one)
                seen.add(f"{one.f_code.co_filename}:{one.f_code.co_name}")
        time.sleep(0.001)
    assert len(seen) > 40


def test_a_look_at_thirty_threads_in_big_files_takes_no_time(
    start: Start, end: threading.Event, tmp_path: Path
) -> None:
    modules = [ways.big_module(tmp_path / f"big{number}.py", number) for number in range(10)]
    lock = threading.Lock()
    with lock:
        threads = [start(module["level9"], lock, 1) for module in modules for _ in range(3)]
        assert wait_until(lambda: all(ways.depth_of(thread) >= 10 for thread in threads))
        gc.collect()
        gc.disable()  # a whole collection of what other tests have left may take longer than the look
        began = time.thread_time()  # not the clock: what else runs on the machine does not count
        told = {one["number"]: one for one in waits.look()}
        took_s = time.thread_time() - began
        gc.enable()
    assert {told[thread.native_id]["what"] for thread in threads} == {"lock lock"}
    assert took_s < 0.5  # an answer is waited for 0.7 s
