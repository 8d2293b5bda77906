"""Kernels: what torch's traces say of each operator and kernel: how often it was called, how long it took.

torch has a table of its own, which takes it 40 s for what is read here in 4 (300,000 events, November 2026).
"""

from __future__ import annotations

import csv
import gzip
import json
import re
import zlib
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, TextIO

_CHUNK = 2**20  # characters
_BETWEEN = " \t\r\n,"
_SEPARATOR = re.compile(f"[{_BETWEEN}]*")
_BEGIN = re.compile(r'"traceEvents":\s*\[\s*')
_KINDS = {
    "cpu_op": "operator", "user_annotation": "operator", "cuda_runtime": "runtime", "cuda_driver": "runtime",
    "kernel": "kernel", "gpu_memcpy": "kernel", "gpu_memset": "kernel",
}  # fmt: skip
_ON_DEVICE = "kernel"
_NAME = 100  # characters of a kernel's name, which may be a page of C++


@dataclass
class Row:
    """An operator, a call of CUDA's runtime, or a kernel (copies are kernels, too), over all threads.

    self_device_us  how long the device worked: of a kernel, and of the operator that launched it: each is
                    counted twice over the table
    self_cpu_us     without that of the operators and calls inside
    """

    name: str
    kind: str
    calls: int = 0
    self_device_us: float = 0.0
    self_cpu_us: float = 0.0


def rows(traces: Iterable[Path]) -> list[Row]:
    """What several processes did, longest device time first, then longest CPU time.

    Raises ValueError for a file that is no trace of torch's.
    """
    found: dict[tuple[str, str], Row] = {}
    for path in traces:
        _add(_events(path), found)
    return sorted(found.values(), key=lambda row: (-row.self_device_us, -row.self_cpu_us))


def write(table: Iterable[Row], path: Path) -> None:
    """As CSV, a column for each field of Row."""
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(field.name for field in fields(Row))
        for row in table:
            times_us = (round(row.self_device_us), round(row.self_cpu_us))
            writer.writerow((row.name, row.kind, row.calls, *times_us))


def top(table: Sequence[Row], count: int) -> list[str]:
    """The kernels that took longest; without a GPU the operators."""
    on_device = [(row.self_device_us, row) for row in table if row.kind == _ON_DEVICE]
    on_host = [(row.self_cpu_us, row) for row in table]
    where = "GPU" if on_device else "CPU"
    longest = sorted(on_device or on_host, key=lambda pair: -pair[0])[:count]
    return [f"{_words(time_us)} {where}  {row.calls} x {row.name[:_NAME]}" for time_us, row in longest]


def _words(time_us: float) -> str:
    return f"{time_us / 1000:.1f} ms" if time_us >= 1000 else f"{time_us:.1f} us"


def _add(events: Iterable[Mapping[str, Any]], found: dict[tuple[str, str], Row]) -> None:
    threads: dict[tuple[Any, Any], list[tuple[float, float, Row]]] = defaultdict(list)
    operators: dict[int, Row] = {}
    launched: list[tuple[int, float]] = []
    for event in events:
        kind = _KINDS.get(event.get("cat", ""))
        if kind is None or event.get("ph") != "X":
            continue
        name = event["name"]
        row = found.setdefault((name, kind), Row(name, kind))
        row.calls += 1
        operator = event.get("args", {}).get("External id")
        if kind == _ON_DEVICE:
            row.self_device_us += event["dur"]
            launched.append((operator, event["dur"]))
        else:
            threads[event["pid"], event["tid"]].append((event["ts"], event["dur"], row))
            if kind == "operator":
                operators[operator] = row
    for spans in threads.values():
        _add_self_times(spans)
    for operator, length_us in launched:
        if operator in operators:
            operators[operator].self_device_us += length_us


def _add_self_times(spans: list[tuple[float, float, Row]]) -> None:
    """spans  of one thread, nested: (begin, length, row)"""
    around: list[tuple[float, Row]] = []
    for begin_us, length_us, row in sorted(spans, key=lambda span: (span[0], -span[1])):
        while around and around[-1][0] <= begin_us:
            around.pop()
        if around:
            around[-1][1].self_cpu_us -= length_us
        row.self_cpu_us += length_us
        around.append((begin_us + length_us, row))


def _events(path: Path) -> Iterator[dict[str, Any]]:
    """The events one by one: all at once they take ten times the memory of their text.

    Raises ValueError where the file is cut short or damaged.
    """
    decode = json.JSONDecoder().raw_decode
    try:
        with gzip.open(path, "rt", encoding="utf-8", errors="replace") as file:
            text, at = _until_the_events(file), 0
            while text[at : at + 1] != "]":
                try:
                    event, end = decode(text, at)
                except ValueError:
                    text, at = _with_more(text[at:], file), 0
                    continue
                yield event
                between = _SEPARATOR.match(text, end)
                at = between.end() if between else end
    except (OSError, EOFError, zlib.error) as error:
        raise ValueError(f"{path.name}: cannot be read ({error})") from error


def _until_the_events(file: TextIO) -> str:
    text = ""
    while not (begun := _BEGIN.search(text)):
        text = _with_more(text, file)
    return text[begun.end() :]


def _with_more(text: str, file: TextIO) -> str:
    """Raises EOFError where there is no more, or what there is makes no event."""
    more = file.read(_CHUNK)
    if not more or len(text) > 4 * _CHUNK:
        raise EOFError("it ends in the middle of its events")
    return (text + more).lstrip(_BETWEEN)
