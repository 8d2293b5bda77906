"""Files that take long to make (exported networks, engines), kept by what they were made from."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # torch takes seconds to import, and files can be kept without it
    from torch import Tensor, nn

MANIFEST = "manifest.json"
_CHUNK = 1 << 22
_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
# Where Inductor and Triton keep what they compiled; read at every compilation.
_KERNELS = {"TORCHINDUCTOR_CACHE_DIR": "inductor", "TRITON_CACHE_DIR": "triton"}


@dataclass(frozen=True)
class Cache:
    """Folders `root/name/hash`, each with its files and a manifest that says what they were made from.

    Several processes may share a root: one builds, the others wait and load. What a crashed builder left
    does not count, nor does a folder whose files differ from its manifest: both are built again.
    """

    root: Path

    def entry(self, key: Mapping[str, Any], build: Callable[[Path], None], name: str) -> Path:
        """The folder for `key`, built where there is none that is whole.

        key    everything the files depend on, plain JSON data; the folder's name is its hash
        build  fills an empty folder; what it raises passes, and nothing is kept
        name   of the network, for people; [a-zA-Z0-9_.-]
        Raises ValueError where the root cannot be written or is full, and where `build` made no file.
        """
        folder = self.root / name / digest(key)
        with _locked(folder.with_suffix(".lock")):
            if not _whole(folder, key):
                with _room(self.root, f"building {name}"):
                    _build(folder, key, build)
        return folder

    def alone(self, what: str) -> contextlib.AbstractContextManager[None]:
        """Hold the lock `root/locks/what.lock`: of all processes and threads, one is inside."""
        return _locked(self.root / "locks" / f"{what}.lock")


@contextlib.contextmanager
def kernel_folders(root: Path) -> Iterator[None]:
    """Point Inductor and Triton to `root/inductor` and `root/triton` while something is compiled.

    They are told by the environment of the whole process, so threads must take turns.
    """
    before = {name: os.environ.get(name) for name in _KERNELS}
    os.environ.update({name: str((root / folder).resolve()) for name, folder in _KERNELS.items()})
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


def digest(key: Mapping[str, Any]) -> str:
    """128 bits of the key's canonical JSON, in hexadecimal."""
    text = json.dumps(key, sort_keys=True, separators=(",", ":"), allow_nan=False)
    return hashlib.sha256(text.encode()).hexdigest()[:32]


def file_digest(path: Path) -> str:
    """SHA-256 of a file."""
    state = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(_CHUNK):
            state.update(block)
    return state.hexdigest()


def weights_digest(module: nn.Module) -> str:
    """Of the name, dtype, shape and bytes of every parameter and buffer; the device does not matter."""
    import torch

    state = hashlib.blake2b(digest_size=16)
    for name, tensor in sorted(_tensors(module)):
        state.update(f"{name} {tensor.dtype} {list(tensor.shape)};".encode())
        state.update(tensor.detach().reshape(-1).view(torch.uint8).cpu().numpy())
    return state.hexdigest()


def _tensors(module: nn.Module) -> Iterator[tuple[str, Tensor]]:
    """Also the buffers that no state_dict holds: they are part of the exported file all the same."""
    yield from module.named_parameters(remove_duplicate=False)
    yield from module.named_buffers(remove_duplicate=False)


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[None]:
    """Hold a lock file; it stays, for a file that is removed would lock out nobody."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as error:
        raise ValueError(
            f"cache={path.parents[1]}: {error.strerror} ({path}); use a folder that can be written"
        ) from error
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        fcntl.flock(descriptor, fcntl.LOCK_UN)  # a process forked meanwhile has the descriptor too
        os.close(descriptor)


@contextlib.contextmanager
def _room(root: Path, doing: str) -> Iterator[None]:
    """Say of a full disk what to do about it; every other error passes."""
    try:
        yield
    except OSError as error:
        if error.errno not in _FULL:
            raise
        raise ValueError(
            f"cache={root}: {doing}: {error.strerror} ({error.filename or root}); "
            "free space or choose another folder"
        ) from error


def _whole(folder: Path, key: Mapping[str, Any]) -> bool:
    """Whether the folder holds what its manifest says, made from this key."""
    try:
        manifest = json.loads((folder / MANIFEST).read_bytes())
    except (OSError, ValueError):
        return False
    if not isinstance(manifest, dict) or manifest.get("key") != json.loads(json.dumps(key)):
        return False
    files = manifest.get("files")
    return isinstance(files, dict) and bool(files) and all(_same(folder / n, f) for n, f in files.items())


def _same(path: Path, facts: Any) -> bool:
    try:
        return bool(_facts(path) == facts)
    except OSError:
        return False


def _facts(path: Path) -> dict[str, Any]:
    return {"size": path.stat().st_size, "sha256": file_digest(path)}


def _build(folder: Path, key: Mapping[str, Any], build: Callable[[Path], None]) -> None:
    """Build beside the folder and rename, under the lock: a folder of that name is always a finished one."""
    part = folder.with_suffix(".part")
    for left in (part, folder):
        shutil.rmtree(left, ignore_errors=True)
    part.mkdir()
    try:
        build(part)
        paths = sorted(path for path in part.rglob("*") if path.is_file())
        if not paths:
            raise ValueError(f"{folder.parent.name}: building it made no file (cache entry {folder.name})")
        files = {str(path.relative_to(part)): _facts(path) for path in paths}
        text = json.dumps({"key": key, "files": files}, indent=1, sort_keys=True, allow_nan=False)
        (part / MANIFEST).write_text(text)
        part.rename(folder)
    finally:
        shutil.rmtree(part, ignore_errors=True)
