"""Placement: which components there are for whom; that they load in the order, when and how it was asked."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest

from engines.simulated import Simulated
from harness.executors.job import SHARED, Placed
from harness.executors.parts import Loaded
from harness.point import Point
from harness.result import Measurement, Span
from tests.harness.points import avatar, point, speaker

Measured = Callable[[Point], Measurement]
OWN = {"workers": 2, "order": None, "loading": "serial", "lazy": False}
SHARING = {**OWN, "share": "locked", "shared": ["tts", "asr"]}
PATIENCE_S = 5.0


class Builds:
    """Stands in for harness.child's builder: notes what is built, in which order."""

    names = ("tts", "avatar", "asr")

    def __init__(self, meanwhile: Callable[[str, int], object] = lambda name, worker: None) -> None:
        self.built: list[tuple[str, int]] = []
        self._meanwhile = meanwhile

    def __call__(self, name: str, worker: int) -> Placed:
        self.built.append((name, worker))
        self._meanwhile(name, worker)
        return Placed(Simulated(name, 0.0, 0.0, {}), worker=worker)


def load_order(options: dict[str, Any], **changes: Any) -> list[tuple[str, int]]:
    build = Builds()
    Loaded(build, {**options, **changes}).load()
    return build.built


# t and s: the shared TTS and recogniser; 0 and 1: the avatars
EVERY = {
    "tts,asr,avatar": "ts01", "tts,avatar,asr": "t01s", "asr,tts,avatar": "st01",
    "asr,avatar,tts": "s01t", "avatar,tts,asr": "01ts", "avatar,asr,tts": "01st",
    "avatar,tts,avatar,asr": "0t1s", "avatar,asr,avatar,tts": "0s1t", "avatar,tts,asr,avatar": "0ts1",
    "avatar,asr,tts,avatar": "0st1", "tts,avatar,asr,avatar": "t0s1", "asr,avatar,tts,avatar": "s0t1",
}  # fmt: skip
LETTER = {"t": ("tts", SHARED), "s": ("asr", SHARED), "0": ("avatar", 0), "1": ("avatar", 1)}


@pytest.mark.parametrize("order", EVERY)
def test_all_twelve_orders_of_a_shared_tts_and_recogniser_and_two_avatars(order: str) -> None:
    assert load_order(SHARING, order=order.split(",")) == [LETTER[letter] for letter in EVERY[order]]


def test_without_an_order_it_is_tts_avatar_recogniser() -> None:
    assert load_order(SHARING) == [("tts", -1), ("avatar", 0), ("avatar", 1), ("asr", -1)]


def test_what_is_not_named_comes_last() -> None:
    assert load_order(SHARING, order=["asr"]) == [("asr", -1), ("tts", -1), ("avatar", 0), ("avatar", 1)]


def test_what_is_not_there_is_not_waited_for() -> None:
    build = Builds()
    Loaded(build, {**SHARING, "order": ["asr", "avatar", "tts"]}, names=["tts", "avatar"]).load()
    assert build.built == [("avatar", 0), ("avatar", 1), ("tts", -1)]


def test_a_component_that_is_named_more_often_than_it_is_there_loads_once_each() -> None:
    assert load_order(SHARING, order=["tts", "avatar", "tts", "avatar", "avatar"]) == [
        ("tts", -1), ("avatar", 0), ("avatar", 1), ("asr", -1)
    ]  # fmt: skip


def test_where_nothing_is_shared_each_worker_has_its_own_in_the_order_of_the_components() -> None:
    assert load_order(SHARING, share="own", order=["asr", "tts", "avatar", "tts"]) == [
        ("asr", 0), ("asr", 1), ("tts", 0), ("avatar", 0), ("avatar", 1), ("tts", 1)
    ]  # fmt: skip


def test_a_worker_process_loads_its_own_in_the_order() -> None:
    build = Builds()
    Loaded(build, {**OWN, "order": ["avatar", "asr", "tts"]}, [1]).load()
    assert build.built == [("avatar", 1), ("asr", 1), ("tts", 1)]


def test_a_lazy_component_is_loaded_by_the_first_that_needs_it_and_once() -> None:
    both = threading.Barrier(2)
    build = Builds(lambda name, worker: threading.Event().wait(0.02))
    parts = Loaded(build, {**SHARING, "lazy": True})
    parts.load()
    assert build.built == []
    got: list[Placed] = []

    def use() -> None:
        both.wait(PATIENCE_S)
        got.append(parts("tts", 0)[0])

    threads = [threading.Thread(target=use) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(PATIENCE_S)
    assert build.built == [("tts", -1)]
    assert got[0] is got[1]


def test_parallel_loads_are_all_under_way_at_once() -> None:
    everybody = threading.Barrier(4)
    build = Builds(lambda name, worker: everybody.wait(PATIENCE_S))  # raises where one is missing
    Loaded(build, {**SHARING, "loading": "parallel"}).load()
    assert sorted(build.built) == [("asr", -1), ("avatar", 0), ("avatar", 1), ("tts", -1)]


def test_a_load_that_fails_is_told_at_once_although_another_one_is_stuck() -> None:
    forever = threading.Event()

    def meanwhile(name: str, worker: int) -> None:
        if name == "tts":
            raise RuntimeError("no TTS today")
        forever.wait(PATIENCE_S)

    with pytest.raises(RuntimeError, match="no TTS today"):
        Loaded(Builds(meanwhile), {**SHARING, "loading": "parallel"}).load()
    assert not forever.is_set()
    forever.set()


def placed(executor: str, workers: int, **options: Any) -> Point:
    """A point with a recogniser; each load takes 0.1 s."""
    asr = {
        "_target_": "engines.simulated.Simulated",
        "role": "asr",
        "load_s": 0.1,
        "warm_up_s": 0,
        "stages": {},
    }
    made = point(executor, workers, tts=speaker(load_s=0.1), avatar=avatar(load_s=0.1), asr=asr)
    return replace(made, executor={**made.executor, **options})


def loads(measurement: Measurement) -> Sequence[Span]:
    assert measurement.result.outcome == "ok", measurement.result.reason
    return [span for span in measurement.spans if span.phase == "load"]  # stored by their start


def test_the_load_spans_of_threads_come_one_after_the_other_as_asked(measured: Measured) -> None:
    order = ["avatar", "asr", "avatar", "tts"]
    found = loads(measured(placed("threads", 2, order=order, share="locked", shared=["tts", "asr"])))
    assert [(span.component, span.worker) for span in found] == [
        ("avatar", 0), ("asr", -1), ("avatar", 1), ("tts", -1)
    ]  # fmt: skip
    assert all(one.end_ns <= other.start_ns for one, other in itertools.pairwise(found))


def test_processes_load_one_after_the_other_where_that_is_asked(measured: Measured) -> None:
    found = loads(measured(placed("processes", 2, order=["asr", "avatar", "tts"], loading="serial")))
    assert [(span.component, span.worker) for span in found] == [
        ("asr", 0), ("avatar", 0), ("tts", 0), ("asr", 1), ("avatar", 1), ("tts", 1)
    ]  # fmt: skip
    assert all(one.end_ns <= other.start_ns for one, other in itertools.pairwise(found))


def test_parallel_loads_overlap_in_threads_of_their_own(measured: Measured) -> None:
    found = loads(measured(placed("threads", 1, loading="parallel", share="locked", shared=["tts"])))
    assert len(found) == 3
    assert max(span.start_ns for span in found) < min(span.end_ns for span in found)


def test_a_lazy_load_lies_in_the_first_job_that_needs_it(measured: Measured) -> None:
    measurement = measured(placed("threads", 1, lazy=True))
    found = loads(measurement)
    assert sorted(span.component for span in found) == ["asr", "avatar", "tts"]
    [first] = [span for span in measurement.spans if (span.phase, span.job) == ("job", 0)]
    assert all(first.start_ns <= span.start_ns < span.end_ns <= first.end_ns for span in found)
    slow, fast = (job.end_s - job.start_s for job in measurement.result.jobs)
    assert slow > fast + 0.3  # three loads of 0.1 s, in the time of the first request
