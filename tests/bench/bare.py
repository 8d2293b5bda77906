"""The jobs of a point in a plain loop, with neither recorder nor supervisor.

`python -m tests.bench.bare FOLDER` prints the seconds from the first job's start to the last one's end, of
which a measured point says wall_s.
"""

from __future__ import annotations

import importlib
import sys
import time
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from engines.contract import Buildable, Piece, Stage
from harness.child import jobs_of
from harness.point import Point


def build(config: dict[str, Any]) -> Any:
    module, _, name = config["_target_"].rpartition(".")
    component = getattr(importlib.import_module(module), name)(
        **{key: value for key, value in config.items() if key != "_target_"}
    )
    component.load()
    if isinstance(component, Buildable):
        component.build()
    return component


def through(stage: Stage, pieces: Iterable[Piece]) -> Iterator[Piece]:
    for piece in pieces:
        yield from stage.feed(piece)
    yield from stage.flush()


def main(folder: Path) -> None:
    point = Point.load(folder / "point.json")
    tts, avatar = build(point.tts), build(point.avatar)
    start = time.monotonic()
    for job in jobs_of(point, folder):
        pieces: Iterable[Piece] = [Piece("text", job.text, len(job.text))]
        for stage in (*tts.stages(job), *avatar.stages(job)):
            pieces = through(stage, pieces)
        for _ in pieces:
            pass
    print(time.monotonic() - start)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
