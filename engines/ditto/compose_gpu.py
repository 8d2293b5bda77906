"""The rendered face put back into the portrait on the GPU; only the face's own pixels travel to the host."""

from __future__ import annotations

from collections.abc import Iterator

import cv2
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn import functional

from engines.ditto.compose import Array, Landing, land
from engines.ditto.transfer import Arriving


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

    def __call__(self, render: Tensor) -> NDArray[np.uint8]:
        """The frame (H, W, 3) uint8, on the host, with a render (3, S, S) put back; see launch. Waits."""
        return next(self.launch(render[None]).frames())

    @torch.inference_mode()
    def launch(self, renders: Tensor) -> Landed:
        """Put renders (n, 3, S, S) float32 in [0, 255] back, one to a frame, without waiting for it.

        The renders lie on the device; blending and copying are queued on the current stream.
        Raises ValueError for another shape, type or device.
        """
        self._check(renders)
        pixels = None if min(self._size) == 0 else Arriving(self._blend(renders))
        return Landed(self._frame, self._box, pixels, len(renders))

    def _blend(self, renders: Tensor) -> Tensor:
        """The face's boxes (n, h, w, 3) uint8, on the device."""
        grid = self._grid.expand(len(renders), -1, -1, -1)
        faces = functional.grid_sample(
            renders, grid, mode="bilinear", padding_mode="zeros", align_corners=False
        )
        blended = torch.addcmul(self._background, faces, self._weight)
        width, height = self._size
        pixels = torch.empty((len(renders), height, width, 3), dtype=torch.uint8, device=self.device)
        pixels.copy_(blended.permute(0, 2, 3, 1))  # truncates and interleaves in one pass
        return pixels

    def _check(self, renders: Tensor) -> None:
        shape = (len(renders), 3, self._side, self._side)
        given = (tuple(renders.shape), renders.dtype, renders.device.type)
        if given != (shape, torch.float32, self.device.type):
            raise ValueError(
                f"put-back: renders {given[0]} {given[1]} on {given[2]}; "
                f"it takes {shape} torch.float32 on {self.device.type}"
            )


class Landed:
    """Faces on their way to the host, where the rest of their frames waits.

    pixels  (n, h, w, 3) uint8 of the box, or None where the faces miss the frame
    """

    def __init__(
        self,
        frame: NDArray[np.uint8],
        box: tuple[slice, slice],
        pixels: Arriving | None,
        count: int,
    ) -> None:
        self._frame, self._box, self._pixels, self._count = frame, box, pixels, count

    def frames(self) -> Iterator[NDArray[np.uint8]]:
        """The frames (H, W, 3) uint8, each memory of its own. Waits for the device before the first."""
        for number in range(self._count):
            result = self._frame.copy()  # while the face is on its way
            if self._pixels is not None:
                result[self._box] = self._pixels.wait()[number]
            yield result


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
