"""Reading stacks: tried for real, told why not, and granted by the command that fits what withholds it."""

from __future__ import annotations

import platform
import sys
import time
from pathlib import Path

import pytest

from harness import tree
from harness.doctor.line import NOTE, OK, Line
from harness.doctor.rights import Held, grant, why
from tests.harness.doctor.machines import interpreter, looked_at, script
from tests.harness.points import wait_until

# Starts the rest of the command line under a filter that refuses ptrace, as a container's runtime may.
FILTERED = """
import ctypes, os, struct, sys
LOAD, EQUAL, RETURN, ALLOW, REFUSE, PTRACE = 0x20, 0x15, 0x06, 0x7FFF0000, 0x00050001, 101
steps = [(LOAD, 0, 0, 0), (EQUAL, 1, 0, PTRACE), (RETURN, 0, 0, ALLOW), (RETURN, 0, 0, REFUSE)]
code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *step) for step in steps))
program = struct.pack("HxxxxxxP", len(steps), ctypes.addressof(code))
libc = ctypes.CDLL(None, use_errno=True)
assert libc.prctl(38, 1, 0, 0, 0) == 0  # no new privileges: then no right is needed for the filter
assert libc.prctl(22, 2, program) == 0, os.strerror(ctypes.get_errno())
os.execv(sys.argv[1], sys.argv[1:])
"""


def stacks(monkeypatch: pytest.MonkeyPatch, python: Path) -> Line:
    """What the check says where this is the interpreter and PATH has nothing."""
    monkeypatch.setattr(sys, "executable", str(python))
    monkeypatch.setenv("PATH", "/bin:/usr/bin")
    [line] = looked_at("stacks")
    return line


def test_where_py_spy_may_look_native_frames_come_back() -> None:
    [line] = looked_at("stacks")
    assert line.status == OK
    assert "native frames included" in line.found


def test_without_py_spy_the_evidence_is_less_and_the_verdict_the_same(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    line = stacks(monkeypatch, interpreter(tmp_path))
    assert (line.check, line.status) == ("stacks", NOTE)
    assert line.found == (
        "py-spy is not installed: a hang shows only the Python stacks that the process prints itself; its "
        "verdict is the same"
    )
    assert line.mend.startswith(f"VENV={tmp_path} ")  # the environment that lacks it
    assert line.mend.endswith("./install.sh")


def test_a_refusal_names_the_right_that_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    refuses = "echo 'Error: Permission Denied: Try running again with elevated permissions' >&2; exit 1"
    line = stacks(monkeypatch, interpreter(tmp_path, py_spy=refuses))
    assert line.status == NOTE
    assert line.found.startswith("py-spy may not read a process here (")
    assert "SYS_PTRACE" in line.found
    assert line.found.endswith("; its verdict is the same")


def test_another_error_of_py_spy_is_told_as_it_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fails = "echo 'Error: Failed to find python version' >&2; exit 1"
    line = stacks(monkeypatch, interpreter(tmp_path, py_spy=fails))
    assert "Failed to find python version" in line.found
    assert line.mend == "python -m pip install --force-reinstall --no-deps py-spy"


@pytest.mark.slow
def test_a_py_spy_that_hangs_ends_in_its_time_with_all_that_it_started(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    hangs = f"sleep 600 & echo $! >> {tmp_path}/sleepers; wait"
    begun_s = time.monotonic()
    line = stacks(monkeypatch, interpreter(tmp_path / "venv", py_spy=hangs))
    assert time.monotonic() - begun_s < 8
    assert line.status == NOTE
    assert "no answer within 2 s" in line.found
    sleepers = [int(pid) for pid in (tmp_path / "sleepers").read_text().split()]
    assert len(sleepers) == 2  # with native frames, then without pausing
    assert wait_until(lambda: not any(map(tree.is_alive, sleepers)))


@pytest.mark.skipif(platform.machine() != "x86_64", reason="the filter knows x86-64's system calls")
def test_where_a_filter_refuses_ptrace_native_frames_are_missing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "filtered.py").write_text(FILTERED)
    command = f'exec {sys.executable} {tmp_path}/filtered.py {sys.executable} "$@"'
    line = stacks(monkeypatch, script(tmp_path / "python", command))
    assert line.status == NOTE
    assert line.found.startswith(("py-spy reads no native frames (", "py-spy may not read a process here ("))


DOCKER = "docker run --cap-add SYS_PTRACE ..."
SETCAP = f"as root: setcap cap_sys_ptrace+ep {Path(sys.executable).parent.resolve()}/py-spy"


@pytest.mark.parametrize(
    ("held", "command"),
    [
        (Held(is_container=True, effective=False, bounded=False, yama=1), DOCKER),
        (
            Held(is_container=True, effective=False, bounded=True, yama=1),
            SETCAP,
        ),  # not this user's
        (
            Held(is_container=True, effective=True, bounded=True, yama=0),
            "docker run --security-opt seccomp=unconfined ...",
        ),
        (Held(is_container=False, effective=False, bounded=True, yama=0), SETCAP),
        (
            Held(is_container=False, effective=False, bounded=True, yama=2),
            "sudo sysctl kernel.yama.ptrace_scope=1",
        ),
        (Held(is_container=False, effective=True, bounded=True, yama=0), ""),
    ],
)
def test_the_command_fits_what_withholds_the_right(held: Held, command: str) -> None:
    assert grant(held) == command


def test_the_right_is_given_to_the_py_spy_that_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "my tools").mkdir()
    tool = script(tmp_path / "my tools" / "py-spy", "exit 1")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin" / "py-spy").symlink_to(tool)  # and no link, which setcap refuses
    monkeypatch.setattr(sys, "executable", str(tmp_path / "python"))
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    held = Held(is_container=False, effective=False, bounded=True, yama=0)
    assert grant(held) == f"as root: setcap cap_sys_ptrace+ep '{tool}'"


def test_what_nobody_may_needs_another_boot() -> None:
    held = Held(is_container=False, effective=True, bounded=True, yama=3)
    assert why(held) == "kernel.yama.ptrace_scope is 3"
    assert grant(held).endswith(", and boot again")
