"""The convolution block that the appearance and warp networks are built from."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F

_CONV = {2: nn.Conv2d, 3: nn.Conv3d}
_NORM = {2: nn.BatchNorm2d, 3: nn.BatchNorm3d}


class ConvNorm(nn.Module):
    """Convolution of size 3, batch norm (eps 1e-5), ReLU, then half the height and width where asked.

    dims   2 or 3 spatial axes
    slope  of the negative side: 0 is ReLU, 0.01 is torch's LeakyReLU
    halve  average pooling of height and width by 2; depth stays
    """

    def __init__(
        self, dims: int, inputs: int, outputs: int, *, slope: float = 0.0, halve: bool = False
    ) -> None:
        super().__init__()
        self.conv = _CONV[dims](inputs, outputs, 3, padding=1)
        self.norm = _NORM[dims](outputs)
        self._slope = slope
        self._halve = halve

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, [D,] H, W) -> (B, outputs, [D,] H, W), or H/2, W/2 where halved."""
        x = self.norm(self.conv(x))
        x = F.leaky_relu(x, self._slope) if self._slope else F.relu(x)
        if not self._halve:
            return x
        # in two dimensions also for volumes: three-dimensional pooling lacks half precision on CPUs
        return F.avg_pool2d(x.flatten(1, -3), 2).unflatten(1, x.shape[1:-2])
