"""Nights of the real tiny pipeline on this machine: `python -m tests.real_nights FOLDER`, or `make nights`.

In a clone of this repository each night has a commit of its own, whose code differs by a comment: A against
A, which the gate cannot know. After the last of them one stage is made slower, by 15 % of what it takes. What
the gate says of every night is printed; exit code 1 if a night of no change was red, or the slower stage was
not found and named.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parent.parent
POINT = (
    "name=nightly", "repeats=3", "force=true", "report=false", "device=cpu", "size=tiny", "quality.frames=0",
    "workload.jobs=4", "workload.tokens_per_char=0.7", "avatar.steps=10",
)  # fmt: skip
GATED = ("--launches=10", "--fail=stage.avatar.warp:8%", "--fail=stage.avatar.decode:8%")
STAGE, LINE = "avatar.warp", "        warped = self.clip.models.warp(features, *batch.data)\n"
SLOWER = f"""        began = time.perf_counter()
{LINE}        until = began + {{ratio}} * (time.perf_counter() - began)
        while time.perf_counter() < until:
            pass
"""


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.real_nights", description=__doc__)
    parser.add_argument("folder", type=Path, help="emptied first; the clone and its history stay there")
    parser.add_argument("--learning", type=int, default=8, help="nights before the gate decides")
    parser.add_argument("--nights", type=int, default=10, help="nights of no change that it decides")
    parser.add_argument("--ratio", type=float, default=1.15, help="how much longer the warp then takes")
    given = parser.parse_args()
    shutil.rmtree(given.folder, ignore_errors=True)
    clone = given.folder / "clone"
    subprocess.run(["git", "clone", "--quiet", "--local", str(ROOT), str(clone)], check=True)
    red = []
    for number in range(given.learning + given.nights):
        _commit(clone, "engines/__init__.py", f"# night {number}\n")
        if _night(clone, number, ".")["exit_code"] != 0:
            red.append(number)
    _plant(clone, given.ratio)
    planted = _night(clone, given.learning + given.nights, "!")
    found = [line for line in planted["lines"] if line["word"] == "slower"]
    named = any(f"{STAGE} +" in line["text"] or line["metric"] == f"stage.{STAGE}" for line in found)
    sys.stdout.write(
        f"red nights of no change: {red or 'none'}; planted and found: {bool(found and named)}\n"
    )
    return 0 if named and not red else 1


def _commit(clone: Path, name: str, more: str) -> None:
    with (clone / name).open("a") as file:
        file.write(more)
    who = ("-c", "user.name=nights", "-c", "user.email=nights@localhost")
    subprocess.run(
        ["git", "-C", str(clone), *who, "commit", "--quiet", "--all", "-m", more or "slower"], check=True
    )


def _plant(clone: Path, ratio: float) -> None:
    path = clone / "engines/ditto/rendering.py"
    text = path.read_text()
    assert text.count(LINE) == 1
    text = text.replace(LINE, SLOWER.format(ratio=ratio)).replace(
        "from collections", "import time\nfrom collections", 1
    )
    path.write_text(text)
    _commit(clone, "engines/__init__.py", "# slower\n")


def _night(clone: Path, number: int, mark: str) -> dict[str, Any]:
    began = time.monotonic()
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONPATH"}
    for command in (["harness", *POINT], ["reports", "gate", "nightly", "--strict", *GATED]):
        done = subprocess.run(
            [sys.executable, "-m", *command],
            cwd=clone,
            env=environment,
            capture_output=True,
            text=True,
            check=False,
        )
        if command[0] == "harness" and done.returncode:
            raise RuntimeError(done.stderr)
    said: dict[str, Any] = json.loads((clone / "runs/nightly/gate.json").read_text())
    sys.stdout.write(
        f"{mark} night {number}: {said['exit_code']}, {said['lead']} {time.monotonic() - began:.0f} s\n"
    )
    for line in said["lines"]:
        if line["word"] not in ("fine", "learning", "note"):
            sys.stdout.write(f"    {line['metric']} {line['word']}: {line['text']}\n")
    sys.stdout.flush()
    return said


if __name__ == "__main__":
    sys.exit(main())
