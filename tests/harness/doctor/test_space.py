"""Disks: what cannot be written to, or has too little room, and the command that mends it."""

from __future__ import annotations

import errno
import getpass
import os
import re
import subprocess
import tempfile
from pathlib import Path
from types import SimpleNamespace

import pytest

from harness.doctor import space
from harness.doctor.line import MISSING, NOTE, OK, Line
from tests.harness.doctor.machines import looked_at


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
    assert line.mend == f"remove what is not needed: du -ah --max-depth=1 {tmp_path}/runs | sort -h"


def test_what_fills_the_disk_is_looked_for_where_runs_would_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    line = refused(errno.ENOSPC, tmp_path, monkeypatch, in_container=False)
    assert line.mend == f"remove what is not needed: du -ah --max-depth=1 {tmp_path} | sort -h"


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


def test_the_command_that_shows_what_fills_a_disk_shows_hidden_files_too(tmp_path: Path) -> None:
    folder = tmp_path / "my runs"
    (folder / ".cache").mkdir(parents=True)
    (folder / ".cache/engine").write_bytes(bytes(3 * 2**20))
    (folder / "result").write_bytes(bytes(2**20))
    said = subprocess.run(["bash", "-c", space._largest(folder)], capture_output=True, text=True, check=True)
    names = [line.split("\t")[1] for line in said.stdout.splitlines()]
    assert names == [f"{folder}/result", f"{folder}/.cache", str(folder)]


def test_a_file_in_the_place_of_runs_has_to_go(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "runs").touch()
    monkeypatch.chdir(tmp_path)
    away = f"move it away: mv {tmp_path}/runs {tmp_path}/runs.away"
    assert space.runs() == [Line("runs/", MISSING, f"{tmp_path}/runs is no folder", away)]


def test_a_link_that_leads_nowhere_is_no_folder_to_be_made(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "runs").symlink_to("/mnt/not mounted")
    monkeypatch.chdir(tmp_path)
    [line] = space.runs()
    assert (line.status, line.found) == (
        MISSING,
        f"{tmp_path}/runs is a link to /mnt/not mounted, and there is no folder",
    )
    assert line.mend.startswith("mount what it leads to, or move it away: mv ")


def test_where_no_temp_folder_can_be_written_to_every_point_would_fail(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also where tempfile, which looks further, would find one."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(space, "root", lambda: tmp_path / "nothing")
    [line] = space.temporary()
    assert (line.status, line.mend) == (MISSING, "export TMPDIR=/a/folder/to/write/to")
    assert line.found == f"{tmp_path}/nothing cannot be written to (No such file or directory)"


def test_the_temp_folder_that_is_looked_at_is_that_of_points(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    [line] = space.temporary()
    assert line.status in (OK, NOTE)  # by what is free
    assert f"free in {tmp_path}" in line.found


@pytest.mark.parametrize(
    ("number", "in_container", "mend"),
    [
        (errno.ENOSPC, False, "sort -h; or sudo mount -o remount,size=3000M /dev/shm"),
        (errno.ENOSPC, True, "sort -h; or docker run --ipc=host"),
        (errno.EACCES, False, "sudo chmod 1777 /dev/shm"),
        (errno.EACCES, True, "as root: chmod 1777 /dev/shm"),
        (errno.EROFS, False, "sudo mount -o remount,rw /dev/shm"),
        (errno.EROFS, True, "docker run --ipc=host"),
        (errno.ENOENT, False, "sudo mkdir -p /dev/shm && sudo mount -t tmpfs tmpfs /dev/shm"),
    ],
)
def test_shared_memory_is_mended_by_what_is_wrong_with_it(
    monkeypatch: pytest.MonkeyPatch, number: int, in_container: bool, mend: str
) -> None:
    monkeypatch.setattr(space, "is_container", lambda: in_container)
    monkeypatch.setattr(space, "_refused", lambda folder: OSError(number, os.strerror(number)))
    monkeypatch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(free=0, total=1500 * 2**20))
    [line] = space.shared_memory()
    assert line.status == MISSING
    assert line.found == f"/dev/shm cannot be written to ({os.strerror(number)})"
    assert line.mend.endswith(mend)
    assert line.mend.startswith("remove what is not needed: du ") == (number == errno.ENOSPC)


def test_little_shared_memory_is_told_how_to_become_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(space, "is_container", lambda: False)
    monkeypatch.setattr("shutil.disk_usage", lambda path: SimpleNamespace(free=2**20, total=64 * 2**20))
    [line] = space.shared_memory()
    assert line.status == NOTE
    assert line.mend.endswith("; or sudo mount -o remount,size=1024M /dev/shm")
