"""The Triton kernels against plain torch, in Triton's interpreter, which needs no GPU."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import sys

import pytest

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        importlib.util.find_spec("triton") is None, reason="Triton is not installed: pip install triton"
    ),
]


def test_every_kernel_gives_the_numbers_of_plain_torch():
    """In a process of its own: the interpreter is chosen when a kernel is defined."""
    ran = subprocess.run(
        [sys.executable, "-m", "tests.engines.ditto.fused_kernels", "cpu"],
        env={**os.environ, "TRITON_INTERPRET": "1", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout + ran.stderr
    # stats 5, modulate 2, add_leaky 2, assemble 6, candidates 2, relu_pool 2, interleave, deform and sample
    assert len(ran.stdout.splitlines()) == 22, ran.stdout
