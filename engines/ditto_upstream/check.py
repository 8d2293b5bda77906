"""What can be said about a checkout of upstream Ditto before anything is loaded. Standard library only."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

from engines.ditto_upstream import options

# Packages that a TTS needs in the interpreter that runs the checkout.
_NEEDED_BY_TTS = {"engines.xtts.pipeline.Xtts": ("TTS", "torch", "soundfile")}
_ANSWER_S = 60
_ASK = (
    "import sys, importlib.util as u; "
    "print(*sys.version_info[:2], *(n for n in sys.argv[1:] if u.find_spec(n) is None))"
)


def check(data: Mapping[str, Any]) -> None:
    """Raises ValueError, one line as on the command line, for files or packages that are missing, and for
    arguments that upstream would not take.
    """
    avatar = data["avatar"]
    if avatar["root"] is None:
        raise ValueError(
            "avatar.root=null: no checkout of upstream Ditto; use avatar.root=/path/to/ditto-talkinghead"
        )
    root = Path(str(avatar["root"]))
    module = f"stream_pipeline_{avatar['mode']}.py"
    if not (root / module).is_file():
        raise ValueError(
            f"avatar.root={root}: has no {module}; give the folder of a ditto-talkinghead checkout"
        )
    if not (root / str(avatar["cfg_pkl"])).is_file():
        raise ValueError(
            f"avatar.cfg_pkl={avatar['cfg_pkl']}: not found in {root}; give a .pkl of the released ditto_cfg"
        )
    if not (root / str(avatar["data_root"])).is_dir():
        raise ValueError(
            f"avatar.data_root={avatar['data_root']}: no such folder in {root}; give the folder of the models"
        )
    options.check(avatar, root / module)
    _check_interpreter(avatar["python"], str(data["tts"].get("_target_")))


def _check_interpreter(python: str | None, tts: str) -> None:
    path = python or sys.executable
    needed = ("numpy", "soxr", *_NEEDED_BY_TTS.get(tts, ()))
    try:
        version, missing = _ask(path, needed)
    except (OSError, ValueError, subprocess.TimeoutExpired) as error:
        raise ValueError(
            f"avatar.python={python}: does not answer as a Python interpreter ({error}); "
            f"give the python of the environment that runs the checkout"
        ) from error
    if version < (3, 10):
        raise ValueError(
            f"avatar.python={python}: is Python {version[0]}.{version[1]}, 3.10 or newer is needed; "
            f"give another interpreter"
        )
    if missing:
        others = "; TTS and avatar share it: use tts=canned, tts=simulated, or install the TTS there"
        raise ValueError(
            f"avatar.python={python or path}: has no package {missing[0]}"
            + (
                others
                if missing[0] in _NEEDED_BY_TTS.get(tts, ())
                else "; give the checkout's own interpreter"
            )
        )


@cache
def _ask(python: str, packages: Sequence[str]) -> tuple[tuple[int, int], list[str]]:
    """(version, those of `packages` that it has not); found, not imported. Raises OSError, ValueError."""
    answer = subprocess.run(
        [python, "-c", _ASK, *packages], capture_output=True, text=True, timeout=_ANSWER_S, check=False
    )
    if answer.returncode:
        raise ValueError((answer.stderr.strip() or f"exit code {answer.returncode}").splitlines()[-1])
    major, minor, *missing = answer.stdout.split()
    return (int(major), int(minor)), missing
