"""The rendered face put back into the portrait on the GPU; only the face's own pixels travel to the host."""

from __future__ import annotations

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from engines.ditto.compose import Array, Landing, land


class DevicePutBack:
    """What engines.ditto.compose.PutBack does, with the same pixels to one level of 255, on a torch device.

    Arguments are those of `land`, and the device of the renders. Only constants are kept: threads and CUDA
    streams may share one. Works on device "cpu" too, to be tested there; cv2 is faster at it.
    """

    def __init__(
        self,
        frame: NDArray[np.uint8],
        m_c2o: NDArray[np.floating],
        mask: Array,
        device: torch.device | str,
    ) -> None:
        self._frame = frame
        self.device = torch.device(device)
        landing = land(frame, m_c2o, mask)
        self._box, self._size = landing.box, landing.size
        self._side = mask.shape[0]
        self._grid = _sampling_grid(landing, self._side).to(self.device)
        self._weight = torch.from_numpy(landing.weight[:, :, 0]).to(self.device)
        planes = np.ascontiguousarray(landing.background.transpose(2, 0, 1))
        self._background = torch.from_numpy(planes).to(self.device)

    @torch.inference_mode()
    def __call__(self, render: Tensor) -> NDArray[np.uint8]:
        """The frame (H, W, 3) uint8, on the host, with a render (3, S, S) float32 in [0, 255] put back.

        The render lies on the device; the work goes to the current stream and is waited for.
        Raises ValueError for another shape, type or device.
        """
        self._check(render)
        if min(self._size) == 0:
            return self._frame.copy()
        pixels = self._blend(render)
        if self.device.type == "cpu":
            result = self._frame.copy()
            result[self._box] = pixels.numpy()
            return result
        # Pinned memory comes from torch's own pool: after the first frames that is a look-up, and the pool
        # gives a buffer out again only when its copy is over, whichever thread asks.
        host = torch.empty(pixels.shape, dtype=torch.uint8, pin_memory=True)
        host.copy_(pixels, non_blocking=True)
        # A blocking event sleeps; others spin, and take a CPU from the encoder while the decoder works.
        arrived = torch.cuda.Event(blocking=True)
        arrived.record(torch.cuda.current_stream(self.device))
        result = self._frame.copy()  # while the face is on its way
        arrived.synchronize()
        result[self._box] = host.numpy()
        return result

    def _blend(self, render: Tensor) -> Tensor:
        """The face's box (h, w, 3) uint8, on the device."""
        face = functional.grid_sample(
            render[None], self._grid, mode="bilinear", padding_mode="zeros", align_corners=False
        )[0]
        blended = torch.addcmul(self._background, face, self._weight)
        width, height = self._size
        pixels = torch.empty((height, width, 3), dtype=torch.uint8, device=self.device)
        pixels.copy_(blended.permute(1, 2, 0))  # truncates and interleaves in one pass
        return pixels

    def _check(self, render: Tensor) -> None:
        shape = (3, self._side, self._side)
        given = (tuple(render.shape), render.dtype, render.device.type)
        if given != (shape, torch.float32, self.device.type):
            raise ValueError(
                f"put-back: a render {given[0]} {given[1]} on {given[2]}; "
                f"it takes {shape} torch.float32 on {self.device.type}"
            )


def _sampling_grid(landing: Landing, side: int) -> Tensor:
    """(1, h, w, 2) float32: where in the render each pixel of the box lies, in grid_sample's units.

    OpenCV 5 samples float pictures at unrounded places (OpenCV 4 rounded them to 1/32 px), so this does too.
    Computed in float64: float32 steps of 1/32768 px would show in a few more pixels.
    """
    width, height = landing.size
    inverse = cv2.invertAffineTransform(landing.matrix)
    x, y = np.meshgrid(np.arange(width, dtype=np.float64), np.arange(height, dtype=np.float64))
    places = np.stack([x, y], axis=2) @ inverse[:, :2].T + inverse[:, 2]
    return torch.from_numpy(((2 * places + 1) / side - 1).astype(np.float32))[None]
