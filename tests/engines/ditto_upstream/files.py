"""Files in the layout of upstream Ditto's ONNX release: small made-up networks of the right names and shapes.

    python -m tests.engines.ditto_upstream.files FOLDER [--broken-warp]

writes FOLDER/models/*.onnx, FOLDER/cfg.pkl and FOLDER/cfg_online.pkl. With avatar.cfg_pkl=FOLDER/cfg.pkl and
avatar.data_root=FOLDER/models an unmodified checkout runs on a CPU in seconds. The warp of --broken-warp
loads, and fails at its first frame. Needs the package onnx.
"""

from __future__ import annotations

import argparse
import pickle
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from onnx import ModelProto, NodeProto, TensorProto, checker, helper, numpy_helper, save

SEED = 0
# Rows that upstream's crop reads: left eye, right eye, mouth.
_FACE_ROWS = {
    106: ((33, 35, 40, 39), (87, 89, 94, 93), (52, 61)),
    203: ((0, 6, 12, 18), (24, 30, 36, 42), (48, 66)),
}

Constants = dict[str, NDArray[Any]]
Shapes = dict[str, Sequence[int]]


def model(
    nodes: list[NodeProto],
    inputs: Shapes,
    outputs: Shapes,
    constants: Constants,
    integers: Sequence[str] = (),
) -> ModelProto:
    """A checked graph; `integers` are inputs of int64, all others are float32."""
    kinds = {name: TensorProto.INT64 if name in integers else TensorProto.FLOAT for name in inputs}
    graph = helper.make_graph(
        nodes,
        "stand-in",
        [helper.make_tensor_value_info(name, kinds[name], shape) for name, shape in inputs.items()],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in outputs.items()],
        [numpy_helper.from_array(value, name) for name, value in constants.items()],
    )
    made = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    checker.check_model(made)
    return made


def constant(inputs: Shapes, outputs: dict[str, NDArray[np.float32]]) -> ModelProto:
    """The same outputs for any input."""
    constants: Constants = {f"{name}_value": value for name, value in outputs.items()}
    nodes = [helper.make_node("Identity", [f"{name}_value"], [name]) for name in outputs]
    return model(nodes, inputs, {name: value.shape for name, value in outputs.items()}, constants)


def uniform(*shape: int, scale: float = 1.0) -> NDArray[np.float32]:
    return (scale * np.random.default_rng(SEED).uniform(-1, 1, shape)).astype(np.float32)


def face(count: int) -> NDArray[np.float32]:
    """(count, 2) points in [0, 1]: an upright oval with eyes and a mouth where the crop looks for them."""
    turn = np.linspace(0, 2 * np.pi, count, endpoint=False)
    points = np.stack([0.5 + 0.3 * np.cos(turn), 0.5 + 0.35 * np.sin(turn)], -1)
    for rows, place in zip(_FACE_ROWS[count], ((0.38, 0.42), (0.62, 0.42), (0.5, 0.68)), strict=True):
        points[list(rows)] = place
    return points.astype(np.float32)


def detector() -> ModelProto:
    """One face in the middle of a portrait of 3:4, found at stride 32: 512 anchors, of which one scores."""
    scores = {stride: np.zeros((2 * (512 // stride) ** 2, 1), np.float32) for stride in (8, 16, 32)}
    scores[32][(8 * 16 + 6) * 2] = 0.9
    boxes = {stride: np.full((len(found), 4), 3.0, np.float32) for stride, found in scores.items()}
    points = {stride: np.zeros((len(found), 10), np.float32) for stride, found in scores.items()}
    names = {"scores": scores, "boxes": boxes, "kps": points}
    outputs = {
        f"{name}{place}": by_stride[stride]
        for name, by_stride in names.items()
        for place, stride in enumerate((8, 16, 32), 1)
    }
    return constant({"image": (1, 3, 512, 512)}, outputs)


def blaze_face() -> ModelProto:
    """One face with its eyes level, at the anchor in the middle; sizes in 128ths of the crop."""
    boxes, scores = np.zeros((1, 896, 16), np.float32), np.full((1, 896, 1), -50, np.float32)
    boxes[0, 272, :8] = (0, 0, 60, 60, -15, -10, 15, -10)
    scores[0, 272] = 10
    return constant({"input": (1, 128, 128, 3)}, {"regressors": boxes, "classificators": scores})


def face_mesh() -> ModelProto:
    outputs = {
        "Identity": 128 + uniform(1, 1, 1, 1434, scale=80),
        "Identity_1": np.ones((1, 1, 1, 1), np.float32),
        "Identity_2": np.ones((1, 1), np.float32),
    }
    return constant({"input": (1, 256, 256, 3)}, outputs)


def motion_extractor() -> ModelProto:
    upright = -np.abs(np.arange(66, dtype=np.float32) - 32.5)[
        None
    ]  # bins of 3 degrees, 32.5 is straight ahead
    outputs = {"pitch": upright, "yaw": upright, "roll": upright, "t": np.zeros((1, 3), np.float32)}
    outputs |= {"exp": uniform(1, 63, scale=0.01), "scale": np.ones((1, 1), np.float32)}
    return constant({"image": (1, 3, 256, 256)}, outputs | {"kp": uniform(1, 63, scale=0.3)})


def appearance_extractor() -> ModelProto:
    nodes = [
        helper.make_node("AveragePool", ["image"], ["small"], kernel_shape=[4, 4], strides=[4, 4]),
        helper.make_node("Conv", ["small", "weight"], ["wide"]),
        helper.make_node("Reshape", ["wide", "shape"], ["pred"]),
    ]
    constants: Constants = {"weight": uniform(512, 3, 1, 1), "shape": np.array([1, 32, 16, 64, 64])}
    return model(nodes, {"image": (1, 3, 256, 256)}, {"pred": (1, 32, 16, 64, 64)}, constants)


def stitch() -> ModelProto:
    points: Shapes = {"kp_source": (1, 21, 3), "kp_driving": (1, 21, 3)}
    return model([helper.make_node("Identity", ["kp_driving"], ["out"])], points, {"out": (1, 21, 3)}, {})


def warp(broken: bool) -> ModelProto:
    """The features, moved by the driving key points.

    The broken one thinks for a while, as a full-size network does, and then wants 513 channels of 512.
    """
    nodes = [
        helper.make_node("ReduceSum", ["kp_driving"], ["moved"], keepdims=0),
        helper.make_node("Tanh", ["moved"], ["little"]),
        helper.make_node("Expand", ["little", "large"], ["square"]),
        helper.make_node("MatMul", ["square", "square"], ["product"]),
        helper.make_node("ReduceMean", ["product"], ["thought"], keepdims=0),
        helper.make_node("Exp", ["thought"], ["positive"]),
        helper.make_node("Sign", ["positive"], ["unit"]),  # a 1 that onnxruntime cannot fold into a constant
        helper.make_node("Mul", ["unit", "sizes"], ["counted"]),
        helper.make_node("Cast", ["counted"], ["shape"], to=TensorProto.INT64),
        helper.make_node("Reshape", ["feature_3d", "shape"], ["flat"]),
        helper.make_node("Conv", ["flat", "weight"], ["narrow"], group=256),
        helper.make_node("Add", ["narrow", "moved"], ["out"]),
    ]
    constants: Constants = {
        "large": np.array([2000, 2000] if broken else [4, 4]),
        "sizes": np.array([1, 513 if broken else 512, 64, 64], np.float32),
        "weight": uniform(256, 2, 1, 1),
    }
    inputs: Shapes = {"feature_3d": (1, 32, 16, 64, 64), "kp_source": (1, 21, 3), "kp_driving": (1, 21, 3)}
    return model(nodes, inputs, {"out": (1, 256, 64, 64)}, constants)


def decoder() -> ModelProto:
    nodes = [
        helper.make_node("Conv", ["feature", "weight"], ["colours"]),
        helper.make_node("Sigmoid", ["colours"], ["shown"]),
        helper.make_node("Resize", ["shown", "", "scales"], ["output"], mode="nearest"),
    ]
    constants: Constants = {
        "weight": uniform(3, 256, 1, 1, scale=0.2),
        "scales": np.array([1, 1, 8, 8], np.float32),
    }
    return model(nodes, {"feature": (1, 256, 64, 64)}, {"output": (1, 3, 512, 512)}, constants)


def hubert() -> ModelProto:
    """320 samples to a row of 1024."""
    nodes = [
        helper.make_node("Slice", ["input_values", "start", "end", "axis"], ["cut"]),
        helper.make_node("Reshape", ["cut", "shape"], ["rows"]),
        helper.make_node("MatMul", ["rows", "weight"], ["encoding_out"]),
    ]
    constants: Constants = {
        "start": np.array([0]), "end": np.array([6400]), "axis": np.array([1]), "shape": np.array([20, 320]),
        "weight": uniform(320, 1024, scale=0.1),
    }  # fmt: skip
    return model(nodes, {"input_values": (1, 6480)}, {"encoding_out": (20, 1024)}, constants)


def lmdm() -> ModelProto:
    """The sound's features, made small, on top of where the window starts."""
    nodes = [
        helper.make_node("MatMul", ["cond", "weight"], ["moves"]),
        helper.make_node("Tanh", ["moves"], ["bounded"]),
        helper.make_node("Mul", ["bounded", "small"], ["step"]),
        helper.make_node("Add", ["step", "cond_frame"], ["x_start"]),
        helper.make_node("Sub", ["x", "x_start"], ["pred_noise"]),
    ]
    constants: Constants = {"weight": uniform(1103, 265, scale=0.1), "small": np.array([0.05], np.float32)}
    inputs: Shapes = {"x": (1, 80, 265), "cond_frame": (1, 265), "cond": (1, 80, 1103), "time_cond": (1,)}
    outputs: Shapes = {"pred_noise": (1, 80, 265), "x_start": (1, 80, 265)}
    return model(nodes, inputs, outputs, constants, integers=("time_cond",))


def networks(broken_warp: bool) -> dict[str, ModelProto]:
    points106 = (2 * face(106) - 1).reshape(1, 212)
    return {
        "insightface_det": detector(),
        "landmark106": constant({"data": (1, 3, 192, 192)}, {"fc1": points106}),
        "landmark203": constant({"input": (1, 3, 224, 224)}, {"landmarks": face(203).reshape(1, 406)}),
        "blaze_face": blaze_face(),
        "face_mesh": face_mesh(),
        "appearance_extractor": appearance_extractor(),
        "motion_extractor": motion_extractor(),
        "stitch_network": stitch(),
        "warp_network": warp(broken_warp),
        "decoder": decoder(),
        "hubert": hubert(),
        "lmdm": lmdm(),
    }


def configuration(online: bool) -> dict[str, Any]:
    """As the released ditto_cfg/*.pkl; the device is that of the release, which has no CPU in mind."""
    plain = (
        "insightface_det", "landmark106", "landmark203", "appearance_extractor", "motion_extractor",
        "stitch_network", "warp_network", "decoder", "hubert",
    )  # fmt: skip
    base = {f"{name}_cfg": {"model_path": f"{name}.onnx", "device": "cuda"} for name in plain}
    base["landmark478_cfg"] = {
        "blaze_face_model_path": "blaze_face.onnx",
        "face_mesh_model_path": "face_mesh.onnx",
        "task_path": "",
        "device": "cuda",
        "force_ori_type": False,
    }
    motion = {"model_path": "lmdm.onnx", "device": "cuda", "motion_feat_dim": 265, "audio_feat_dim": 1103}
    motion |= {"seq_frames": 80, "w2f_type": "hubert"}
    motion |= dict.fromkeys(("use_emo", "use_sc", "use_eye_open", "use_eye_ball"), True)
    defaults = {"sampling_timesteps": 10, "overlap_v2": 70} if online else {"sampling_timesteps": 50}
    return {"base_cfg": base, "audio2motion_cfg": motion, "default_kwargs": defaults}


def write(folder: Path, broken_warp: bool = False) -> None:
    (folder / "models").mkdir(parents=True, exist_ok=True)
    for name, network in networks(broken_warp).items():
        save(network, str(folder / "models" / f"{name}.onnx"))
    for name, online in (("cfg.pkl", False), ("cfg_online.pkl", True)):
        (folder / name).write_bytes(pickle.dumps(configuration(online)))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--broken-warp", action="store_true")
    arguments = parser.parse_args()
    write(arguments.folder, arguments.broken_warp)
