"""A simulated component whose module imports torch, as a real engine's does."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch

from engines.contract import Job
from engines.simulated import Simulated


class WithTorch(Simulated):
    """Needs nothing of torch but its presence in the process."""

    version = torch.__version__


class OnGpu(Simulated):
    """Takes 2 GiB of a GPU's memory in its load, and multiplies there in its warm-up."""

    def load(self) -> None:
        self._held = torch.ones(2**29, device="cuda")

    def warm_up(self, job: Job) -> None:
        square = self._held[: 2**20].reshape(1024, 1024)
        assert float((square @ square)[0, 0]) == 1024.0

    def attest(self) -> Mapping[str, Any]:
        told = dict(super().attest())
        stages = {name: {**stage, "device": "cuda"} for name, stage in told["stages"].items()}
        return {**told, "device": "cuda", "stages": stages}
