"""Packages are judged by what they say of themselves, and none is imported."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from harness.doctor import install, packages
from harness.doctor.install import version
from harness.doctor.line import MISSING, NONE, NOTE, OK, Line
from tests.harness.doctor.machines import looked_at, script


def installed(folder: Path, name: str, version: str) -> None:
    """A package that comes first where Python looks for them."""
    about = folder / f"{name.replace('-', '_')}-{version}.dist-info"
    about.mkdir()
    (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return tmp_path


def test_a_version_that_the_project_does_not_take_is_missing(machine: Path) -> None:
    installed(machine, "soxr", "0.1")
    installed(machine, "transformers", "6.0.0")
    [line] = looked_at("packages")
    assert line.status == MISSING
    assert line.found == "transformers 6.0.0 is not <6,>=5.17; soxr 0.1 is not >=0.5"
    assert line.mend == install.command()


def test_two_that_overwrite_each_other_are_told(machine: Path) -> None:
    installed(machine, "opencv-python", "5.0.0.93")
    whole, clash = looked_at("packages")
    assert (whole.status, clash.status) == (OK, NOTE)
    assert clash.found == "opencv-python-headless and opencv-python overwrite each other's files"
    uninstall = "python -m pip uninstall -y opencv-python-headless opencv-python"
    assert clash.mend == f"{uninstall} && {install.command()}"


def test_the_build_for_gpus_stays_where_it_is_installed(machine: Path) -> None:
    if not version("onnxruntime"):
        pytest.skip("that for CPUs is not installed")
    installed(machine, "onnxruntime-gpu", "1.31.1")
    installed(machine, "soxr", "0.1")
    [line] = looked_at("packages")
    assert line.mend == "EXTRAS=onnxruntime-gpu ./install.sh"


def test_an_extra_is_there_when_all_its_parts_are(machine: Path) -> None:
    installed(machine, "mediapipe", "0.10.1")
    lines = {line.check: line for line in looked_at("engines")}
    assert lines["mediapipe"] == Line(
        "mediapipe", OK, "mediapipe 0.10.1; for face_landmarker.task of a checkpoint"
    )
    assert {line.status for line in lines.values()} <= {OK, NONE}
    assert all(("EXTRAS=" in line.mend) == (line.status == NONE) for line in lines.values())


def test_every_extra_is_one_of_the_project() -> None:
    named = (packages.ROOT / "pyproject.toml").read_text().partition("[project.optional-dependencies]")[2]
    assert all(f"\n{line.check} = [" in named for line in packages.optional())


def test_no_check_imports_what_an_engine_needs(monkeypatch: pytest.MonkeyPatch) -> None:
    before = set(sys.modules)
    packages.needed()
    packages.optional()
    new = {name.partition(".")[0] for name in set(sys.modules) - before}
    assert new.isdisjoint({"torch", "TTS", "transformers", "onnxruntime", "cv2"})


def test_ffmpeg_is_never_needed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    [line] = looked_at("ffmpeg")
    assert (line.status, line.mend) == (NONE, "apt-get install ffmpeg")
    script(tmp_path / "ffmpeg", "exit 0")
    [line] = looked_at("ffmpeg")
    assert (line.status, line.found) == (OK, f"{tmp_path}/ffmpeg; for avatar=ditto_upstream alone")
