"""Wrong keys are refused in the words of the command line, before anything is loaded."""

import dataclasses
import sys
import types
from pathlib import Path

import pytest
import yaml

from engines.contract import NotApplicable
from engines.ditto.hubert_onnx import OnnxHubert
from engines.ditto.pipeline import Ditto
from engines.ditto.settings import Settings

CONF = Path(__file__).parents[3] / "conf" / "avatar" / "ditto.yaml"


@pytest.mark.parametrize(
    ("keys", "text"),
    [
        ({"steps": 0}, "avatar.steps=0: 1 to 1000 diffusion steps; use 10, 25 or 50"),
        ({"overlap": 20}, "avatar.overlap=20: 0 to 19 frames shared by windows of 20; use 10"),
        (
            {"size": "full", "overlap": 80},
            "avatar.overlap=80: 0 to 79 frames shared by windows of 80; use 10",
        ),
        ({"precision": "int4"}, "avatar.precision=int4: unknown; use one of fp32, tf32, fp16"),
        ({"backend": "magic"}, "avatar.backend=magic: unknown; use one of eager, compile, cudagraph"),
        (
            {"stage_backend": {"warp": "magic"}},
            "avatar.stage_backend.warp=magic: unknown; use null or one of eager, compile",
        ),
        ({"stage_precision": {"lips": "fp16"}}, "takes source, features, motion, stitch, warp, decode"),
        ({"batch": 0}, "avatar.batch=0: 1 to 64 frames per call; use 1 or 4"),
        ({"in_flight": 9}, "avatar.in_flight=9: 1 to 8 batches ahead; use 1 or 2"),
        ({"x264_threading": "rows"}, "avatar.x264_threading=rows: unknown; use one of slices, frames"),
        ({"weights": "/nowhere", "size": "full"}, "avatar.weights=/nowhere: no folder models/"),
        ({"weights": "/nowhere"}, "released weights are full size; use size=full or avatar.weights=random"),
        ({"hubert": "/nowhere.onnx"}, "avatar.hubert=/nowhere.onnx: no such file; use avatar.hubert=random"),
        ({"mode": "live"}, "avatar.mode=live: unknown; use one of offline, online"),
        ({"putback": "tpu"}, "avatar.putback=tpu: unknown; use one of cpu, gpu"),
        ({"encoder": "x265"}, "avatar.encoder=x265: unknown; use one of x264, nvenc, auto"),
        ({"steps": True}, "avatar.steps=True: 1 to 1000 diffusion steps"),
        ({"steps": 2.5}, "avatar.steps=2.5: 1 to 1000 diffusion steps"),
        ({"crop_scale": 0.1}, "avatar.crop_scale=0.1: 0.5 to 10.0 times the face; use 2.3"),
        ({"crop_scale": float("nan")}, "avatar.crop_scale=nan: 0.5 to 10.0"),
        ({"source_frames": 0}, "avatar.source_frames=0: 1 to 100000 frames of the source video; use null"),
        ({"vad_alpha": 1.5}, "avatar.vad_alpha=1.5: 0.0 to 1.0 of the expression; use null"),
        ({"delta_pitch": "2"}, "avatar.delta_pitch=2: -90.0 to 90.0 degrees; use null"),
        ({"smo_k_s": 0}, "avatar.smo_k_s=0: 1 to 99 frames to smooth over; use 13"),
        ({"emo": 8}, "avatar.emo=8: 0 to 7, several [3,4] (1 to 7), or a list a frame [[4],[3,4]]; use 4"),
        ({"emo": []}, "avatar.emo=[]: 0 to 7"),
        ({"emo": [0, 1, 2, 3, 4, 5, 6, 7]}, "avatar.emo=[0, 1, 2, 3, 4, 5, 6, 7]: 0 to 7"),
        ({"emo": [[4], 3]}, "avatar.emo=[[4], 3]: 0 to 7"),
        ({"emo": [[4], []]}, "avatar.emo=[[4], []]: 0 to 7"),
        ({"emo": "happy"}, "avatar.emo=happy: 0 to 7"),
        ({"emo": True}, "avatar.emo=True: 0 to 7"),
        ({"fix_kp_cond_dim": [202, 0]}, "avatar.fix_kp_cond_dim=[202, 0]: null or [first,end] of 265"),
        ({"fix_kp_cond_dim": [0, 266]}, "avatar.fix_kp_cond_dim=[0, 266]: null or [first,end] of 265"),
        ({"fix_kp_cond_dim": 202}, "avatar.fix_kp_cond_dim=202: null or [first,end] of 265"),
        ({"use_d_keys": ["exp", "nose"]}, "avatar.use_d_keys=['exp', 'nose']: null, or of exp, pitch"),
        ({"use_d_keys": {"exp": "x"}}, "avatar.use_d_keys={'exp': 'x'}: null, or of exp, pitch"),
        ({"use_d_keys": {}}, "avatar.use_d_keys={}: null, or of exp, pitch"),
        ({"fade_out_keys": []}, "avatar.fade_out_keys=[]: a list of exp, pitch"),
        ({"fade_out_keys": "exp"}, "avatar.fade_out_keys=exp: a list of exp, pitch"),
        ({"delta_eye_open_n": -2}, "avatar.delta_eye_open_n=-2: -1, 0, a number of frames or a list"),
        ({"delta_eye_open_n": [70, -1]}, "avatar.delta_eye_open_n=[70, -1]: -1, 0, a number"),
        ({"fade_in": 5}, "avatar.fade_in=5: fades only with a target; add avatar.fade_type=d0 or s"),
        ({"fade_out": 5}, "avatar.fade_out=5: fades only with a target; add avatar.fade_type=d0 or s"),
    ],
)
def test_a_wrong_key_is_named_with_its_rule_and_remedy(keys, text):
    with pytest.raises(ValueError) as caught:
        Ditto(**keys)
    assert text in str(caught.value)


@pytest.mark.parametrize(
    "keys",
    [
        {"emo": 0},
        {"emo": [3, 4]},
        {"emo": [[4], [3, 4], [3]]},
        {"fix_kp_cond_dim": [0, 202]},
        {"use_d_keys": ["exp", "pitch"]},
        {"use_d_keys": {"exp": 0.5, "t": 1}},
        {"fade_out_keys": ["exp", "pitch"]},
        {"delta_eye_open_n": -1},
        {"delta_eye_open_n": [70, 90]},
        {"fade_in": 5, "fade_out": 5, "fade_type": "s"},
        {"delta_pitch": 2, "alpha_yaw": 0.5, "vad_alpha": 0},
        {"mode": "online", "overlap": 10},  # of windows of 20
        {"mode": "online", "overlap": 70, "size": "full"},
    ],
)
def test_every_form_that_upstream_takes_is_taken(keys):
    settings = Settings(**keys)
    assert {key: getattr(settings, key) for key in keys} == keys


@pytest.mark.parametrize(
    ("keys", "remedy"),
    [
        ({"precision": "fp16"}, "use avatar.precision=fp32"),
        ({"putback": "gpu"}, "use avatar.putback=cpu"),
        ({"encoder": "nvenc"}, "use avatar.encoder=x264"),
        (
            {"container": "fragmented", "x264_threading": "frames"},
            "a stream must not; use avatar.x264_threading=slices",
        ),
        ({"mode": "online", "overlap": 9}, "the first 2 frames would be lost; use avatar.overlap=17"),
        (
            {"mode": "online", "overlap": 10, "size": "full"},
            "the first 60 frames would be lost; use avatar.overlap=70",
        ),
        ({"mode": "online", "fade_out": 5, "fade_type": "s"}, "use avatar.fade_out=0"),
    ],
)
def test_what_cannot_run_here_is_skipped_and_not_an_error(keys, remedy):
    with pytest.raises(NotApplicable) as caught:
        Settings(device="cpu", **keys)
    assert str(caught.value).endswith(remedy)


def test_only_the_controls_that_are_given_are_passed_on():
    assert Settings().controls == {}
    assert Settings(delta_pitch=2.0, alpha_yaw=0.0).controls == {"delta_pitch": 2.0, "alpha_yaw": 0.0}


@pytest.mark.parametrize("combination", yaml.safe_load(CONF.read_text())["impossible"])
def test_what_the_config_file_calls_impossible_cannot_be_set_either(combination):
    def broken(wanted):
        if isinstance(wanted, dict):
            return wanted.get("min", wanted.get("max"))
        return wanted[0] if isinstance(wanted, list) else wanted

    keys = {key: broken(wanted) for key, wanted in combination.items() if key != "because"}
    with pytest.raises((NotApplicable, ValueError)):
        Settings(**keys, **({"fade_type": "s"} if "fade_out" in keys else {}))


def test_the_config_file_has_every_key_with_its_default_and_no_other():
    given = yaml.safe_load(CONF.read_text())
    assert given["_target_"] == "engines.ditto.pipeline.Ditto"
    words = ("_target_", "rules", "check", "impossible", "stage_names", "optimised")
    keys = {key: value for key, value in given.items() if key not in words}
    settings = Settings(**{key: value for key, value in keys.items() if "${" not in str(value)})
    lists = {"fade_out_keys": tuple(settings.fade_out_keys)}
    assert dataclasses.replace(settings, **lists) == Settings()
    assert set(keys) == set(Settings.__dataclass_fields__)
    assert {key.partition(".")[0] for key in given["rules"]} <= set(keys)
    for key in ("stage_backend", "stage_precision"):
        assert {f"{key}.{stage}" for stage in given[key]} <= set(given["rules"])


def test_the_fast_settings_are_keys_of_the_others_and_can_run_on_a_gpu():
    fast = yaml.safe_load((CONF.parent / "ditto_fast.yaml").read_text())
    assert fast.pop("defaults") == ["ditto", "_self_"]
    settings = Settings(device="cuda", size="full", **fast)
    assert all(getattr(settings, key) == value != getattr(Settings(), key) for key, value in fast.items())


def test_what_counts_as_optimised_is_optimised_nowhere_by_default():
    reference = yaml.safe_load(CONF.read_text())["optimised"]
    assert {key: getattr(Settings(), key) for key in reference} == reference


def checkpoint(folder, hubert):
    (folder / "models").mkdir()
    if hubert:
        (folder / "aux_models").mkdir()
        (folder / "aux_models" / "hubert_streaming_fix_kv.onnx").touch()
    return str(folder)


def test_a_checkpoint_folder_brings_its_own_hubert(tmp_path):
    settings = Settings(size="full", weights=checkpoint(tmp_path, hubert=True))
    assert settings.hubert_file == tmp_path / "aux_models" / "hubert_streaming_fix_kv.onnx"
    assert Settings(size="full", weights=str(tmp_path), hubert="random").hubert_file is None


def test_a_checkpoint_folder_without_hubert_is_refused_with_a_remedy(tmp_path):
    with pytest.raises(ValueError, match=r"hubert_streaming_fix_kv\.onnx; use avatar\.hubert=random"):
        Settings(size="full", weights=checkpoint(tmp_path, hubert=False))


def runtime(monkeypatch, available, used):
    """An onnxruntime that claims `available` providers and then runs on `used`."""
    session = types.SimpleNamespace(get_providers=lambda: used)
    module = types.SimpleNamespace(
        SessionOptions=types.SimpleNamespace,
        __version__="0",
        get_available_providers=lambda: available,
        InferenceSession=lambda *args, **kwargs: session,
    )
    monkeypatch.setitem(sys.modules, "onnxruntime", module)


@pytest.mark.parametrize(
    ("available", "used"),
    [
        (["CPUExecutionProvider"], ["CPUExecutionProvider"]),
        (["CUDAExecutionProvider", "CPUExecutionProvider"], ["CPUExecutionProvider"]),
    ],
    ids=["the wheel has no CUDA", "CUDA does not start"],
)
def test_onnxruntime_may_not_fall_back_to_the_cpu(monkeypatch, available, used):
    runtime(monkeypatch, available, used)
    with pytest.raises(NotApplicable, match="CUDAExecutionProvider asked for"):
        OnnxHubert(Path("hubert.onnx"), "cuda", threads=1)


def test_without_onnxruntime_the_remedy_is_named(monkeypatch):
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(NotApplicable, match=r"install onnxruntime-gpu, or use avatar\.hubert=random"):
        OnnxHubert(Path("hubert.onnx"), "cpu", threads=1)
