"""What can go wrong, done on purpose: each kind of fault as one function. Standard library only, but for
CUDA's.

Each does what the real accident does, with real locks, pipes, signals and processes, so that what catches it
is tested against what happens and not against its name.
"""

from __future__ import annotations

import ctypes
import hashlib
import json
import os
import queue
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

_FOR_EVER_S = 86_400


def strike(fault: Mapping[str, Any]) -> None:
    """Do what fault.kind says, here and now. Raises ValueError for a kind that is not in KINDS."""
    if fault["kind"] not in KINDS:
        raise ValueError(f"fault.kind={fault['kind']}: choose from none, {', '.join(KINDS)}, {WRONG}")
    KINDS[fault["kind"]](fault)


def _hang(fault: Mapping[str, Any]) -> None:
    threading.Event().wait()  # the event that nobody sets


def _sleep(fault: Mapping[str, Any]) -> None:
    time.sleep(_FOR_EVER_S)


def _busy(fault: Mapping[str, Any]) -> None:
    while True:
        pass


def _slow(fault: Mapping[str, Any]) -> None:
    time.sleep(fault["seconds"])


def _crawl(fault: Mapping[str, Any]) -> None:
    """Slow, and yet it moves: many small steps, as a loop over tokens on an overloaded machine."""
    steps: tuple[Callable[[], object], ...] = (_hash_a_little, _write_a_little, _sort_a_little)
    until = time.monotonic() + fault["seconds"]
    while time.monotonic() < until:
        for step in steps:
            step()


def _hash_a_little() -> None:
    for number in range(1000):
        hashlib.sha256(str(number).encode()).digest()


def _write_a_little() -> None:
    for _ in range(20):
        json.dumps({str(number): number for number in range(100)}, indent=1)


def _sort_a_little() -> None:
    for _ in range(20):
        sorted(range(1000), key=lambda number: -number)


def _lock(fault: Mapping[str, Any]) -> None:
    """The second call of a function whose only release is gone."""
    lock = threading.Lock()
    _take(lock)
    _take(lock)


def _take(lock: threading.Lock) -> None:
    lock.acquire()


def _lock_order(fault: Mapping[str, Any]) -> None:
    first, second, taken = threading.Lock(), threading.Lock(), threading.Event()

    def other_way_round() -> None:
        with second:
            taken.set()
            with first:
                pass

    with first:
        threading.Thread(target=other_way_round, name="other way round", daemon=True).start()
        taken.wait()
        with second:
            pass


def _import_lock(fault: Mapping[str, Any]) -> None:
    """A module that never gets done is imported by one thread, and then by this one."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "never_done.py").write_text("import threading\nthreading.Event().wait()\n")
        sys.path.insert(0, folder)
        threading.Thread(target=__import__, args=("never_done",), name="importer", daemon=True).start()
        while "never_done" not in sys.modules:
            time.sleep(0.01)
        __import__("never_done")


def _queue_full(fault: Mapping[str, Any]) -> None:
    nobody_reads: queue.Queue[int] = queue.Queue(maxsize=2)
    for number in range(3):
        nobody_reads.put(number)


def _hidden(fault: Mapping[str, Any]) -> None:
    """The thread that should answer has died of an exception that nobody looks at."""
    answers: queue.Queue[int] = queue.Queue()

    def answer() -> None:
        raise RuntimeError("raised on purpose in a thread by fault.kind=hidden")

    threading.Thread(target=answer, name="answering", daemon=True).start()
    answers.get()


def _gil(fault: Mapping[str, Any]) -> None:
    # PyDLL keeps the GIL during the call, as a badly written extension does: no other Python thread runs. A
    # lock that is taken twice ends by no signal, as a sleep would.
    libc, lock = ctypes.PyDLL(None), ctypes.create_string_buffer(64)
    libc.pthread_mutex_lock(lock)
    libc.pthread_mutex_lock(lock)


def _child(fault: Mapping[str, Any]) -> None:
    subprocess.run(["sleep", str(_FOR_EVER_S)], check=True)


def _fork(fault: Mapping[str, Any]) -> None:
    """The hang that nobody plants: libgomp's threads do not survive a fork, the child waits for them for
    ever.
    """
    import torch

    torch.set_num_threads(2)
    square = torch.ones(512, 512)
    torch.mm(square, square)
    child = os.fork()
    if child == 0:
        torch.mm(square, square)
        os._exit(0)
    os.waitpid(child, 0)


def _fork_cuda(fault: Mapping[str, Any]) -> None:
    """CUDA does not survive a fork: the child's first use of it is an error, which this process hears of."""
    import torch

    torch.ones(1, device="cuda")
    child = os.fork()
    if child == 0:
        try:
            torch.ones(1, device="cuda")
        finally:
            os._exit(1)
    _, status = os.waitpid(child, 0)
    if status:
        raise RuntimeError("a forked process cannot use CUDA, which was started before the fork")


def _network(fault: Mapping[str, Any]) -> None:
    """A call without a time limit to a server that takes the connection and never answers."""
    with (
        socket.create_server(("127.0.0.1", 0)) as server,
        socket.create_connection(server.getsockname()) as line,
    ):
        line.sendall(b"GET /model HTTP/1.1\r\n\r\n")
        line.recv(1)


def _writer_died(fault: Mapping[str, Any]) -> None:
    """The process that writes the video is dead, and its answer is waited for: this process itself still
    holds the end of the pipe that the writer had, so that no end of file comes.
    """
    answers, answers_in = os.pipe()
    writer = subprocess.Popen(["sleep", str(_FOR_EVER_S)], pass_fds=(answers_in,))
    writer.kill()
    writer.wait()
    os.read(answers, 1)


def _stdin(fault: Mapping[str, Any]) -> None:
    input("Do you agree to the licence? [y/n] ")


def _disk_full(fault: Mapping[str, Any]) -> None:
    with Path("/dev/full").open("wb", buffering=0) as file:
        file.write(b"a frame")


def _raise(fault: Mapping[str, Any]) -> None:
    raise RuntimeError("raised on purpose by fault.kind=raise")


def _oom(fault: Mapping[str, Any]) -> None:
    bytearray(2**62)


def _cuda_oom(fault: Mapping[str, Any]) -> None:
    import torch

    held = []
    while True:
        held.append(torch.empty(2**30, dtype=torch.uint8, device="cuda"))


def _cuda_spin(fault: Mapping[str, Any]) -> None:
    """A kernel that does not end, and a thread that waits for it in the driver."""
    import torch

    torch.cuda._sleep(2**62)
    torch.cuda.synchronize()


def _segfault(fault: Mapping[str, Any]) -> None:
    ctypes.string_at(0)


def _grandchild(fault: Mapping[str, Any]) -> None:
    """A helper that detaches itself, in a session of its own, and outlives everybody."""
    helper = f"import os, time; os.fork() and os._exit(0); os.setsid(); time.sleep({_FOR_EVER_S})"
    subprocess.run([sys.executable, "-S", "-c", helper], check=True)


def _thread(fault: Mapping[str, Any]) -> None:
    """A thread that is no daemon and does not end: the interpreter waits for it at its own end."""
    threading.Thread(target=threading.Event().wait, name="left behind", daemon=False).start()


# By the word in conf/fault/. WRONG is none of them: what is wrong then is what a stage gives, see
# engines/faults.py.
KINDS: Mapping[str, Callable[[Mapping[str, Any]], object]] = {
    "hang": _hang,
    "sleep": _sleep,
    "busy": _busy,
    "slow": _slow,
    "crawl": _crawl,
    "lock": _lock,
    "lock_order": _lock_order,
    "import_lock": _import_lock,
    "queue_full": _queue_full,
    "hidden": _hidden,
    "gil": _gil,
    "child": _child,
    "fork": _fork,
    "fork_cuda": _fork_cuda,
    "network": _network,
    "writer_died": _writer_died,
    "stdin": _stdin,
    "disk_full": _disk_full,
    "raise": _raise,
    "oom": _oom,
    "cuda_oom": _cuda_oom,
    "cuda_spin": _cuda_spin,
    "segfault": _segfault,
    "abort": lambda fault: os.abort(),
    "exit": lambda fault: os._exit(7),
    "sigkill": lambda fault: os.kill(os.getpid(), signal.SIGKILL),
    "sigstop": lambda fault: os.kill(os.getpid(), signal.SIGSTOP),
    "grandchild": _grandchild,
    "thread": _thread,
}
WRONG = "wrong"
