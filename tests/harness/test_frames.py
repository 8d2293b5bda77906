"""Frames: whose code a line of a stack is, and how it is told in short."""

from __future__ import annotations

import sysconfig

import pytest

from harness import frames

LIBRARY = sysconfig.get_paths()["stdlib"]
OWN = "render (/app/engines/avatar.py:12)"


@pytest.mark.parametrize(
    "library",
    [
        f"wait ({LIBRARY}/threading.py:327)",
        "wait (/usr/lib/python3.12/threading.py:355)",
        "wait (/usr/lib64/python3.9/threading.py:312)",
        "wait (/opt/conda/envs/tts/lib/python3.10/threading.py:320)",
        "_handle_fromlist (<frozen importlib._bootstrap>:1229)",
        "PyThread_acquire_lock_timed (/opt/python/lib/libpython3.11.so.1.0)",
        "0x7f01 (/usr/lib/x86_64-linux-gnu/libc.so.6)",
        "in /usr/lib/x86_64-linux-gnu/libc.so.6",
    ],
)
def test_of_a_stack_the_innermost_function_that_is_not_pythons_own_is_told(library: str) -> None:
    assert frames.waiting([library, OWN, "main (/app/harness/child.py:9)"]) == "render (engines/avatar.py:12)"


@pytest.mark.parametrize(
    ("frame", "told"),
    [
        (
            "Lock.acquire (/app/.venv/lib/python3.11/site-packages/filelock/_unix/api.py:8)",
            "filelock/_unix/api.py:8",
        ),
        ("Lock.acquire (/usr/lib/python3/dist-packages/filelock/_api.py:8)", "filelock/_api.py:8"),
        ("Lock.acquire (lock.py:8)", "lock.py:8"),
        ("Lock.acquire (/lock.py:8)", "/lock.py:8"),
        ("Lock.acquire (/app/two words/a (b).py:8)", "two words/a (b).py:8"),
    ],
)
def test_a_file_is_told_with_its_folder_alone_or_in_its_package(frame: str, told: str) -> None:
    assert frames.waiting([frame]) == f"Lock.acquire ({told})"


@pytest.mark.parametrize(
    "stack", [[], [f"wait ({LIBRARY}/threading.py:327)"], ["main (/app/main.so)", "<module> (<string>:1)"]]
)
def test_where_there_is_no_such_function_nothing_is_told(stack: list[str]) -> None:
    assert frames.waiting(stack) == ""


INSTALLED = "synchronize (/app/.venv/lib/python3.11/site-packages/torch/cuda/__init__.py:1162)"
EXECUTOR = "JobRun._timed (/app/harness/executors/job.py:230)"


def test_of_an_installed_package_it_is_told_from_where_it_was_called() -> None:
    package = "synchronize (torch/cuda/__init__.py:1162)"
    called = f"{package} called by render (engines/avatar.py:12)"
    assert frames.waiting(["cuCtxSynchronize (/usr/lib/libcuda.so.1)", INSTALLED, OWN, EXECUTOR]) == called
    assert frames.waiting([INSTALLED, EXECUTOR, "main (/app/harness/child.py:9)"]) == package
    assert (
        frames.waiting([OWN, INSTALLED, "feed (/app/engines/xtts.py:3)"]) == "render (engines/avatar.py:12)"
    )
    assert frames.waiting([EXECUTOR, "main (/app/harness/child.py:9)"]) == (
        "JobRun._timed (executors/job.py:230)"
    )


def test_one_that_runs_is_where_it_is_and_what_called_that() -> None:
    library = f"dumps ({LIBRARY}/json/__init__.py:231)"
    assert frames.running([library, OWN, EXECUTOR]) == (
        "dumps (json/__init__.py:231) called by render (engines/avatar.py:12)"
    )
    assert frames.running(["memcpy (/lib/libc.so.6)", OWN]) == "render (engines/avatar.py:12)"
    assert frames.running([]) == ""
