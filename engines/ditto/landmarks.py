"""Points of a face in a picture: 106 from its box (2d106det.onnx), 203 from a crop (landmark203.onnx)."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from engines.ditto.crop import crop_matrix, invert, transform
from engines.ditto.onnx_session import OnnxSession

BOX_SIDE = 192
BOX_MARGIN = 1.5
CROP_SIDE = 224
CROP_SCALE = 1.5
CROP_SHIFT = -0.1


class Landmarks106:
    """Picture (H, W, 3) uint8 RGB and box (x1, y1, x2, y2) -> (106, 2) px of the picture.

    Source: core/aux_models/insightface_landmark106.py, ditto-talkinghead e9191cf.
    """

    def __init__(self, session: OnnxSession) -> None:
        session.expect((1, 3, BOX_SIDE, BOX_SIDE), outputs=(1,))
        self._session = session

    def __call__(self, picture: NDArray[np.uint8], box: NDArray[np.float32]) -> NDArray[np.float32]:
        low, high = box[:2], box[2:4]
        scale = BOX_SIDE / ((high - low).max() * BOX_MARGIN)
        shift = BOX_SIDE / 2 - np.asarray((low + high) / 2 * scale, np.float64)
        matrix = np.array([[scale, 0, shift[0]], [0, scale, shift[1]]], np.float64)
        face = cv2.warpAffine(picture, matrix, (BOX_SIDE, BOX_SIDE))
        # Values 0 to 255, red and blue exchanged, as upstream feeds them.
        data = np.ascontiguousarray(face[:, :, ::-1].astype(np.float32).transpose(2, 0, 1)[None])
        points = self._session.run(data)[0]
        # A model of 3-D points gives 68 of them first.
        points = self._session.rows(points.reshape(-1)[-212:], 106, 2)
        points = (points + 1) * np.float32(BOX_SIDE // 2)
        return transform(points, cv2.invertAffineTransform(matrix))


class Landmarks203:
    """Picture (H, W, 3) uint8 RGB and landmarks (106 or 203, 2) -> (203, 2) px of the picture.

    Source: core/aux_models/landmark203.py, ditto-talkinghead e9191cf.
    """

    def __init__(self, session: OnnxSession) -> None:
        # The released folder for PyTorch has a file with three outputs, of which the last are the points.
        session.expect((1, 3, CROP_SIDE, CROP_SIDE), outputs=(1, 3), name="input")
        self._session = session

    def __call__(self, picture: NDArray[np.uint8], landmarks: NDArray[np.float32]) -> NDArray[np.float32]:
        matrix = crop_matrix(landmarks, CROP_SIDE, CROP_SCALE, CROP_SHIFT)
        crop = cv2.warpAffine(picture, matrix, (CROP_SIDE, CROP_SIDE), flags=cv2.INTER_LINEAR)
        data = crop.astype(np.float32) / np.float32(255)
        outputs = self._session.run(np.ascontiguousarray(data.transpose(2, 0, 1)[None]))
        points = self._session.rows(outputs[-1], 203, 2) * np.float32(CROP_SIDE)
        return transform(points, invert(matrix))
