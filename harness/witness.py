"""The witness: a thread of the measured process that says what its components are at, when asked by SIGUSR2.

It runs while the main thread is stuck in a join or a queue. Where it cannot answer either, because somebody
holds the GIL, the stacks tell. Standard library only.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Callable

ASK = signal.SIGUSR2


def prepare() -> None:
    """Let ASK wait for the witness. To be called before any thread starts: they inherit the mask.

    A component may put a mask of its own in its place; then it must not end the process either, as long as
    the witness is not there.
    """
    signal.signal(ASK, lambda number, frame: None)
    signal.pthread_sigmask(signal.SIG_BLOCK, {ASK})


def start(tell: Callable[[], None], listens: Callable[[int], None]) -> None:
    """Call `tell` at each ASK from now on, and for one that came since prepare().

    listens  told the number of the thread that ASK is to be sent to, before it listens
    """
    threading.Thread(target=_listen, args=(tell, listens), name="witness", daemon=True).start()


def _listen(tell: Callable[[], None], listens: Callable[[int], None]) -> None:
    listens(threading.get_native_id())
    while True:
        signal.sigwait({ASK})
        tell()
