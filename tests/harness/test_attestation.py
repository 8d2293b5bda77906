"""What ran against what was asked, on attestations written by hand."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from harness.attestation import changes, compared, is_attested, mismatches
from harness.point import Point
from harness.result import Measurement, Outcome
from tests.harness.points import avatar, point

ASKED = {
    "_target_": "x.Y",
    "device": "cuda",
    "weights": "random",
    "precision": "fp16",
    "steps": 10,
    "encoder": "auto",
}
STAGES = {"warp": {"backend": "eager", "dtype": "float16", "device": "cuda:0"}}


def part(**changes: Any) -> dict[str, Any]:
    """An attestation that agrees with ASKED, but for `changes`; those of `ran` are merged."""
    ran = {"device": "cuda", "precision": "fp16", "steps": 10, "encoder": "x264"} | changes.pop("ran", {})
    return {"weights": "random", "device": "cuda:0", "size": "full", "stages": STAGES, "ran": ran} | changes


def unlike(*parts: dict[str, Any], asked: dict[str, Any] = ASKED) -> list[str]:
    attested = {f"worker {number}": {"avatar": one} for number, one in enumerate(parts)}
    return mismatches({"avatar": asked}, attested)


def test_what_ran_as_asked_is_no_mismatch_and_what_was_left_open_neither() -> None:
    assert unlike(part(), part(device="cuda:1")) == []


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"ran": {"precision": "fp32"}}, "avatar.precision=fp16 was asked, fp32 ran (worker 0)"),
        ({"ran": {"steps": 50}}, "avatar.steps=10 was asked, 50 ran (worker 0)"),
        ({"device": "cpu", "ran": {"device": "cpu"}}, "avatar.device=cuda was asked, cpu ran (worker 0)"),
        ({"weights": "checkpoint ab12"}, "avatar.weights=random was asked, checkpoint ab12 ran (worker 0)"),
        (
            {"stages": {"features": {"backend": "onnxruntime", "device": "cpu"}}},
            "avatar.device=cuda: stage features was meant for cuda, ran on cpu by onnxruntime (worker 0)",
        ),
        (
            {"stages": {"gpt": {"device": "cpu+cuda:0"}}},
            "avatar.device=cuda: stage gpt was meant for cuda, ran on cpu+cuda:0 (worker 0)",
        ),
    ],
)
def test_what_ran_otherwise_is_told_with_both_values(changed: dict[str, Any], said: str) -> None:
    assert unlike(part(**changed)) == [said]


def test_a_stage_that_belongs_on_the_cpu_says_so_by_what_it_is_meant_for() -> None:
    assert unlike(part(stages={"write": {"device": "cpu", "meant": "cpu"}})) == []
    [said] = unlike(part(stages={"putback": {"device": "cpu", "meant": "cuda"}}))
    assert "stage putback was meant for cuda, ran on cpu" in said


def test_random_weights_where_a_checkpoint_was_asked_are_told() -> None:
    [said] = unlike(part(), asked=ASKED | {"weights": "/models/ditto"})
    assert said == "avatar.weights=/models/ditto was asked, random ran (worker 0)"
    assert unlike(part(weights="checkpoint ab12"), asked=ASKED | {"weights": "/models/ditto"}) == []


def test_lists_are_compared_by_their_members_and_numbers_by_value() -> None:
    asked = {"overlap": 10, "emo": [3, 4], "alpha": 1.0}
    assert unlike({"ran": {"overlap": 10.0, "emo": (3, 4), "alpha": 1}}, asked=asked) == []
    assert unlike({"ran": {"emo": [4, 3]}}, asked=asked) == [
        "avatar.emo=[3, 4] was asked, [4, 3] ran (worker 0)"
    ]


def test_workers_that_run_different_things_are_told() -> None:
    [said] = unlike(part(options={"tf32": True}), part(options={"tf32": False}))
    assert said == "avatar.options.tf32 is true on worker 0 and false on worker 1"


def attest(worker: int, **more: Any) -> dict[str, Any]:
    return {"event": "attest", "component": "tts", "worker": worker, "attestation": part(**more)}


def test_what_another_component_changed_after_the_load_is_told() -> None:
    [said] = changes([attest(-1, tf32=False), attest(-1, tf32=True)])
    assert said == "tts.tf32 was false after the load and true at the end (shared)"


def test_counts_may_grow_and_what_was_not_known_yet_is_no_change() -> None:
    first = attest(0, speakers_computed=1, options={"encoder": None})
    assert changes([first, attest(1), attest(0, speakers_computed=4, options={"encoder": "x264"})]) == []


def test_results_without_what_ran_are_never_called_attested() -> None:
    old = part()
    del old["ran"]
    assert is_attested({"avatar": ASKED}, {"worker 0": {"avatar": part()}})
    assert not is_attested({"avatar": ASKED}, {"worker 0": {"avatar": old}})
    assert not is_attested({"avatar": ASKED, "tts": ASKED}, {"worker 0": {"avatar": part()}})
    assert not is_attested({"avatar": ASKED}, {})


def test_keys_that_nothing_was_read_back_of_are_listed() -> None:
    read, unread = compared({"avatar": ASKED | {"emo": 4}}, {"worker 0": {"avatar": part()}}, "avatar")
    assert read == ["device", "encoder", "precision", "size", "steps", "weights"]
    assert unread == ["emo"]


def test_a_point_that_ran_something_else_is_invalid(
    measured: Callable[[Point], Measurement],
) -> None:
    config = avatar(_target_="tests.harness.components.SaysFp32", precision="fp16")
    result = measured(point(avatar=config)).result
    assert result.outcome is Outcome.INVALID
    assert result.reason == "avatar.precision=fp16 was asked, fp32 ran (worker 0)"
    assert result.evidence["mismatches"] == [result.reason]
    assert result.wall_s is None


def test_a_process_wide_setting_that_a_later_component_changed_makes_the_point_invalid(
    measured: Callable[[Point], Measurement],
) -> None:
    changed = point(
        tts={**point().tts, "_target_": "tests.harness.components.ReadsFlag"},
        avatar=avatar(_target_="tests.harness.components.SetsFlag"),
    )
    result = measured(changed).result
    assert result.outcome is Outcome.INVALID
    assert result.reason == "tts.options.flag was false after the load and true at the end (worker 0)"
    alone = replace(changed, avatar=avatar())
    assert measured(alone).result.outcome is Outcome.OK
