"""The machine: limits of control groups, disks, Python, load."""

from __future__ import annotations

import errno
import getpass
import os
import re
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest

from harness.doctor import cgroups, machine, space
from harness.doctor.line import MISSING, NOTE, OK, Line
from tests.harness.doctor.machines import looked_at
from tests.harness.points import ROOT


def written(root: Path, **files: str) -> Path:
    """root with files, whose names have __ for a slash."""
    for name, text in files.items():
        path = root / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def test_the_tightest_group_of_version_2_decides(tmp_path: Path) -> None:
    root = written(tmp_path, proc__self__cgroup="0::/pod/main\n")
    written(root / "sys/fs/cgroup/pod/main", **{"cpu.max": "max 100000\n", "memory.max": "max\n"})
    written(root / "sys/fs/cgroup/pod", **{"cpu.max": "150000 100000\n", "memory.max": "4294967296\n"})
    assert cgroups.quota_cores(root) == 1.5
    assert cgroups.memory_bytes(root) == 4 * 2**30


def test_version_1_has_a_hierarchy_for_each_and_a_container_its_own_root(tmp_path: Path) -> None:
    """The path is that of the host; what is mounted is the container's group."""
    root = written(tmp_path, proc__self__cgroup="5:memory:/docker/ab\n4:cpu,cpuacct:/docker/ab\n0::/\n")
    written(root / "sys/fs/cgroup/cpu", **{"cpu.cfs_quota_us": "50000\n", "cpu.cfs_period_us": "100000\n"})
    written(root / "sys/fs/cgroup/memory", **{"memory.limit_in_bytes": "9223372036854771712\n"})
    assert cgroups.quota_cores(root) == 0.5
    assert cgroups.memory_bytes(root) is None


def test_without_groups_nothing_is_limited(tmp_path: Path) -> None:
    root = written(tmp_path, proc__self__cgroup="0::/\n")
    assert (cgroups.quota_cores(root), cgroups.memory_bytes(root)) == (None, None)


def test_the_least_python_is_that_of_the_project_and_of_install_sh() -> None:
    least = ".".join(map(str, machine.LEAST_PYTHON))
    assert f'requires-python = ">={least}"' in (ROOT / "pyproject.toml").read_text()
    assert "sys.version_info < ({}, {})".format(*machine.LEAST_PYTHON) in (ROOT / "install.sh").read_text()


def test_a_folder_that_may_not_be_written_to_is_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "runs").symlink_to("/sys")  # in which not even root may write
    monkeypatch.chdir(tmp_path)
    [line] = looked_at("runs/")
    assert line.status == MISSING
    assert re.fullmatch(r".*/runs cannot be written to \(.+\)", line.found)
    assert line.mend


def test_a_folder_that_is_not_there_yet_is_looked_at_where_it_would_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    [line] = looked_at("runs/")
    assert line.status in (OK, NOTE)  # by what is free
    assert f"free in {tmp_path}/runs" in line.found
    assert list(tmp_path.iterdir()) == []


def refused(number: int, folder: Path, monkeypatch: pytest.MonkeyPatch, *, in_container: bool) -> Line:
    """What is told of runs/ in a folder where every write is refused with this error."""

    def refuse(dir: Path) -> None:
        raise OSError(number, os.strerror(number), str(dir))

    monkeypatch.chdir(folder)
    monkeypatch.setattr("tempfile.TemporaryFile", refuse)
    monkeypatch.setattr(space, "is_container", lambda: in_container)
    [line] = space.runs()
    assert line.status == MISSING
    return line


@pytest.mark.parametrize("in_container", [True, False])
@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_disk_is_cleaned_up_and_not_mounted_once_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, in_container: bool
) -> None:
    (tmp_path / "runs").mkdir()
    line = refused(number, tmp_path, monkeypatch, in_container=in_container)
    assert line.found == f"{tmp_path}/runs cannot be written to ({os.strerror(number)})"
    assert line.mend == f"remove what is not needed: du -sh {tmp_path}/runs/*"


def test_what_fills_the_disk_is_looked_for_where_runs_would_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    line = refused(errno.ENOSPC, tmp_path, monkeypatch, in_container=False)
    assert line.mend == f"remove what is not needed: du -sh {tmp_path}/*"


@pytest.mark.parametrize("number", [errno.EROFS, errno.EACCES])
def test_a_container_gets_runs_itself_mounted_and_never_the_folder_above_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    line = refused(number, tmp_path, monkeypatch, in_container=True)
    assert line.found.startswith(f"{tmp_path} cannot be written to")
    assert f'docker run -v "$PWD/runs:{tmp_path}/runs", ' in line.mend


def test_a_disk_that_is_read_only_is_mounted_writable(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Path, "is_mount", lambda path: path == tmp_path)
    (tmp_path / "project").mkdir()
    line = refused(errno.EROFS, tmp_path / "project", monkeypatch, in_container=False)
    assert line.mend == f"sudo mount -o remount,rw {tmp_path}"


def test_whoever_may_not_write_gets_runs_and_not_the_folder_above_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    line = refused(errno.EACCES, tmp_path, monkeypatch, in_container=False)
    user = getpass.getuser()
    assert line.mend == f"sudo mkdir -p {tmp_path}/runs && sudo chown -R {user} {tmp_path}/runs"


@pytest.mark.parametrize(("free_mib", "status"), [(500, MISSING), (4000, NOTE), (20_000, OK)])
def test_what_a_run_needs_is_held_against_what_is_free(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, free_mib: int, status: str
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(free=free_mib * 2**20))
    [line] = space.runs()
    assert line.status == status
    assert (line.mend == "") == (status == OK)


@pytest.mark.parametrize(("granted_mib", "status"), [(512, MISSING), (2048, NOTE), (None, OK)])
def test_what_a_container_grants_is_held_against_what_a_worker_took(
    monkeypatch: pytest.MonkeyPatch, granted_mib: int | None, status: str
) -> None:
    if status == OK and psutil.virtual_memory().available < 4 * 2**30:
        pytest.skip("this machine has too little memory itself")
    monkeypatch.setattr(cgroups, "memory_bytes", lambda: granted_mib and granted_mib * 2**20)
    line, *_ = machine.memory()
    assert line.status == status
    assert ("docker run" in line.mend) == (status != OK)


def test_a_busy_machine_is_told_before_it_disturbs_a_measurement() -> None:
    busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(2)]
    try:
        [line] = looked_at("load")
    finally:
        for process in busy:
            process.kill()
            process.wait()
    assert line.status == NOTE
    assert "limit 0.3: a measurement would be marked" in line.found
    assert line.mend in ("end it, or measure later", "measure later")


def test_own_processes_are_found_as_those_of_a_point_are() -> None:
    [line] = looked_at("processes")
    assert line.status in (OK, NOTE)
    assert "found by their token" in line.found
