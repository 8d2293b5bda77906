"""What a bisect takes away gives the points that the command line gives, and nothing else changes."""

from __future__ import annotations

import functools
from dataclasses import asdict, replace
from pathlib import Path

import pytest

from harness import reference, simpler
from harness.bisect import Reduction
from harness.child import jobs_of
from harness.point import Point
from harness.reductions import reductions
from harness.simpler import Simple
from tests.harness.cases import some_now
from tests.harness.conf import planned
from tests.harness.points import ROOT

EIGHT = "workload.jobs=8"
THREADS = ("executor=threads", "executor.workers=2", EIGHT)
REAL = ("tts=xtts", "avatar=ditto", EIGHT)
VOICE = "tts.file=media/voice_3s.wav"  # the default workload's


@pytest.fixture(autouse=True)
def at_the_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)


@functools.cache
def made(*overrides: str) -> Point:
    return planned(*overrides).point


@functools.cache
def simple() -> Simple:
    one, apart = made(), made("tts=canned", "executor=processes", VOICE)
    return Simple(
        tts=one.tts,
        recording=apart.tts,
        avatar=one.avatar,
        sequential=one.executor,
        processes=apart.executor,
        traffic=one.traffic,
        resolution=one.workload["resolution"],
    )


def named(point: Point, job: int = -1) -> dict[str, Reduction]:
    return {each.name: each for each in reductions(point, job, simple())}


AS_TYPED = [
    ((*THREADS, "asr=simulated"), "asr=none", THREADS),
    ((*THREADS, "traffic=poisson"), "traffic=closed", THREADS),
    ((*THREADS, "traffic.until_s=60"), "traffic=closed", THREADS),
    (("executor=queue", "executor.workers=2", EIGHT), "executor=sequential", (EIGHT,)),
    (("executor=processes", EIGHT), "executor=sequential", (EIGHT,)),
    (THREADS, "executor.workers=1", ("executor=threads", "executor.workers=1", EIGHT)),
    (
        ("executor=threads", "executor.workers=3", "workload.jobs=12"),
        "executor.workers=2",
        ("executor=threads", "executor.workers=2", "workload.jobs=12"),
    ),
    (THREADS, "executor=processes", ("executor=processes", "executor.loading=serial", EIGHT)),
    (
        ("executor=pipelined", "executor.workers=2", "executor.loading=parallel", EIGHT),
        "executor=processes",
        ("executor=processes", EIGHT),
    ),
    (THREADS, "executor.share=own", (*THREADS, "executor.share=own")),
    ((*THREADS, "executor.share=unlocked"), "executor.share=locked", THREADS),
    ((*THREADS, "executor.lazy=true"), "executor.lazy=false", THREADS),
    ((*THREADS, "executor.loading=parallel"), "executor.loading=serial", THREADS),
    ((*THREADS, "executor.order=[avatar,tts]"), "executor.order=null", THREADS),
    (
        ("executor=pipelined", "executor.split=stage", EIGHT),
        "executor.split=component",
        ("executor=pipelined", EIGHT),
    ),
    ((*REAL, "executor.cpu_threads=2"), "executor.cpu_threads=1", REAL),
    (REAL, "avatar=simulated", ("tts=xtts", EIGHT)),
    (REAL, "tts=canned", ("tts=canned", VOICE, "avatar=ditto", EIGHT)),
    (("tts=canned", EIGHT), "tts=simulated", (EIGHT,)),
    ((*REAL, "avatar.backend=onnxruntime", "avatar.batch=4"), "avatar with nothing optimised", REAL),
    (
        (*REAL, "avatar.backend=onnxruntime", "avatar.precision=bf16"),
        "avatar.precision=fp32",
        (*REAL, "avatar.backend=onnxruntime"),
    ),
    ((*REAL, "avatar.stage_backend.warp=compile"), "avatar.stage_backend.warp=null", REAL),
    ((*REAL, "tts.mode=stream"), "tts.mode=full", REAL),
    ((*REAL, "avatar.mode=online"), "avatar.mode=offline", REAL),
    ((*REAL, "workload.resolution=720x960"), "workload.resolution=180x240", REAL),
]


@pytest.mark.parametrize("case", some_now(AS_TYPED), ids=lambda case: f"{case[1]} of {case[0][0]}")
def test_a_reduction_is_what_its_name_makes_on_the_command_line(
    case: tuple[tuple[str, ...], str, tuple[str, ...]],
) -> None:
    before, name, after = case
    point, wanted = made(*before), made(*after)
    given = named(point)[name].apply(point)
    assert asdict(given) | {"limits": {}} == asdict(wanted) | {"limits": {}}
    assert given.id == wanted.id != point.id


@pytest.mark.parametrize(
    ("overrides", "names"),
    [
        ((EIGHT,), {"workload.jobs=1", "one job for each worker"}),
        (REAL, {"workload.jobs=1", "one job for each worker", "avatar=simulated", "tts=canned"}),
        (
            THREADS,
            {
                "workload.jobs=1", "one job for each worker", "executor=sequential", "executor.workers=1",
                "executor=processes", "executor.share=own",
            },
        ),
        (
            ("executor=pipelined", "executor.workers=2", "executor.stages=processes", EIGHT),
            {
                "workload.jobs=1", "one job for each worker", "executor=sequential", "executor.workers=1",
                "executor=processes", "executor.stages=threads",
            },
        ),
    ],
)  # fmt: skip
def test_a_reduction_without_anything_to_take_away_changes_nothing(
    overrides: tuple[str, ...], names: set[str]
) -> None:
    point = made(*overrides)
    changing = {name for name, each in named(point).items() if each.apply(point).id != point.id}
    assert changing == names


def test_every_reduction_done_twice_is_done_once() -> None:
    everything = made(
        *REAL, "executor=pipelined", "executor.workers=2", "asr=simulated", "traffic=poisson",
        "avatar.backend=compile", "tts.backend=compile", "executor.loading=parallel",
    )  # fmt: skip
    for each in named(everything, job=3).values():
        once = each.apply(everything)
        assert each.apply(once) == once, each.name
        assert each.feature(everything), each.name


def test_a_job_alone_says_the_same_by_the_same_seed_as_among_the_others(tmp_path: Path) -> None:
    point = made(EIGHT, "tts=canned", "workload.seconds=[1,2]", "workload.language=[en,de,fr]")
    alone = named(point, job=4)["job 4 alone"].apply(point)
    [job] = jobs_of(alone, tmp_path)
    other = jobs_of(point, tmp_path)[4]
    assert replace(job, index=4, output=other.output) == other
    assert (job.language, alone.tts["seconds"]) == ("de", [1])


def test_jobs_after_the_one_that_failed_may_go() -> None:
    point = made(EIGHT)
    assert named(point, job=4)["workload.jobs=5"].apply(point).num_jobs == 5
    assert not [name for name in named(point, job=0) if "alone" in name]


def test_a_fault_in_a_stage_that_a_simulated_component_has_not_cannot_strike() -> None:
    point = made(*REAL)
    for where, kind in (({"stage": "warp"}, "none"), ({"stage": None}, "hang"), ({"phase": "load"}, "hang")):
        fault = {**point.fault, "kind": "hang", "component": "avatar", **where}
        given = named(point)["avatar=simulated"].apply(replace(point, fault=fault))
        assert given.fault == {**fault, "kind": kind}


def test_what_takes_the_place_of_a_component_leaves_no_sample_to_be_judged() -> None:
    point = made(*REAL)
    given = named(point)["avatar=simulated"].apply(point).quality
    assert given == made("tts=xtts", EIGHT).quality
    assert list(given["optimised"]) == ["tts"]


def test_the_reference_of_a_variant_is_the_sequential_point_of_its_work() -> None:
    broken = {**made(*THREADS).fault, "kind": "raise", "component": "avatar"}
    point = replace(made(*THREADS), fault=broken, traffic={"kind": "poisson", "rate_per_min": 10})
    alone = simpler.alone(point, simple())
    assert alone.id == replace(made(EIGHT), fault={**broken, "kind": "none"}).id
    assert reference.is_reference(asdict(alone))
    assert reference.same_output(asdict(alone)) == reference.same_output(asdict(point))


def test_old_points_without_the_younger_settings_can_be_made_simpler() -> None:
    point = made(*THREADS)
    old = replace(
        point, executor={"name": "threads", "workers": 2}, traffic={}, quality={}, fault={"kind": "none"}
    )
    changing = [name for name, each in named(old).items() if each.apply(old).id != old.id]
    assert changing == [
        "workload.jobs=1", "one job for each worker", "executor=sequential", "executor.workers=1",
        "executor=processes",
    ]  # fmt: skip
