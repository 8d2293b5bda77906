"""The convolution block that the appearance and warp networks are built from."""

from __future__ import annotations

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn import functional as F

_CONV = {2: nn.Conv2d, 3: nn.Conv3d}
_NORM = {2: nn.BatchNorm2d, 3: nn.BatchNorm3d}
_POOL = {2: F.avg_pool2d, 3: F.avg_pool3d}


class ConvNorm(nn.Module):
    """Convolution of size 3, batch norm (eps 1e-5), ReLU, then average pooling where asked.

    dims   2 or 3 spatial axes
    slope  of the negative side: 0 is ReLU, 0.01 is torch's LeakyReLU
    pool   factor per axis, slowest first; None keeps the size
    """

    def __init__(
        self, dims: int, inputs: int, outputs: int, *, slope: float = 0.0, pool: Sequence[int] | None = None
    ) -> None:
        super().__init__()
        self.conv = _CONV[dims](inputs, outputs, 3, padding=1)
        self.norm = _NORM[dims](outputs)
        self._slope = slope
        self._pool = tuple(pool) if pool else None
        self._dims = dims

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, [D,] H, W) -> (B, outputs, [D,] H, W), each axis divided by its pooling factor."""
        x = self.norm(self.conv(x))
        x = F.leaky_relu(x, self._slope) if self._slope else F.relu(x)
        return _POOL[self._dims](x, self._pool) if self._pool else x
