"""A simulated component whose module imports torch, as a real engine's does."""

from __future__ import annotations

import torch

from engines.simulated import Simulated


class WithTorch(Simulated):
    """Needs nothing of torch but its presence in the process."""

    version = torch.__version__
