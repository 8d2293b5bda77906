"""`python -m harness.guard TOKEN`: waits for the harness to go away, then ends what it has left.

Standard library only, and little of it: it starts with every sweep and lives as long.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import sys
import time
from pathlib import Path

from harness import tree

TEMPORARY = "harness-"  # what the folders of points for temporary files begin with; the token follows
_ELSE = ("/tmp", "/var/tmp", "/usr/tmp", ".")  # as tempfile has them
_LOOKS = 3
_BETWEEN_S = 0.25


def temporary_root() -> Path:
    """Where tempfile puts its files. That finds out by writing one, which stays for ever if the harness is
    killed before it removes it; this only looks.
    """
    given = [os.environ.get(name) for name in ("TMPDIR", "TEMP", "TMP")]
    for folder in (Path(folder) for folder in (*given, *_ELSE) if folder):
        with contextlib.suppress(FileNotFoundError):  # the current folder, that is gone
            if os.access(folder, os.W_OK | os.X_OK) and folder.is_dir():
                return folder.absolute()
    return Path("/tmp")


def guard(token: str) -> None:
    """Wait until standard input ends, as it does when the harness dies, then end all with the token, and
    remove their temporary files.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    while os.read(0, 1):
        pass
    for look in range(_LOOKS):
        # A process does not show its token until its program has begun, and under load that takes a while.
        time.sleep(_BETWEEN_S if look else 0)
        tree.end(token, grace_s=0.2)
    for folder in temporary_root().glob(f"{TEMPORARY}{token}-*"):
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    guard(sys.argv[1])
