"""An avatar whose stage multiplies matrices: work that a profiler has to find."""

from __future__ import annotations

from collections.abc import Iterator

import torch

from engines.contract import Job, Piece
from engines.simulated import Simulated, SimulatedStage

PRODUCTS = 6


class Multiplying(Simulated):
    """Multiplies PRODUCTS times in each job, and once, with another operator, in its warm-up."""

    def warm_up(self, job: Job) -> None:
        torch.sub(torch.ones(8), 1.0)

    def stages(self, job: Job) -> list[MultiplyingStage]:
        return [MultiplyingStage("multiply", self.role, job, {}, 0, 1)]


class MultiplyingStage(SimulatedStage):
    def flush(self) -> Iterator[Piece]:
        square = torch.ones(32, 32)
        for _ in range(PRODUCTS):
            torch.mm(square, square)
        yield from super().flush()
