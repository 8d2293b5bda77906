"""What is wrong with files, or between keys, is told in one line before anything is loaded."""

from __future__ import annotations

import pickle
import shlex
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hydra.core.override_parser.overrides_parser import OverridesParser

from engines.ditto.check import check
from engines.ditto.checkpoint_layout import CHECKPOINT_FILES
from engines.ditto.settings import Settings
from tests.engines.ditto.test_cfg import options, written

ROOT = Path(__file__).parents[3]
PORTRAIT = ROOT / "media" / "portrait.png"


def configuration(portrait: Path = PORTRAIT, resolution: str = "180x240", **keys: Any) -> dict[str, Any]:
    words = {"_target_": "engines.ditto.pipeline.Ditto", "stage_names": ["source"]}
    workload = {"portrait": str(portrait), "resolution": resolution}
    executor = {"name": "threads", "workers": 2}
    return {"avatar": {**words, **vars(Settings()), **keys}, "workload": workload, "executor": executor}


def refusal(data: dict[str, Any]) -> str:
    with pytest.raises(ValueError) as caught:
        check(data)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_the_defaults_are_fine() -> None:
    assert check(configuration()) == ""


def test_a_wrong_key_is_an_error_and_what_cannot_run_here_a_reason() -> None:
    assert "avatar.emo=9: 0 to 7" in refusal(configuration(emo=9))
    assert check(configuration(device="cpu", putback="gpu")).endswith("use avatar.putback=cpu")
    assert "60 frames would be lost" in check(configuration(size="full", mode="online"))
    assert "for torch" in check(configuration(fused=True, backend="tensorrt", device="cuda"))


@pytest.mark.parametrize("resolution", ["540x961", "961x540"])
def test_a_video_larger_than_allowed_is_refused_and_not_shrunk(resolution: str) -> None:
    assert refusal(configuration(resolution=resolution, max_size=960)) == (
        f"workload.resolution={resolution}: larger than avatar.max_size=960, the longest side allowed; "
        "use avatar.max_size=961, or a smaller resolution"
    )
    assert check(configuration(resolution="540x960", max_size=960)) == ""


def test_what_cannot_run_here_is_still_checked(tmp_path: Path) -> None:
    keys = {"device": "cpu", "putback": "gpu", "cfg": str(tmp_path / "none.pkl")}
    assert "No such file or directory" in refusal(configuration(**keys))


def test_a_portrait_needs_its_crop_or_a_detector(tmp_path: Path) -> None:
    portrait = Path(shutil.copy(PORTRAIT, tmp_path / "me.png"))
    assert refusal(configuration(portrait)) == (
        f"workload.portrait={portrait}: no stored crop me.json beside it; use media/portrait.png, write its "
        "crop as in media/portrait.json, or give the face detectors by avatar.faces=FOLDER"
    )
    shutil.copy(PORTRAIT.with_suffix(".json"), tmp_path / "me.json")
    assert check(configuration(portrait)) == ""


def test_a_broken_portrait_is_told_before_its_crop_is_missed(tmp_path: Path) -> None:
    portrait = tmp_path / "me.png"
    portrait.write_bytes(PORTRAIT.read_bytes()[:5000])
    assert f"workload.portrait={portrait}: " in refusal(configuration(portrait))
    assert "beside it" not in refusal(configuration(portrait))


def detectors(folder: Path) -> Path:
    folder.mkdir(exist_ok=True)
    for name in ("det_10g.onnx", "2d106det.onnx", "landmark203.onnx", "face_landmarker.task"):
        (folder / name).write_bytes(b"\x08\x07")
    return folder


def test_the_face_files_must_be_there_and_be_files_of_that_kind(tmp_path: Path) -> None:
    portrait = Path(shutil.copy(PORTRAIT, tmp_path / "me.png"))
    faces = detectors(tmp_path / "faces")
    assert check(configuration(portrait, faces=str(faces))) == ""
    (faces / "det_10g.onnx").write_bytes(b"version https://git-lfs.github.com/spec/v1\n")
    assert "det_10g.onnx is a Git LFS pointer" in refusal(configuration(portrait, faces=str(faces)))
    (faces / "det_10g.onnx").unlink()
    assert f"avatar.faces={faces}: no det_10g.onnx there" in refusal(
        configuration(portrait, faces=str(faces))
    )


def checkpoints(folder: Path) -> Path:
    """Files whose frame is whole, and as large as needed without taking the space."""
    detectors(folder / "aux_models")
    (folder / "aux_models" / "hubert_streaming_fix_kv.onnx").write_bytes(b"\x08\x07")
    (folder / "models").mkdir()
    for name in CHECKPOINT_FILES.values():
        with zipfile.ZipFile(folder / "models" / name, "w") as archive:
            archive.writestr("archive/data.pkl", b"\x80\x02}.")
        shift(folder / "models" / name)
    return folder


def shift(path: Path) -> None:
    """Put 200 MB of nothing before the archive: zip files are read from their end."""
    whole = path.read_bytes()
    with path.open("wb") as file:
        file.write(whole[:40])
        file.seek(200_000_000)
        file.write(whole)


def full(folder: Path) -> dict[str, Any]:
    return configuration(size="full", weights=str(folder))


def test_the_released_folder_is_fine(tmp_path: Path) -> None:
    assert check(full(checkpoints(tmp_path))) == ""


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"", "is an empty file"),
        (b"<!DOCTYPE html>", "is a web page, not the file itself"),
        (b"version https://git-lfs.github.com/spec/v1\n", "is a Git LFS pointer of a few lines"),
        (b"\x08\x07", "is neither a zip archive nor a pickle, as torch.save writes them"),
        (b"PK\x03\x04" + b"\0" * 100, "is truncated or broken"),
        (b"\x80\x02N.", "has 4 bytes, its tensors need 110730776: truncated, or of another model"),
    ],
)
def test_a_file_that_cannot_be_a_checkpoint_is_told(tmp_path: Path, content: bytes, complaint: str) -> None:
    folder = checkpoints(tmp_path)
    (folder / "models" / "decoder.pth").write_bytes(content)
    assert f"avatar.weights={folder}: models/decoder.pth {complaint}" in refusal(full(folder))


@pytest.mark.parametrize(
    ("entry", "packed", "complaint"),
    [
        (
            "archive/data.pkl",
            zipfile.ZIP_DEFLATED,
            "is a compressed zip archive, which torch.save never writes",
        ),
        ("photo.png", zipfile.ZIP_STORED, "is a zip archive without data.pkl, so not of torch.save"),
    ],
)
def test_a_zip_file_of_something_else_is_told(
    tmp_path: Path, entry: str, packed: int, complaint: str
) -> None:
    folder = checkpoints(tmp_path)
    with zipfile.ZipFile(folder / "models" / "decoder.pth", "w", packed) as archive:
        archive.writestr(entry, bytes(10**6))
    assert complaint in refusal(full(folder))


def test_hubert_must_be_a_file_of_its_kind(tmp_path: Path) -> None:
    folder = checkpoints(tmp_path)
    (folder / "aux_models" / "hubert_streaming_fix_kv.onnx").write_bytes(b"<html>")
    assert "hubert_streaming_fix_kv.onnx: is a web page, not the file itself" in refusal(full(folder))


def test_a_cfg_that_says_otherwise_gives_the_words_to_add(tmp_path: Path) -> None:
    changes = options(use_d_keys={"exp": 1.5, "t": 1}, fade_type="d0", flag_stitching=False, drive_eye=None)
    keys = {"size": "full", "cfg": str(written(tmp_path, changes)), "drive_eye": True}
    message = refusal(configuration(**keys))
    start = (
        f"avatar.cfg={keys['cfg']}: it says otherwise than the command; go by the command alone with "
        "avatar.cfg_values=ignore, or add "
    )
    assert message.startswith(start)
    assert check(configuration(**keys, cfg_values="ignore")) == ""
    words = shlex.split(message.removeprefix(start))
    parsed = {entry.key_or_group: entry.value() for entry in OverridesParser.create().parse_overrides(words)}
    assert parsed == {
        "avatar.steps": 10,
        "avatar.overlap": 70,
        "avatar.mode": "online",
        "avatar.fix_kp_cond": 1,
        "avatar.fix_kp_cond_dim": [0, 202],
        "avatar.delta_eye_open_n": [70, 90],
        "avatar.delta_pitch": 2,
        "avatar.use_d_keys": {"exp": 1.5, "t": 1},
        "avatar.fade_type": "d0",
        "avatar.stitching": False,
        "avatar.drive_eye": None,
    }
    added = {key.removeprefix("avatar."): value for key, value in parsed.items()}
    assert check(configuration(**keys | added)) == ""


def test_a_key_of_the_crop_is_refused_where_the_crop_is_stored() -> None:
    for key, value in (("crop_scale", 2.0), ("crop_vy_ratio", 0.0), ("crop_rotate", False)):
        assert f"avatar.{key}={str(value).lower()}: a stored crop is used as it is" in refusal(
            configuration(**{key: value})
        )


def test_an_empty_word_reaches_hydra_as_an_empty_word(tmp_path: Path) -> None:
    keys = {"cfg": str(written(tmp_path)), "fade_type": "s", "fade_in": 3}
    words = shlex.split(refusal(configuration(**keys)).partition(", or add ")[2])
    parsed = {entry.key_or_group: entry.value() for entry in OverridesParser.create().parse_overrides(words)}
    assert parsed["avatar.fade_type"] == ""


def test_emotion_rows_leave_no_choice_of_an_emotion(tmp_path: Path) -> None:
    path = tmp_path / "cfg.pkl"
    content = pickle.loads(written(tmp_path).read_bytes())
    content["default_kwargs"] = {"emo": np.ones((600, 8), np.float32)}
    path.write_bytes(pickle.dumps(content))
    assert check(configuration(cfg=str(path))) == ""
    assert refusal(configuration(cfg=str(path), emo=[3, 4])) == (
        f"avatar.emo=[3,4]: avatar.cfg={path} has emotion rows (600, 8), which are used; leave "
        "avatar.emo out, or use avatar.cfg=null"
    )


def test_the_check_loads_nothing_heavy() -> None:
    heavy = "{'torch', 'cv2', 'onnxruntime', 'transformers', 'av'}"
    code = f"import sys, engines.ditto.check; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
