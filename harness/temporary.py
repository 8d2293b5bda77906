"""Temporary: a folder for the temporary files of a point, found by its token. Standard library only."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

_PREFIX = "harness-"
_ELSE = ("/tmp", "/var/tmp", "/usr/tmp", ".")  # as tempfile has them


def root() -> Path:
    """Where tempfile puts its files. That finds out by writing one, which stays for ever if the harness is
    killed before it removes it; this only looks.
    """
    given = [os.environ.get(name) for name in ("TMPDIR", "TEMP", "TMP")]
    for folder in (Path(folder) for folder in (*given, *_ELSE) if folder):
        with contextlib.suppress(FileNotFoundError):  # the current folder, that is gone
            if os.access(folder, os.W_OK | os.X_OK) and folder.is_dir():
                return folder.absolute()
    return Path("/tmp")


def make(token: str) -> Path:
    """A new one. The name is short, for sockets have paths of 107 bytes at most."""
    return Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{token.partition('.')[0]}-", dir=root()))


def made(token: str) -> Iterator[Path]:
    """Those of all points of a token."""
    return root().glob(f"{_PREFIX}{token}-*")


def remove(folder: Path) -> str:
    """Whatever is in it. Returns the folder if something of it stays, else ""."""
    shutil.rmtree(folder, ignore_errors=True)
    if folder.exists():  # as a folder in it is read-only
        _open_up(folder)
        for inner, names, _ in os.walk(folder):  # which goes into them after this
            for name in names:
                _open_up(Path(inner, name))
        shutil.rmtree(folder, ignore_errors=True)
    return str(folder) if folder.exists() else ""


def _open_up(folder: Path) -> None:
    """Let this user list and empty it; what a link leads to is left alone."""
    with contextlib.suppress(OSError):  # another user's
        if not folder.is_symlink():
            folder.chmod(0o700)
