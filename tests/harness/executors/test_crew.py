"""Crews stop together, and channels hold what they may hold and keep nobody who is to stop."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from itertools import pairwise

import pytest

from harness.executors.crew import Channel, Crew, Stopped
from tests.harness.points import wait_until


def fail(word: str) -> Callable[[], None]:
    def work() -> None:
        raise ValueError(word)

    return work


def channel(depth: int, writers: int = 1) -> Channel[int]:
    return Channel(depth, threading.Event(), writers)


def later(work: Callable[[], object], seconds: float = 0.05) -> threading.Thread:
    thread = threading.Timer(seconds, work)
    thread.daemon = True
    thread.start()
    return thread


def test_a_crew_is_done_when_all_are() -> None:
    crew, done = Crew(), list[int]()
    for number in range(3):
        crew.add(f"one {number}", lambda number=number: (time.sleep(0.01 * number), done.append(number)))
    crew.run()
    assert done == [0, 1, 2]


def test_the_first_error_is_raised_at_once_while_another_is_stuck_and_stops_who_waits() -> None:
    crew = Crew()
    ends, stuck = list[str](), threading.Event()

    def wait() -> None:
        try:
            Channel[int](1, crew.stop).get()
        except Stopped:
            ends.append("stopped")
            raise

    crew.add("waits", wait)
    crew.add("is stuck", stuck.wait)
    crew.add("fails", fail("first"))
    before_s = time.monotonic()
    with pytest.raises(ValueError, match="first"):
        crew.run()
    assert time.monotonic() - before_s < 0.3
    assert wait_until(lambda: ends == ["stopped"], 1.0)
    stuck.set()


def test_who_is_stopped_by_another_never_hides_the_reason() -> None:
    for _ in range(50):
        crew = Crew()
        for _ in range(4):
            crew.add("waits", Channel[int](1, crew.stop).get)
        crew.add("fails", fail("the reason"))
        with pytest.raises(ValueError, match="the reason"):
            crew.run()


def test_whatever_ends_the_wait_stops_the_crew(monkeypatch: pytest.MonkeyPatch) -> None:
    crew, started = Crew(), list[str]()
    crew.add("waits", Channel[int](1, crew.stop).get)
    crew.add("never starts", fail("never"))
    start = threading.Thread.start

    def starts(thread: threading.Thread) -> None:
        if thread.name == "never starts":
            raise RuntimeError("can't start new thread")
        started.append(thread.name)
        start(thread)

    monkeypatch.setattr(threading.Thread, "start", starts)
    with pytest.raises(RuntimeError, match="can't start"):
        crew.run()
    assert started == ["waits"]
    assert wait_until(lambda: "waits" not in {thread.name for thread in threading.enumerate()}, 1.0)


def test_items_come_out_in_order_and_then_the_end() -> None:
    pipe = channel(3)
    for item in range(3):
        assert pipe.offer(item)
    pipe.close()
    assert list(pipe) == [0, 1, 2]
    assert pipe.get() is None


def test_a_full_channel_takes_nothing_and_lets_a_writer_wait_for_room() -> None:
    pipe = channel(1)
    assert pipe.offer(0)
    assert not pipe.offer(1)
    later(pipe.get)
    before_s = time.monotonic()
    pipe.put(2)
    assert 0.04 < time.monotonic() - before_s < 0.5
    assert [item for _, item in [pipe.get() or (0, None)]] == [2]


def test_an_item_says_since_when_it_has_lain_there() -> None:
    pipe = channel(1)
    before_ns = time.monotonic_ns()
    pipe.put(0)
    after_ns = time.monotonic_ns()
    time.sleep(0.01)
    found = pipe.get()
    assert found is not None
    assert before_ns <= found[0] <= after_ns


def test_a_reader_waits_until_something_comes() -> None:
    pipe = channel(1)
    later(lambda: pipe.put(7))
    assert (pipe.get() or (0, None))[1] == 7


def test_a_channel_of_several_writers_ends_with_the_last_of_them() -> None:
    pipe = channel(4, writers=2)
    pipe.close()
    later(lambda: (pipe.put(1), pipe.close()))
    assert list(pipe) == [1]


@pytest.mark.parametrize("way", ["get", "put"])
def test_a_stop_reaches_who_waits_and_who_comes_later(way: str) -> None:
    pipe = channel(1)
    if way == "put":
        pipe.put(0)

    def use() -> object:
        return pipe.put(1) if way == "put" else pipe.get()

    later(pipe.stop.set)
    before_s = time.monotonic()
    for _ in range(2):
        with pytest.raises(Stopped):
            use()
    assert time.monotonic() - before_s < 0.5


@pytest.mark.parametrize(("writers", "readers", "depth"), [(1, 1, 1), (3, 1, 2), (1, 3, 1), (3, 3, 2)])
def test_nothing_is_lost_or_doubled_or_overtakes_between_many(writers: int, readers: int, depth: int) -> None:
    crew, each = Crew(), 300
    pipe = Channel[tuple[int, int]](depth, crew.stop, writers)
    found: list[list[tuple[int, int]]] = [[] for _ in range(readers)]

    def write(number: int) -> None:
        for item in range(each):
            if not pipe.offer((number, item)):
                pipe.put((number, item))
        pipe.close()

    for number in range(writers):
        crew.add("writer", lambda number=number: write(number))
    for taken in found:
        crew.add("reader", lambda taken=taken: taken.extend(pipe))
    crew.run()
    everything = [item for taken in found for item in taken]
    assert sorted(everything) == [(number, item) for number in range(writers) for item in range(each)]
    for taken in found:
        for number in range(writers):
            own = [item for writer, item in taken if writer == number]
            assert all(before < after for before, after in pairwise(own))
