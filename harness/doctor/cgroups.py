"""What the control groups of this process allow it, in version 1 or 2. Standard library only."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path

# Of version 2 and of version 1: the files of limit and usage, and the line of memory.stat for inactive files.
_MEMORY = (
    ("memory.max", "memory.current", "inactive_file"),
    ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
)


def quota_cores(root: Path = Path("/")) -> float | None:
    """Cores that the tightest group grants on average, None without a limit. root has proc/ and sys/."""
    found = [_cores(text) for text in _texts(root, "cpu", "cpu.max")]
    for text, period_us in zip(
        _texts(root, "cpu", "cpu.cfs_quota_us"), _texts(root, "cpu", "cpu.cfs_period_us"), strict=True
    ):
        found.append(_cores(f"{text} {period_us}"))
    return min((cores for cores in found if cores is not None), default=None)


def memory_bytes(root: Path = Path("/")) -> int | None:
    """Bytes that the tightest group grants, None without a limit."""
    return min((granted for granted, _ in _grants(root)), default=None)


def memory_left_bytes(root: Path = Path("/")) -> int | None:
    """Bytes that may still be taken before the first group is at its limit, None without one."""
    return min((granted - held for granted, held in _grants(root)), default=None)


def _grants(root: Path) -> Iterator[tuple[int, int]]:
    """Of each group that has a limit: the bytes that it grants, and those that it holds."""
    for folder in _groups(root, "memory"):
        for limit, usage, cache in _MEMORY:
            with contextlib.suppress(OSError):
                text = (folder / limit).read_text().strip()
                # Version 1 says "no limit" by the largest multiple of a page.
                if text != "max" and int(text) < 2**62:
                    yield int(text), _held_bytes(folder, usage, cache)


def _held_bytes(folder: Path, usage: str, cache: str) -> int:
    """Without the pages of files that the kernel gives back first, as docker stats does; 0 if not told."""
    try:
        used = int((folder / usage).read_text())
        stat = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
    except OSError:
        return 0
    return max(0, used - int(stat.get(cache, 0)))


def _cores(text: str) -> float | None:
    """Of "quota period" in microseconds, whose quota is max or -1 where there is none."""
    quota_us, period_us = text.split()
    return None if quota_us in ("max", "-1") else int(quota_us) / int(period_us)


def _texts(root: Path, controller: str, name: str) -> Iterator[str]:
    """The contents of that file in this process's group and in all above it."""
    for folder in _groups(root, controller):
        with contextlib.suppress(OSError):
            yield (folder / name).read_text().strip()


def _groups(root: Path, controller: str) -> Iterator[Path]:
    """The folder of this process's group and of all above it.

    In a container the path may be that of the host and not be there: then the mount itself is its group.
    """
    for line in (root / "proc/self/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        if controllers and controller not in controllers.split(","):
            continue
        mount = root / "sys/fs/cgroup" / (controller if controllers else "")
        group = mount / path.lstrip("/")
        for folder in [group, *group.parents]:
            if folder.is_relative_to(mount):
                yield folder
