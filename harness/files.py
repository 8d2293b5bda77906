"""Files that a point names: their contents, so that a change is seen though the path stays."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from pathlib import Path

from harness.point import Point, flatten, without_places
from harness.validity import sha256

# bytes; what is larger is a network, and the components read back its hash, or a long film
_LARGEST = 256 * 2**20


def contents(point: Point) -> dict[str, str]:
    """{path as the point has it: SHA-256} of portrait, voice, recording and the like; folders and networks
    are not read.

    X.json beside a portrait X.png counts too: it may hold the crop of the face.
    """
    found = {}
    for path in _named(point):
        with contextlib.suppress(OSError):
            if path.is_file() and path.stat().st_size <= _LARGEST:
                found[str(path)] = sha256(path)
    return found


def changed(point: Point, before: Mapping[str, str], since: float) -> str:
    """A file or folder of the point that is not as it was measured; "" if all are.

    before  what contents() gave then; all else is judged by its time stamps
    since   when that was, s since the epoch
    """
    now = contents(point)
    for path in _named(point):
        known = before.get(str(path))
        if _newest(path) > since if known is None else now.get(str(path)) != known:
            return str(path)
    return ""


def _named(point: Point) -> list[Path]:
    """What of the point's values is a file or a folder, sorted; Hydra's `_target_` and words are none."""
    values = {value for _, value in flatten(without_places(asdict(point))) if isinstance(value, str)}
    paths = {Path(value) for value in values if "/" in value or "." in value}
    portrait = point.workload.get("portrait")
    if portrait:
        paths.add(Path(portrait).with_suffix(".json"))
    return sorted(path for path in paths if _exists(path))


def _exists(path: Path) -> bool:
    with contextlib.suppress(OSError, ValueError):  # a text with a slash is no path
        return path.exists() and path != Path()
    return False


def _newest(path: Path) -> float:
    """The last change of a file, or of anything in a folder two levels deep; s since the epoch."""
    return max(_times([path, *path.glob("*"), *path.glob("*/*")]), default=0.0)


def _times(paths: list[Path]) -> Iterator[float]:
    for path in paths:
        with contextlib.suppress(OSError):  # gone meanwhile, or a link to nowhere
            yield path.stat().st_mtime
