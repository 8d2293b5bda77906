"""What the control groups of this process allow it, in version 1 or 2. Standard library only."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from pathlib import Path


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
    texts = [*_texts(root, "memory", "memory.max"), *_texts(root, "memory", "memory.limit_in_bytes")]
    # Version 1 says "no limit" by the largest multiple of a page.
    return min((int(text) for text in texts if text != "max" and int(text) < 2**62), default=None)


def _cores(text: str) -> float | None:
    """Of "quota period" in microseconds, whose quota is max or -1 where there is none."""
    quota_us, period_us = text.split()
    return None if quota_us in ("max", "-1") else int(quota_us) / int(period_us)


def _texts(root: Path, controller: str, name: str) -> Iterator[str]:
    """The contents of that file in this process's group and in all above it.

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
                with contextlib.suppress(OSError):
                    yield (folder / name).read_text().strip()
