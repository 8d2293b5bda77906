"""478 points of a face crop, by two ONNX files or by mediapipe, and what they say of the eyes."""

from __future__ import annotations

import importlib
import math
from pathlib import Path
from threading import Lock
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

from engines.contract import NotApplicable
from engines.ditto.onnx_session import OnnxSession

Array = NDArray[np.float32]

POINTS = 478
FACE_SIDE, MESH_SIDE = 128, 256
MIN_SCORE = 0.5
MIN_OVERLAP = 0.3
MARGIN = 1.5
# (places a side, anchors a place) of the face detector's two grids.
_GRIDS = ((16, 2), (8, 6))
# Rows of the 478 points: outer and inner corner, three (lower, upper) lid pairs, iris centre.
_EYES = (
    ((33, 133), ((145, 159), (144, 160), (153, 158)), 468),
    ((263, 362), ((374, 386), (373, 387), (380, 385)), 473),
)


def eye_attributes(landmarks: Array) -> tuple[Array, Array]:
    """(eye_open (n, 2), eye_ball (n, 6)) from landmarks (n, 478, 3).

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


class OnnxMesh:
    """Crop (S, S, 3) uint8 RGB -> (478, 3) in sides of the crop, or None where no face is in it.

    Source: core/aux_models/{blaze_face,face_mesh,mediapipe_landmark478}.py, ditto-talkinghead e9191cf.
    """

    def __init__(self, blaze_face: OnnxSession, face_mesh: OnnxSession) -> None:
        blaze_face.expect((1, FACE_SIDE, FACE_SIDE, 3), outputs=(2,), name="input")
        face_mesh.expect((1, MESH_SIDE, MESH_SIDE, 3), outputs=(1, 2, 3), name="input")
        self._blaze_face, self._face_mesh = blaze_face, face_mesh

    def __call__(self, crop: NDArray[np.uint8]) -> Array | None:
        found = self._faces(crop)
        if not len(found):
            return None
        side = len(crop)
        centre, width, angle = face_square(found[0], side)
        # (side of the square) / (side of the mesh's picture), turned, from the mesh's px to the crop's.
        cos, sin = math.cos(angle), math.sin(angle)
        back = np.array([[cos, -sin], [sin, cos]])
        corners = np.array([[0, 0], [1, 0], [1, 1], [0, 1]], np.float32)
        on_crop = ((corners - 0.5) * width @ back.T + centre).astype(np.float32)
        matrix = cv2.getPerspectiveTransform(on_crop, corners * MESH_SIDE)
        picture = cv2.warpPerspective(crop, matrix, (MESH_SIDE, MESH_SIDE), flags=cv2.INTER_LINEAR)
        outputs = self._face_mesh.run((picture / 255.0).astype(np.float32)[None])
        points = self._face_mesh.rows(outputs[0], POINTS, 3) / MESH_SIDE
        flat = (points[:, :2] - 0.5) * width @ back.T + centre
        return np.concatenate([flat, points[:, 2:] * width], axis=1).astype(np.float32) / side

    def _faces(self, crop: NDArray[np.uint8]) -> Array:
        picture = cv2.resize(crop, (FACE_SIDE, FACE_SIDE)).astype(np.float32)
        regressors, logits = self._blaze_face.run((picture / 127.5 - 1.0)[None])
        count = sum(side * side * anchors for side, anchors in _GRIDS)
        score = 1 / (1 + np.exp(-np.clip(self._blaze_face.rows(logits, count, 1), -50, 100)))
        rows = _decode(self._blaze_face.rows(regressors, count, 16))
        return merge(np.concatenate([rows, score], axis=1)[score[:, 0] >= MIN_SCORE])


def _anchors() -> NDArray[np.float64]:
    """Centres (896, 2) in sides of the picture, row by row."""
    centres = []
    for side, anchors in _GRIDS:
        y, x = np.divmod(np.arange(side * side), side)
        centres.append(np.repeat((np.stack([x, y], axis=1) + 0.5) / side, anchors, axis=0))
    return np.concatenate(centres)


def _decode(raw: Array) -> Array:
    """Regressors (896, 16), px around an anchor, to boxes x1 y1 x2 y2 in px and six points in sides."""
    around = (raw.reshape(-1, 8, 2) / FACE_SIDE).astype(np.float64)
    half = around[:, 1] / 2
    around += _anchors()[:, None]
    corners = np.concatenate([around[:, 0] - half, around[:, 0] + half], axis=1) * FACE_SIDE
    return np.concatenate([corners, around[:, 2:].reshape(-1, 12)], axis=1).astype(np.float32)


def merge(faces: Array) -> Array:
    """Rows (n, 17) with the score last: each best row becomes the mean, by score, of those it overlaps."""
    merged = []
    left = faces[np.argsort(faces[:, 16])[::-1]]
    while len(left):
        best = left[0]
        low, high = np.maximum(best[:2], left[:, :2]), np.minimum(best[2:4], left[:, 2:4])
        shared = np.prod(np.maximum(high - low, 0), axis=1)
        area = np.prod(left[:, 2:4] - left[:, :2], axis=1)
        # Without a division: a box without area would overlap not even itself, and the loop never end.
        same = shared > MIN_OVERLAP * (area[0] + area - shared)
        same[0] = True
        group = left[same]
        mean = (group * group[:, 16:]).sum(axis=0) / group[:, 16].sum()
        mean[16] = group[:, 16].mean()
        merged.append(mean if len(group) > 1 else best)
        left = left[~same]
    return np.array(merged, np.float32).reshape(-1, 17)


def face_square(face: Array, side: int) -> tuple[NDArray[np.float64], float, float]:
    """(centre (2), width, angle in rad) of the square around a face, on a crop of `side` px.

    angle  of the line from the first eye to the second, clockwise, in [-pi, pi)
    """
    box = face[:4] * (side / FACE_SIDE)
    width = float((box[2:] - box[:2]).max()) * MARGIN
    (x_0, y_0), (x_1, y_1) = face[4:6], face[6:8]
    angle = -math.atan2(y_0 - y_1, x_1 - x_0)
    angle -= 2 * math.pi * math.floor((angle + math.pi) / (2 * math.pi))
    return np.asarray((box[:2] + box[2:]) / 2, np.float64), width, angle


class TaskMesh:
    """As OnnxMesh, through mediapipe's face landmarker, which runs on the CPU whatever the device.

    setting, instead  as of OnnxSession
    Raises NotApplicable without mediapipe, ValueError for a file that is no task.
    Source: core/aux_models/modules/landmark478.py, ditto-talkinghead e9191cf.
    """

    def __init__(self, path: Path, *, setting: str, instead: str) -> None:
        try:
            self._mediapipe: Any = importlib.import_module("mediapipe")
            vision = importlib.import_module("mediapipe.tasks.python.vision")
            python = importlib.import_module("mediapipe.tasks.python")
        except (ImportError, OSError) as error:
            raise NotApplicable(
                f"{setting}: {path.name} needs mediapipe, which does not load ({error}); install "
                f"mediapipe, or put blaze_face.onnx and face_mesh.onnx there, or {instead}"
            ) from error
        options = vision.FaceLandmarkerOptions(
            base_options=python.BaseOptions(model_asset_path=str(path)), num_faces=1
        )
        try:
            self._landmarker = vision.FaceLandmarker.create_from_options(options)
        except (RuntimeError, ValueError) as error:
            reason = str(error).splitlines()[0][:200]
            raise ValueError(
                f"{setting}: mediapipe cannot read {path.name}: {reason}; "
                f"take the released file, or {instead}"
            ) from error
        self.version = str(self._mediapipe.__version__)
        # The landmarker does not say that threads may share it.
        self._lock = Lock()

    def __call__(self, crop: NDArray[np.uint8]) -> Array | None:
        image = self._mediapipe.Image(
            image_format=self._mediapipe.ImageFormat.SRGB, data=np.ascontiguousarray(crop)
        )
        with self._lock:
            faces = self._landmarker.detect(image).face_landmarks
        if not faces:
            return None
        return np.array([(point.x, point.y, point.z) for point in faces[0]], np.float32)
