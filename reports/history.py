"""History: what a sweep gave night by night on one kind of machine, in a file that people review.

`runs/baselines/<gpu>/<sweep>.jsonl`, a JSON object per line, only ever appended to. Its first line says what
it is; then come, each when first seen, fingerprints and points, and for every night a line per point, the
sessions in which suspects were measured again, and the changes that were accepted.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import re
from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, fields
from io import FileIO
from pathlib import Path
from typing import Any

from reports.statement import Refused

# History of the format; a change raises SCHEMA and keeps a stored file of the old version in tests/data.
# 1  2026-11: history, fingerprint, point, night, session, change; of a night `signatures` may be
#    absent, or one `signature` stand in their place
SCHEMA = 1


class DamagedHistory(Refused):
    """A history that cannot be read to its end; the text names file, line and remedy."""


@dataclass(frozen=True)
class Night:
    """One point in one night.

    night        when the night's first launch began, ISO 8601 UTC; equal for all of its points
    at           when this point's own first launch began
    commit, code what ran; see Launched
    fingerprint  key of its line
    outcome      "ok", or of the first launch that was not
    values       metric -> a figure per launch
    faults       metrics whose figures were not confirmed when measured again: of the machine, not of the code
    signatures   of the hangs of its launches, each once; an older line has that of its reason alone, or none
    """

    night: str
    point: str
    at: str
    commit: str
    code: str
    fingerprint: str
    outcome: str
    reason: str
    values: Mapping[str, tuple[float, ...]]
    faults: tuple[str, ...] = ()
    signatures: tuple[str, ...] = ()


@dataclass(frozen=True)
class Session:
    """A figure that was measured again, and what that gave; ratio is new / base, None without a base.

    word     of reports.statement: what the gate said of it
    why  slow, share, fast, learning, late (found looking back), creep, a/a (the code against itself)
    """

    night: str
    point: str
    metric: str
    why: str
    base: str
    new: str
    same_code: bool
    word: str
    ratio: float | None
    low: float | None
    high: float | None
    launches: tuple[int, int]


@dataclass(frozen=True)
class Change:
    """A new level from `night` on, in the night `found`; before: the last good night at the old level.

    how  confirmed (by launches in turn), not compared (the base could not be measured), machine (launches in
         turn showed the code to be innocent), seen (a fall of the level, which nobody needs to confirm)
    """

    night: str
    found: str
    point: str
    metric: str
    ratio: float
    before: str
    base: str
    new: str
    how: str


@dataclass(frozen=True)
class History:
    """points: id -> {label, config}; fingerprints: key -> {name: text}; the rest in the order of the file.

    digest  of the file as it was read, "" where there was none
    """

    path: Path
    points: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    fingerprints: Mapping[str, Mapping[str, str]] = field(default_factory=dict)
    nights: tuple[Night, ...] = ()
    sessions: tuple[Session, ...] = ()
    changes: tuple[Change, ...] = ()
    digest: str = field(default="", compare=False)

    def label(self, point: str) -> str:
        return str(self.points.get(point, {}).get("label", point))

    def hung_as(self, signature: str) -> list[tuple[int, str]]:
        """Number, from 1, and time of each night in which a point hung with that signature."""
        same = {row.night for row in self.nights if signature in row.signatures}
        every = sorted({row.night for row in self.nights})
        return [(number, night) for number, night in enumerate(every, 1) if night in same]


def slug(text: str) -> str:
    """`NVIDIA L4` -> nvidia-l4."""
    return re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-") or "unnamed"


def file_of(baselines: Path, gpu: str, sweep: str) -> Path:
    """gpu: the GPU's name, or the processor's where none was used."""
    return baselines / slug(gpu) / f"{sweep}.jsonl"


def key_of(fingerprint: Mapping[str, str]) -> str:
    return hashlib.sha256(json.dumps(fingerprint, sort_keys=True).encode()).hexdigest()[:12]


def read(path: Path) -> History:
    """An empty history where there is no file yet. Raises DamagedHistory."""
    try:
        data = path.read_bytes()
        text = data.decode("utf-8")
    except FileNotFoundError:
        return History(path)
    except (OSError, UnicodeDecodeError) as error:
        raise DamagedHistory(f"{path}: cannot be read ({error}); restore it from git") from error
    if not text.endswith("\n"):
        number = text.count("\n") + 1
        remedy = "restore the file from git, or delete that line and its night is missing"
        raise DamagedHistory(f"{path}:{number}: the last line is cut short; {remedy}")
    found: dict[str, list[Any]] = {"point": [], "fingerprint": [], "night": [], "session": [], "change": []}
    for number, line in enumerate(text.splitlines(), 1):
        _take(found, line, number, path)
    points = {each["id"]: each for each in found["point"]}
    fingerprints = {each["key"]: each["values"] for each in found["fingerprint"]}
    for row in found["night"]:
        if row.point not in points or row.fingerprint not in fingerprints:
            what = f"{row.night} names point {row.point} and fingerprint {row.fingerprint}"
            raise DamagedHistory(f"{path}: {what}, of which one has no line; restore the file from git")
    return History(
        path,
        points,
        fingerprints,
        tuple(found["night"]),
        tuple(found["session"]),
        tuple(found["change"]),
        hashlib.sha256(data).hexdigest(),
    )


def _take(found: dict[str, list[Any]], line: str, number: int, path: Path) -> None:
    try:
        data = json.loads(line, parse_constant=_refuse)
        kind = data.pop("kind")
        if number == 1:
            _check_head(kind, data, path)
        elif kind != "history":
            found[kind].append(_MAKE[kind](data))
    except DamagedHistory:
        raise
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        what = f"not a line of a history ({type(error).__name__}: {error})"
        raise DamagedHistory(f"{path}:{number}: {what}; restore the file from git") from error


def _refuse(constant: str) -> None:
    raise ValueError(f"{constant} is no figure")


def _check_head(kind: str, data: Mapping[str, Any], path: Path) -> None:
    if kind != "history" or data["schema"] != SCHEMA:
        what = f"schema {data.get('schema')}" if kind == "history" else "no history"
        remedy = "use the version that wrote it, or begin anew with another --baselines folder"
        raise DamagedHistory(f"{path}: {what}, this version reads schema {SCHEMA}; {remedy}")


def _night(data: Mapping[str, Any]) -> Night:
    values = {str(name): tuple(map(float, numbers)) for name, numbers in data["values"].items()}
    listed = {"values": values, "faults": tuple(data.get("faults", ())), "signatures": _signatures(data)}
    given = {name: value for name, value in _texts(Night, data).items() if name != "signature"}
    return Night(**{**given, **listed})


def _signatures(data: Mapping[str, Any]) -> tuple[str, ...]:
    """Raises TypeError."""
    before = [data["signature"]] if data.get("signature") else []
    found = data.get("signatures", before)
    if not isinstance(found, list) or not all(isinstance(each, str) for each in found):
        raise TypeError("signatures is no list of texts")
    return tuple(found)


def _session(data: Mapping[str, Any]) -> Session:
    base, new = data["launches"]
    numbers = {name: data[name] if data[name] is None else float(data[name]) for name in _NUMBERS}
    return Session(**{**_texts(Session, data), **numbers, "launches": (int(base), int(new))})


def _change(data: Mapping[str, Any]) -> Change:
    return Change(**{**_texts(Change, data), "ratio": float(data["ratio"])})


def _texts(row: type[Any], data: Mapping[str, Any]) -> Mapping[str, Any]:
    """The data, whose texts are texts. Raises TypeError."""
    for each in fields(row):
        if each.type == "str" and not isinstance(data.get(each.name, ""), str):
            raise TypeError(f"{each.name} is no text")
    return data


_NUMBERS = ("ratio", "low", "high")
_MAKE: Mapping[str, Any] = {
    "point": lambda data: {"id": data["id"], "label": data["label"], "config": data["config"]},
    "fingerprint": lambda data: {"key": data["key"], "values": data["values"]},
    "night": _night,
    "session": _session,
    "change": _change,
}


def append(history: History, head: Mapping[str, str], new: Iterable[tuple[str, Mapping[str, Any]]]) -> None:
    """Add (kind, data) lines, after the head where the file is new. What stands there stays, and a write that
    fails in its middle, as on a full disk, leaves nothing behind.

    head  sweep and gpu in words. Raises DamagedHistory if somebody else wrote the file meanwhile; OSError.
    """
    path = history.path
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab", buffering=0) as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        size = file.seek(0, os.SEEK_END)
        is_gone = os.fstat(file.fileno()).st_nlink == 0
        if is_gone or (hashlib.sha256(path.read_bytes()).hexdigest() if size else "") != history.digest:
            raise DamagedHistory(f"{path}: another gate has written it meanwhile; run this one again")
        fresh = [] if size else [("history", {"schema": SCHEMA, **head})]
        lines = [json.dumps({"kind": kind, **data}, allow_nan=False) for kind, data in [*fresh, *new]]
        try:
            _write_all(file, "".join(f"{line}\n" for line in lines).encode())
            os.fsync(file.fileno())
        except BaseException:
            file.truncate(size)
            if not size:
                path.unlink()
            raise


def _write_all(file: FileIO, data: bytes) -> None:
    rest = memoryview(data)
    while rest:
        rest = rest[file.write(rest) or 0 :]


def lines_of(rows: Iterable[Night | Session | Change]) -> list[tuple[str, dict[str, Any]]]:
    """As append takes them; figures with five significant digits, which is beyond any of them."""
    return [(type(row).__name__.lower(), rounded(asdict(row))) for row in rows]


def rounded(value: Any) -> Any:
    """Five significant digits of every float inside."""
    if isinstance(value, float):
        return float(f"{value:.5g}")
    if isinstance(value, dict):
        return {key: rounded(each) for key, each in value.items()}
    return [rounded(each) for each in value] if isinstance(value, list | tuple) else value
