"""Names and sizes of the released Ditto checkpoints. Standard library only, so that no model is loaded."""

from __future__ import annotations

from collections.abc import Mapping

CHECKPOINT_FILES: Mapping[str, str] = {
    "appearance_extractor": "appearance_extractor.pth",
    "motion_extractor": "motion_extractor.pth",
    "warp_network": "warp_network.pth",
    "decoder": "decoder.pth",
    "stitch_network": "stitch_network.pth",
    "lmdm": "lmdm_v0.4_hubert.pth",
}
"""File of each network in `ditto_pytorch/models/` of the released checkpoints; HuBERT exists only as ONNX."""

_PARAMETERS = {
    "appearance_extractor": 836_224,
    "motion_extractor": 28_118_728,
    "warp_network": 45_529_829,
    "decoder": 55_365_388,
    "stitch_network": 45_249,
    "lmdm": 47_788_297,
}
LEAST_BYTES: Mapping[str, int] = {network: 2 * count for network, count in _PARAMETERS.items()}
"""Bytes of each network's tensors in half precision, the smallest that a file may hold them in."""

TOP_LEVEL: Mapping[str, str] = {"lmdm": "model_state_dict", "stitch_network": "retarget_shoulder"}
"""Key under which a file holds its state_dict; the other files are the state_dict."""

SIGNS: Mapping[str, str] = {
    "appearance_extractor": "first.conv.weight",
    "motion_extractor": "detector.fc_exp.weight",
    "warp_network": "fourth.weight",
    "decoder": "conv_img.0.weight",
    "stitch_network": "mlp.0.weight",
    "lmdm": "null_cond_embed",
}
"""A key that each network has and no other: tells files apart that were swapped."""
