"""Leftovers: real shared memory, and GPUs whose memory does not come back."""

from __future__ import annotations

import json
import mmap
import os
import secrets
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from multiprocessing.shared_memory import SharedMemory
from pathlib import Path
from typing import Any

import pytest

from harness import gpu, leftovers
from harness.leftovers import Before
from tests.harness.points import environment, wait_until

SHARED_MEMORY = Path("/dev/shm")
MAKES = """
import sys, time
from multiprocessing.shared_memory import SharedMemory
memory = SharedMemory(create=True, size=4096)
print(memory.name, flush=True)
time.sleep(60)
"""
MakeFile = Callable[[str], Path]


@pytest.fixture
def file() -> Iterator[MakeFile]:
    """Makes shared memory whose name begins so, which is gone after the test."""
    paths: list[Path] = []

    def make(name: str) -> Path:
        paths.append(SHARED_MEMORY / f"{name}{secrets.token_hex(4)}")
        paths[-1].write_bytes(bytes(4096))
        return paths[-1]

    yield make
    for path in paths:
        path.unlink(missing_ok=True)


def removed(path: Path, *, was_held: bool = True) -> tuple[bool, bool]:
    """Whether shared memory that is new was removed, and whether it was told of. All else was there before:
    what tests beside this one have made is left to them.
    """
    others = frozenset(other.name for other in SHARED_MEMORY.iterdir()) - {path.name}
    gone, left = leftovers.remove_shared_memory(Before((), others), {path.name} if was_held else ())
    assert (path.name in gone) is not path.exists()
    return path.name in gone, path.name in left


def test_shared_memory_of_a_process_that_was_killed_is_removed() -> None:
    child = subprocess.Popen(
        [sys.executable, "-c", MAKES], stdout=subprocess.PIPE, env=environment(), start_new_session=True
    )
    assert child.stdout is not None
    path = SHARED_MEMORY / child.stdout.readline().decode().strip()
    assert leftovers.held([child.pid]) == {path.name}
    assert removed(path) == (False, False)  # it lives, and has it mapped
    os.killpg(child.pid, signal.SIGKILL)  # its resource tracker, too, which would remove it
    child.wait()
    child.stdout.close()
    assert path.exists()
    assert wait_until(lambda: removed(path) == (True, False))


def test_shared_memory_that_somebody_has_mapped_stays() -> None:
    memory = SharedMemory(create=True, size=4096)
    try:
        assert removed(SHARED_MEMORY / memory.name) == (False, False)
    finally:
        memory.close()
        memory.unlink()


def test_shared_memory_that_somebody_has_open_stays(file: MakeFile) -> None:
    path = file("psm_")
    with path.open("rb"):
        assert path.name in leftovers.held([os.getpid()])
        assert removed(path) == (False, False)
    assert removed(path) == (True, False)


def test_a_name_with_a_blank_is_one_name(file: MakeFile) -> None:
    path = file("psm a ")
    with path.open("r+b") as opened, mmap.mmap(opened.fileno(), 0):
        opened.close()  # mapped, and no longer open
        assert path.name in (leftovers.held([os.getpid()]) or ())


def test_a_file_that_is_closed_meanwhile_hides_none_that_is_open(
    file: MakeFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, listed = file("psm_"), leftovers._listed
    with path.open():
        monkeypatch.setattr(leftovers, "_listed", lambda folder: [folder / "999999", *listed(folder)])
        assert path.name in (leftovers.held([os.getpid()]) or ())


def test_where_the_look_does_not_come_back_nothing_is_removed_and_all_is_told(
    file: MakeFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    path, never = file("psm_"), threading.Event()
    monkeypatch.setattr(leftovers, "_LOOK_S", 0.1)
    monkeypatch.setattr(leftovers, "_held_by", lambda pids: never.wait())
    try:
        assert leftovers.held([os.getpid()]) is None
        assert removed(path) == (False, True)
    finally:
        never.set()


def test_a_driver_that_does_not_answer_holds_nothing_up(gpus: Gpus, monkeypatch: pytest.MonkeyPatch) -> None:
    earlier, never = leftovers.before(), threading.Event()
    monkeypatch.setattr(leftovers, "_LOOK_S", 0.1)
    monkeypatch.setattr(gpu, "readings", lambda index: never.wait())
    began = time.monotonic()
    try:
        assert leftovers.wait_for_vram(earlier) == {}
        assert leftovers.before().used_mib == ()
        assert time.monotonic() - began < 2
    finally:
        never.set()


def test_shared_memory_that_no_process_of_the_point_had_is_told_of_and_left_alone(file: MakeFile) -> None:
    """Its users may be in another container, which shares this /dev/shm and whose processes are not seen."""
    assert removed(file("psm_"), was_held=False) == (False, True)


def test_a_process_that_is_gone_holds_nothing() -> None:
    assert leftovers.held([2**22 + 1]) == frozenset()


def test_shared_memory_from_before_the_point_stays(file: MakeFile) -> None:
    path = file("psm_")
    assert path.name in leftovers.before().shared_memory
    gone, left = leftovers.remove_shared_memory(leftovers.before(), {path.name})
    assert path.name not in gone + left
    assert path.exists()


@pytest.mark.skipif(os.getuid() != 0, reason="only root makes a file of another user's")
def test_shared_memory_of_another_user_is_neither_removed_nor_told_of(file: MakeFile) -> None:
    path = file("psm_")
    os.chown(path, 12_345, 12_345)
    assert removed(path) == (False, False)


def test_a_folder_in_shared_memory_is_left_alone() -> None:
    folder = SHARED_MEMORY / f"psm_{secrets.token_hex(4)}"
    folder.mkdir()
    assert removed(folder) == (False, False)
    folder.rmdir()


def test_without_shared_memory_there_is_nothing_to_remove(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(leftovers, "_SHARED_MEMORY", tmp_path / "none")
    assert leftovers.before().shared_memory == frozenset()
    assert leftovers.remove_shared_memory(Before((), frozenset()), {"psm_1"}) == ([], [])


# --- memory of GPUs


class Gpus:
    """Two GPUs by NVML, as harness.gpu tells of them."""

    def __init__(self) -> None:
        self.used_mib: list[float | None] = [500.0, 700.0]

    def handles(self) -> tuple[int, ...]:
        return tuple(range(len(self.used_mib)))

    def readings(self, index: int) -> dict[str, float]:
        used = self.used_mib[index]
        return {"power_w": 70.0} if used is None else {"used_mib": used}


@pytest.fixture
def gpus(monkeypatch: pytest.MonkeyPatch) -> Gpus:
    made = Gpus()
    monkeypatch.setattr(gpu, "handles", made.handles)
    monkeypatch.setattr(gpu, "readings", made.readings)
    monkeypatch.setattr(leftovers, "_VRAM_BACK_S", 0.2)
    return made


def stored(run: Path) -> Any:
    return json.loads((run / "quarantine.json").read_text())


def test_memory_that_is_back_is_no_leak(gpus: Gpus) -> None:
    earlier = leftovers.before()
    assert earlier.used_mib == (500.0, 700.0)
    gpus.used_mib = [564.0, 100.0]  # 64 MiB are noise; less than before is none of our business
    assert leftovers.wait_for_vram(earlier) == {}


def test_memory_that_is_not_back_is_told_by_gpu(gpus: Gpus) -> None:
    earlier = leftovers.before()
    gpus.used_mib = [500.0, 2748.0]
    assert leftovers.wait_for_vram(earlier) == {1: 2048.0}


def test_memory_that_comes_back_late_is_waited_for(gpus: Gpus, monkeypatch: pytest.MonkeyPatch) -> None:
    earlier = leftovers.before()
    monkeypatch.setattr(leftovers, "_VRAM_BACK_S", 5.0)
    levels = [9000.0, 9000.0, 500.0]
    monkeypatch.setattr(gpu, "readings", lambda index: {"used_mib": levels.pop(0) if index == 0 else 700.0})
    assert leftovers.wait_for_vram(earlier) == {}
    assert levels == []


@pytest.mark.parametrize("when", ["before", "after"])
def test_a_gpu_that_does_not_tell_its_memory_is_not_said_to_leak(gpus: Gpus, when: str) -> None:
    if when == "before":
        gpus.used_mib[1] = None
    earlier = leftovers.before()
    gpus.used_mib[1] = 700.0 if when == "before" else None
    assert leftovers.wait_for_vram(earlier) == {}


def test_a_gpu_that_is_gone_is_not_said_to_leak(gpus: Gpus) -> None:
    earlier = leftovers.before()
    gpus.used_mib = [500.0]
    assert leftovers.wait_for_vram(earlier) == {}


def test_without_a_gpu_nothing_leaks_and_nothing_is_in_quarantine(tmp_path: Path, gpus: Gpus) -> None:
    gpus.used_mib = []
    assert leftovers.before().used_mib == ()
    assert leftovers.wait_for_vram(leftovers.before()) == {}
    assert leftovers.quarantined(tmp_path) == ""


def test_a_leak_bars_the_gpu_until_its_memory_is_back(tmp_path: Path, gpus: Gpus) -> None:
    earlier = leftovers.before()
    gpus.used_mib = [500.0, 2748.0]
    leftovers.quarantine(tmp_path, "6243bd7de278", earlier, leftovers.wait_for_vram(earlier))
    assert stored(tmp_path) == {"1": {"point": "6243bd7de278", "leak_mib": 2048.0, "level_mib": 700.0}}
    gpus.used_mib = [8000.0, 1200.0]  # another's memory on GPU 0 is no leak of ours
    assert leftovers.quarantined(tmp_path) == (
        "GPU 1 is in quarantine: 500 MiB that point 6243bd7de278 left there are still in use; nvidia-smi"
        " shows by whom, and the sweep goes on by itself once they are free"
    )
    gpus.used_mib = [8000.0, 764.0]
    assert leftovers.quarantined(tmp_path) == ""
    assert not list(tmp_path.iterdir())
    gpus.used_mib = [8000.0, 3000.0]
    assert leftovers.quarantined(tmp_path) == ""  # lifted is lifted


def test_a_second_leak_joins_the_first(tmp_path: Path, gpus: Gpus) -> None:
    earlier = leftovers.before()
    leftovers.quarantine(tmp_path, "first", earlier, {0: 100.0})
    leftovers.quarantine(tmp_path, "second", earlier, {1: 200.0})
    assert {gpu: leak["point"] for gpu, leak in stored(tmp_path).items()} == {"0": "first", "1": "second"}
    gpus.used_mib = [600.0, 900.0]
    told = leftovers.quarantined(tmp_path).split("; GPU 1")
    assert [part.split(" MiB")[0] for part in told] == [
        "GPU 0 is in quarantine: 100",
        " is in quarantine: 200",
    ]
    gpus.used_mib = [500.0, 900.0]
    assert leftovers.quarantined(tmp_path).startswith("GPU 1 is in quarantine: 200 MiB that point second")


@pytest.mark.parametrize("mib", [None, "gone"])
def test_a_gpu_that_is_gone_or_silent_is_not_free_again(tmp_path: Path, gpus: Gpus, mib: str | None) -> None:
    leftovers.quarantine(tmp_path, "6243bd7de278", leftovers.before(), {1: 2048.0})
    gpus.used_mib = [500.0] if mib == "gone" else [500.0, None]
    assert leftovers.quarantined(tmp_path) == ""  # there is nothing to measure on
    gpus.used_mib = [500.0, 2748.0]
    assert leftovers.quarantined(tmp_path).startswith("GPU 1 is in quarantine: 2048 MiB")


LEAK = '{"point": "p", "leak_mib": 1.0, "level_mib": 2.0}'


@pytest.mark.parametrize(
    "text",
    [
        "", "{", "[]", "5", "null", '"text"', "\0", '{"0": 5}', '{"0": {}}', '{"0": []}',
        '{"x": ' + LEAK + "}",
        '{"0": {"point": "p", "leak_mib": "a", "level_mib": "b"}}',
        '{"0": {"point": "p", "leak_mib": null, "level_mib": null}}',
    ],
)  # fmt: skip
def test_a_damaged_note_bars_nobody_and_is_replaced(tmp_path: Path, gpus: Gpus, text: str) -> None:
    (tmp_path / "quarantine.json").write_text(text)
    assert leftovers.quarantined(tmp_path) == ""
    leftovers.quarantine(tmp_path, "6243bd7de278", leftovers.before(), {0: 9.0})
    assert stored(tmp_path) == {"0": {"point": "6243bd7de278", "leak_mib": 9.0, "level_mib": 500.0}}


def test_a_note_of_a_gpu_of_another_machine_bars_nobody(tmp_path: Path, gpus: Gpus) -> None:
    (tmp_path / "quarantine.json").write_text('{"7": ' + LEAK + ', "-1": ' + LEAK + "}")
    assert leftovers.quarantined(tmp_path) == ""
