"""The portrait: size rules, face crop matrices, eye attributes, and the crop stored beside an image."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]

# Rows of the landmark sets that upstream's detectors give: left eye, right eye, mouth.
_UPRIGHT_POINTS = {
    106: ((33, 35, 40, 39), (87, 89, 94, 93), (52, 61)),
    203: ((0, 6, 12, 18), (24, 30, 36, 42), (48, 66)),
}
# Rows of the 478 mediapipe landmarks: outer and inner corner, three (lower, upper) lid pairs, iris centre.
_EYES = (
    ((33, 133), ((145, 159), (144, 160), (153, 158)), 468),
    ((263, 362), ((374, 386), (373, 387), (380, 385)), 473),
)


def fit(height: int, width: int, max_dim: int) -> tuple[int, int, bool]:
    """(height, width, changed): shrunk so that no side exceeds max_dim, both sides cut to even."""
    new = np.array([height, width])
    if 0 < max_dim < max(height, width):
        new = np.array([round(side * max_dim / max(height, width)) for side in (height, width)])
    even_height, even_width = (int(side) for side in new // 2 * 2)
    return even_height, even_width, (even_height, even_width) != (height, width)


def similarity(centre: NDArray[np.floating], size: float, angle: float, dsize: int) -> Array:
    """Matrix (2, 3) from the image to a dsize x dsize crop of a square `size` px wide, turned `angle` rad."""
    scale = dsize / size
    cos, sin = scale * math.cos(angle), scale * math.sin(angle)
    x, y = float(centre[0]), float(centre[1])
    half = dsize / 2
    return np.array([[cos, sin, half - cos * x - sin * y], [-sin, cos, half + sin * x - cos * y]], np.float32)


def crop_matrix(
    landmarks: Array, dsize: int, scale: float = 2.3, vy_ratio: float = -0.125, rotate: bool = True
) -> Array:
    """Matrix (2, 3) from the image to an upright crop around the face.

    landmarks  (106 or 203, 2) px
    scale      side of the crop over the longer side of the landmarks' upright box
    vy_ratio   the crop's shift along the face's down axis, in sides; negative shows more forehead
    Raises ValueError for another number of landmarks.
    """
    if len(landmarks) not in _UPRIGHT_POINTS:
        raise ValueError(f"landmarks={len(landmarks)}: a crop needs 106 or 203 points")
    left, right, mouth = (landmarks[list(rows)].mean(axis=0) for rows in _UPRIGHT_POINTS[len(landmarks)])
    down = mouth - (left + right) / 2
    length = float(np.linalg.norm(down))
    down = down / length if length > 1e-3 else np.array([0, 1], np.float32)
    across = np.array([down[1], -down[0]])
    axes = np.stack([across, down])
    middle = landmarks.mean(axis=0)
    upright = (landmarks - middle) @ axes.T
    low, high = upright.min(axis=0), upright.max(axis=0)
    size = float((high - low).max()) * scale
    centre = middle + (low + high) / 2 @ axes + down * (vy_ratio * size)
    # As upstream, by acos of a float32, which is coarse for a face that is nearly upright.
    turn = math.acos(min(1.0, max(-1.0, float(across[0]))))
    angle = math.copysign(turn, float(across[1])) if rotate else 0.0
    return similarity(centre, size, angle, dsize)


def invert(matrix: Array) -> NDArray[np.float64]:
    """(3, 3) crop-to-image matrix of an image-to-crop matrix (2, 3)."""
    return np.asarray(np.linalg.inv(np.vstack([matrix, [0, 0, 1]])), np.float64)


def eye_attributes(landmarks: Array) -> tuple[Array, Array]:
    """(eye_open (n, 2), eye_ball (n, 6)) from mediapipe landmarks (n, 478, 3).

    eye_open is the sum of three lid distances over the eye's width; eye_ball is how far the iris is off the
    middle, as x left, x right, y left, y right, z left, z right.
    """
    opened, moved = [], []
    for (outer, inner), lids, iris in _EYES:
        outwards = landmarks[:, outer] - landmarks[:, inner]
        width = np.linalg.norm(outwards, axis=-1)
        lid = sum(np.linalg.norm(landmarks[:, low] - landmarks[:, up], axis=-1) for low, up in lids)
        opened.append(lid / (width + 1e-8))
        offset = landmarks[:, iris] - (landmarks[:, outer] + landmarks[:, inner]) * 0.5
        distance = np.linalg.norm(offset, axis=-1, keepdims=True)
        direction = offset / (distance + 1e-8) - outwards / (width[:, None] + 1e-8)
        moved.append(direction * distance)
    count = len(landmarks)
    return (
        np.stack(opened, -1).astype(np.float32),
        np.stack(moved, -1).reshape(count, -1).astype(np.float32),
    )


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


@dataclass(frozen=True)
class StoredCrop:
    """What a detector would find, kept beside a portrait as X.json.

    image_px  (width, height) that the other figures refer to;  centre_px (x, y) and size_px of the square
    angle_deg of the face, clockwise positive;  eye_open (2), eye_ball (6) as from eye_attributes
    """

    image_px: tuple[int, int]
    centre_px: tuple[float, float]
    size_px: float
    angle_deg: float
    eye_open: tuple[float, ...]
    eye_ball: tuple[float, ...]

    @classmethod
    def beside(cls, portrait: Path) -> StoredCrop:
        """Raises ValueError when there is none: no face detector runs here."""
        path = portrait.with_suffix(".json")
        if not path.is_file():
            raise ValueError(
                f"workload.portrait={portrait}: no stored crop {path.name} beside it; "
                "use media/portrait.png or write its crop as in media/portrait.json"
            )
        try:
            data = json.loads(path.read_text())
            return cls(
                **{key: tuple(value) if isinstance(value, list) else value for key, value in data.items()}
            )
        except (TypeError, ValueError, AttributeError) as error:
            raise ValueError(
                f"workload.portrait={portrait}: {path.name} does not hold a crop: {error}; "
                "its keys are those of media/portrait.json"
            ) from error

    def __post_init__(self) -> None:
        for key, count in (("image_px", 2), ("centre_px", 2), ("eye_open", 2), ("eye_ball", 6)):
            values = getattr(self, key)
            if not isinstance(values, tuple) or len(values) != count or not all(map(_is_number, values)):
                raise ValueError(f"{key} must be {count} numbers")
        if not _is_number(self.size_px) or self.size_px <= 0 or not _is_number(self.angle_deg):
            raise ValueError("size_px must be a positive number and angle_deg a number")
        if not all(0 <= at < side for at, side in zip(self.centre_px, self.image_px, strict=True)):
            raise ValueError("centre_px lies outside of image_px")


@dataclass(frozen=True)
class Portrait:
    """A source image ready for the networks.

    frame   (H, W, 3) uint8 RGB, H and W even: the video's background
    crop    (S, S, 3) uint8 RGB upright face crop;  m_c2o (3, 3) float64 crop px to frame px
    eye_open (1, 2), eye_ball (1, 6)
    """

    frame: NDArray[np.uint8]
    crop: NDArray[np.uint8]
    m_c2o: NDArray[np.float64]
    eye_open: Array
    eye_ball: Array

    def network_input(self, side: int) -> Array:
        """(1, 3, side, side) float32 in [0, 1]."""
        small = cv2.resize(self.crop, (side, side), interpolation=cv2.INTER_AREA)
        return np.ascontiguousarray((small.astype(np.float32) / 255)[None].transpose(0, 3, 1, 2))


def read_portrait(path: Path, width: int, height: int, max_dim: int, crop_px: int) -> Portrait:
    """Load an image, scale it to cover width x height, cut the middle out, then crop the face.

    max_dim  longest side of the video, px;  crop_px  side of the face crop
    Raises ValueError when the image or its stored crop is missing or unreadable.
    """
    image = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if image is None:
        raise ValueError(f"workload.portrait={path}: not a readable image; use media/portrait.png")
    stored = StoredCrop.beside(path)
    if stored.image_px != (image.shape[1], image.shape[0]):
        raise ValueError(
            f"workload.portrait={path}: its stored crop is for {stored.image_px}, "
            f"the image is {(image.shape[1], image.shape[0])} px; write the crop again"
        )
    if max(height, width) > max_dim:
        raise ValueError(
            f"workload.resolution={width}x{height}: larger than avatar.max_size={max_dim}; raise that"
        )
    height, width, _ = fit(height, width, max_dim)
    frame, scale, shift = _cover(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), width, height)
    centre = np.array(stored.centre_px) * scale - shift
    matrix = similarity(centre, stored.size_px * float(scale.mean()), math.radians(stored.angle_deg), crop_px)
    crop = cv2.warpAffine(frame, matrix, (crop_px, crop_px), flags=cv2.INTER_LINEAR)
    return Portrait(
        frame,
        np.asarray(crop, np.uint8),
        invert(matrix),
        np.array([stored.eye_open], np.float32),
        np.array([stored.eye_ball], np.float32),
    )


def _cover(
    image: NDArray[np.uint8],
    width: int,
    height: int,
) -> tuple[NDArray[np.uint8], NDArray[np.float64], NDArray[np.int64]]:
    """(picture of width x height, scale per axis, px cut off at left and top)."""
    original = np.array([image.shape[1], image.shape[0]])
    wanted = np.array([width, height])
    factor = float((wanted / original).max())
    scaled = np.maximum(np.rint(original * factor).astype(np.int64), wanted)
    method = cv2.INTER_AREA if factor < 1 else cv2.INTER_LINEAR
    resized = cv2.resize(image, (int(scaled[0]), int(scaled[1])), interpolation=method)
    left, top = shift = (scaled - wanted) // 2
    cut = np.ascontiguousarray(resized[top : top + height, left : left + width])
    return cut, scaled / original, shift
