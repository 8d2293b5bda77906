"""Which stage of XTTS can run how, told in one line before anything is loaded."""

from __future__ import annotations

from typing import Any

import pytest

from engines.contract import NotApplicable
from engines.xtts import files, plans
from engines.xtts.plans import Plan
from engines.xtts.settings import Settings

ON_GPU = {"device": "cuda", "size": "full", "weights": "random", "seed": 0}
ON_CPU = ON_GPU | {"device": "cpu", "size": "tiny"}


def test_a_stage_has_its_own_values_or_the_components() -> None:
    given = Settings(
        **ON_GPU,
        backend="cudagraph",
        precision="fp16",
        stage_backend={"vocoder": "tensorrt"},
        stage_precision={"gpt": "fp32", "vocoder": None},
    )
    assert plans.plans(given) == {"gpt": Plan("cudagraph", "fp32"), "vocoder": Plan("tensorrt", "fp16")}


@pytest.mark.parametrize(
    ("keys", "words"),
    [
        (
            ON_GPU | {"backend": "tensorrt"},
            "tts.backend=tensorrt: the GPT's keys and values would be copied out and in for each token; "
            "use tts.stage_backend.gpt=cudagraph or compile, on a CPU eager",
        ),
        (
            ON_GPU | {"backend": "cudagraph", "precision": "tf32"},
            "tts.precision=tf32 with tts.backend=cudagraph: a token's products have one row and no use for "
            "tensor cores; use tts.stage_precision.gpt=fp32 or fp16",
        ),
        (
            ON_GPU | {"backend": "cudagraph", "stage_precision": {"gpt": "int8"}},
            "tts.stage_precision.gpt=int8 with tts.backend=cudagraph: 8-bit weights would be multiplied out "
            "in memory for each token; use tts.stage_backend.gpt=compile, whose kernels do it as they read",
        ),
        (
            ON_GPU | {"backend": "compile", "precision": "fp8"},
            "tts.precision=fp8: the vocoder is made of convolutions, and no backend has fp8 ones; use "
            "tts.stage_precision.vocoder=fp16",
        ),
        (
            ON_CPU | {"precision": "fp16"},
            "tts.precision=fp16 with device=cpu: needs a GPU; use tts.precision=fp32",
        ),
        (
            ON_CPU | {"stage_backend": {"gpt": "cudagraph"}},
            "tts.stage_backend.gpt=cudagraph with device=cpu: needs a GPU; use tts.stage_backend.gpt=eager",
        ),
    ],
)
def test_what_cannot_run_says_why_and_what_to_use(keys: dict[str, Any], words: str) -> None:
    with pytest.raises(NotApplicable) as caught:
        Settings(**keys)
    assert str(caught.value) == words


@pytest.mark.parametrize(
    "keys",
    [
        {"backend": "compile", "precision": "int8"},
        {"backend": "compile", "stage_precision": {"gpt": "fp8"}},
        {"backend": "tensorrt", "stage_backend": {"gpt": "cudagraph"}},
        {"precision": "tf32"},
    ],
)
def test_on_a_gpu_these_are_let_through(keys: dict[str, Any]) -> None:
    assert plans.obstacle(Settings(**ON_GPU, **keys)) == ""


def test_an_unknown_stage_or_value_is_a_mistake() -> None:
    with pytest.raises(ValueError, match=r"tts.stage_backend={'voice': 'eager'}: takes gpt and vocoder"):
        Settings(**ON_CPU, stage_backend={"voice": "eager"})
    with pytest.raises(ValueError, match=r"tts.stage_precision.gpt=fp64: unknown; use null or one of fp32"):
        Settings(**ON_CPU, stage_precision={"gpt": "fp64"})


def configuration(workers: int, **tts: Any) -> dict[str, Any]:
    workload = {"texts": ["Hello."], "language": "en", "tokens_per_char": 1.4}
    keys = {"backend": "eager", "precision": "fp32", "stage_backend": {}, "stage_precision": {}}
    return {
        "workload": workload,
        "executor": {"name": "threads", "workers": workers},
        "tts": ON_GPU | keys | {"max_characters": None} | tts,
    }


def test_the_check_of_the_configuration_knows_them_too() -> None:
    assert files.check(configuration(2)) == ""
    assert files.check(configuration(1, precision="tf32")) == ""
    assert files.check(configuration(2, precision="tf32")) == (
        "tts.precision=tf32 with executor=threads, executor.workers=2: tf32 is switched for the whole "
        "process; use executor=processes, or precision fp32 or fp16"
    )
    assert files.check(configuration(1, device="cpu", precision="fp16")).endswith("use tts.precision=fp32")
