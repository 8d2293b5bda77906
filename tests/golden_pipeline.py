"""Computes the pipeline cases (`/pipe/`) of a file of reference cases with the Ditto engine."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Any

import numpy as np
import torch
from torch import nn

from engines.ditto import compose, conditioning, crop, face_mesh, features, keypoints
from engines.ditto.fusion import PARTS, Fusion, join, split
from engines.ditto.networks import build
from engines.ditto.stitching import MotionStitch, StitchOptions, blink_index
from tests import recipe

Case = Mapping[str, Any]
Arrays = dict[str, np.ndarray]

# Pictures whose size rule the reference shows: (height, width).
_RESIZED = ((1432, 1432), (579, 384), (2160, 3840), (1920, 1279), (768, 768))
# (frames of a blink, frames between blinks) of the reference's two rows.
_BLINKS = {"a": (15, [20, 60]), "b": (5, 7)}


def run_pipeline_case(case: Case, inputs: Arrays) -> Arrays:
    """Outputs of one case by name. Raises ValueError for a case of an unknown kind."""
    name = case["id"].rpartition("/pipe/")[2]
    for prefix, compute in _KINDS.items():
        if name.startswith(prefix):
            return compute(case, inputs)
    raise ValueError(f"{case['id']}: no such pipeline case is known")


def _numbers(text: str) -> list[float]:
    return [float(number) for number in re.findall(r"-?\d+(?:\.\d+)?", text)]


def _found(pattern: str, case: Case) -> str:
    match = re.search(pattern, case["what"])
    if match is None:
        raise ValueError(f"{case['id']}: {pattern!r} not found in its text")
    return match[1]


def _shape(case: Case, name: str) -> list[int]:
    return next(spec["shape"] for spec in case["outputs"] if spec["name"] == name)


def _transform(case: Case, inputs: Arrays) -> Arrays:
    angles = [keypoints.degrees(inputs[name]) for name in ("pitch", "yaw", "roll")]
    turned = np.stack([angle.reshape(-1) for angle in angles])
    return {"x": keypoints.transform(inputs), "R_T": keypoints.rotation(*angles), "degrees": turned}


def _condition(case: Case, inputs: Arrays) -> Arrays:
    emotion = conditioning.emotion_rows(inputs.get("emo", case.get("emo")))
    conditions = conditioning.Conditions(inputs["eye_open"], inputs["eye_ball"], inputs["sc"], emotion)
    first = int(_found(r"\bidx[ =](-?\d+)", case))
    return {"cond": conditions.rows(inputs["aud_feat"], first), "emo": emotion[0]}


def _features(case: Case, inputs: Arrays) -> Arrays:
    calls = []

    def encoder(chunks: np.ndarray) -> np.ndarray:
        [chunk] = chunks
        calls.append(len(chunk))
        means = np.array([chunk[320 * t : 320 * t + 400].astype(np.float64).mean() for t in range(20)])
        return (means[:, None] * (1 + np.arange(1024) / 1024)).astype(np.float32)[None]

    if "chunk" in inputs:
        return {"feat": features.encode_chunks(inputs["chunk"][None], encoder)[0]}
    feat = features.encode(inputs["audio"], encoder)
    if len(calls) != case.get("encoder_calls", len(calls)):
        raise ValueError(
            f"{case['id']}: {len(calls)} encoder calls, the reference makes {case['encoder_calls']}"
        )
    return {"feat": feat}


def _numbered(case: Case, name: str, index: int) -> np.ndarray:
    """The input of a numbered family whose member 0 the case lists."""
    spec = next(spec for spec in case["inputs"] if spec["name"] == name)
    tag = re.sub(r"/0$", f"/{index}", spec["tag"])
    bare = {key: value for key, value in spec.items() if key != "crc32"}
    return recipe.inputs({"id": case["id"], "inputs": [{**bare, "tag": tag}]})[name]


def _audio2motion(case: Case, inputs: Arrays) -> Arrays:
    options = ast.literal_eval(_found(r"kwargs (\{.*?\})", case))
    overlap, online = options.pop("overlap_v2"), options.pop("online_mode", False)
    fusion = Fusion(join(inputs), inputs["0"].shape[1], overlap, online=online, **options)
    seen, lengths = [], []
    for index in range(len(case["lengths"])):
        seen.append(fusion.kp_cond)
        fusion.add(_numbered(case, "0", index)[0])
        lengths.append(len(fusion.motion))
    steps = (lengths, fusion.valid_frames, fusion.fuse_frames)
    expected = (case["lengths"], case["valid_clip_len"], case["fuse_length"])
    if steps != expected:
        raise ValueError(f"{case['id']}: lengths, new and faded frames are {steps}, not {expected}")
    frames = _shape(case, "motion")[1]
    motion = fusion.finish(frames) if "final smoothing" in case["what"] else fusion.motion[:frames]
    third = split(motion[3])
    return {
        "motion": motion[None],
        "kp_cond_seen": np.stack(seen),
        "frame3_scale_exp": np.concatenate([third["scale"], third["exp"]], axis=1),
    }


@lru_cache(maxsize=4)
def _stitch_network(network: str, config: str, seed: int) -> nn.Module:
    return recipe.fill(build(network, config), f"{seed}/{config}/{network}")


def _driving(case: Case, index: int) -> Arrays:
    """Driving motion of one frame: the source's inputs with another tag, without keypoints."""
    wanted = {name for name, _ in PARTS}
    specs = [
        {
            **{key: value for key, value in spec.items() if key != "crc32"},
            "tag": spec["tag"].replace("/x_s/", f"/x_d/{index}/"),
        }
        for spec in case["inputs"]
        if spec["name"] in wanted
    ]
    return recipe.inputs({"id": case["id"], "inputs": specs})


@torch.inference_mode()
def _motion_stitch(case: Case, inputs: Arrays) -> Arrays:
    setup = ast.literal_eval(_found(r"setup (\{.*?\}), per-call", case))
    controls = ast.literal_eval(_found(r"per-call (\{.*?\});", case))
    setup.update({key: inputs[key] for key, value in setup.items() if value == "array"})
    options = StitchOptions(is_image="motion_stitch_video" not in case["id"], **setup)
    config, network, seed = re.search(r"stitch weights = (\w+)/(\w+) seed (\d+)", case["what"]).groups()
    network = _stitch_network(network, config, int(seed))
    stitch = MotionStitch(options)
    pairs = []
    for index in range(int(_found(r"(\d+) frames", case))):
        x_s, x_d = stitch(inputs, _driving(case, index), **controls)
        if options.flag_stitching:
            x_d = network(torch.from_numpy(x_s), torch.from_numpy(x_d)).numpy()
        pairs.append((x_s[0], x_d[0]))
    return {"x_s": np.stack([pair[0] for pair in pairs]), "x_d": np.stack([pair[1] for pair in pairs])}


def _blink(case: Case, inputs: Arrays) -> Arrays:
    return {
        spec["name"]: np.array(blink_index(spec["shape"][0], *_BLINKS[spec["name"]]), np.int64)
        for spec in case["outputs"]
    }


def _landmarks(what: str, count: int) -> np.ndarray:
    x, y, radius = _numbers(re.search(r"cx,cy,r=\(([^)]*)\)", what)[1])
    tag = re.search(rf"(\S+/l{count})\b", what)[1]
    turn = 2 * np.pi * np.arange(count) / count
    ring = np.stack([x + radius * np.cos(turn), y + 1.2 * radius * np.sin(turn)], axis=1)
    return (ring + 4 * recipe.unit(tag, (count, 2))).astype(np.float32)


def _crop(what: str, name: str) -> np.ndarray:
    """A matrix by its name, such as M_c2o_512_l203 or M_o2c_512_l203_norot."""
    dsize, count = (int(number) for number in re.search(r"_(\d+)_l(\d+)", name).groups())
    # The loose crop that finds the 203 landmarks, or the one that the renderer reads.
    margins = {"scale": 1.5, "vy_ratio": -0.1} if dsize == 224 else {"scale": 2.3, "vy_ratio": -0.125}
    matrix = crop.crop_matrix(_landmarks(what, count), dsize, rotate="norot" not in name, **margins)
    return crop.invert(matrix) if name.startswith("M_c2o") else matrix


def _crop_matrices(case: Case, inputs: Arrays) -> Arrays:
    return {spec["name"]: _crop(case["what"], spec["name"]) for spec in case["outputs"]}


def _eye_attr(case: Case, inputs: Arrays) -> Arrays:
    half = np.float32(0.5)
    opened, balls = face_mesh.eye_attributes(half * inputs["lmk478"] + half)
    return {"eye_open": opened, "eye_ball": balls}


def _mask(case: Case, inputs: Arrays) -> Arrays:
    width, height, *ratios = _numbers(_found(r"get_mask\(([^)]*)\)", case))
    return {"mask": compose.feather_mask(int(width), int(height), *ratios)}


def _putback(case: Case, inputs: Arrays) -> Arrays:
    height, width, channels = _shape(case, "result")
    y, x, c = np.meshgrid(np.arange(height), np.arange(width), np.arange(channels), indexing="ij")
    wave = np.sin(2 * np.pi * (x * (c + 1) / width + y / height))
    frame = (127.5 + 127.5 * wave).astype(np.uint8)
    y, x, c = np.meshgrid(np.arange(512), np.arange(512), np.arange(channels), indexing="ij")
    render = (127.5 + 127.5 * np.cos(2 * np.pi * (x / 512 - (c + 1) * y / 512))).astype(np.float32)
    matrix = _crop(case["crop_text"], _found(r"M_c2o = (\w+)", case))
    mask = compose.feather_mask(512, 512)
    white = np.full_like(render, 255)
    return {
        "result": compose.PutBack(frame, matrix, mask)(render),
        "warped_mask255": compose.PutBack(np.zeros_like(frame), matrix, mask)(white),
    }


def _check_resize(case: Case, inputs: Arrays) -> Arrays:
    longest = [int(number) for number in _numbers(_found(r"max_dim (.*)", case))]
    rows = [crop.fit(height, width, limit) for limit in longest for height, width in _RESIZED]
    return {"v": np.array(rows, np.int64)}


_KINDS: Mapping[str, Callable[[Case, Arrays], Arrays]] = {
    "transform_keypoint": _transform,
    "condition_": _condition,
    "wav2feat_": _features,
    "audio2motion_": _audio2motion,
    "motion_stitch_": _motion_stitch,
    "blink_index": _blink,
    "crop_matrices": _crop_matrices,
    "eye_attr": _eye_attr,
    "mask": _mask,
    "putback": _putback,
    "check_resize": _check_resize,
}
