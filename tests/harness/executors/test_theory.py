"""With known service times each executor is a queue of the textbooks: rates, waits and use are as computed.

The engine sleeps for known times, so that whatever differs is the executor's. Each run is compared with the
exact recursion of its queue; the recursions, and the arrivals, with closed forms.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Sequence
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np
import pytest

from harness.executors.arrivals import due_s
from tests.harness.executors.loads import Run, here, loaded
from tests.harness.executors.theory import exponential_s, lindley, served, taking_turns, tandem

SPEAK_S, DRAW_S = 0.04, 0.06
SERVICE_S = SPEAK_S + DRAW_S
# Where waits add up what each job loses, or a process is handed what the next one needs.
LONGER = 2

Ran = Callable[..., Run]


@pytest.fixture
def ran(tmp_path: Path, on_time: None) -> Ran:
    """Runs an executor with these service times, and what else is given to `loaded`."""
    numbers = itertools.count()
    times = {"speak_s": SPEAK_S, "draw_s": DRAW_S}
    return lambda *given, **settings: here(
        loaded(*given, **(times | settings)), tmp_path / f"run{next(numbers)}"
    )


def near(value: float, share: float = 0.03) -> Any:
    return pytest.approx(value, rel=share)


def slow(*given: Any) -> Any:
    return pytest.param(*given, marks=pytest.mark.slow)


def last(times: Sequence[tuple[float, ...]]) -> float:
    """When the last job ends."""
    return max(time[-1] for time in times)


def poisson(share_busy: float, service_s: float, servers: int = 1, seed: int = 1) -> dict[str, Any]:
    """Arrivals at random that keep the servers busy for that share of the time."""
    return {"kind": "poisson", "rate_per_min": 60 * share_busy * servers / service_s, "seed": seed}


@pytest.mark.parametrize(
    ("executor", "workers"),
    [("sequential", 1), ("threads", 2), slow("threads", 3), slow("processes", 2), slow("processes", 3)],
)
def test_a_closed_loop_keeps_every_worker_busy(ran: Ran, executor: str, workers: int) -> None:
    jobs, longer = 4 * workers, {"speak_s": SPEAK_S * workers, "draw_s": DRAW_S * workers}
    run = ran(executor, workers, jobs, share="own", **longer)
    assert jobs / run.wall_s == near(1 / SERVICE_S)
    assert (run.busy_s("tts") + run.busy_s("avatar")) / (workers * run.wall_s) == near(1.0)


@pytest.mark.slow
@pytest.mark.parametrize("workers", [3, slow(1), slow(2)])
def test_a_queue_in_one_thread_is_one_server_whatever_the_workers_where_stages_sleep(
    ran: Ran, workers: int
) -> None:
    run = ran("queue", workers, 6)
    assert 6 / run.wall_s == near(1 / SERVICE_S)
    assert (run.busy_s("tts") + run.busy_s("avatar")) / run.wall_s == near(1.0)


@pytest.mark.slow
@pytest.mark.parametrize(("workers", "jobs"), [(3, 10), slow(2, 30), slow(4, 40)])
def test_threads_with_one_locked_tts_are_two_stations(ran: Ran, workers: int, jobs: int) -> None:
    run = ran("threads", workers, jobs)
    theory = taking_turns(SPEAK_S, DRAW_S, workers, jobs)
    assert jobs / run.wall_s == near(jobs / last(theory))
    assert run.busy_s("tts") / run.wall_s == near(jobs * SPEAK_S / last(theory))
    stood = [span.seconds for span in run.spans if span.phase == "wait"]
    expected = mean(has_lock - start for start, has_lock, _ in theory)
    assert mean(stood) == pytest.approx(expected, abs=0.03 * SERVICE_S)


@pytest.mark.slow
@pytest.mark.parametrize(("executor", "jobs"), [("sequential", 6), slow("queue", 25), slow("processes", 25)])
def test_at_equal_distances_nobody_waits_while_there_is_time(ran: Ran, executor: str, jobs: int) -> None:
    gap_s = 0.125
    run = ran(executor, 1, jobs, traffic={"kind": "constant", "rate_per_min": 60 / gap_s})
    assert mean(run.waits_s) < 0.03 * SERVICE_S
    assert run.wall_s == near((jobs - 1) * gap_s + SERVICE_S)
    use = (run.busy_s("tts") + run.busy_s("avatar")) / run.wall_s
    assert use == near(jobs * SERVICE_S / ((jobs - 1) * gap_s + SERVICE_S))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("executor", "workers", "jobs", "times"),
    [
        ("sequential", 1, 10, 1),
        slow("sequential", 1, 50, LONGER),
        slow("queue", 1, 50, LONGER),
        slow("threads", 2, 60, LONGER),
        slow("processes", 2, 60, LONGER),
        slow("processes", 3, 60, LONGER),
    ],
)
def test_requests_that_come_at_random_wait_as_computed(
    ran: Ran, executor: str, workers: int, jobs: int, times: int
) -> None:
    service_s, traffic = SERVICE_S * times, poisson(0.75, SERVICE_S * times, workers)
    longer = {"speak_s": SPEAK_S * times, "draw_s": DRAW_S * times}
    run = ran(executor, workers, jobs, share="own", traffic=traffic, **longer)
    took = [job.end_s - job.start_s for job in run.jobs]
    due = [job.due_s for job in run.jobs if job.due_s is not None]
    theory = served(due, took, workers)
    assert mean(took) == near(service_s)
    assert mean(run.waits_s) > 0.1 * service_s  # there is something to compare
    assert mean(run.waits_s) == near(mean(start - came for (start, _), came in zip(theory, due, strict=True)))
    use = (run.busy_s("tts") + run.busy_s("avatar")) / run.wall_s / workers
    assert use == near(jobs * service_s / last(theory) / workers)


@pytest.mark.parametrize("share_busy", [slow(0.3), slow(0.5), 0.8])
def test_the_arrivals_at_random_give_the_waits_of_pollaczek_and_khinchine(share_busy: float) -> None:
    arrivals = np.fromiter(due_s(poisson(share_busy, 1.0), 1_000_000), np.float64)
    waits = lindley(arrivals, 1.0)
    # M/D/1: W = rho S / (2 (1 - rho))
    assert float(waits.mean()) == near(share_busy / (2 * (1 - share_busy)))


def test_the_recursions_agree_where_they_describe_the_same_queue() -> None:
    due = list(due_s(poisson(0.7, 1.0), 500))
    waits = [start - came for (start, _), came in zip(served(due, [1.0] * 500), due, strict=True)]
    assert waits == pytest.approx(list(lindley(np.array(due), 1.0)))
    # a line with endless room whose first station takes no time is its second alone
    line = tandem([0.0] * 500, [1.0] * 500, 500, due)
    assert [end for _, end in line] == pytest.approx([end for _, end in served(due, [1.0] * 500)])


@pytest.mark.parametrize("places", [1, 2, 5])
def test_the_recursion_of_a_line_gives_the_known_rate_of_equal_exponential_stations(places: int) -> None:
    first, second = np.random.default_rng(places).exponential(1.0, (2, 60_000)).tolist()
    # Blocking after service: mu (B + 2) / (B + 3) (Hunt 1956, with the place at the second station counted)
    assert 60_000 / last(tandem(first, second, places)) == near((places + 2) / (places + 3))


def test_what_the_engine_draws_by_seed_is_exponential() -> None:
    drawn = np.array(exponential_s(0.04, "speak", 20_000))
    assert float(drawn.mean()) == near(0.04)
    assert float(drawn.std()) == near(0.04)
    assert float(np.quantile(drawn, 0.9)) == near(0.04 * np.log(10))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("jobs", "workers", "times", "settings"),
    [
        (20, 1, 1, {"depth": 1}),
        slow(60, 1, LONGER, {"depth": 1}),
        slow(60, 1, LONGER, {"depth": 2}),
        slow(60, 1, LONGER, {"depth": 1, "split": "stage"}),
        slow(60, 2, LONGER, {"depth": 1}),
        slow(60, 1, LONGER, {"depth": 1, "stages": "processes"}),
        slow(60, 2, LONGER, {"depth": 2, "stages": "processes"}),
    ],
)
def test_a_pipeline_is_a_line_of_stations_with_places_between(
    ran: Ran, jobs: int, workers: int, times: int, settings: dict[str, Any]
) -> None:
    speak_s, draw_s = SPEAK_S * times, SPEAK_S * times * workers
    run = ran("pipelined", workers, jobs, speak_s=speak_s, draw_s=draw_s, spread="exponential", **settings)
    first, second = exponential_s(speak_s, "speak", jobs), exponential_s(draw_s, "draw", jobs)
    theory = tandem(first, second, settings["depth"], servers=workers)
    assert run.busy_s("tts") == near(sum(first))
    assert run.busy_s("avatar") == near(sum(second))
    assert jobs / run.wall_s == near(jobs / last(theory))
    took = [job.end_s - job.start_s for job in run.jobs]
    assert mean(took) == near(mean(end - start for start, end in theory))


@pytest.mark.slow
@pytest.mark.parametrize("stages", ["threads", "processes"])
def test_a_pipeline_that_requests_come_to_at_random_is_that_line(ran: Ran, stages: str) -> None:
    jobs, each_s = 60, SPEAK_S * LONGER
    traffic = poisson(0.6, each_s)
    given = {"speak_s": each_s, "draw_s": each_s, "spread": "exponential", "stages": stages}
    run = ran("pipelined", 1, jobs, traffic=traffic, **given)
    due = list(due_s(traffic, jobs))
    first, second = exponential_s(each_s, "speak", jobs), exponential_s(each_s, "draw", jobs)
    theory = list(zip(due, tandem(first, second, 1, due), strict=True))
    assert mean(run.waits_s) > 0.3 * each_s  # there is something to compare
    assert mean(run.waits_s) == near(mean(start - came for came, (start, _) in theory))
    latency_s = [job.end_s - (job.due_s or 0.0) for job in run.jobs]
    assert mean(latency_s) == near(mean(end - came for came, (_, end) in theory))


@pytest.mark.slow
@pytest.mark.parametrize(
    ("speak_s", "draw_s", "workers", "stages"),
    [
        (0.03, 0.09, 1, "threads"),
        slow(0.09, 0.03, 1, "threads"),
        slow(0.04, 0.06, 2, "threads"),
        slow(0.05, 0.15, 1, "processes"),
        slow(0.15, 0.05, 1, "processes"),
        slow(0.12, 0.16, 2, "processes"),
    ],
)
def test_a_pipeline_goes_at_the_rate_of_its_slowest_part(
    ran: Ran, speak_s: float, draw_s: float, workers: int, stages: str
) -> None:
    jobs = 8
    run = ran("pipelined", workers, jobs, speak_s=speak_s, draw_s=draw_s, stages=stages)
    ends = sorted(job.end_s for job in run.jobs)
    assert (jobs - workers) / (ends[-1] - ends[workers - 1]) == near(1 / max(speak_s, draw_s / workers), 0.02)


@pytest.mark.slow
@pytest.mark.parametrize("executor", ["sequential", slow("queue"), slow("threads"), slow("processes")])
def test_who_comes_while_a_job_is_stuck_waits_in_the_figures(ran: Ran, executor: str) -> None:
    """No coordinated omission: latency counts from when a request was due, not from when it was begun."""
    jobs, gap_s = 6, 0.125
    stall = {"kind": "slow", "component": "avatar", "stage": "draw", "job": 1, "seconds": 4 * SERVICE_S}
    run = ran(executor, 1, jobs, fault=stall, traffic={"kind": "constant", "rate_per_min": 60 / gap_s})
    services = [SERVICE_S] * jobs
    services[1] *= 5
    due = [gap_s * number for number in range(jobs)]
    theory = [end - came for (_, end), came in zip(served(due, services), due, strict=True)]
    latency_s = [job.end_s - (job.due_s or 0.0) for job in run.jobs]
    assert [job.due_s for job in run.jobs] == pytest.approx(due, abs=0.001)
    assert mean(latency_s) == near(mean(theory))
    assert latency_s[2:] == pytest.approx(theory[2:], abs=0.25 * SERVICE_S)
    assert min(latency_s[2:]) > 3 * SERVICE_S  # who counts from the beginning of the work sees none of it
    assert max(job.end_s - job.start_s for job in run.jobs[2:]) < 1.1 * SERVICE_S
