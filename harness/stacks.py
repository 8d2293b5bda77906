"""Stacks of every process of a point, for the moment when one of them is stuck.

py-spy with native frames first; without pausing if that does not answer; else what the process's own witness
tells of its Python frames; faulthandler's print where that cannot speak. Each attempt has its own time limit:
the tool that looks at a hang can hang too.
"""

from __future__ import annotations

import ctypes
import itertools
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

from harness import frames
from harness.within import Call

ATTEMPTS = ("--native", "--nonblocking")
QUICK = ATTEMPTS[1:]
_EXCERPT_FRAMES, _NATIVE_FRAMES = 14, 4
_LONGEST_FRAME = 200
_PRINTED_S = 1.0
_REST_S = 2.0  # for what is read of /proc
_CURRENT = "Current thread "
_PRINTED = re.compile(r'^  File "(.*)", line (\d+) in (.*)$', re.MULTILINE)
_LIBC = ctypes.CDLL(None)
_FATAL = re.compile(r"^Fatal Python error.*?^Current thread 0x([0-9a-f]+)", re.MULTILINE | re.DOTALL)


@dataclass(frozen=True)
class Stack:
    """One thread's frames, innermost first, each "function (file:line)". number is the operating system's."""

    pid: int
    thread: str
    holds_gil: bool
    frames: tuple[str, ...]
    number: int = 0


@dataclass(frozen=True)
class Dump:
    """What was seen of one process: its stacks, and the text that explains or replaces them. complaints: of
    those that were asked before and did not answer.
    """

    pid: int
    source: str  # "py-spy --native", "py-spy --nonblocking", "witness", "faulthandler" or "nothing"
    stacks: tuple[Stack, ...]
    text: str
    state: str
    complaints: tuple[str, ...] = ()

    def of(self, number: int) -> Stack | None:
        """The stack of one thread."""
        return next((stack for stack in self.stacks if stack.number == number), None)


def dump(
    pids: Sequence[int],
    limit_s: float = 6.0,
    attempts: Sequence[str] = ATTEMPTS,
    unpaused: Collection[int] = (),
) -> list[Dump]:
    """Look at every process at once, by py-spy; each attempt takes at most limit_s.

    attempts  what it is asked for, until it answers; QUICK does not pause the process
    unpaused  those of pids that a pause would make get on
    """
    in_all_s = limit_s * len(attempts) + _REST_S
    asked = {pid: QUICK if pid in unpaused else attempts for pid in pids}
    looks = {
        pid: Call("stacks", in_all_s, partial(_dump_one, pid, limit_s, its)) for pid, its in asked.items()
    }
    return [_given(pid, look) for pid, look in looks.items()]


def of_witness(dump: Dump, threads: Sequence[Mapping[str, Any]]) -> Dump:
    """What py-spy could not tell, as the process tells it itself; threads: as harness.waits.look()."""
    stacks = tuple(
        Stack(dump.pid, one["thread"], False, tuple(one["frames"]), one["number"]) for one in threads
    )
    return replace(dump, source="witness", stacks=stacks, text="")


def by_faulthandler(dump: Dump, number: int, folder: Path) -> Dump:
    """What neither could tell: of a process whose witness is silent. number: the thread that is wanted first.

    For that alone: a print from within a signal may end a process whose threads run on meanwhile.
    Only a process that has registered for SIGUSR1 is asked: it would end any other.
    """
    path = folder / f"faulthandler-{dump.pid}.txt"
    if not path.is_file():
        return dump
    # A thread that is deep in the kernel takes no signal, and one that is gone none either: then the first.
    for asked in dict.fromkeys((number, dump.pid)):
        earlier = path.stat().st_size
        if _LIBC.tgkill(dump.pid, asked, signal.SIGUSR1) == 0 and (text := _added(path, earlier)):
            # It says which thread the signal came to, but not by the number that spans have.
            blocks = sorted(text.split("\n\n"), key=lambda block: not block.startswith(_CURRENT))
            found = _PRINTED.findall(blocks[0]) if blocks[0].startswith(_CURRENT) else []
            words = tuple(f"{function} ({file}:{line})" for file, line, function in found)
            stacks = (Stack(dump.pid, f"thread {asked}", False, words, asked),) if found else ()
            return replace(dump, source="faulthandler", stacks=stacks, text="\n\n".join(blocks))
    complaints = (*dump.complaints, f"faulthandler: no answer within {_PRINTED_S:g} s")
    return replace(dump, text="\n".join(complaints), complaints=complaints)


def _given(pid: int, look: Call) -> Dump:
    failed: list[str] = []
    return look.given(None, failed) or Dump(pid, "nothing", (), "\n".join(failed), "", tuple(failed))


def write(dumps: Sequence[Dump], path: Path) -> None:
    """One file for people: a section per process, a block per thread."""
    path.write_text("\n".join(_section(dump) for dump in dumps) + "\n")


def excerpt(dumps: Sequence[Dump], pid: int, thread: int, folder: Path) -> str:
    """The stacks that matter: of the thread of the stuck span in its process, and of its helpers.

    pid 0 where no span was open: the first process. Helpers are processes without a recorder
    of their own, as a fork has none: what the stuck thread waits for may be one of them.
    """
    helpers = [dump for dump in dumps if not list(folder.glob(f"spans-{dump.pid}-*.bin"))]
    others = [dump for dump in dumps if dump not in helpers]
    ordered = sorted(others, key=lambda dump: dump.pid != pid)[:1] + helpers[:2]
    return "\n".join(filter(None, (_excerpt_of(dump, thread) for dump in ordered)))


def gil_holder(dumps: Sequence[Dump], pid: int) -> Stack | None:
    """The stack of the thread of a process that has the GIL, None if none has."""
    return next((s for dump in dumps for s in dump.stacks if s.pid == pid and s.holds_gil), None)


def _excerpt_of(dump: Dump, thread: int) -> str:
    named = [stack for stack in dump.stacks if thread and stack.number == thread]
    main = [stack for stack in dump.stacks if stack.thread == "MainThread"]
    for stack in named or main or dump.stacks[:1]:
        title = f"process {dump.pid}, {stack.thread}" + (", holds the GIL" if stack.holds_gil else "")
        return "\n".join([title, *(f"    {frame}" for frame in _telling(stack.frames)[:_EXCERPT_FRAMES])])
    return "\n".join([f"process {dump.pid}", *dump.text.splitlines()[:_EXCERPT_FRAMES]]) if dump.text else ""


def _telling(stack: Sequence[str]) -> list[str]:
    """The frames that tell a person something: of native ones the innermost, without what C++ adds to their
    names.
    """
    found = [frame for frame, _ in itertools.groupby(map(_without_address, stack))]
    native = [frame for frame in found if not frames.is_python(frame)][:_NATIVE_FRAMES]
    short = (
        frame if len(frame) <= _LONGEST_FRAME else f"{frame[:_LONGEST_FRAME]}..."
        for frame in found
        if frames.is_python(frame) or frame in native
    )
    return list(short)


def _without_address(frame: str) -> str:
    """An address says nothing to a person, its library does: of an OpenMP hang libgomp is all there is."""
    return f"in {frame.partition(' (')[2].rstrip(')')}" if frame.startswith("0x") else frame


def py_spy() -> str | None:
    """Where py-spy is: beside this interpreter, else on PATH; None where it is not installed."""
    return shutil.which(
        "py-spy", path=f"{Path(sys.executable).parent}{os.pathsep}{os.environ.get('PATH', '')}"
    )


def _dump_one(pid: int, limit_s: float, attempts: Sequence[str]) -> Dump:
    state = process_state(pid)
    complaints: list[str] = []
    tool = py_spy()
    for attempt in attempts if tool else ():
        command = [str(tool), "dump", "--json", "--full-filenames", attempt, "--pid", str(pid)]
        try:
            answer = subprocess.run(command, capture_output=True, text=True, timeout=limit_s, check=False)
            if answer.returncode == 0:
                stacks = tuple(_stack(pid, thread) for thread in json.loads(answer.stdout))
                return Dump(pid, f"py-spy {attempt}", stacks, "", state, tuple(complaints))
            complaints.append(f"py-spy {attempt}: {answer.stderr.strip()}")
        except OSError as error:
            complaints.append(f"py-spy {attempt}: {error}")
        except subprocess.TimeoutExpired:
            complaints.append(f"py-spy {attempt}: no answer within {limit_s:g} s")
        except ValueError as error:
            complaints.append(f"py-spy {attempt}: unreadable answer ({error})")
    if not tool:
        complaints.append("py-spy is not installed")
    return Dump(pid, "nothing", (), "\n".join(complaints), state, tuple(complaints))


def died(folder: Path) -> dict[int, int]:
    """In which thread a signal came that ended a process, by pid: its threading.get_ident(), of those that
    faulthandler could name.
    """
    found = {}
    for path in folder.glob("faulthandler-*.txt"):
        if named := _FATAL.search(path.read_text(errors="replace")):
            found[int(path.stem.partition("-")[2])] = int(named[1], 16)
    return found


def _added(path: Path, earlier: int) -> str:
    """What a file has beyond its earlier size, once that grows no more."""
    until, size = time.monotonic() + _PRINTED_S, earlier
    while time.monotonic() < until:
        time.sleep(0.05)
        before, size = size, path.stat().st_size
        if earlier < before == size:
            break
    with path.open("rb") as file:
        file.seek(earlier)
        return file.read().decode(errors="replace").strip()


def _stack(pid: int, thread: dict[str, Any]) -> Stack:
    name = str(thread.get("thread_name") or f"thread {thread.get('os_thread_id') or thread.get('thread_id')}")
    words = tuple(_frame(frame) for frame in thread["frames"])
    return Stack(pid, name, bool(thread.get("owns_gil")), words, int(thread.get("os_thread_id") or 0))


def _frame(frame: dict[str, Any]) -> str:
    where = frame.get("filename") or frame.get("module") or "?"
    return f"{frame['name']} ({where}:{frame['line']})" if frame.get("line") else f"{frame['name']} ({where})"


def process_state(pid: int) -> str:
    """State, what the kernel waits in, threads and CPU seconds so far, as one line; "" for a process that is
    gone.
    """
    folder = Path(f"/proc/{pid}")
    try:
        stat = (folder / "stat").read_text(errors="replace")
        fields = stat[stat.rindex(")") + 2 :].split()
        command = (folder / "cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    except OSError:
        return ""
    cpu_s = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
    return f"state {fields[0]}, waits in {_wchan(folder)}, {fields[17]} threads, {cpu_s:.2f} CPU-s, {command}"


def _wchan(folder: Path) -> str:
    try:
        return (folder / "wchan").read_text() or "nothing"
    except OSError:
        return "unknown"


def _section(dump: Dump) -> str:
    told = [] if dump.text and not dump.stacks else dump.complaints
    lines = [f"process {dump.pid} ({dump.source}): {dump.state}", *told, dump.text]
    for stack in () if dump.text else dump.stacks:
        lines.append(f"  thread {stack.thread}" + (" (holds the GIL)" if stack.holds_gil else ""))
        lines += [f"    {frame}" for frame in stack.frames]
    return "\n".join(line for line in lines if line)
