"""The command that installs: into the environment that was looked at, and nothing over what is there."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from harness.doctor import gpus, install, machine, packages
from harness.doctor.line import MISSING, NOTE, OK, Line

NO_DEPENDENCIES = "python -m pip install --no-deps faster-whisper ctranslate2"


@pytest.fixture(autouse=True)
def own(monkeypatch: pytest.MonkeyPatch) -> None:
    """The project's own environment, on a machine without a GPU, with no onnxruntime in it."""
    monkeypatch.setattr(sys, "prefix", str(install.ROOT / ".venv"))
    has(monkeypatch, gpu=False)


def has(monkeypatch: pytest.MonkeyPatch, *installed: str, gpu: bool) -> None:
    """These packages alone are there; and a GPU or none."""
    for module in (install, packages, gpus):
        monkeypatch.setattr(module, "version", lambda name: "1.0" if name in installed else "")
    monkeypatch.setattr(install, "_has_gpu", lambda: gpu)


@pytest.mark.parametrize(
    ("gpu", "installed", "needed", "onnxruntime", "whisper"),
    [
        (False, (), "./install.sh", "EXTRAS=onnxruntime ./install.sh", "EXTRAS=faster-whisper ./install.sh"),
        (
            True, (), "EXTRAS=onnxruntime-gpu ./install.sh", "EXTRAS=onnxruntime-gpu ./install.sh",
            NO_DEPENDENCIES,
        ),
        (
            False, ("onnxruntime-gpu",), "EXTRAS=onnxruntime-gpu ./install.sh",
            "EXTRAS=onnxruntime-gpu ./install.sh", NO_DEPENDENCIES,
        ),
        (
            True, ("onnxruntime",), "./install.sh", "EXTRAS=onnxruntime ./install.sh",
            "EXTRAS=faster-whisper ./install.sh",
        ),
    ],
)  # fmt: skip
def test_no_build_of_onnxruntime_is_laid_over_the_other(
    monkeypatch: pytest.MonkeyPatch,
    gpu: bool,
    installed: tuple[str, ...],
    needed: str,
    onnxruntime: str,
    whisper: str,
) -> None:
    has(monkeypatch, *installed, gpu=gpu)
    asked = ("", "onnxruntime", "faster-whisper", "memray")
    found = [install.command(extra) for extra in asked]
    assert found == [needed, onnxruntime, whisper, "EXTRAS=memray ./install.sh"]


def test_the_checks_tell_the_build_that_fits(monkeypatch: pytest.MonkeyPatch) -> None:
    has(monkeypatch, gpu=True)
    mends = {line.check: line.mend for line in packages.optional()}
    assert mends["onnxruntime"] == "EXTRAS=onnxruntime-gpu ./install.sh"
    assert mends["faster-whisper"] == NO_DEPENDENCIES
    assert mends["tensorrt-rtx"] == "EXTRAS=tensorrt-rtx ./install.sh"
    has(monkeypatch, "onnxruntime", gpu=True)
    monkeypatch.setattr(gpus.gpu, "handles", lambda: (0,))
    [line] = gpus.onnxruntime()
    assert line.status == NOTE
    again = "python -m pip uninstall -y onnxruntime && EXTRAS=onnxruntime-gpu ./install.sh"
    assert line.mend == again


def test_of_both_builds_the_one_for_gpus_is_installed_again(monkeypatch: pytest.MonkeyPatch) -> None:
    has(monkeypatch, "onnxruntime", "onnxruntime-gpu", gpu=False)
    [line] = packages._clashes()
    assert line.mend == (
        "python -m pip uninstall -y onnxruntime onnxruntime-gpu && EXTRAS=onnxruntime-gpu ./install.sh"
    )


def test_a_gpu_is_seen_by_the_files_of_its_driver(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.undo()
    monkeypatch.setattr(install, "_DEVICES", tmp_path)
    (tmp_path / "nvidiactl").touch()  # is there without a GPU, too
    assert not install._has_gpu()
    (tmp_path / "nvidia1").touch()
    assert install._has_gpu()


@pytest.mark.parametrize("folder", ["my venv", "conda"])
def test_an_environment_elsewhere_is_the_one_that_is_mended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, folder: str
) -> None:
    prefix = tmp_path / folder
    monkeypatch.setattr(sys, "prefix", str(prefix))
    if folder == "conda":
        monkeypatch.setattr(sys, "base_prefix", str(prefix))
        (prefix / "conda-meta").mkdir(parents=True)
    told = f"'{prefix}'" if " " in folder else str(prefix)
    assert install.command() == f"VENV={told} ./install.sh"
    assert install.command("memray") == f"VENV={told} EXTRAS=memray ./install.sh"
    [line] = machine.python()
    assert (line.status, line.mend) == (OK, "")


def test_the_python_of_the_system_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "prefix", sys.base_prefix)
    monkeypatch.setenv("CONDA_PREFIX", "/opt/conda")  # of another Python than this one
    [line] = machine.python()
    assert (line.status, line.mend) == (NOTE, "./install.sh && . .venv/bin/activate")
    assert install.command() == line.mend


@pytest.mark.parametrize(
    ("prefix", "mend"),
    [
        (str(install.ROOT / ".venv"), "rm -r .venv && PYTHON=/usr/bin/python3.11 ./install.sh"),
        ("/opt/venv", "PYTHON=/usr/bin/python3.11 ./install.sh && . .venv/bin/activate"),
    ],
)
def test_an_old_python_makes_room_only_in_the_projects_own_place(
    monkeypatch: pytest.MonkeyPatch, prefix: str, mend: str
) -> None:
    monkeypatch.setattr(sys, "prefix", prefix)
    monkeypatch.setattr(sys, "version_info", (3, 10, 12))
    found = f"3.10.12 at {sys.executable}; 3.11 or newer is needed"
    assert machine.python() == [Line("python", MISSING, found, mend)]


def test_the_projects_own_environment_may_be_reached_by_a_link(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(install, "ROOT", tmp_path)
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / ".venv").symlink_to("elsewhere")
    monkeypatch.setattr(sys, "prefix", os.fspath(tmp_path / "elsewhere"))
    assert install.command() == "./install.sh"
