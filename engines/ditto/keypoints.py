"""Implicit 3-D keypoints: pose logits to degrees, rotation, and the transform to image space."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]
POSE_BINS = 66


def softmax(scores: Array) -> Array:
    """Softmax over the last axis."""
    powers = np.exp(scores - scores.max(axis=-1, keepdims=True))
    return np.asarray(powers / powers.sum(axis=-1, keepdims=True))


def degrees(pose: Array) -> Array:
    """Pose (B, 66) logits over bins of 3 degrees to (B,) degrees; what is not logits is degrees already."""
    if pose.ndim > 1 and pose.shape[1] == POSE_BINS:
        bins = np.arange(POSE_BINS, dtype=np.float32)
        return np.asarray((softmax(pose) * bins).sum(axis=1) * 3 - 97.5, np.float32)
    return pose


def rotation(pitch: Array, yaw: Array, roll: Array) -> Array:
    """Transposed rotation (Rz Ry Rx)^T, shape (B, 3, 3), of angles in degrees, (B,) or (B, 1)."""
    x, y, z = (np.radians(angle.reshape(-1).astype(np.float32)) for angle in (pitch, yaw, roll))
    sin_x, sin_y, sin_z = np.sin(x), np.sin(y), np.sin(z)
    cos_x, cos_y, cos_z = np.cos(x), np.cos(y), np.cos(z)
    # Rz Ry Rx multiplied out, written column by column: the transpose.
    columns = [
        [cos_z * cos_y, sin_z * cos_y, -sin_y],
        [cos_z * sin_y * sin_x - sin_z * cos_x, sin_z * sin_y * sin_x + cos_z * cos_x, cos_y * sin_x],
        [cos_z * sin_y * cos_x + sin_z * sin_x, sin_z * sin_y * cos_x - cos_z * sin_x, cos_y * cos_x],
    ]
    return np.asarray(np.moveaxis(np.array(columns, np.float32), -1, 0))


def transform(info: Mapping[str, Array]) -> Array:
    """Keypoints (B, 21, 3) = scale * (kp @ R^T + exp) + (tx, ty, 0).

    Depth is not translated. `info` as in fusion.Info, with pose as logits (B, 66) or degrees.
    """
    batch = info["kp"].shape[0]
    points = info["kp"].reshape(batch, -1, 3)
    turn = rotation(*(degrees(info[name]) for name in ("pitch", "yaw", "roll")))
    placed = (points @ turn + info["exp"].reshape(points.shape)) * info["scale"].reshape(batch, 1, 1)
    placed[:, :, :2] += info["t"][:, None, :2]
    return np.asarray(placed, np.float32)
