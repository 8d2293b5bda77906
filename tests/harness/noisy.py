"""A simulated component whose launches differ, as those of a real machine do. Standard library only."""

from __future__ import annotations

import os
import random
from pathlib import Path

from engines.simulated import Simulated

REACH = 6.0


class Noisy(Simulated):
    """Its first stage sleeps up to REACH times longer or shorter than told, by the launch.

    The file `launches` in TEST_SCRATCH counts launches; the n-th always draws the same factor.
    """

    def load(self) -> None:
        counted = Path(os.environ["TEST_SCRATCH"]) / "launches"
        number = int(counted.read_text()) if counted.is_file() else 0
        counted.write_text(str(number + 1))
        first, *others = self.work
        sleep_s = float(self.work[first]["sleep_s"]) * factor(number)
        self.work = {
            first: {**self.work[first], "sleep_s": sleep_s},
            **{name: self.work[name] for name in others},
        }


def factor(number: int) -> float:
    return float(REACH ** random.Random(number).uniform(-1, 1))
