"""The one install script of Makefile and Dockerfile. That it works shows by these tests running at all."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


def test_makefile_and_dockerfile_install_by_the_same_script() -> None:
    assert re.search(r"^\t\./install\.sh$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert re.search(r"^RUN .*\./install\.sh$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)


def test_the_image_has_all_files_that_the_script_reads() -> None:
    copied = re.search(r"^COPY (.*) \./$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    assert copied
    assert {"install.sh", "pyproject.toml", "constraints.txt", "README.md"} <= set(copied[1].split())


def test_an_old_python_is_refused_in_one_line_that_names_the_remedy(tmp_path: Path) -> None:
    run = install(script(tmp_path / "python3", "exit 1"), tmp_path / "venv")
    assert run.returncode == 2
    assert len(run.stderr.splitlines()) == 1
    assert "PYTHON=" in run.stderr
    assert not (tmp_path / "venv").exists()


def script(path: Path, text: str) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{text}\n")
    path.chmod(0o755)
    return path


def install(python: Path, venv: Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHON": str(python), "VENV": str(venv)}
    command = ["bash", "install.sh"]
    return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)


def python_that_notes(folder: Path) -> Path:
    """A new one, which writes down what it is asked and makes no environment."""
    return script(folder / "python3", f'echo "$@" >> {folder}/asked\n[ "$1" = -c ]')


def test_an_environment_without_pip_is_made_anew(tmp_path: Path) -> None:
    """Such a one is left where python3-venv was missing; with that installed, make must work."""
    venv = tmp_path / "venv"
    (venv / "bin").mkdir(parents=True)
    (venv / "bin" / "python").symlink_to("/bin/false")
    (venv / "pyvenv.cfg").touch()
    assert install(python_that_notes(tmp_path), venv).returncode == 2
    assert f"-m venv --clear {venv}" in (tmp_path / "asked").read_text()


def test_a_folder_that_is_no_virtual_environment_is_never_emptied(tmp_path: Path) -> None:
    """As conda's without pip: the doctor names it as the one to mend."""
    conda = tmp_path / "conda"
    (conda / "conda-meta").mkdir(parents=True)
    run = install(python_that_notes(tmp_path), conda)
    assert (run.returncode, len(run.stderr.splitlines())) == (2, 1)
    assert "is no virtual environment; name another folder: VENV=DIR" in run.stderr
    assert "venv" not in (tmp_path / "asked").read_text().split()


@pytest.mark.parametrize("is_there", [False, True])
def test_an_empty_folder_may_become_one(tmp_path: Path, is_there: bool) -> None:
    if is_there:
        (tmp_path / "venv").mkdir()
    install(python_that_notes(tmp_path), tmp_path / "venv")
    assert f"-m venv --clear {tmp_path}/venv" in (tmp_path / "asked").read_text()


def test_an_environment_of_an_old_python_is_told_in_one_line_and_not_installed_into(tmp_path: Path) -> None:
    old = script(tmp_path / "venv/bin/python", f'echo "$@" >> {tmp_path}/old\n[ "$*" = "-m pip --version" ]')
    run = install(python_that_notes(tmp_path), old.parent.parent)
    assert (run.returncode, len(run.stderr.splitlines())) == (2, 1)
    assert f"{tmp_path}/venv has a Python older than 3.11; remove it, or name another: VENV=DIR" in run.stderr
    assert "install" not in (tmp_path / "old").read_text()


def test_an_environment_that_is_there_needs_no_other_python(tmp_path: Path) -> None:
    new = script(tmp_path / "venv/bin/python", f'echo "$@" >> {tmp_path}/new\n[ "$3" != install ]')
    install(script(tmp_path / "python3", "exit 1"), new.parent.parent)
    assert "install torch==" in (tmp_path / "new").read_text()


def test_constraints_pin_torch_without_a_build_so_that_cpu_and_cuda_machines_both_find_it() -> None:
    pins = dict(line.split("==") for line in (ROOT / "constraints.txt").read_text().split())
    assert re.fullmatch(r"\d+\.\d+\.\d+", pins["torch"])
    assert not [name for name in pins if name.startswith("nvidia-") and name != "nvidia-ml-py"]


def test_the_pipeline_of_ci_is_the_command_of_the_readme() -> None:
    assert "make test" in (ROOT / ".ci" / "run").read_text()
    assert ".ci/run" in (ROOT / ".github" / "workflows" / "ci.yml").read_text()
