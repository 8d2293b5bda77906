"""Where a face crop lies: size rules, covering a frame, and the matrices between frame and crop."""

from __future__ import annotations

import math

import cv2
import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]

# Rows of the landmark sets that upstream's detectors give: left eye, right eye, mouth.
_UPRIGHT_POINTS = {
    106: ((33, 35, 40, 39), (87, 89, 94, 93), (52, 61)),
    203: ((0, 6, 12, 18), (24, 30, 36, 42), (48, 66)),
}


def fit(height: int, width: int, max_dim: int) -> tuple[int, int, bool]:
    """(height, width, changed): shrunk so that no side exceeds max_dim, both sides cut to even."""
    new = np.array([height, width])
    if 0 < max_dim < max(height, width):
        new = np.array([round(side * max_dim / max(height, width)) for side in (height, width)])
    even_height, even_width = (int(side) for side in new // 2 * 2)
    return even_height, even_width, (even_height, even_width) != (height, width)


def cover(
    image: NDArray[np.uint8], width: int, height: int
) -> tuple[NDArray[np.uint8], NDArray[np.float64], NDArray[np.int64]]:
    """The image (H, W, 3) scaled to cover width x height, with the middle cut out.

    Returns (picture of width x height, scale per axis, px cut off at left and top).
    """
    original = np.array([image.shape[1], image.shape[0]])
    wanted = np.array([width, height])
    factor = float((wanted / original).max())
    scaled = np.maximum(np.rint(original * factor).astype(np.int64), wanted)
    method = cv2.INTER_AREA if factor < 1 else cv2.INTER_LINEAR
    resized = cv2.resize(image, (int(scaled[0]), int(scaled[1])), interpolation=method)
    left, top = shift = (scaled - wanted) // 2
    cut = np.ascontiguousarray(resized[top : top + height, left : left + width], np.uint8)
    return cut, scaled / original, shift


def similarity(centre: NDArray[np.floating], size: float, angle: float, dsize: int) -> Array:
    """Matrix (2, 3) from the image to a dsize x dsize crop of a square `size` px wide, turned `angle` rad."""
    scale = dsize / size
    cos, sin = math.cos(angle), math.sin(angle)
    x, y = centre
    right, down = dsize / 2 - scale * (cos * x + sin * y), dsize / 2 - scale * (cos * y - sin * x)
    return np.array([[scale * cos, scale * sin, right], [-scale * sin, scale * cos, down]], np.float32)


def crop_matrix(
    landmarks: Array,
    dsize: int,
    scale: float = 2.3,
    vy_ratio: float = -0.125,
    rotate: bool = True,
) -> Array:
    """Matrix (2, 3) from the image to an upright crop around the face.

    landmarks  (106 or 203, 2) px
    scale      side of the crop over the longer side of the landmarks' upright box
    vy_ratio   the crop's shift along the face's down axis, in sides; negative shows more forehead
    Raises ValueError for another number of landmarks, or when they span no square.
    """
    if len(landmarks) not in _UPRIGHT_POINTS:
        raise ValueError(f"landmarks={len(landmarks)}: a crop needs 106 or 203 points")
    left, right, mouth = (landmarks[list(rows)].mean(axis=0) for rows in _UPRIGHT_POINTS[len(landmarks)])
    down = mouth - (left + right) / 2
    length = float(np.linalg.norm(down))
    down = down / length if length > 1e-3 else np.array([0, 1], np.float32)
    # float32 whatever the landmarks are, as upstream.
    across = np.array([down[1], -down[0]], np.float32)
    axes = np.stack([across, down])
    middle = landmarks.mean(axis=0)
    upright = (landmarks - middle) @ axes.T
    low, high = upright.min(axis=0), upright.max(axis=0)
    # Scalars keep the landmarks' precision, as upstream's do: the angle below shows each last digit.
    size = (high - low).max() * scale
    if not (np.isfinite(size) and size > 0):
        raise ValueError("the landmarks fall on one point")
    along = (low + high) / 2
    centre = middle + across * along[0] + down * along[1] + down * (vy_ratio * size)
    # As upstream, by acos of a float32, which is coarse for a face that is nearly upright.
    turn = math.acos(min(1.0, max(-1.0, float(across[0]))))
    angle = math.copysign(turn, float(across[1])) if rotate else 0.0
    return similarity(centre, size, angle, dsize)


def invert(matrix: Array) -> Array:
    """(3, 3) crop-to-image matrix of an image-to-crop matrix (2, 3), inverted in float32 as upstream does."""
    return np.asarray(np.linalg.inv(np.vstack([matrix, np.array([0, 0, 1], np.float32)])), np.float32)


def transform(points: Array, matrix: NDArray[np.floating]) -> Array:
    """Points (n, 2) moved by a matrix whose upper two rows count, as float32."""
    return np.asarray(points @ matrix[:2, :2].T + matrix[:2, 2], np.float32)
