"""Leftovers: what a point's processes leave behind besides processes: temporary files, shared memory, GPU
memory.
"""

from __future__ import annotations

import contextlib
import json
import math
import os
import time
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path

from harness import gpu
from harness.within import Call

_SHARED_MEMORY = Path("/dev/shm")
_LOOK_S = 2.0
_VRAM_BACK_S = 10.0
_VRAM_NOISE_MIB = 64
_QUARANTINE = "quarantine.json"


@dataclass(frozen=True)
class Before:
    """What there was before a point: MiB in use on each GPU, and the names of shared memory."""

    used_mib: tuple[float, ...]
    shared_memory: frozenset[str]


@dataclass(frozen=True)
class Leak:
    """GPU memory that a point left in use, and the level that was before it, in MiB."""

    point: str
    leak_mib: float
    level_mib: float


def before() -> Before:
    return Before(_used_mib(), frozenset(_segments()))


def held(pids: Iterable[int]) -> frozenset[str] | None:
    """Names of the shared memory that processes have mapped or open, as far as we may look at them.

    None where they could not be looked at in time: what a process has mapped is not to be seen while one of
    its threads changes it, and is stuck there.
    """
    return Call("shared memory", _LOOK_S, lambda: frozenset(_held_by(pids))).given(None, [])


def remove_shared_memory(earlier: Before, seen: Collection[str]) -> tuple[list[str], list[str]]:
    """Remove what the point's own processes had of shared memory, if it is new and nobody uses it any more.

    seen  held() of them while they lived. What nobody saw with them is only told: where containers share
          /dev/shm it may be a stranger's, whose processes are not to be seen from here.
    Returns the names of what was removed, and of what is new and left, where it is this user's.
    """
    new = [name for name in _segments() if name not in earlier.shared_memory]
    used = held(int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit()) if new else ()
    if used is None:
        seen, used = (), ()  # somebody may use it: nothing is removed
    removed: list[str] = []
    left: list[str] = []
    for path in (_SHARED_MEMORY / name for name in new if name not in used):
        with contextlib.suppress(OSError):  # gone meanwhile
            if path.lstat().st_uid != os.getuid():
                continue
            if path.name in seen:
                path.unlink()
            (removed if path.name in seen else left).append(path.name)
    return removed, left


def _segments() -> list[str]:
    return sorted(path.name for path in _listed(_SHARED_MEMORY) if path.is_file())


def _held_by(pids: Iterable[int]) -> Iterator[str]:
    for folder in (Path(f"/proc/{pid}") for pid in pids):
        with contextlib.suppress(OSError):
            for line in (folder / "maps").read_text(errors="replace").splitlines():
                _, mapped, name = line.partition("/dev/shm/")
                yield from [name.removesuffix(" (deleted)")] if mapped else []
        for path in _listed(folder / "fd"):
            with contextlib.suppress(OSError):  # closed meanwhile
                link = path.readlink()
                yield from [link.name] if link.parent == _SHARED_MEMORY else []


def _listed(folder: Path) -> list[Path]:
    with contextlib.suppress(OSError):
        return list(folder.iterdir())
    return []


def wait_for_vram(earlier: Before) -> dict[int, float]:
    """MiB by GPU still in use beyond what there was before, after a patient wait; {} if all memory is
    back.
    """
    until = time.monotonic() + _VRAM_BACK_S
    while (more := _more(earlier)) and time.monotonic() < until:
        time.sleep(0.1)
    return more


def _more(earlier: Before) -> dict[int, float]:
    pairs = enumerate(zip(_used_mib(), earlier.used_mib, strict=False))
    return {index: now - then for index, (now, then) in pairs if now - then > _VRAM_NOISE_MIB}


def _used_mib() -> tuple[float, ...]:
    """NaN for a GPU that does not say: neither more nor less than anything. Nothing of a driver that does not
    answer.
    """
    look = Call("GPU memory", _LOOK_S, _readings)
    nothing: tuple[float, ...] = ()
    return look.given(nothing, [])


def _readings() -> tuple[float, ...]:
    return tuple(gpu.readings(index).get("used_mib", math.nan) for index in range(len(gpu.handles())))


def quarantine(run: Path, point: str, earlier: Before, leak: Mapping[int, float]) -> None:
    """Let no further point of a run measure on GPUs whose memory is not back."""
    told = _quarantined(run)
    for index, mib in leak.items():
        told[index] = Leak(point, mib, earlier.used_mib[index])
    text = json.dumps({str(index): asdict(leak) for index, leak in told.items()}, indent=1)
    temporary = run / f"{_QUARANTINE}.tmp"
    temporary.write_text(text + "\n")
    temporary.replace(run / _QUARANTINE)


def quarantined(run: Path) -> str:
    """Why the GPUs cannot be measured on, "" if they can: one whose memory came back is free again."""
    told, now = _quarantined(run), dict(enumerate(_used_mib()))
    more = {index: now.get(index, math.nan) - leak.level_mib for index, leak in told.items()}
    if told and all(mib <= _VRAM_NOISE_MIB for mib in more.values()):
        (run / _QUARANTINE).unlink(missing_ok=True)
    return "; ".join(
        f"GPU {index} is in quarantine: {mib:.0f} MiB that point {told[index].point} left there are still in"
        " use; nvidia-smi shows by whom, and the sweep goes on by itself once they are free"
        for index, mib in more.items()
        if mib > _VRAM_NOISE_MIB
    )


def _quarantined(run: Path) -> dict[int, Leak]:
    try:
        found = json.loads((run / _QUARANTINE).read_text())
        return {
            int(index): Leak(str(one["point"]), float(one["leak_mib"]), float(one["level_mib"]))
            for index, one in found.items()
        }
    except (OSError, ValueError, TypeError, KeyError, AttributeError):  # none, or damaged
        return {}
