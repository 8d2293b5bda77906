"""The files of the face detectors in a folder: which are used, which are missing. Standard library only."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

# Names in the released folder for PyTorch, then in that for ONNX.
_DETECTOR = ("det_10g.onnx", "insightface_det.onnx")
_LANDMARKS_106 = ("2d106det.onnx", "landmark106.onnx")
_LANDMARKS_203 = ("landmark203.onnx",)
_TASK = ("face_landmarker.task",)
_BLAZE_FACE, _FACE_MESH = ("blaze_face.onnx",), ("face_mesh.onnx",)


@dataclass(frozen=True)
class FaceFiles:
    """Paths of one folder; either `task`, or `blaze_face` and `face_mesh`.

    A folder with both is read by the two ONNX files: they run on the device that was asked for, the task
    does not, and what runs must not depend on whether mediapipe happens to be installed.
    """

    folder: Path
    detector: Path
    landmarks_106: Path
    landmarks_203: Path
    task: Path | None
    blaze_face: Path | None
    face_mesh: Path | None


def face_files(folder: Path) -> FaceFiles:
    """Raises ValueError, one line, naming all that is missing."""
    detector, of_106, of_203 = (
        _first(folder, names) for names in (_DETECTOR, _LANDMARKS_106, _LANDMARKS_203)
    )
    blaze_face, face_mesh = _first(folder, _BLAZE_FACE), _first(folder, _FACE_MESH)
    pair = blaze_face is not None and face_mesh is not None
    task = None if pair else _first(folder, _TASK)
    missing = [
        names[0]
        for names, path in ((_DETECTOR, detector), (_LANDMARKS_106, of_106), (_LANDMARKS_203, of_203))
        if path is None
    ]
    if not pair and task is None:
        missing.append(f"{_TASK[0]} (or {_BLAZE_FACE[0]} and {_FACE_MESH[0]})")
    if detector is None or of_106 is None or of_203 is None or missing:
        raise ValueError(
            f"avatar.faces={folder}: no {', '.join(missing)} there; give the folder aux_models of the "
            "released checkpoints, or use avatar.faces=stored"
        )
    if not pair:
        blaze_face = face_mesh = None
    return FaceFiles(folder, detector, of_106, of_203, task, blaze_face, face_mesh)


def _first(folder: Path, names: tuple[str, ...]) -> Path | None:
    return next((folder / name for name in names if (folder / name).is_file()), None)
