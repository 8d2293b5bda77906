"""`python -m harness.once POINT.json FOLDER N`: measures one point once, with the code it is run from.

What `harness.ab` calls in two checkouts in turn. It composes no configuration: both measure the same point.
"""

from __future__ import annotations

import signal
import sys
from pathlib import Path

from harness import store, supervisor
from harness.point import Point


def main(arguments: list[str]) -> int:
    """0 when a result is stored, whatever its outcome; an exception's 1 when there is none."""
    point, folder, repeat = Path(arguments[0]), Path(arguments[1]), int(arguments[2])
    signal.signal(signal.SIGTERM, _end_by_signal)
    measurement = supervisor.measure(Point.load(point), folder, supervisor.start_guard(), repeat)
    store.save(measurement, folder)
    return 0


def _end_by_signal(number: int, frame: object) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
