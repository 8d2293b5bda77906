"""Checkpoint folders: looked at as a measurement does, and nothing of them is loaded."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from harness.doctor import checkpoints, checks
from harness.doctor.line import MISSING, OK, Line

MIB = 2**20
Look = Callable[[str, Path], Line]
# Sizes of the released files, rounded up: sparse ones take no room.
DITTO_MIB = {
    "appearance_extractor": 4, "motion_extractor": 108, "warp_network": 174, "decoder": 212,
    "stitch_network": 1, "lmdm_v0.4_hubert": 183,
}  # fmt: skip
FACES = ("det_10g.onnx", "2d106det.onnx", "landmark203.onnx", "face_landmarker.task")


def sparse(path: Path, mib: int) -> None:
    """A file that starts as a pickle, which would not survive being loaded."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("wb") as file:
        file.write(b"\x80not a pickle")
        file.truncate(mib * MIB)


@pytest.fixture
def xtts(tmp_path: Path) -> Path:
    folder = tmp_path / "XTTS v2, 'mine' = yours, ${x} of \\${tts.weights}"
    sparse(folder / "model.pth", 1800)
    sizes = {
        "gpt_num_audio_tokens": 1026, "gpt_start_audio_token": 1024, "gpt_stop_audio_token": 1025,
        "gpt_use_perceiver_resampler": True,
    }  # fmt: skip
    (folder / "config.json").write_text(json.dumps({"model": "xtts", "model_args": sizes}))
    vocabulary = {"type": "BPE", "vocab": {"[STOP]": 0, "[START]": 1}}
    (folder / "vocab.json").write_text(json.dumps({"model": vocabulary}))
    return folder


@pytest.fixture
def ditto(tmp_path: Path) -> Path:
    folder = tmp_path / "ditto_pytorch"
    for name, mib in DITTO_MIB.items():
        sparse(folder / "models" / f"{name}.pth", mib)
    for name in ("hubert_streaming_fix_kv.onnx", *FACES):
        sparse(folder / "aux_models" / name, 1)
    return folder


@pytest.fixture
def looked_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Look:
    """The check, in this process, which it leaves where it was."""
    monkeypatch.chdir(tmp_path)

    def look(component: str, folder: Path) -> Line:
        [line] = getattr(checkpoints, component)(str(folder))
        return line

    return look


def test_whole_folders_are_fine(xtts: Path, ditto: Path) -> None:
    found = checks.run([checks.checkpoint("tts", str(xtts)), checks.checkpoint("avatar", str(ditto))])
    lines = [line for _, lines in found for line in lines]
    assert [line.status for line in lines] == [OK, OK], lines
    assert lines[0].found.endswith("whole as far as their ends tell, 1.8 GiB")  # 1800 / 1024


def test_all_that_is_missing_is_named_at_once(xtts: Path, tmp_path: Path, looked_at: Look) -> None:
    for name in ("config.json", "vocab.json"):
        (xtts / name).unlink()
    line = looked_at("tts", xtts)
    assert (line.status, line.found) == (MISSING, f"{xtts} has no config.json, vocab.json")
    assert "docs/checkpoints.md" in line.mend
    assert looked_at("avatar", tmp_path / "nowhere").found == f"there is no folder {tmp_path}/nowhere"


def cut_short(ditto: Path) -> str:
    sparse(ditto / "models/decoder.pth", 50)
    return "models/decoder.pth has 52428800 bytes, its tensors need 110730776"  # 2 * 55,365,388


def pointer(ditto: Path) -> str:
    (ditto / "models/warp_network.pth").write_text("version https://git-lfs.github.com/spec/v1\n")
    return "models/warp_network.pth is a Git LFS pointer"


def without_faces(ditto: Path) -> str:
    (ditto / "aux_models/landmark203.onnx").unlink()
    return "no landmark203.onnx there; give the folder aux_models of the released checkpoints, or use"


def without_hubert(ditto: Path) -> str:
    (ditto / "aux_models/hubert_streaming_fix_kv.onnx").unlink()
    return "hubert_streaming_fix_kv.onnx"


@pytest.mark.parametrize("harm", [cut_short, pointer, without_faces, without_hubert])
def test_a_file_that_the_loader_would_refuse_is_told(
    ditto: Path, harm: Callable[[Path], str], looked_at: Look
) -> None:
    words = harm(ditto)
    line = looked_at("avatar", ditto)
    assert line.status == MISSING
    assert words in line.found
