"""Environment: machine, GPU, driver, package versions and commit, as they stand beside every number."""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
import os
import platform
import subprocess
from pathlib import Path
from typing import Any

import psutil

from harness import gpu

# What decides speed or output; a package that is absent is left out.
_PACKAGES = (
    "torch", "coqui-tts", "transformers", "numpy", "opencv-python-headless", "av", "onnxruntime",
    "onnxruntime-gpu", "soxr", "soundfile", "pillow", "mediapipe",
    "tensorrt", "tensorrt-rtx", "triton", "hydra-core", "py-spy", "nvidia-ml-py",
)  # fmt: skip


def describe() -> dict[str, Any]:
    """Everything about this machine that a number depends on. Plain JSON data.

    The code is hashed anew each time: it may be edited while a sweep runs, and a child imports what is there.
    """
    return {**_machine(), "code": code_hash()}


@functools.cache
def _machine() -> dict[str, Any]:
    return {
        "machine": platform.node(),
        "kernel": platform.release(),
        "cpu": _cpu_model(),
        "cores": psutil.cpu_count(),
        "cores_usable": len(os.sched_getaffinity(0)),
        "memory_mib": psutil.virtual_memory().total // 2**20,
        "container": _container(),
        "python": platform.python_version(),
        "packages": _versions(),
        "gpus": gpu.describe(),
        "commit": _git("rev-parse", "HEAD"),
        "changed_files": len(_git("status", "--porcelain", "--untracked-files=no").splitlines()),
    }


def code_hash() -> str:
    """12 hex digits over the sources of engines and harness: what ran, also where there is no commit."""
    digest = hashlib.sha256()
    root = Path(__file__).resolve().parent.parent
    for path in sorted([*root.glob("engines/**/*.py"), *root.glob("harness/**/*.py")]):
        digest.update(f"{path.relative_to(root)}\0".encode() + path.read_bytes())
    return digest.hexdigest()[:12]


def _cpu_model() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


def _container() -> str:
    return "docker" if Path("/.dockerenv").exists() else os.environ.get("container", "")  # noqa: SIM112 - podman and systemd write it so


def _versions() -> dict[str, str]:
    found = {}
    for name in _PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def _git(*arguments: str) -> str:
    command = ["git", "-C", str(Path(__file__).parent), *arguments]
    try:
        return subprocess.run(command, capture_output=True, text=True, check=True, timeout=10).stdout.strip()
    except (OSError, subprocess.SubprocessError):  # no git, or not a checkout
        return ""
