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

_MIB, _GIB = 2**20, 2**30
# 0.96 billion parameters at full size are 3.6 GiB in fp32; backends keep an exported network and an engine.
_FOR_ENGINES = 8 * _GIB
# Videos, spans and samples of a sweep of some sixty points.
_FOR_RESULTS = _GIB
# What torch.compile, Triton and TensorRT put there while they build; the lock of the GPU has some bytes.
_FOR_COMPILERS = 256 * _MIB
# Semaphores of Python's and what CUDA's Multi-Process Service shares; Docker gives 64 MiB.
_FOR_SEMAPHORES = 16 * _MIB


def runs() -> list[Line]:
    """Where results go, in the current folder."""
    folder = Path("runs").absolute()
    there = next(path for path in (folder, *folder.parents) if path.exists())
    clean_up = f"remove what is not needed: du -sh {shlex.quote(str(there))}/*"
    if error := _refused(there):
        mend = clean_up if error.errno in (errno.ENOSPC, errno.EDQUOT) else _open_up(folder, error)
        return [Line("runs/", MISSING, _words(error, there), mend)]
    free = shutil.disk_usage(there).free
    found = f"{_told(free)} free in {folder}"
    if free < _FOR_RESULTS:
        return [Line("runs/", MISSING, f"{found}, a sweep needs {_told(_FOR_RESULTS)}", clean_up)]
    if free < _FOR_ENGINES:
        text = f"{found}: enough for results; built engines at full size take up to {_told(_FOR_ENGINES)}"
        return [Line("runs/", NOTE, text, "cache=/a/larger/disk with every command")]
    return [Line("runs/", OK, found)]


def temporary() -> list[Line]:
    try:
        folder = Path(tempfile.gettempdir())
    except FileNotFoundError as error:
        return [Line("temp folder", MISSING, str(error.strerror), "export TMPDIR=/a/folder/to/write/to")]
    found = f"{_told(shutil.disk_usage(folder).free)} free in {folder}"
    if shutil.disk_usage(folder).free < _FOR_COMPILERS:
        text = f"{found}; compilers of backends may want {_told(_FOR_COMPILERS)}"
        return [Line("temp folder", NOTE, text, "export TMPDIR=/a/larger/disk")]
    return [Line("temp folder", OK, found)]


def shared_memory() -> list[Line]:
    folder = Path("/dev/shm")
    more = "docker run --ipc=host" if is_container() else "sudo mount -o remount,rw,size=1G /dev/shm"
    if error := _refused(folder):
        return [Line("/dev/shm", MISSING, _words(error, folder), more)]
    free = shutil.disk_usage(folder).free
    if free < _FOR_SEMAPHORES:
        text = f"{_told(free)} free; semaphores may want {_told(_FOR_SEMAPHORES)}"
        return [Line("/dev/shm", NOTE, text, more)]
    return [Line("/dev/shm", OK, f"{_told(free)} free")]


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
