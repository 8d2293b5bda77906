"""Ways in which threads hold locks and wait for things, each a function to be run by a thread.

HOLDING and RELEASED are given a lock, an event to set once they are there, and one that ends them; WAITING
the lock that they wait for.
"""

# ruff: noqa: E701, E702, C417, SIM117 - the forms of these lines are what is tested

from __future__ import annotations

import collections
import concurrent.futures
import contextlib
import decimal
import email.message
import functools
import json
import logging
import queue
import random
import sys
import textwrap
import threading
import tokenize
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from harness.executors.crew import Channel, Stopped

Lock = Any
Event = threading.Event


def holds_by_with(lock: Lock, taken: Event, end: Event) -> None:
    with lock:
        taken.set()
        end.wait()


def holds_in_one_line(lock: Lock, taken: Event, end: Event) -> None:
    with lock: taken.set(); end.wait()  # fmt: skip


def holds_by_acquire(lock: Lock, taken: Event, end: Event) -> None:
    lock.acquire()
    try:
        taken.set()
        end.wait()
    finally:
        lock.release()


def holds_by_acquire_in_the_same_line(lock: Lock, taken: Event, end: Event) -> None:
    lock.acquire(); taken.set(); end.wait()  # fmt: skip
    lock.release()


def holds_by_acquire_with_a_limit(lock: Lock, taken: Event, end: Event) -> None:
    if not lock.acquire(timeout=5.0):
        return
    taken.set()
    end.wait()
    lock.release()


def holds_in_a_branch_of_acquire(lock: Lock, taken: Event, end: Event) -> None:
    if lock.acquire(timeout=5.0):
        taken.set()
        end.wait()
        lock.release()


def holds_behind_a_loop_of_acquire(lock: Lock, taken: Event, end: Event) -> None:
    while not lock.acquire(timeout=5.0):
        assert not end.is_set()
    taken.set()
    end.wait()
    lock.release()


def holds_what_it_then_could_not_have_twice(lock: Lock, taken: Event, end: Event) -> None:
    lock.acquire()
    if not lock.acquire(blocking=False):
        taken.set()
        end.wait()
    lock.release()


def holds_behind_news(lock: Lock, taken: Event, end: Event) -> None:
    changed = threading.Condition(lock)
    changed.acquire()
    changed.wait(timeout=0.01)
    taken.set()
    end.wait()
    changed.release()


def holds_while_it_looks_for_news(lock: Lock, taken: Event, end: Event) -> None:
    def is_so() -> bool:
        taken.set()
        return end.wait()

    changed = threading.Condition(lock)
    with changed:
        changed.wait_for(is_so)


def holds_again(lock: Lock, taken: Event, end: Event) -> None:
    lock.acquire()
    lock.release()
    lock.acquire()
    taken.set()
    end.wait()
    lock.release()


def holds_the_second_of_two(lock: Lock, taken: Event, end: Event) -> None:
    with threading.Lock(), lock:
        taken.set()
        end.wait()


def holds_the_first_of_two(lock: Lock, taken: Event, end: Event) -> None:
    with lock, contextlib.nullcontext():
        taken.set()
        end.wait()


def holds_in_brackets(lock: Lock, taken: Event, end: Event) -> None:
    with (
        contextlib.nullcontext(),
        lock as itself,
    ):
        assert itself is not None
        taken.set()
        end.wait()


def holds_while_a_second_context_is_made(lock: Lock, taken: Event, end: Event) -> None:
    with lock, _slow_context(taken, end):
        pass


def _slow_context(taken: Event, end: Event) -> contextlib.nullcontext[None]:
    taken.set()
    end.wait()
    return contextlib.nullcontext()


def holds_while_a_second_context_is_left(lock: Lock, taken: Event, end: Event) -> None:
    with lock, concurrent.futures.ThreadPoolExecutor(1) as pool:
        pool.submit(end.wait)
        taken.set()


def holds_far_above(lock: Lock, taken: Event, end: Event) -> None:
    def below() -> None:
        _waits_for(taken, end)

    with lock:
        list(map(lambda _: below(), [0]))


def _waits_for(taken: Event, end: Event) -> None:
    taken.set()
    end.wait()


def holds_in_a_branch(lock: Lock, taken: Event, end: Event) -> None:
    for number in range(2):
        if number:
            with lock:
                try:
                    taken.set()
                finally:
                    end.wait()


def holds_in_a_generator_that_runs(lock: Lock, taken: Event, end: Event) -> None:
    def numbers() -> Iterator[int]:
        with lock:
            taken.set()
            end.wait()
            yield 1

    for number in numbers():
        assert number == 1


def _logged(function: Callable[..., None]) -> Callable[..., None]:
    @functools.wraps(function)
    def wrapped(*given: Any) -> None:
        function(*given)

    return wrapped


@_logged
@functools.wraps(holds_by_with)
def _holds_decorated(lock: Lock, taken: Event, end: Event) -> None:
    with lock:
        taken.set()
        end.wait()


def holds_in_a_decorated_function(lock: Lock, taken: Event, end: Event) -> None:
    _holds_decorated(lock, taken, end)


class _Writer:
    def __init__(self, lock: Lock) -> None:
        self.lock = lock

    def holds(self, taken: Event, end: Event) -> None:
        text = """
text at the left edge, as of a template
        """
        with self.lock:
            assert text
            taken.set()
            end.wait()


def holds_beside_a_text_at_the_left_edge(lock: Lock, taken: Event, end: Event) -> None:
    _Writer(lock).holds(taken, end)


def holds_behind_characters_of_more_bytes(lock: Lock, taken: Event, end: Event) -> None:
    with lock: "äöü€𝄞"; taken.set(); end.wait()  # fmt: skip


def holds_beside_a_branch_that_returns(lock: Lock, taken: Event, end: Event) -> None:
    lock.acquire()
    if end.is_set():
        lock.release()
        return
    taken.set()
    end.wait()
    lock.release()


def holds_beside_branches_in_branches(lock: Lock, taken: Event, end: Event) -> None:
    lock.acquire()
    if taken.is_set() or end.is_set():
        if end.is_set():
            lock.release()
            return
        else:
            lock.release()
            raise RuntimeError
    elif not taken.is_set():
        taken.set()
        end.wait()
    lock.release()


def holds_beside_a_handler(lock: Lock, taken: Event, end: Event) -> None:
    lock.acquire()
    try:
        taken.set()
    except RuntimeError:
        lock.release()
        raise
    end.wait()
    lock.release()


def holds_in_a_handler(lock: Lock, taken: Event, end: Event) -> None:
    try:
        lock.acquire()
        raise RuntimeError
    except ValueError:
        lock.release()
    except RuntimeError:
        taken.set()
        end.wait()
        lock.release()


def holds_in_a_finally(lock: Lock, taken: Event, end: Event) -> None:
    lock.acquire()
    try:
        assert not end.is_set()
    finally:
        taken.set()
        end.wait()
        lock.release()


def holds_in_a_loop_that_goes_on(lock: Lock, taken: Event, end: Event) -> None:
    for number in range(2):
        lock.acquire()
        if number == 0:
            lock.release()
            continue
        taken.set()
        end.wait()
        lock.release()


def holds_in_a_loop_that_ends(lock: Lock, taken: Event, end: Event) -> None:
    while True:
        lock.acquire()
        if end.is_set():
            lock.release()
            break
        taken.set()
        end.wait()
        lock.release()


def holds_behind_a_loop_that_ends(lock: Lock, taken: Event, end: Event) -> None:
    while True:
        lock.acquire()
        if not end.is_set():
            break
        lock.release()
    taken.set()
    end.wait()
    lock.release()


def holds_in_a_case(lock: Lock, taken: Event, end: Event) -> None:
    lock.acquire()
    match end.is_set():
        case True:
            lock.release()
        case False:
            taken.set()
            end.wait()
            lock.release()


HOLDING = [
    holds_by_with, holds_in_one_line, holds_by_acquire, holds_by_acquire_in_the_same_line,
    holds_by_acquire_with_a_limit, holds_in_a_branch_of_acquire, holds_behind_a_loop_of_acquire,
    holds_what_it_then_could_not_have_twice, holds_behind_news, holds_while_it_looks_for_news,
    holds_again, holds_the_second_of_two, holds_the_first_of_two,
    holds_in_brackets, holds_while_a_second_context_is_made, holds_while_a_second_context_is_left,
    holds_far_above, holds_in_a_branch, holds_in_a_generator_that_runs, holds_in_a_decorated_function,
    holds_beside_a_text_at_the_left_edge, holds_behind_characters_of_more_bytes,
    holds_beside_a_branch_that_returns, holds_beside_branches_in_branches, holds_beside_a_handler,
    holds_in_a_handler, holds_in_a_finally, holds_in_a_loop_that_goes_on, holds_in_a_loop_that_ends,
    holds_behind_a_loop_that_ends, holds_in_a_case,
]  # fmt: skip


def holds_out_of_sight(lock: Lock, taken: Event, end: Event) -> None:
    """By a function that has returned: nothing in the lines of this one says so."""
    _take(lock)
    taken.set()
    end.wait()
    lock.release()


def _take(lock: Lock) -> None:
    lock.acquire()


def released_by_the_end_of_with(lock: Lock, taken: Event, end: Event) -> None:
    with lock:
        pass
    taken.set()
    end.wait()


def released_by_release(lock: Lock, taken: Event, end: Event) -> None:
    lock.acquire()
    lock.release()
    taken.set()
    end.wait()


def has_not_got_it_in_time(lock: Lock, taken: Event, end: Event) -> None:
    if not lock.acquire(timeout=0.01):
        taken.set()
        end.wait()


def has_not_got_it_and_is_in_the_other_branch(lock: Lock, taken: Event, end: Event) -> None:
    if lock.acquire(blocking=False):
        lock.release()
    else:
        taken.set()
        end.wait()


def has_not_got_it_yet_in_a_loop(lock: Lock, taken: Event, end: Event) -> None:
    while not lock.acquire(timeout=0.01):
        taken.set()
        end.wait()
    lock.release()


def has_not_got_it_behind_a_loop(lock: Lock, taken: Event, end: Event) -> None:
    for _ in range(2):
        if lock.acquire(timeout=0.01):
            break
    else:
        taken.set()
        end.wait()
        return
    lock.release()


def has_not_got_it_by_a_name(lock: Lock, taken: Event, end: Event) -> None:
    if not (had := lock.acquire(timeout=0.01)):
        taken.set()
        end.wait()
    assert not had


TOO_LATE = [
    has_not_got_it_in_time, has_not_got_it_and_is_in_the_other_branch, has_not_got_it_yet_in_a_loop,
    has_not_got_it_behind_a_loop, has_not_got_it_by_a_name,
]  # fmt: skip


def may_have_got_it(lock: Lock, taken: Event, end: Event) -> None:
    had = lock.acquire(timeout=0.01)
    taken.set()
    end.wait()
    assert not had


def takes_it_later(lock: Lock, taken: Event, end: Event) -> None:
    taken.set()
    end.wait()
    with lock:
        pass
    lock.acquire()
    lock.release()


def takes_it_in_a_function_that_it_only_defines(lock: Lock, taken: Event, end: Event) -> None:
    def never_called() -> None:
        lock.acquire()

    taken.set()
    end.wait()
    assert callable(never_called)


def defines_a_function_inside_of_with(lock: Lock, taken: Event, end: Event) -> None:
    with lock:

        def later() -> None:
            taken.set()
            end.wait()

        soon = lambda: later()  # noqa: E731

    soon()


def released_by_a_finally(lock: Lock, taken: Event, end: Event) -> None:
    lock.acquire()
    try:
        assert not end.is_set()
    finally:
        lock.release()
    taken.set()
    end.wait()


def released_in_either_branch(lock: Lock, taken: Event, end: Event) -> None:
    lock.acquire()
    if end.is_set():
        lock.release()
    else:
        lock.release()
        taken.set()
    end.wait()


def released_where_it_was_had(lock: Lock, taken: Event, end: Event) -> None:
    had = lock.acquire(timeout=5.0)
    if had:
        lock.release()
    taken.set()
    end.wait()


def released_before_a_handler(lock: Lock, taken: Event, end: Event) -> None:
    try:
        lock.acquire()
        try:
            raise RuntimeError
        finally:
            lock.release()
    except RuntimeError:
        taken.set()
        end.wait()


def takes_it_in_another_branch(lock: Lock, taken: Event, end: Event) -> None:
    if end.is_set():
        lock.acquire()
    else:
        taken.set()
        end.wait()


def takes_it_in_a_case_of_another_kind(lock: Lock, taken: Event, end: Event) -> None:
    match end.is_set():
        case True:
            lock.acquire()
        case False:
            taken.set()
            end.wait()


RELEASED = [
    released_by_the_end_of_with, released_by_release, takes_it_later,
    takes_it_in_a_function_that_it_only_defines, defines_a_function_inside_of_with,
    released_by_a_finally, released_in_either_branch, released_where_it_was_had, released_before_a_handler,
    takes_it_in_another_branch, takes_it_in_a_case_of_another_kind,
]  # fmt: skip


def waits_longer_where_a_limit_had_passed(lock: Lock, tried: Event) -> None:
    if not lock.acquire(timeout=0.01):
        tried.set()
        lock.acquire()
    lock.release()


def waits_longer_in_the_other_branch(lock: Lock, tried: Event) -> None:
    if lock.acquire(False):
        pass
    else:
        tried.set()
        lock.acquire()
    lock.release()


def waits_longer_in_a_loop(lock: Lock, tried: Event) -> None:
    while not lock.acquire(timeout=0.01):
        tried.set()
        with lock:
            break


def waits_longer_behind_it(lock: Lock, tried: Event) -> None:
    had = lock.acquire(timeout=0.01)
    tried.set()
    lock.acquire()
    lock.release()
    assert not had


def waits_in_another_branch(lock: Lock, tried: Event, limit_s: float | None = 20.0) -> None:
    tried.set()
    if limit_s is None:
        lock.acquire()
    else:
        lock.acquire(timeout=limit_s)
    lock.release()


def waits_in_a_branch_of_a_branch(lock: Lock, tried: Event, limit_s: float = 20.0) -> None:
    tried.set()
    if limit_s < 0:
        lock.acquire()
    elif limit_s > 0:
        if limit_s < 1:
            lock.acquire()
        else:
            lock.acquire(timeout=limit_s)
    lock.release()


def waits_in_another_case(lock: Lock, tried: Event, limit_s: float = 20.0) -> None:
    tried.set()
    match limit_s:
        case 0:
            lock.acquire()
        case _:
            lock.acquire(timeout=limit_s)
    lock.release()


def waits_in_a_handler(lock: Lock, tried: Event) -> None:
    try:
        if not lock.acquire(timeout=0.01):
            raise TimeoutError
    except TimeoutError:
        tried.set()
        lock.acquire()
    lock.release()


WAITING_LONGER = [
    waits_longer_where_a_limit_had_passed, waits_longer_in_the_other_branch, waits_longer_in_a_loop,
    waits_longer_behind_it, waits_in_another_branch, waits_in_a_branch_of_a_branch, waits_in_another_case,
    waits_in_a_handler,
]  # fmt: skip


def waits_by_with(lock: Lock) -> None:
    with lock:
        pass


def waits_in_one_line(lock: Lock) -> None:
    with lock: pass  # fmt: skip


def waits_by_acquire(lock: Lock) -> None:
    lock.acquire()
    lock.release()


def waits_with_a_limit(lock: Lock) -> None:
    if lock.acquire(True, timeout=20.0):
        lock.release()


def waits_over_several_lines(lock: Lock) -> None:
    locks = {"one": lock}
    locks[
        "one"
    ].acquire(
        timeout=20.0,
    )  # fmt: skip
    lock.release()


def waits_inside_of_an_expression(lock: Lock) -> None:
    taken = [number for number in (1, 2) if number == 2 and [lock.acquire(), lock.release()]]
    assert taken


def waits_in_a_lambda(lock: Lock) -> None:
    take = lambda: lock.acquire()  # noqa: E731
    take()
    lock.release()


def waits_in_a_generator(lock: Lock) -> None:
    def numbers() -> Iterator[int]:
        with lock:
            yield 1

    assert list(numbers()) == [1]


def waits_in_a_nested_function(lock: Lock) -> None:
    def inner() -> None:
        with lock:
            pass

    inner()


@_logged
def waits_in_a_decorated_function(lock: Lock) -> None:
    with lock:
        pass


def waits_for_an_item_of_a_dict(lock: Lock) -> None:
    locks = collections.defaultdict(threading.Lock, render=lock)
    name = "render"
    with locks[name]:
        pass


def waits_for_an_item_of_a_list(lock: Lock) -> None:
    own = types.SimpleNamespace(locks=[threading.Lock(), lock], worker=1)
    with own.locks[own.worker]:
        pass


def waits_for_an_attribute_of_an_attribute(lock: Lock) -> None:
    engine = types.SimpleNamespace(model=types.SimpleNamespace(lock=lock))
    with engine.model.lock:
        pass


_global = types.SimpleNamespace()


def waits_for_a_global(lock: Lock) -> None:
    _global.lock = lock
    with _global.lock:
        pass


class _Private:
    lock_of_all: Lock = None

    def __init__(self, lock: Lock) -> None:
        self.__lock = lock
        type(self).lock_of_all = lock

    def waits(self) -> None:
        with self.__lock:
            pass

    @classmethod
    def waits_for_all(cls) -> None:
        with cls.lock_of_all:
            pass


class _Heir(_Private):
    pass


def waits_for_a_private_one(lock: Lock) -> None:
    _Heir(lock).waits()


def waits_for_one_of_the_class(lock: Lock) -> None:
    _Private(lock).waits_for_all()


class Slotted:
    __slots__ = ("lock",)

    def __init__(self, lock: Lock) -> None:
        self.lock = lock

    def waits(self) -> None:
        with self.lock:
            pass

    def loses_it(self, lost: Event, end: Event) -> None:
        with self.lock:
            del self.lock
            lost.set()
            end.wait()


def waits_for_a_slot(lock: Lock) -> None:
    Slotted(lock).waits()


def waits_behind_characters_of_more_bytes(lock: Lock) -> None:
    "äöü€𝄞"; lock.acquire()  # fmt: skip
    lock.release()


class _Templates:
    def __init__(self, lock: Lock) -> None:
        self.lock = lock

    def waits(self) -> None:
        text = """
text at the left edge, as of a template
        """
        with self.lock:
            assert text


def waits_beside_a_text_at_the_left_edge(lock: Lock) -> None:
    _Templates(lock).waits()


WAITING = [
    (waits_by_with, "lock"),
    (waits_in_one_line, "lock"),
    (waits_by_acquire, "lock"),
    (waits_with_a_limit, "lock"),
    (waits_over_several_lines, "locks['one']"),
    (waits_inside_of_an_expression, "lock"),
    (waits_in_a_lambda, "lock"),
    (waits_in_a_generator, "lock"),
    (waits_in_a_nested_function, "lock"),
    (waits_in_a_decorated_function, "lock"),
    (waits_for_an_item_of_a_dict, "locks[name]"),
    (waits_for_an_item_of_a_list, "own.locks[own.worker]"),
    (waits_for_an_attribute_of_an_attribute, "engine.model.lock"),
    (waits_for_a_global, "_global.lock"),
    (waits_for_a_private_one, "self.__lock"),
    (waits_for_one_of_the_class, "cls.lock_of_all"),
    (waits_for_a_slot, "self.lock"),
    (waits_behind_characters_of_more_bytes, "lock"),
    (waits_beside_a_text_at_the_left_edge, "self.lock"),
]


def condition_of_a_lock() -> threading.Condition:
    return threading.Condition(threading.Lock())


def waits_for_both(first: Lock, second: Lock) -> None:
    with first, second:
        pass


def waits_inside(mine: Lock, other: Lock, meet: threading.Barrier) -> None:
    mine.acquire()
    meet.wait()
    with other, contextlib.suppress(RuntimeError):  # the test has released it
        mine.release()


def waits_for_its_own(lock: Lock) -> None:
    with contextlib.suppress(RuntimeError):
        with lock:
            lock.acquire()
            lock.release()


def waits_for_its_own_in_a_branch(lock: Lock) -> None:
    with contextlib.suppress(RuntimeError):
        if lock.acquire(timeout=5.0):
            lock.acquire()
            lock.release()
            lock.release()


class Watchful:
    """Notes when its code is run."""

    def __init__(self, lock: Lock) -> None:
        self._lock = lock
        self.ran: list[str] = []

    @property
    def lock(self) -> Lock:
        self.ran.append("lock")
        return self._lock

    def __getitem__(self, key: str) -> Lock:
        self.ran.append("item")
        return self._lock

    def __getattr__(self, name: str) -> Lock:
        self.ran.append(name)
        return self._lock

    def waits(self) -> None:
        with self.lock:
            pass

    def waits_by_item(self) -> None:
        with self["lock"]:
            pass


def puts_three(frames: queue.Queue[int]) -> None:
    for number in range(3):
        frames.put(number)


def puts_three_quietly(frames: Channel[int]) -> None:
    with contextlib.suppress(Stopped):
        for number in range(3):
            frames.put(number)


def gets(answers: queue.Queue[int] | queue.SimpleQueue[int]) -> None:
    answers.get()


def gets_quietly(answers: Channel[int]) -> None:
    with contextlib.suppress(Stopped):
        answers.get()


def gets_of_the_last(made: list[queue.Queue[int]]) -> None:
    _new_queue(made).get(timeout=20.0)


def _new_queue(made: list[queue.Queue[int]]) -> queue.Queue[int]:
    made.append(queue.Queue())
    return made[-1]


def waits_for_event(is_set: Event) -> None:
    is_set.wait()


def waits_for_an_event_of_its_own(made: list[Event]) -> None:
    _new_event(made).wait()


def _new_event(made: list[Event]) -> Event:
    made.append(Event())
    return made[-1]


def waits_and_says_so(end: Event, gone: Event) -> None:
    end.wait()
    gone.set()


def waits_for_news(changed: threading.Condition, is_so: Event) -> None:
    with changed:
        changed.wait()


def waits_for_what_is_so(changed: threading.Condition, is_so: Event) -> None:
    with changed:
        changed.wait_for(is_so.is_set)


def waits_at(barrier: threading.Barrier) -> None:
    with contextlib.suppress(threading.BrokenBarrierError):
        barrier.wait()


Future = concurrent.futures.Future[int]


def waits_for_result(future: Future) -> None:
    future.result()


def waits_for_error(future: Future) -> None:
    future.exception()


def waits_for_futures(future: Future) -> None:
    concurrent.futures.wait([future])


def waits_for_the_next(future: Future) -> None:
    next(concurrent.futures.as_completed([future]))


def runs_library_code(end: Event, seed: int) -> None:
    """Anything of the standard library, deep and shallow, with locks and without."""
    luck = random.Random(seed)
    log = logging.getLogger(f"stuck_threads.{seed}")
    log.propagate = False
    log.addHandler(logging.NullHandler())
    shared: queue.Queue[int] = queue.Queue(3)
    deeds: list[Callable[[], object]] = [
        lambda: json.dumps({str(number): [number] * 3 for number in range(50)}, indent=1),
        lambda: textwrap.wrap("some words of a text " * 30, 40),
        lambda: list(tokenize.generate_tokens(iter(["x = [1, 2]\n"] * 20 + [""]).__next__)),
        lambda: decimal.Decimal(luck.random()).sqrt(),
        lambda: email.message.EmailMessage().set_content("text " * 20),
        lambda: log.warning("%d", luck.randrange(9)),
        lambda: [shared.put(1), shared.get()],
        lambda: sorted(range(300), key=lambda number: -number),
        lambda: Path(__file__).read_text().splitlines(),
        lambda: contextlib.ExitStack().__enter__().close(),
    ]
    while not end.is_set():
        luck.choice(deeds)()


def big_module(path: Path, number: int) -> dict[str, Any]:
    """A file of 6,000 lines whose last functions, of 40 lines, call each other, each inside of a `with`."""
    filler = "".join(f"    value = {line} + value\n" for line in range(37))
    functions = [f"# line {line} of {number}\n" for line in range(5600)]
    inside = f"    with nullcontext({number}):\n        level{{}}(lock, value)\n{filler}"
    functions += [f"def level{one + 1}(lock, value):\n{inside.format(one)}" for one in range(9)]
    functions += [f"def level0(lock, value):\n    with lock:\n        pass\n{filler}"]
    path.write_text("from contextlib import nullcontext\n" + "".join(functions))
    known: dict[str, Any] = {}
    exec(compile(path.read_text(), str(path), "exec"), known)
    return known


def depth_of(thread: threading.Thread) -> int:
    frame, depth = sys._current_frames().get(thread.ident or 0), 0
    while frame:
        frame, depth = frame.f_back, depth + 1
    return depth
