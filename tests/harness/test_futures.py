"""Futures: real pools and event loops that are stuck, and who is told to be at what they are waited for."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import functools
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import pytest

from harness import waits
from tests.harness.points import wait_until

Told = dict[str, Any]


@pytest.fixture
def pool(end: threading.Event) -> Iterator[Callable[[int], ThreadPoolExecutor]]:
    """Makes a pool of so many threads; their tasks are ended with the test."""
    made: list[ThreadPoolExecutor] = []

    def make(size: int) -> ThreadPoolExecutor:
        made.append(ThreadPoolExecutor(size, thread_name_prefix="tiles"))
        return made[-1]

    yield make
    end.set()
    for one in made:
        one.shutdown(cancel_futures=True)


def render(end: threading.Event) -> None:
    end.wait(20.0)


def thread_of(name: str) -> int:
    return next(one.native_id or 0 for one in threading.enumerate() if one.name == name)


def told(name: str, kind: str = "future", what: str = "", link: str = "") -> Told:
    """What is told of a thread as soon as it waits for a thing of this kind, with this in its words, and is
    linked so with who has it.
    """

    def look() -> Told | None:
        looks = {one["thread"]: one for one in waits.look()}
        found = looks.get(name, {})
        is_it = found.get("kind") == kind and what in found["what"] and link in ("", found["link"])
        return found if is_it else None

    found: Told | None = wait_until(look)
    assert found, [one for one in waits.look() if one["thread"] == name]
    return found


def waiter(target: Callable[[], object]) -> None:
    def ends() -> None:
        with contextlib.suppress(concurrent.futures.CancelledError):
            target()

    threading.Thread(target=ends, name="waiter", daemon=True).start()


WAYS: list[Callable[[list[Future[None]]], object]] = [
    lambda futures: futures[0].result(),
    lambda futures: futures[0].exception(),
    lambda futures: concurrent.futures.wait(futures),
    lambda futures: list(concurrent.futures.as_completed(futures)),
]


@pytest.mark.parametrize("way", WAYS, ids=["result", "exception", "wait", "as_completed"])
def test_a_result_is_waited_for_of_the_thread_that_runs_its_task(
    pool: Callable[[int], ThreadPoolExecutor],
    end: threading.Event,
    way: Callable[[list[Future[None]]], object],
) -> None:
    futures = [pool(2).submit(render, end)]
    waiter(lambda: way(futures))
    found = told("waiter", what="render", link="run by")
    assert (found["what"], found["link"], found["owner"]) == (
        "the result of render", "run by", thread_of("tiles_0")
    )  # fmt: skip


def test_of_many_results_one_that_is_not_done_is_told(
    pool: Callable[[int], ThreadPoolExecutor], end: threading.Event
) -> None:
    two = pool(2)
    futures = [two.submit(int), two.submit(functools.partial(functools.partial(render), end))]
    futures[0].result()
    waiter(lambda: concurrent.futures.wait(futures))
    assert told("waiter", what="render", link="run by")["owner"]


def test_a_task_that_no_thread_is_free_for_waits_for_one_that_gets_on(
    pool: Callable[[int], ThreadPoolExecutor], end: threading.Event
) -> None:
    two = pool(2)

    def encode() -> None:
        two.submit(render, end).result()

    two.submit(encode)
    two.submit(render, end)
    found = told("tiles_0", what="not begun")
    assert (found["what"], found["link"], found["owner"]) == (
        "the result of render, not begun as none of its pool's 2 threads is free",
        "among them",
        thread_of("tiles_1"),
    )


def test_who_waits_for_another_pool_gets_on_sooner_than_who_waits_for_its_own(
    pool: Callable[[int], ThreadPoolExecutor], end: threading.Event
) -> None:
    stages, other = pool(2), pool(1)
    outside = other.submit(render, end)
    begun = threading.Event()

    def elsewhere() -> None:
        begun.set()
        outside.result()

    first = stages.submit(elsewhere)
    assert begun.wait(5.0)
    behind: list[Future[None]] = []

    def own() -> None:
        behind.append(stages.submit(render, end))
        behind[-1].result()

    stages.submit(own)
    gets_on = next(one for one in waits.look() if one["what"] == "the result of render")["number"]
    threads: list[Told] = wait_until(lambda: [one for one in waits.look() if "not begun" in one["what"]])
    assert [(one["link"], one["owner"]) for one in threads] == [("among them", gets_on)]
    behind[0].cancel()
    end.set()
    first.result(5.0)


@pytest.mark.parametrize(
    ("size", "why", "link"),
    [
        (1, "its pool's one thread is taken", "by"),
        (3, "none of its pool's 3 threads is free", "among them"),
    ],
)
def test_threads_of_a_pool_that_wait_for_its_own_tasks_wait_for_themselves(
    pool: Callable[[int], ThreadPoolExecutor], end: threading.Event, size: int, why: str, link: str
) -> None:
    all_begun, inner = threading.Barrier(size), []
    starved = pool(size)

    def encode() -> None:
        all_begun.wait(20.0)
        inner.append(starved.submit(render, end))
        inner[-1].result()

    for _ in range(size):
        starved.submit(encode)
    names = [f"tiles_{number}" for number in range(size)]
    found = [told(name, what="not begun") for name in names]
    assert {one["what"] for one in found} == {f"the result of render, not begun as {why}"}
    assert {one["link"] for one in found} == {link}
    assert {one["owner"] for one in found} <= {thread_of(name) for name in names}
    for future in inner:
        future.cancel()


def test_of_a_future_that_no_pool_has_nothing_more_is_known() -> None:
    future: Future[None] = Future()
    waiter(future.result)
    found = told("waiter")
    future.set_result(None)
    assert (found["what"], found["owner"]) == ("the result of a task in another thread or process", 0)


# --- event loops


def loop_with(*coroutines: Callable[[], Any]) -> tuple[asyncio.AbstractEventLoop, threading.Thread]:
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="loop", daemon=True)
    thread.start()
    for coroutine in coroutines:
        asyncio.run_coroutine_threadsafe(coroutine(), loop)
    return loop, thread


def end_of(loop: asyncio.AbstractEventLoop, thread: threading.Thread) -> None:
    async def cancel() -> None:
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    asyncio.run_coroutine_threadsafe(cancel(), loop).result(5.0)
    loop.call_soon_threadsafe(loop.stop)
    thread.join(5.0)
    loop.close()


AWAITED: list[asyncio.Future[None]] = []  # a task that only its own future knows is collected with it


async def speech() -> None:
    AWAITED.append(asyncio.get_running_loop().create_future())
    await AWAITED[-1]


async def clip() -> None:
    await asyncio.gather(speech(), asyncio.create_task(speech()))


async def outer() -> None:
    await clip()


def test_of_an_event_loop_the_tasks_that_wait_for_no_other_are_told_with_their_place() -> None:
    loop, thread = loop_with(outer)
    found = told("loop", "event")
    end_of(loop, thread)
    places = found["what"].split(" and ")
    line = speech.__code__.co_firstlineno + 2
    assert len(places) == 2
    for place in places:
        name, at = place.removeprefix("task ").split(" of asyncio at ")
        assert name.startswith("Task-")
        assert at == f"speech (harness/test_futures.py:{line})"


def test_a_task_of_asyncios_own_code_has_a_place_too() -> None:
    loop, thread = loop_with(lambda: asyncio.sleep(60))
    found = told("loop", "event")
    end_of(loop, thread)
    assert " of asyncio at sleep (asyncio/tasks.py:" in found["what"]


def test_tasks_that_wait_for_each_other_are_a_deadlock() -> None:
    tasks: list[asyncio.Task[None]] = []

    async def waits_for(number: int) -> None:
        await asyncio.sleep(0)
        await tasks[number]

    async def both() -> None:
        tasks.extend(asyncio.create_task(waits_for(other), name=f"clip {other}") for other in (1, 0))

    loop, thread = loop_with(both)
    found = told("loop", "deadlock")
    for task in tasks[:1]:
        loop.call_soon_threadsafe(task.get_loop().stop)
    thread.join(5.0)
    loop.close()
    assert found["what"].startswith("task clip 0 of asyncio at waits_for (harness/test_futures.py:")
    assert found["what"].endswith(": each of them waits for another")


def test_a_future_of_a_class_of_its_own_is_asked_nothing(
    pool: Callable[[int], ThreadPoolExecutor], end: threading.Event
) -> None:
    class Odd(Future[None]):
        def done(self) -> bool:
            raise AssertionError("code of the program")

    future = Odd()
    waiter(future.result)
    assert told("waiter")["what"] == "the result of a task in another thread or process"
    future.set_result(None)


def test_many_tasks_are_counted() -> None:
    loop, thread = loop_with(*[speech] * 5)
    found = told("loop", "event", "more")
    end_of(loop, thread)
    assert found["what"].count(" of asyncio at ") == 3
    assert found["what"].endswith(" and 2 more tasks")


def test_a_loop_without_tasks_waits_for_nothing_that_is_known() -> None:
    loop, thread = loop_with()
    assert wait_until(lambda: [one for one in waits.look() if one["thread"] == "loop" and not one["kind"]])
    end_of(loop, thread)
