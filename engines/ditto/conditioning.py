"""Conditioning rows of the motion model: audio features, emotion, eyes and the source's keypoints."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engines.ditto.keypoints import softmax

EMOTIONS = ("angry", "disgust", "fear", "happy", "neutral", "sad", "surprise", "contempt")
CONDITION_DIM = 1024 + 8 + 2 + 6 + 63

Emotion = int | Sequence[int] | Sequence[Sequence[int]] | NDArray[np.float32]


def mirror_index(index: int, length: int) -> int:
    """Frame of a source video played 0..n-1, n-1..0, 0..: where `index` falls."""
    turn, place = divmod(index, length)
    return place if turn % 2 == 0 else length - 1 - place


def _emotion_row(classes: int | Sequence[int]) -> NDArray[np.float32]:
    scores = np.zeros(len(EMOTIONS), np.float32)
    scores[classes if isinstance(classes, int) else list(classes)] = 8
    return np.asarray(softmax(scores), np.float32)


def emotion_rows(emotion: Emotion) -> NDArray[np.float32]:
    """Rows (m, 8) that are cycled by frame index.

    emotion  a class 0..7 (4 is neutral), several classes at once [3, 4], a row of classes per frame
             [[4], [3], ...], or the rows themselves as an (m, 8) array
    """
    if isinstance(emotion, np.ndarray):
        return emotion
    if isinstance(emotion, int):
        return _emotion_row(emotion)[None]
    if all(isinstance(entry, int) for entry in emotion):
        return _emotion_row(emotion)[None]  # type: ignore[arg-type]
    return np.stack([_emotion_row(entry) for entry in emotion])


@dataclass(frozen=True)
class Conditions:
    """What stays the same for a source.

    eye_open   (n, 2), eye_ball (n, 6): one row that stays, or a row for each frame of a source video
    keypoints  (63,) canonical keypoints of the first source frame
    emotion    (m, 8) from emotion_rows
    """

    eye_open: NDArray[np.float32]
    eye_ball: NDArray[np.float32]
    keypoints: NDArray[np.float32]
    emotion: NDArray[np.float32]

    def rows(self, features: NDArray[np.float32], first: int = 0) -> NDArray[np.float32]:
        """Condition rows (n, 1103) for features (n, 1024) of the frames from `first` on.

        Negative frames come before the clip and take the values of frame 0.
        """
        indices = [max(index, 0) for index in range(first, first + len(features))]
        eyes = [mirror_index(index, len(self.eye_open)) for index in indices]
        moods = [index % len(self.emotion) for index in indices]
        points = np.broadcast_to(self.keypoints, (len(indices), self.keypoints.size))
        parts = [features, self.emotion[moods], self.eye_open[eyes], self.eye_ball[eyes], points]
        return np.concatenate(parts, axis=1).astype(np.float32, copy=False)
