"""What two commits in turn give on this machine: `python -m tests.gpu.measure_gate OUT.md [key=value ...]`.

First the same code twice (A against A: what is noise here), then with every seventh warp drawn twice (a stage
that takes 14 % longer). One point of the real pipeline at the size that fits the device; five launches a
side. It works in a repository made of these files beside OUT.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
POINT = (
    "name=gate",
    "tts=canned",
    "tts.seconds=[4.0]",
    "workload.jobs=4",
    "quality.frames=0",
    "report=false",
)
STAGES = ("--fail=stage.avatar.warp:5%", "--fail=stage.avatar.decode:5%", "--fail=stage.avatar.motion:5%")
LINE = "        warped = self.clip.models.warp(features, *batch.data)\n"
TWICE = f"""        Warp.calls += 1
        if Warp.calls % 7 == 0:
            self.clip.models.warp(features, *batch.data)
{LINE}"""


def main() -> int:
    out, settings = Path(sys.argv[1]).resolve(), sys.argv[2:]
    clone = out.parent / "clone"
    _clone(clone)
    said = [f"# {' '.join((*POINT, *settings))}"]
    _run(clone, "harness", *POINT, *settings)
    said += ["", "## The same code twice", _in_turn(clone, "HEAD")]
    path = clone / "engines/ditto/rendering.py"
    text = path.read_text()
    assert text.count(LINE) == 1
    path.write_text(
        text.replace(LINE, TWICE).replace('    name = "warp"\n', '    name = "warp"\n    calls = 0\n')
    )
    _git(clone, "commit", "--quiet", "--all", "--message", "every seventh warp twice")
    said += ["", "## Every seventh warp twice", _in_turn(clone, "HEAD~1")]
    out.write_text("\n".join(said) + "\n")
    sys.stdout.write(out.read_text())
    return 0


def _clone(clone: Path) -> None:
    shutil.rmtree(clone, ignore_errors=True)
    shutil.copytree(
        ROOT, clone, ignore=shutil.ignore_patterns(".*", "runs", "__pycache__", clone.parent.name)
    )
    subprocess.run(["git", "init", "--quiet", str(clone)], check=True)
    _git(clone, "add", "--all")
    _git(clone, "commit", "--quiet", "--message", "as it is")


def _git(clone: Path, *arguments: str) -> None:
    who = ("-c", "user.name=gate", "-c", "user.email=gate@localhost")
    subprocess.run(["git", "-C", str(clone), *who, *arguments], check=True)


def _in_turn(clone: Path, base: str) -> str:
    began = time.monotonic()
    _run(clone, "harness.ab", "gate", "--base", base)
    sides = ("runs/gate/ab/base", "runs/gate/ab/new")
    _run(
        clone,
        "reports",
        "compare",
        *sides,
        *STAGES,
        "--json",
        f"{base}.json",
        "--markdown",
        "compared.md",
        codes=(0, 10),
    )
    return f"{(clone / 'compared.md').read_text()}\n{time.monotonic() - began:.0f} s"


def _run(clone: Path, module: str, *arguments: str, codes: tuple[int, ...] = (0,)) -> None:
    done = subprocess.run([sys.executable, "-m", module, *arguments], cwd=clone, check=False)
    if done.returncode not in codes:
        raise SystemExit(f"{module} ended with {done.returncode}")


if __name__ == "__main__":
    sys.exit(main())
