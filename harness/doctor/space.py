"""Disk: whether what is written while measuring can be written, and how much of it."""

from __future__ import annotations

import errno
import getpass
import os
import shlex
import shutil
import tempfile
from pathlib import Path

from harness.doctor.line import MISSING, NOTE, OK, Line
from harness.doctor.machine import is_container
from harness.temporary import root

_MIB, _GIB = 2**20, 2**30
# 0.96 billion parameters at full size are 3.6 GiB in fp32; backends keep an exported network and an engine.
_FOR_ENGINES = 8 * _GIB
# Videos, spans and samples of a sweep of some sixty points.
_FOR_RESULTS = _GIB
# What torch.compile, Triton and TensorRT put there while they build; the lock of the GPU has some bytes.
_FOR_COMPILERS = 256 * _MIB
# Semaphores of Python's and what CUDA's Multi-Process Service shares; Docker gives 64 MiB.
_FOR_SEMAPHORES = 16 * _MIB
_SHARED_MEMORY = Path("/dev/shm")
_FULL = (errno.ENOSPC, errno.EDQUOT)


def runs() -> list[Line]:
    """Where results go, in the current folder."""
    folder = Path("runs").absolute()
    if os.path.lexists(folder) and not folder.is_dir():
        return [_in_the_way(folder)]
    there = next(path for path in (folder, *folder.parents) if path.exists())
    clean_up = f"remove what is not needed: {_largest(there)}"
    if error := _refused(there):
        mend = clean_up if error.errno in _FULL else _open_up(folder, error)
        return [Line("runs/", MISSING, _words(error, there), mend)]
    free = shutil.disk_usage(there).free
    found = f"{_told(free)} free in {folder}"
    if free < _FOR_RESULTS:
        return [Line("runs/", MISSING, f"{found}, a sweep needs {_told(_FOR_RESULTS)}", clean_up)]
    if free < _FOR_ENGINES:
        text = f"{found}: enough for results; built engines at full size take up to {_told(_FOR_ENGINES)}"
        return [Line("runs/", NOTE, text, "cache=/a/larger/disk with every command")]
    return [Line("runs/", OK, found)]


def _in_the_way(folder: Path) -> Line:
    """Of a file, or a link that leads to no folder, where one should be."""
    name = shlex.quote(str(folder))
    away = f"move it away: mv {name} {name}.away"
    if folder.is_symlink():
        found = f"{folder} is a link to {folder.readlink()}, and there is no folder"
        return Line("runs/", MISSING, found, f"mount what it leads to, or {away}")
    return Line("runs/", MISSING, f"{folder} is no folder", away)


def temporary() -> list[Line]:
    """Where points get theirs, see harness.temporary."""
    folder = root()
    if error := _refused(folder):
        return [Line("temp folder", MISSING, _words(error, folder), "export TMPDIR=/a/folder/to/write/to")]
    found = f"{_told(shutil.disk_usage(folder).free)} free in {folder}"
    if shutil.disk_usage(folder).free < _FOR_COMPILERS:
        text = f"{found}; compilers of backends may want {_told(_FOR_COMPILERS)}"
        return [Line("temp folder", NOTE, text, "export TMPDIR=/a/larger/disk")]
    return [Line("temp folder", OK, found)]


def shared_memory() -> list[Line]:
    if error := _refused(_SHARED_MEMORY):
        return [Line("/dev/shm", MISSING, _words(error, _SHARED_MEMORY), _share(error))]
    free = shutil.disk_usage(_SHARED_MEMORY).free
    if free < _FOR_SEMAPHORES:
        text = f"{_told(free)} free; semaphores may want {_told(_FOR_SEMAPHORES)}"
        return [Line("/dev/shm", NOTE, text, _enlarge())]
    return [Line("/dev/shm", OK, f"{_told(free)} free")]


def _share(error: OSError) -> str:
    """How shared memory becomes such that can be written to."""
    if error.errno in _FULL:
        return _enlarge()
    if error.errno in (errno.EACCES, errno.EPERM):
        return f"{'as root:' if is_container() else 'sudo'} chmod 1777 {_SHARED_MEMORY}"
    if is_container():
        return "docker run --ipc=host"
    if error.errno == errno.EROFS:
        return f"sudo mount -o remount,rw {_SHARED_MEMORY}"
    return f"sudo mkdir -p {_SHARED_MEMORY} && sudo mount -t tmpfs tmpfs {_SHARED_MEMORY}"


def _enlarge() -> str:
    """The new size is twice the old one: a file system cannot become smaller than what is in it."""
    size_mib = max(1024, 2 * shutil.disk_usage(_SHARED_MEMORY).total // _MIB)
    larger = f"sudo mount -o remount,size={size_mib}M {_SHARED_MEMORY}"
    larger = "docker run --ipc=host" if is_container() else larger
    return f"remove what is not needed: {_largest(_SHARED_MEMORY)}; or {larger}"


def _largest(folder: Path) -> str:
    """The command that shows what takes most there, hidden files included, the largest last."""
    return f"du -ah --max-depth=1 {shlex.quote(str(folder))} | sort -h"


def _refused(folder: Path) -> OSError | None:
    """What went wrong when a file was written there, which has no name and is gone at once."""
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(bytes(4096))
            file.flush()
    except OSError as error:
        return error
    return None


def _words(error: OSError, folder: Path) -> str:
    return f"{folder} cannot be written to ({error.strerror})"


def _open_up(folder: Path, error: OSError) -> str:
    """How a folder becomes one to write to; it need not be there. Nothing is done to the folder above it:
    that may be the project.
    """
    if is_container():
        return f'docker run -v "$PWD/runs:{folder}", with a folder that user {os.getuid()} may write to'
    if error.errno == errno.EROFS:
        real = folder.resolve()
        mounted = next(path for path in (real, *real.parents) if path.is_mount())
        return f"sudo mount -o remount,rw {shlex.quote(str(mounted))}"
    name = shlex.quote(str(folder))
    return f"sudo mkdir -p {name} && sudo chown -R {shlex.quote(getpass.getuser())} {name}"


def _told(num_bytes: int) -> str:
    return f"{num_bytes / _GIB:.1f} GiB" if num_bytes >= _GIB else f"{num_bytes // _MIB} MiB"
