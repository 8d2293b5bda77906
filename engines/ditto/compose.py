"""The rendered face put back into the portrait with a feathered edge, on the CPU."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]


def _ramp(length: int, ratio: float) -> tuple[Array, Array]:
    """Distance into the leading and the trailing edge: 1 outside, 0 where the face starts."""
    inner = int(length * ratio)
    start = (length - inner) // 2
    leading, trailing = np.zeros(length), np.zeros(length)
    leading[:start] = np.linspace(1, 0, start)
    trailing[start + inner :] = np.linspace(0, 1, length - start - inner)
    return leading, trailing


def feather_mask(width: int, height: int, ratio_w: float = 0.9, ratio_h: float = 0.9) -> Array:
    """Mask (height, width, 1): 1 over the middle, linear to 0 at the edges, radial in the corners."""
    across = np.maximum(*_ramp(width, ratio_w))
    down = np.maximum(*_ramp(height, ratio_h))
    distance = np.sqrt(across[None, :] ** 2 + down[:, None] ** 2)
    return np.asarray(1 - np.clip(distance, 0, 1), np.float32)[:, :, None]


class PutBack:
    """Pastes renders into one picture; everything that does not change per frame is computed once.

    frame    (H, W, 3) uint8
    m_c2o    (3, 3) from the render's px to the frame's
    mask     (S, S, 1) weight of the render, S its side
    Only constants are kept: threads may share one.
    """

    def __init__(self, frame: NDArray[np.uint8], m_c2o: NDArray[np.floating], mask: Array) -> None:
        self._frame = frame
        height, width = frame.shape[:2]
        whole = cv2.warpAffine(mask[:, :, 0], m_c2o[:2], (width, height), flags=cv2.INTER_LINEAR)
        top, bottom = _extent(whole.any(axis=1))
        left, right = _extent(whole.any(axis=0))
        self._box = slice(top, bottom), slice(left, right)
        self._size = right - left, bottom - top
        self._matrix = np.array(m_c2o[:2], np.float64)
        self._matrix[:, 2] -= left, top
        weight = np.clip(whole[self._box], 0, 1)[:, :, None]
        # Three equal channels: a broadcast over the last axis is several times slower.
        self._weight = np.ascontiguousarray(np.repeat(weight, 3, axis=2))
        self._background = (1 - self._weight) * frame[self._box]

    def __call__(self, render: Array) -> NDArray[np.uint8]:
        """The frame (H, W, 3) uint8 with a render (S, S, 3) float32 in [0, 255] put back, truncated."""
        result = self._frame.copy()
        if min(self._size) > 0:
            face = cv2.warpAffine(render, self._matrix, self._size, flags=cv2.INTER_LINEAR)
            face *= self._weight
            face += self._background
            result[self._box] = face.astype(np.uint8)
        return result


def _extent(used: NDArray[np.bool_]) -> tuple[int, int]:
    places = np.flatnonzero(used)
    return (int(places[0]), int(places[-1]) + 1) if len(places) else (0, 0)
