"""Rights: whether the stacks of a hung process could be read here, tried on a small process of our own.

Missing rights reduce the evidence of a hang, never the verdict.
"""

from __future__ import annotations

import contextlib
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from harness import stacks
from harness.doctor import install
from harness.doctor.line import NOTE, OK, Line
from harness.doctor.machine import is_container

_LIMIT_S = 2.0  # of each of two attempts
# It grants what measured processes grant, and then waits in a call of the C library.
_WAITS = """
import sys, threading
from pathlib import Path
from harness.child import prepare_process
prepare_process(Path(sys.argv[1]))
def waits_to_be_seen():
    print("ready", flush=True)
    threading.Event().wait()
waits_to_be_seen()
"""
_SEEN = "waits_to_be_seen ("
_SYS_PTRACE = 1 << 19
_LESS = "a hang shows {kept}; its verdict is the same"
_KEPT = "only the Python stacks that the process prints itself"


def stacks_of_a_process() -> list[Line]:
    """py-spy at a waiting process, by the same call as at a hung one."""
    with tempfile.TemporaryDirectory() as folder, _waiting(Path(folder)) as process:
        begun_s = time.monotonic()
        [dump] = stacks.dump([process.pid], _LIMIT_S)
        took_s = time.monotonic() - begun_s
    frames = [frame for stack in dump.stacks for frame in stack.frames]
    if not any(frame.startswith(_SEEN) for frame in frames):
        return [_refused(dump.text or "its answer lacks the function that waits")]
    if not any(_is_native(frame) for frame in frames):
        less, held = _LESS.format(kept="Python frames and no native ones"), Held.here()
        return [Line("stacks", NOTE, f"py-spy reads no native frames ({why(held)}): {less}", grant(held))]
    return [Line("stacks", OK, f"py-spy reads those of a process, native frames included ({took_s:.1f} s)")]


@contextlib.contextmanager
def _waiting(folder: Path) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen([sys.executable, "-c", _WAITS, folder], stdout=subprocess.PIPE, text=True)
    assert process.stdout
    try:
        if not process.stdout.readline():
            raise RuntimeError("the process to look at did not start")
        yield process
    finally:
        process.kill()
        process.communicate()


def _is_native(frame: str) -> bool:
    """Python's own files end in .py, and code given on the command line is <string>."""
    where = frame.rpartition(" (")[2]
    return ".py" not in where and not where.startswith("<")


def _refused(complaints: str) -> Line:
    """py-spy is missing, silent or not allowed; its last words say which."""
    less = _LESS.format(kept=_KEPT)
    said, held = " ".join(complaints.split())[:200], Held.here()
    if "not installed" in complaints:
        return Line("stacks", NOTE, f"py-spy is not installed: {less}", install.command())
    if "ermission" in complaints or "not permitted" in complaints:
        return Line("stacks", NOTE, f"py-spy may not read a process here ({why(held)}): {less}", grant(held))
    again = "python -m pip install --force-reinstall --no-deps py-spy"
    return Line("stacks", NOTE, f"py-spy does not answer ({said}): {less}", again)


@dataclass(frozen=True)
class Held:
    """What decides whether a process may look into another one.

    effective, bounded  SYS_PTRACE is held, may at all be had by a program started here
    yama                0 anyone's own processes, 1 those that allow it (as measured ones do), 2 needs
                        SYS_PTRACE, 3 nobody's
    """

    is_container: bool
    effective: bool
    bounded: bool
    yama: int

    @classmethod
    def here(cls) -> Held:
        scope = Path("/proc/sys/kernel/yama/ptrace_scope")
        yama = int(scope.read_text()) if scope.is_file() else 0
        return cls(is_container(), _has_capability("CapEff"), _has_capability("CapBnd"), yama)


def why(held: Held) -> str:
    """What withholds the right, as far as it can be told."""
    if held.yama == 3:
        return "kernel.yama.ptrace_scope is 3"
    if held.effective:
        return "SYS_PTRACE is held, so a filter of system calls may forbid it"
    return "SYS_PTRACE is not held" + (f", kernel.yama.ptrace_scope is {held.yama}" if held.yama else "")


def grant(held: Held) -> str:
    """The command that gives the right; "" where none is known."""
    if held.yama == 3:
        return "echo kernel.yama.ptrace_scope=1 | sudo tee /etc/sysctl.d/10-ptrace.conf, and boot again"
    if held.effective:
        return "docker run --security-opt seccomp=unconfined ..." if held.is_container else ""
    if held.is_container and not held.bounded:
        return "docker run --cap-add SYS_PTRACE ..."
    if held.yama == 2 and not held.is_container:
        return "sudo sysctl kernel.yama.ptrace_scope=1"
    tool = Path(stacks.py_spy() or "py-spy").resolve()  # setcap takes no links
    return f"as root: setcap cap_sys_ptrace+ep {shlex.quote(str(tool))}"


def _has_capability(kind: str) -> bool:
    """CapEff: what this process has; CapBnd: the most that a program started here may get."""
    lines = Path("/proc/self/status").read_text().splitlines()
    [held] = [line.split()[1] for line in lines if line.startswith(f"{kind}:")]
    return bool(int(held, 16) & _SYS_PTRACE)
