"""The one install script of Makefile and Dockerfile. That it works shows by these tests running at all."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

ROOT = Path(__file__).parent.parent


def test_makefile_and_dockerfile_install_by_the_same_script() -> None:
    assert re.search(r"^\t\./install\.sh$", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert re.search(r"^RUN .*\./install\.sh$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)


def test_the_image_has_all_files_that_the_script_reads() -> None:
    copied = re.search(r"^COPY (.*) \./$", (ROOT / "Dockerfile").read_text(), re.MULTILINE)
    assert copied
    assert {"install.sh", "pyproject.toml", "constraints.txt", "README.md"} <= set(copied[1].split())


def test_an_old_python_is_refused_in_one_line_that_names_the_remedy(tmp_path: Path) -> None:
    old = tmp_path / "python3"
    old.write_text("#!/bin/sh\nexit 1\n")
    old.chmod(0o755)
    environment = {**os.environ, "PYTHON": str(old), "VENV": str(tmp_path / "venv")}
    run = subprocess.run(
        ["bash", "install.sh"], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )
    assert run.returncode == 2
    assert len(run.stderr.splitlines()) == 1
    assert "PYTHON=" in run.stderr
    assert not (tmp_path / "venv").exists()


def test_an_environment_without_pip_is_made_anew(tmp_path: Path) -> None:
    """Such a one is left where python3-venv was missing; with that installed, make must work."""
    venv = tmp_path / "venv"
    (venv / "bin").mkdir(parents=True)
    (venv / "bin" / "python").symlink_to("/bin/false")
    asked = tmp_path / "python3"
    asked.write_text(f'#!/bin/sh\necho "$@" >> {tmp_path}/asked\n[ "$1" = -c ]\n')
    asked.chmod(0o755)
    environment = {**os.environ, "PYTHON": str(asked), "VENV": str(venv)}
    run = subprocess.run(["bash", "install.sh"], cwd=ROOT, env=environment, capture_output=True, check=False)
    assert run.returncode == 2
    assert f"-m venv --clear {venv}" in (tmp_path / "asked").read_text()


def test_constraints_pin_torch_without_a_build_so_that_cpu_and_cuda_machines_both_find_it() -> None:
    pins = dict(line.split("==") for line in (ROOT / "constraints.txt").read_text().split())
    assert re.fullmatch(r"\d+\.\d+\.\d+", pins["torch"])
    assert not [name for name in pins if name.startswith("nvidia-") and name != "nvidia-ml-py"]


def test_the_pipeline_of_ci_is_the_command_of_the_readme() -> None:
    assert "make test" in (ROOT / ".ci" / "run").read_text()
    assert ".ci/run" in (ROOT / ".github" / "workflows" / "ci.yml").read_text()
