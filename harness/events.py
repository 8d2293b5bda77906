"""Events: what the measured processes tell beside their spans, a line of JSON each. Standard library only."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

FILE = "events.jsonl"


class Events:
    """Appends lines to events.jsonl, each by one write(): O_APPEND keeps them whole among processes."""

    def __init__(self, folder: Path) -> None:
        self._file = os.open(folder / FILE, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)

    def __call__(self, event: str, **data: Any) -> None:
        line = json.dumps({"event": event, "pid": os.getpid(), **data}, default=str, allow_nan=False)
        os.write(self._file, line.encode() + b"\n")


def read(folder: Path) -> list[dict[str, Any]]:
    """The child's lines; one that its death cut short is left out."""
    path = folder / FILE
    if not path.is_file():
        return []
    events = []
    for line in path.read_text(errors="replace").splitlines():
        try:
            events.append(json.loads(line))
        except ValueError:
            continue
    return events
