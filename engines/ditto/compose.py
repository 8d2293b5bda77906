"""The rendered face put back into the portrait with a feathered edge, on the CPU."""

from __future__ import annotations

from dataclasses import dataclass

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


@dataclass(frozen=True)
class Landing:
    """Where renders land in one picture, and how they are weighed: what no frame changes.

    box         rows and columns of the frame, as slices; empty where the render misses the frame
    matrix      (2, 3) float64 from the render's px to the box's
    weight      (h, w, 1) of the render, in [0, 1]
    background  (h, w, 3) of the frame, weighed already, in [0, 255]
    """

    box: tuple[slice, slice]
    matrix: NDArray[np.float64]
    weight: Array
    background: Array

    @property
    def size(self) -> tuple[int, int]:
        """(w, h) of the box, px."""
        height, width = self.weight.shape[:2]
        return width, height


def land(frame: NDArray[np.uint8], m_c2o: NDArray[np.floating], mask: Array) -> Landing:
    """Find the smallest box that holds every pixel of some weight.

    frame  (H, W, 3) uint8;  m_c2o (3, 3) or (2, 3) from the render's px to the frame's;  mask (S, S, 1)
    """
    height, width = frame.shape[:2]
    whole = cv2.warpAffine(mask[:, :, 0], m_c2o[:2], (width, height), flags=cv2.INTER_LINEAR)
    top, bottom = _extent(whole.any(axis=1))
    left, right = _extent(whole.any(axis=0))
    box = slice(top, bottom), slice(left, right)
    matrix = np.array(m_c2o[:2], np.float64)
    matrix[:, 2] -= left, top
    weight = np.clip(whole[box], 0, 1)[:, :, None]
    return Landing(box, matrix, weight, (1 - weight) * frame[box])


def _extent(used: NDArray[np.bool_]) -> tuple[int, int]:
    places = np.flatnonzero(used)
    return (int(places[0]), int(places[-1]) + 1) if len(places) else (0, 0)


class PutBack:
    """Pastes renders into one picture; everything that does not change per frame is computed once.

    Arguments are those of `land`. Only constants are kept: threads may share one.
    """

    def __init__(self, frame: NDArray[np.uint8], m_c2o: NDArray[np.floating], mask: Array) -> None:
        self._frame = frame
        self._landing = land(frame, m_c2o, mask)
        # Three equal channels: a broadcast over the last axis is several times slower.
        self._weight = np.ascontiguousarray(np.repeat(self._landing.weight, 3, axis=2))

    def __call__(self, render: Array) -> NDArray[np.uint8]:
        """The frame (H, W, 3) uint8 with a render (S, S, 3) float32 in [0, 255] put back, truncated."""
        result = self._frame.copy()
        landing = self._landing
        if min(landing.size) > 0:
            face = cv2.warpAffine(render, landing.matrix, landing.size, flags=cv2.INTER_LINEAR)
            face *= self._weight
            face += landing.background
            result[landing.box] = face.astype(np.uint8)
        return result
