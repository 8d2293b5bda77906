"""Installing: the command that brings what is missing into the environment that was looked at. Standard
library only.
"""

from __future__ import annotations

import importlib.metadata
import shlex
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent.parent
_FOR_GPUS = "onnxruntime-gpu"
_DEVICES = Path("/dev")


def command(extra: str = "") -> str:
    """install.sh with what it has to be told here. extra: one of the project's; "" for what is always needed.

    Without EXTRAS it takes those of development, whose onnxruntime is the build for CPUs and would overwrite
    half of the one for GPUs.
    """
    if extra == "faster-whisper" and _is_for_gpus():  # it asks for that build, too, and does without
        return "python -m pip install --no-deps faster-whisper ctranslate2"
    venv = sys.prefix if is_environment() and not _is_own() else ""
    activate = "" if is_environment() else " && . .venv/bin/activate"
    return _install(VENV=venv, EXTRAS=_extras(extra)) + activate


def with_python(python: str) -> str:
    """The same with another Python. install.sh keeps an environment that is there, so the project's own goes
    first if it is this one; any other is left alone.
    """
    renewed = _install(PYTHON=python, EXTRAS=_extras(""))
    return f"rm -r .venv && {renewed}" if _is_own() else f"{renewed} && . .venv/bin/activate"


def version(name: str) -> str:
    """Of an installed package; "" for one that is not installed."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return ""


def is_environment() -> bool:
    """Whether this Python's packages are not those of the system: a virtual environment or conda's."""
    return sys.prefix != sys.base_prefix or Path(sys.prefix, "conda-meta").is_dir()


def _is_own() -> bool:
    """Whether this is the environment that install.sh takes by itself."""
    return Path(sys.prefix).resolve() == (ROOT / ".venv").resolve()


def _extras(extra: str) -> str:
    return _FOR_GPUS if extra in ("", "onnxruntime") and _is_for_gpus() else extra


def _is_for_gpus() -> bool:
    """Whether the build of onnxruntime for GPUs is there, or none and a GPU."""
    return bool(version(_FOR_GPUS)) or (_has_gpu() and not version("onnxruntime"))


def _has_gpu() -> bool:
    """By the driver's files: NVML needs a package, and hangs where the driver does."""
    return any(_DEVICES.glob("nvidia[0-9]*"))


def _install(**variables: str) -> str:
    told = [f"{name}={shlex.quote(value)}" for name, value in variables.items() if value]
    return " ".join([*told, "./install.sh"])
