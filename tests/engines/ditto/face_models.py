"""Small ONNX files with the inputs, outputs and shapes of the released face detectors, computable by hand."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

STRIDES = (8, 16, 32)
# Where the means of a face's points are, in widths of the crop: a face seen from the front.
LEFT_EYE, RIGHT_EYE, MOUTH = (0.35, 0.4), (0.65, 0.4), (0.5, 0.7)


def save(path: Path, nodes, name: str, shape: Sequence[int], outputs: Mapping[str, tuple], constants) -> Path:
    """Write a graph with one input `name` and the outputs {name: shape}."""
    graph = helper.make_graph(
        nodes,
        "small",
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape)],
        [helper.make_tensor_value_info(key, TensorProto.FLOAT, size) for key, size in outputs.items()],
        [numpy_helper.from_array(np.asarray(value), key) for key, value in constants.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    onnx.checker.check_model(model)
    onnx.save(model, path)
    return path


def affine(path: Path, name: str, shape: Sequence[int], outputs: Mapping[str, tuple]) -> Path:
    """Each output is a constant plus a matrix times the mean of the input's three channels.

    outputs  {name: (constant of the output's shape, gain (3, values of the constant) or None)}
    """
    axes = [2, 3] if shape[1] == 3 else [1, 2]
    nodes = [helper.make_node("ReduceMean", [name], ["mean"], axes=axes, keepdims=0)]
    constants = {}
    for key, (constant, gain) in outputs.items():
        constant = np.asarray(constant, np.float32)
        gain = np.zeros((3, constant.size), np.float32) if gain is None else np.asarray(gain, np.float32)
        constants |= {f"{key}_gain": gain, f"{key}_base": constant.reshape(1, -1)}
        constants[f"{key}_shape"] = np.array(constant.shape, np.int64)
        nodes += [
            helper.make_node("MatMul", ["mean", f"{key}_gain"], [f"{key}_product"]),
            helper.make_node("Add", [f"{key}_product", f"{key}_base"], [f"{key}_flat"]),
            helper.make_node("Reshape", [f"{key}_flat", f"{key}_shape"], [key]),
        ]
    return save(
        path, nodes, name, shape, {key: np.shape(value[0]) for key, value in outputs.items()}, constants
    )


def detector(
    path: Path, gains: Sequence[float] = (0, 0, 1), boxes: Mapping[int, np.ndarray] | None = None
) -> Path:
    """det_10g: an anchor's score is the mean of its place in the first channel, 1 where that is full.

    gains  of the three grids; the second anchor of a place has 0.9 of it
    boxes  {stride: distances of the sides (anchors, 4) in strides}; without: 1 to every side
    """
    nodes, outputs, constants = [], {}, {}
    for level, (stride, gain) in enumerate(zip(STRIDES, gains, strict=True), 1):
        side = 512 // stride
        count = 2 * side * side
        distances = np.ones((count, 4)) if boxes is None else boxes[stride]
        names = f"scores{level}", f"boxes{level}", f"kps{level}"
        outputs |= dict(zip(names, ((count, 1), (count, 4), (count, 10)), strict=True))
        constants |= {
            f"filter{level}": np.eye(1, 3, dtype=np.float32).reshape(1, 3, 1, 1),
            f"gain{level}": np.array([[gain, 0.9 * gain]], np.float32),
            f"column{level}": np.array([-1, 1], np.int64),
            f"d{level}": np.asarray(distances, np.float32),
            f"k{level}": np.zeros((count, 10), np.float32),
        }
        nodes += [
            helper.make_node("Conv", ["image", f"filter{level}"], [f"first{level}"]),
            helper.make_node(
                "AveragePool",
                [f"first{level}"],
                [f"mean{level}"],
                kernel_shape=[stride] * 2,
                strides=[stride] * 2,
            ),
            helper.make_node("Reshape", [f"mean{level}", f"column{level}"], [f"places{level}"]),
            helper.make_node("MatMul", [f"places{level}", f"gain{level}"], [f"pairs{level}"]),
            helper.make_node("Reshape", [f"pairs{level}", f"column{level}"], [names[0]]),
            helper.make_node("Identity", [f"d{level}"], [names[1]]),
            helper.make_node("Identity", [f"k{level}"], [names[2]]),
        ]
    ordered = {name: outputs[name] for kind in ("scores", "boxes", "kps") for name in outputs if kind in name}
    return save(path, nodes, "image", (1, 3, 512, 512), ordered, constants)


def points(count: int, rows: Mapping[Sequence[int], Sequence[float]]) -> np.ndarray:
    """(count, 2): a circle of radius 0.4 around the middle, with some rows put at a place."""
    turn = 2 * np.pi * np.arange(count) / count
    ring = 0.5 + 0.4 * np.stack([np.cos(turn), np.sin(turn)], axis=1)
    for numbers, place in rows.items():
        ring[list(numbers)] = place
    return ring


POINTS_106 = points(
    106, {(33, 35, 40, 39): LEFT_EYE, (87, 89, 94, 93): RIGHT_EYE, (52, 61): MOUTH}
)  # in sides of the 192 px square
POINTS_203 = points(203, {(0, 6, 12, 18): LEFT_EYE, (24, 30, 36, 42): RIGHT_EYE, (48, 66): MOUTH})


def landmarks_106(path: Path, gain=None) -> Path:
    return affine(path, "data", (1, 3, 192, 192), {"fc1": (2 * POINTS_106.reshape(1, 212) - 1, gain)})


def landmarks_203(path: Path, gain=None, with_others: bool = False) -> Path:
    """with_others: the form with three outputs, of which the last are the points."""
    others = {"first": (np.zeros((1, 214)), None), "second": (np.ones((1, 262)), None)} if with_others else {}
    landmarks = {"landmarks": (POINTS_203.reshape(1, 406), gain)}
    return affine(path, "input", (1, 3, 224, 224), others | landmarks)


def blaze_face(path: Path, regressors=None, logits=None, gain=None) -> Path:
    """Without arguments: one face at place (8, 8) of the finer grid, 64 px wide, its eyes level."""
    if regressors is None:
        regressors = np.zeros((1, 896, 16))
        regressors[..., 2:4] = 64
        regressors[..., 4:8] = -16, -16, 16, -16
    if logits is None:
        logits = np.full((1, 896, 1), -9.0)
        logits[0, 2 * (8 * 16 + 8)] = 2
    outputs = {"regressors": (regressors, None), "classificators": (logits, gain)}
    return affine(path, "input", (1, 128, 128, 3), outputs)


def mesh_points() -> np.ndarray:
    """(478, 3) px of the 256 px picture: a spiral, with depth."""
    turn = np.arange(478) * 0.7
    radius = 20 + 0.15 * np.arange(478)
    return np.stack([128 + radius * np.cos(turn), 128 + radius * np.sin(turn), radius / 4], axis=1)


def face_mesh(path: Path, gain=None) -> Path:
    others = {"Identity_1": (np.zeros((1, 1, 1, 1)), None), "Identity_2": (np.zeros((1, 1)), None)}
    mesh = {"Identity": (mesh_points().reshape(1, 1, 1, 1434), gain)}
    return affine(path, "input", (1, 256, 256, 3), mesh | others)


def folder(at: Path, **detector_options) -> Path:
    """All five files for onnxruntime."""
    at.mkdir(exist_ok=True)
    detector(at / "det_10g.onnx", **detector_options)
    landmarks_106(at / "2d106det.onnx")
    landmarks_203(at / "landmark203.onnx")
    blaze_face(at / "blaze_face.onnx")
    face_mesh(at / "face_mesh.onnx")
    return at
