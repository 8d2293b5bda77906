"""Each stage gets its backend and precision, and what cannot run is told with a remedy."""

import pytest

from engines.contract import NotApplicable
from engines.ditto import plans
from engines.ditto.plans import Plan
from engines.ditto.settings import Settings


def test_without_a_word_every_stage_is_eager_in_fp32():
    assert plans.plans(Settings()) == dict.fromkeys(plans.STAGES, Plan("eager", "fp32"))


def test_precision_reaches_the_stages_of_upstreams_autocast_and_backend_reaches_all():
    found = plans.plans(Settings(device="cuda", backend="cudagraph", precision="fp16"))
    half = {"source", "warp", "decode"}
    assert {stage for stage, plan in found.items() if plan.precision == "fp16"} == half
    assert {plan.precision for stage, plan in found.items() if stage not in half} == {"fp32"}
    assert {plan.backend for plan in found.values()} == {"cudagraph"}


def test_a_stages_own_value_comes_first():
    own = {"stage_backend": {"warp": "compile"}, "stage_precision": {"warp": "fp32", "motion": "bf16"}}
    found = plans.plans(Settings(precision="bf16", **own))
    assert found["warp"] == Plan("compile", "fp32")
    assert found["motion"] == Plan("eager", "bf16")
    assert found["decode"] == Plan("eager", "bf16")


@pytest.mark.parametrize(
    ("keys", "said"),
    [
        (
            {"precision": "fp16"},
            "avatar.precision=fp16 with device=cpu: needs a GPU; use avatar.precision=fp32",
        ),
        (
            {"backend": "tensorrt"},
            "avatar.backend=tensorrt with device=cpu: needs a GPU; use avatar.backend=eager",
        ),
        (
            {"stage_precision": {"motion": "tf32"}},
            "avatar.stage_precision.motion=tf32 with device=cpu: needs a GPU; "
            "use avatar.stage_precision.motion=fp32",
        ),
        (
            {"stage_backend": {"decode": "cudagraph"}},
            "avatar.stage_backend.decode=cudagraph with device=cpu: needs a GPU; "
            "use avatar.stage_backend.decode=eager",
        ),
        (
            {"device": "cuda", "precision": "fp8"},
            "avatar.precision=fp8: stage source has networks of convolutions, and no backend has these in "
            "fp8; use avatar.precision=fp32 or fp16",
        ),
        (
            {"fused": True, "stage_backend": {"decode": "onnxruntime"}},
            "avatar.fused=true with avatar.stage_backend.decode=onnxruntime: the rewritten networks are for "
            "torch; use avatar.fused=false",
        ),
        (
            {"fused": True, "precision": "int8"},
            "avatar.fused=true with avatar.precision=int8: the rewritten networks have 16 bits or more; "
            "use avatar.fused=false",
        ),
        (
            {"fused": True, "stage_precision": {"motion": "int8"}},
            "avatar.fused=true with avatar.stage_precision.motion=int8: the rewritten networks have 16 bits "
            "or more; use avatar.fused=false",
        ),
        (
            {"backend": "onnxruntime", "precision": "bf16"},
            "avatar.precision=bf16 with avatar.backend=onnxruntime: onnxruntime has no convolutions in bf16; "
            "use avatar.stage_precision.source=fp16 or fp32",
        ),
        (
            {"device": "cuda", "backend": "onnxruntime", "onnx_provider": "tensorrt", "precision": "fp16"},
            "avatar.onnx_provider=tensorrt with stage features in fp32: that provider computes in tf32 and "
            "cannot be told otherwise; use avatar.stage_precision.features=tf32 or fp16",
        ),
        (
            {"backend": "onnxruntime", "onnx_provider": "cuda"},
            "avatar.onnx_provider=cuda with device=cpu: inputs and results lie on the device; "
            "use avatar.onnx_provider=auto",
        ),
    ],
)
def test_what_cannot_run_is_skipped_with_a_remedy(keys, said):
    with pytest.raises(NotApplicable) as caught:
        Settings(**keys)
    assert str(caught.value) == said


@pytest.mark.parametrize(
    "keys",
    [
        {"precision": "bf16"},
        {"precision": "int8", "stage_precision": {"motion": "int8"}},
        {"backend": "onnxruntime"},
        {"backend": "compile", "fused": True},
        {"device": "cuda", "stage_precision": {"features": "fp8"}},
        {"device": "cuda", "precision": "fp16", "fused": True, "stage_backend": {"features": "tensorrt"}},
        # what every stage overrides is in force nowhere
        {"precision": "fp16", "stage_precision": dict.fromkeys(("source", "warp", "decode"), "fp32")},
    ],
)
def test_what_some_machine_can_run_is_left_to_its_backend(keys):
    Settings(**keys)


@pytest.mark.parametrize(("own", "kept"), [("stage_backend", "onnxruntime"), ("stage_precision", "fp32")])
def test_a_hubert_file_runs_as_it_is_or_not_at_all(tmp_path, own, kept):
    file = tmp_path / "hubert.onnx"
    file.touch()
    for value in (None, kept):
        Settings(hubert=str(file), **{own: {"features": value}})
    Settings(hubert=str(file), backend="compile", precision="bf16")
    with pytest.raises(NotApplicable, match=r"avatar\.onnx_provider=cpu: HuBERT .* runs on cuda"):
        Settings(device="cuda", hubert=str(file), onnx_provider="cpu")
    with pytest.raises(NotApplicable, match=rf"avatar\.{own}\.features=\w+: HuBERT comes as an ONNX file"):
        Settings(hubert=str(file), **{own: {"features": {"onnxruntime": "eager", "fp32": "bf16"}[kept]}})


def test_threads_side_by_side_cannot_switch_tf32_and_others_can():
    def reason(executor, workers, **keys):
        return plans.tf32_obstacle(Settings(device="cuda", **keys), executor, workers)

    assert "executor.workers=2: tf32 is switched" in reason("threads", 2, precision="tf32")
    assert "avatar.stage_precision.motion=tf32" in reason("threads", 3, stage_precision={"motion": "tf32"})
    assert reason("threads", 1, precision="tf32") == ""
    assert reason("processes", 2, precision="tf32") == ""
    assert reason("threads", 2, precision="tf32", backend="cudagraph") == ""
    assert reason("threads", 2, precision="fp16") == ""
