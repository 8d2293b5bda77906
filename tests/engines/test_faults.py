"""Faults strike where they are told to and nowhere else."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping
from typing import Any

import pytest

from engines import faults
from engines.contract import Component, Piece
from engines.simulated import Simulated
from tests.engines.test_simulated import job

NONE = {
    "kind": "none",
    "component": None,
    "phase": "stage",
    "stage": None,
    "worker": None,
    "job": None,
    "seconds": 0,
}
STAGES: Mapping[str, Mapping[str, Any]] = {"motion": {}, "render": {"per": "frame"}}


def wrapped(**fault: Any) -> Component:
    plain = Simulated("avatar", load_s=0, warm_up_s=0, stages=STAGES)
    return faults.wrap(plain, "avatar", 0, NONE | {"kind": "raise", "component": "avatar"} | fault)


@pytest.mark.parametrize("elsewhere", [{"kind": "none"}, {"component": "tts"}, {"worker": 1}])
def test_a_fault_elsewhere_leaves_the_component_as_it_is(elsewhere: dict[str, Any]) -> None:
    assert isinstance(wrapped(**elsewhere), Simulated)


def test_a_process_that_is_measured_without_a_fault_has_nothing_of_one() -> None:
    asked = "import sys, harness.child; print([name for name in sys.modules if 'misdeeds' in name])"
    answer = subprocess.run([sys.executable, "-c", asked], capture_output=True, text=True, check=True)
    assert answer.stdout == "[]\n"


def test_a_fault_in_a_phase_strikes_there_alone() -> None:
    broken = wrapped(phase="warm_up")
    broken.load()
    with pytest.raises(RuntimeError, match="raised on purpose"):
        broken.warm_up(job())


def test_a_fault_in_a_stage_strikes_at_its_first_piece_in_its_job() -> None:
    broken = wrapped(stage="render", job=2)
    audio = Piece("audio", None, count=24_000, rate=24_000)
    for other in broken.stages(job(index=1)):
        list(other.feed(audio))
    motion, render = broken.stages(job(index=2))
    list(motion.feed(audio))
    with pytest.raises(RuntimeError, match="raised on purpose"):
        next(render.feed(Piece("frame", 0)))


def test_without_a_stage_the_first_one_is_meant() -> None:
    first, second = wrapped().stages(job())
    assert (type(first).__name__, type(second).__name__) == ("FaultyStage", "SimulatedStage")


def test_a_stage_that_the_component_does_not_have_is_told_and_not_passed_over() -> None:
    with pytest.raises(ValueError, match=r"fault\.stage=warp: choose from motion, render"):
        wrapped(stage="warp").stages(job())


def test_a_component_without_stages_is_told_and_no_crash_of_what_breaks_it() -> None:
    idle = Simulated("asr", load_s=0, warm_up_s=0, stages={})
    broken = faults.wrap(idle, "asr", 0, NONE | {"kind": "raise", "component": "asr"})
    with pytest.raises(ValueError, match=r"^fault\.component=asr: has no stages; use fault\.phase=load$"):
        broken.stages(job())


def test_a_broken_component_says_so_itself() -> None:
    assert wrapped().attest()["fault"] == "raise"
