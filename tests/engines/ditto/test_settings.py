"""Wrong keys are refused in the words of the command line, before anything is loaded."""

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
        ({"precision": "int8"}, "avatar.precision=int8: unknown; use one of fp32, fp16"),
        ({"backend": "magic"}, "avatar.backend=magic: unknown; use one of eager"),
        ({"weights": "/nowhere", "size": "full"}, "avatar.weights=/nowhere: no folder models/"),
        ({"weights": "/nowhere"}, "released weights are full size; use size=full or avatar.weights=random"),
        ({"hubert": "/nowhere.onnx"}, "avatar.hubert=/nowhere.onnx: no such file; use avatar.hubert=random"),
    ],
)
def test_a_wrong_key_is_named_with_its_rule_and_remedy(keys, text):
    with pytest.raises(ValueError) as caught:
        Ditto(**keys)
    assert text in str(caught.value)


@pytest.mark.parametrize("keys", [{"mode": "online"}, {"precision": "fp16"}])
def test_what_cannot_run_here_is_skipped_and_not_an_error(keys):
    with pytest.raises(NotApplicable, match="; use avatar"):
        Ditto(device="cpu", **keys)


def test_the_config_file_has_every_key_with_its_default_and_no_other():
    given = yaml.safe_load(CONF.read_text())
    assert given["_target_"] == "engines.ditto.pipeline.Ditto"
    keys = {
        key: value
        for key, value in given.items()
        if key not in ("_target_", "rules", "impossible", "stage_names")
    }
    settings = Settings(**{key: value for key, value in keys.items() if "${" not in str(value)})
    assert settings == Settings()
    assert set(keys) == set(Settings.__dataclass_fields__)
    assert set(given["rules"]) <= set(keys)


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
