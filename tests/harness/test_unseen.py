"""Unseen: real locks whose holders show no line of it, and a thread that waits for them."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import AsyncIterator, Callable, Iterator
from typing import Any

import pytest

from harness import waits
from tests.harness.points import wait_until


def told(lock: Any, let_go: Callable[[], object]) -> dict[str, Any]:
    """What is told of a thread that waits for it; then it is let go of."""

    def takes() -> None:
        with lock:
            pass

    waiter = threading.Thread(target=takes, name="waiter", daemon=True)
    waiter.start()
    found: dict[str, Any] = {}

    def is_told() -> bool:
        found.update(next(one for one in waits.look() if one["thread"] == "waiter"))
        return bool(found["kind"] == "lock")

    assert wait_until(is_told)
    let_go()
    waiter.join(5.0)
    assert not waiter.is_alive()
    return found


def test_an_exit_stack_holds_what_it_was_entered_with() -> None:
    lock, has_it, end = threading.Lock(), threading.Event(), threading.Event()

    def holds() -> None:
        with contextlib.ExitStack() as stack:
            stack.callback(end.is_set)
            stack.enter_context(lock)
            has_it.set()
            end.wait(20.0)

    holder = threading.Thread(target=holds, name="holder", daemon=True)
    holder.start()
    assert has_it.wait(5.0)
    found = told(lock, end.set)
    holder.join(5.0)
    assert (found["what"], found["link"], found["owner"]) == ("lock lock", "held by", holder.native_id)


def frames(lock: Any) -> Iterator[int]:
    with lock:
        yield 1


@contextlib.contextmanager
def exclusive(lock: Any) -> Iterator[None]:
    lock.acquire()
    yield
    lock.release()


async def clip(lock: Any) -> None:
    with lock:
        await asyncio.sleep(60)


async def pieces(lock: Any) -> AsyncIterator[int]:
    with lock:
        yield 1


def words(function: Callable[..., Any], after: int, what: str) -> str:
    code = getattr(function, "__wrapped__", function).__code__
    line = code.co_firstlineno + after
    return f"lock lock, held by {code.co_name} (harness/test_unseen.py:{line}), a {what} that is suspended"


def test_a_suspended_generator_has_the_lock_of_its_with() -> None:
    lock = threading.Lock()
    generator, of_another = frames(lock), frames(threading.Lock())
    next(of_another)
    next(generator)
    found = told(lock, generator.close)  # type: ignore[attr-defined]
    assert (found["what"], found["owner"], found["link"]) == (words(frames, 2, "generator"), 0, "")


def test_a_context_manager_made_of_a_generator_has_what_it_took() -> None:
    lock = threading.Lock()
    taken = exclusive(lock)
    taken.__enter__()
    found = told(lock, lambda: taken.__exit__(None, None, None))
    assert found["what"] == words(exclusive, 3, "generator")


@pytest.mark.parametrize(("kind", "what"), [(clip, "coroutine"), (pieces, "generator")])
def test_a_coroutine_that_awaits_with_a_lock_has_it(kind: Callable[[Any], Any], what: str) -> None:
    lock, loop = threading.Lock(), asyncio.new_event_loop()
    itself = kind(lock)
    task = loop.create_task(itself if kind is clip else itself.__anext__())
    loop.run_until_complete(asyncio.wait([task], timeout=0.05))

    def let_go() -> None:
        task.cancel()
        end = itself.aclose() if kind is pieces else asyncio.wait([task])
        loop.run_until_complete(end)

    found = told(lock, let_go)
    loop.close()
    assert found["what"] == words(kind, 2, what)


def test_one_that_has_let_go_of_it_or_has_not_come_to_it_is_not_its_holder() -> None:
    lock = threading.Lock()
    done, not_begun = frames(lock), frames(lock)
    list(done)
    lock.acquire()
    found = told(lock, lock.release)
    not_begun.close()  # type: ignore[attr-defined]
    assert (found["what"], found["owner"], found["link"]) == ("lock lock", 0, "held by")
