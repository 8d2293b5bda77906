"""`python -m harness.guard TOKEN`: waits for the harness to go away, then ends what it has left.

Standard library only, and little of it: it starts with every sweep and lives as long.
"""

from __future__ import annotations

import os
import signal
import sys
import time

from harness import temporary, tree

_LOOKS = 3
_BETWEEN_S = 0.25


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
    for folder in temporary.made(token):
        temporary.remove(folder)


if __name__ == "__main__":
    guard(sys.argv[1])
