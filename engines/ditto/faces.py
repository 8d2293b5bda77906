"""Finds the face of a picture and its eyes with the released detectors, as upstream does."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np
from numpy.typing import NDArray

from engines.checkpoint import sha256
from engines.ditto.crop import crop_matrix
from engines.ditto.detector import THRESHOLD, Detector
from engines.ditto.face_files import face_files
from engines.ditto.face_mesh import POINTS, OnnxMesh, TaskMesh, eye_attributes
from engines.ditto.landmarks import Landmarks106, Landmarks203
from engines.ditto.onnx_session import OnnxSession

Array = NDArray[np.float32]

# The eyes are looked for on a crop of this side, whatever the networks' crop.
EYE_CROP = 512


class NoFace(ValueError):
    """No face where one is needed; the text lacks the picture's name."""


@dataclass(frozen=True)
class Face:
    """Where the face of a picture is, and its eyes.

    matrix     (2, 3) float32 from the picture to the upright crop
    eye_open   (1, 2);  eye_ball (1, 6)
    landmarks  (203, 2) px of the picture, with which the next frame of a video is tracked; None: not known
    found      faces that the detector saw; None where it was not asked
    """

    matrix: Array
    eye_open: Array
    eye_ball: Array
    landmarks: Array | None
    found: int | None


class Finder:
    """The detectors of one folder, loaded once; threads may share one.

    scale, vy_ratio, rotate  of the crop, as in crop_matrix
    Raises ValueError for missing or wrong files, NotApplicable for what cannot run here.
    """

    def __init__(
        self,
        folder: Path,
        device: str,
        threads: int,
        scale: float = 2.3,
        vy_ratio: float = -0.125,
        rotate: bool = True,
    ) -> None:
        self._scale, self._vy_ratio, self._rotate = scale, vy_ratio, rotate
        # file name -> {backend, sha256: its first 16 hex digits}
        self.backends: dict[str, dict[str, str]] = {}
        self.versions: dict[str, str] = {}
        setting, instead = f"avatar.faces={folder}", "use avatar.faces=stored"

        def load(path: Path) -> OnnxSession:
            session = OnnxSession(path, device, threads, setting=setting, instead=instead)
            self._tell(path, f"onnxruntime {session.provider}")
            self.versions["onnxruntime"] = session.version
            return session

        files = face_files(folder)
        self._detect = Detector(load(files.detector))
        self._place_106 = Landmarks106(load(files.landmarks_106))
        self._place_203 = Landmarks203(load(files.landmarks_203))
        self._mesh: OnnxMesh | TaskMesh
        if files.task is None:
            assert files.blaze_face is not None and files.face_mesh is not None
            self._mesh = OnnxMesh(load(files.blaze_face), load(files.face_mesh))
        else:
            self._mesh = TaskMesh(files.task, setting=setting, instead=instead)
            self._tell(files.task, "mediapipe cpu")
            self.versions["mediapipe"] = self._mesh.version

    def _tell(self, path: Path, backend: str) -> None:
        self.backends[path.name] = {"backend": backend, "sha256": sha256(path)[:16]}

    def find(self, picture: NDArray[np.uint8], crop_px: int, previous: Array | None = None) -> Face:
        """The largest face of a picture (H, W, 3) uint8 RGB.

        previous  the 203 landmarks of the frame before: followed, without looking for faces anew
        Raises NoFace.
        """
        landmarks, found = (previous, None) if previous is not None else self._first(picture)
        landmarks = _usable(self._place_203(picture, landmarks))
        return self._face(picture, crop_px, landmarks, found)

    def _first(self, picture: NDArray[np.uint8]) -> tuple[Array, int]:
        boxes, best = self._detect(picture)
        if not len(boxes):
            raise NoFace(
                f"no face found (best score {best:.2f}, needs {THRESHOLD}); use a picture with one face, "
                "seen from the front, at least a tenth of its height"
            )
        _usable(boxes[0, :4].reshape(2, 2))
        return _usable(self._place_106(picture, boxes[0])), len(boxes)

    def _face(
        self,
        picture: NDArray[np.uint8],
        crop_px: int,
        landmarks: Array,
        found: int | None,
    ) -> Face:
        matrix = crop_matrix(landmarks, EYE_CROP, self._scale, self._vy_ratio, self._rotate)
        crop = cv2.warpAffine(picture, matrix, (EYE_CROP, EYE_CROP), flags=cv2.INTER_LINEAR)
        points = self._mesh(np.asarray(crop, np.uint8))
        if points is None or len(points) != POINTS or not np.isfinite(points).all():
            seen = "no points" if points is None else f"{len(points)} points"
            raise NoFace(
                f"{seen} of the {POINTS} that tell the eyes in the face's crop; use a picture with both "
                "eyes in view"
            )
        eye_open, eye_ball = eye_attributes(points[None])
        if crop_px != EYE_CROP:
            matrix = crop_matrix(landmarks, crop_px, self._scale, self._vy_ratio, self._rotate)
        return Face(matrix, eye_open, eye_ball, landmarks, found)


def _usable(points: Array) -> Array:
    """The same points (n, 2). Raises NoFace when they span no area, as those of wrong weights may."""
    if not np.isfinite(points).all() or np.ptp(points, axis=0).min() <= 0:
        raise NoFace(
            "the points that the detectors gave span no face; take the released files, or another picture"
        )
    return points
