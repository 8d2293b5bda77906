"""Variables: the environment of a measured process, with its tree's token and its CPU threads."""

from __future__ import annotations

import os
from pathlib import Path

from harness import tree
from harness.point import Point

_PINNED = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "OPENBLAS_NUM_THREADS", "NUMEXPR_NUM_THREADS")
_MPS = "CUDA_MPS_PIPE_DIRECTORY"
_NO_MPS = "/dev/null/no-mps"  # no directory can be there, so that CUDA finds no daemon and runs without


def of(point: Point, token: str, temporary: Path) -> dict[str, str]:
    """All variables of the child: one token for the tree, as many CPU threads per worker as asked for, and a
    folder for temporary files that goes with it.
    """
    return {
        # With AMX, oneDNN of torch 2.13 computes HuBERT in bf16 wrongly (a relative error of 0.66 on a Xeon,
        # November 2026), and without it within the rounding. A limit that is given stays.
        "ONEDNN_MAX_CPU_ISA": "AVX512_CORE_FP16",
        **os.environ,
        **dict.fromkeys(_PINNED, str(point.executor.get("cpu_threads", 1))),
        **({} if point.executor.get("mps") else {_MPS: _NO_MPS}),
        tree.VARIABLE: token,
        tree.STARTED_BY: str(os.getpid()),
        "PYTHONPATH": python_path(),
        "PYTHONUNBUFFERED": "1",
        "TMPDIR": str(temporary),
    }


def python_path() -> str:
    """Where the project can be imported from, before what the user gave."""
    root = str(Path(__file__).resolve().parent.parent)
    return os.pathsep.join(part for part in (root, os.environ.get("PYTHONPATH", "")) if part)


def mps_daemon() -> Path | None:
    """The control pipe of the user's Multi-Process Service; None where no daemon has made one."""
    pipe = Path(os.environ.get(_MPS) or "/tmp/nvidia-mps") / "control"
    return pipe if pipe.exists() else None
