"""Faces in a picture (det_10g.onnx): boxes from three grids of anchors, overlapping ones dropped."""

from __future__ import annotations

import cv2
import numpy as np
from numpy.typing import NDArray

from engines.ditto.onnx_session import OnnxSession

Array = NDArray[np.float32]

SIDE = 512
THRESHOLD = 0.5
OVERLAP = 0.4
STRIDES = (8, 16, 32)
ANCHORS = 2


class Detector:
    """Picture (H, W, 3) uint8 RGB -> (boxes (n, 5), best score).

    boxes       x1, y1, x2, y2 in px of the picture, score; largest face first
    best score  of all anchors, also where no face was found
    Source: core/aux_models/insightface_det.py and source2info.py, ditto-talkinghead e9191cf. Its five points
    per face are not computed: nothing reads them.
    """

    def __init__(self, session: OnnxSession) -> None:
        session.expect((1, 3, SIDE, SIDE), outputs=(3 * len(STRIDES),))
        self._session = session

    def __call__(self, picture: NDArray[np.uint8]) -> tuple[Array, float]:
        square, factor = letterbox(picture)
        # Red and blue change places although the picture is RGB: upstream feeds it so.
        data = (square[:, :, ::-1].astype(np.float32) - 127.5) / 128
        outputs = self._session.run(np.ascontiguousarray(data.transpose(2, 0, 1)[None]))
        scores, boxes = [], []
        for level, stride in enumerate(STRIDES):
            count = ANCHORS * (SIDE // stride) ** 2
            scores.append(self._session.rows(outputs[level], count, 1)[:, 0])
            distances = self._session.rows(outputs[level + len(STRIDES)], count, 4) * stride
            boxes.append(_boxes(distances, stride))
        score = np.concatenate(scores)
        seen = score >= THRESHOLD
        rows = np.column_stack([np.concatenate(boxes)[seen] / factor, score[seen]]).astype(np.float32)
        kept = suppress(rows[np.argsort(rows[:, 4])[::-1]])
        area = (kept[:, 2] - kept[:, 0]) * (kept[:, 3] - kept[:, 1])
        return kept[np.argsort(-area)], float(score.max())


def letterbox(picture: NDArray[np.uint8]) -> tuple[NDArray[np.uint8], float]:
    """(picture (512, 512, 3) with the image at its top left and black beside it, factor of its height)."""
    height, width = picture.shape[:2]
    ratio = height / width
    new_width, new_height = (int(SIDE / ratio), SIDE) if ratio > 1 else (SIDE, int(SIDE * ratio))
    new_width, new_height = max(1, new_width), max(1, new_height)
    square = np.zeros((SIDE, SIDE, 3), np.uint8)
    square[:new_height, :new_width] = cv2.resize(picture, (new_width, new_height))
    return square, new_height / height


def _boxes(distances: Array, stride: int) -> Array:
    """Boxes (n, 4) from the distances of their sides to the anchors, row by row, two anchors a place."""
    side = SIDE // stride
    y, x = np.divmod(np.arange(side * side), side)
    centres = np.repeat(np.stack([x, y], axis=1) * stride, ANCHORS, axis=0).astype(np.float32)
    return np.concatenate([centres - distances[:, :2], centres + distances[:, 2:]], axis=1)


def suppress(boxes: Array) -> Array:
    """Boxes (n, 5) without those that overlap a better one by more than OVERLAP.

    A box reaches one pixel beyond its coordinates. Sorted once more although the caller has: of equal
    scores upstream's two sorts keep the first.
    """
    low, high = boxes[:, :2], boxes[:, 2:4]
    area = np.prod(high - low + 1, axis=1)
    left = np.argsort(boxes[:, 4])[::-1]
    kept = []
    while len(left):
        best, others = left[0], left[1:]
        kept.append(best)
        common = np.minimum(high[best], high[others]) - np.maximum(low[best], low[others]) + 1
        shared = np.prod(np.maximum(common, 0), axis=1)
        left = others[shared / (area[best] + area[others] - shared) <= OVERLAP]
    return boxes[kept]
