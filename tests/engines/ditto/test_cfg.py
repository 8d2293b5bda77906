"""What a ditto_cfg file says is read, checked and compared with the keys of the command line."""

from __future__ import annotations

import copy
import hashlib
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml

from engines.ditto.cfg import NO_CFG, OUR_NAMES, disagreements, read
from engines.ditto.settings import Settings

CONF = Path(__file__).parents[3] / "conf" / "avatar" / "ditto.yaml"
INFO = {"scale": 1, "pitch": 66, "yaw": 66, "roll": 66, "t": 3, "exp": 63, "kp": 63}


def ones(*shape: int) -> Any:
    return np.ones(shape, np.float32)


def online() -> dict[str, Any]:
    """The layout of the released online configuration."""
    network = {"model_path": "decoder.engine", "device": "cuda"}
    return {
        "base_cfg": {"decoder_cfg": network, "hubert_cfg": {**network, "force_ori_type": True}},
        "audio2motion_cfg": {
            "model_path": "lmdm_v0.4_hubert.engine",
            "device": "cuda",
            "motion_feat_dim": 265,
            "audio_feat_dim": 1103,
            "seq_frames": 80,
            "use_emo": True,
            "use_sc": True,
            "use_eye_open": True,
            "use_eye_ball": True,
            "w2f_type": "hubert",
        },
        "default_kwargs": {
            "max_size": 1920,
            "crop_scale": np.float32(2.3),
            "crop_vx_ratio": 0,
            "template_n_frames": -1,
            "N_d": -1,
            "ctrl_info": {},
            "emo": np.arange(4800, dtype=np.float64).reshape(600, 8),
            "overlap_v2": 70,
            "sampling_timesteps": 10,
            "online_mode": True,
            "fix_kp_cond": 1,
            "fix_kp_cond_dim": (0, 202),
            "smo_k_d": 3,
            "fade_type": "",
            "fade_out_keys": ("exp",),
            "overall_ctrl_info": {"delta_pitch": 2},
            "delta_eye_arr": ones(15, 63),
            "delta_eye_open_n": [70, 90],
            "v_min_max_for_clip": np.stack([np.full(265, value) for value in (-1.0, 2.0, 0.0, 0.0)]),
            "ch_info": {
                "x_s_info_lst": [{key: ones(1, width) for key, width in INFO.items()}],
                "sc": ones(63),
                "eye_open_lst": [ones(1, 2)],
                "eye_ball_lst": [ones(1, 6)] * 3,
                "is_image_flag": True,
            },
            "colour": "red",
        },
    }


def written(folder: Path, change: Callable[[dict[str, Any]], Any] = lambda content: None) -> Path:
    content = copy.deepcopy(online())
    change(content)
    path = folder / "cfg.pkl"
    path.write_bytes(pickle.dumps(content))
    return path


def options(**changes: Any) -> Callable[[dict[str, Any]], Any]:
    return lambda content: content["default_kwargs"].update(changes)


def test_the_arrays_of_a_released_file_are_read(tmp_path: Path) -> None:
    path = written(tmp_path)
    cfg = read(path)
    assert cfg.emo is not None and cfg.delta_eye_arr is not None and cfg.v_min_max_for_clip is not None
    assert (cfg.emo.shape, cfg.emo.dtype, cfg.emo[599, 7]) == ((600, 8), np.float32, 4799)
    assert cfg.delta_eye_arr.shape == (15, 63)
    assert [(row.shape, row[0]) for row in cfg.v_min_max_for_clip] == [((265,), -1), ((265,), 2)]
    assert cfg.digest == hashlib.sha256(path.read_bytes()).hexdigest()
    assert cfg.ignored == ("'colour'", "'crop_vx_ratio'")


def test_the_conditioning_source_has_the_shapes_that_are_used(tmp_path: Path) -> None:
    def flatten(content: dict[str, Any]) -> None:
        info = content["default_kwargs"]["ch_info"]
        info["x_s_info_lst"][0]["scale"] = np.float64(1.5)
        info["eye_open_lst"] = [ones(2, 2), ones(1, 2)]

    source = read(written(tmp_path, flatten)).ch_info
    assert source is not None
    shapes = {key: value.shape for key, value in source["x_s_info_lst"][0].items()}
    assert shapes == {key: (1, width) for key, width in INFO.items()}
    assert source["x_s_info_lst"][0]["scale"].item() == 1.5
    assert source["sc"].shape == (63,)
    assert [row.shape for row in source["eye_open_lst"]] == [(1, 2)] * 3
    assert [row.shape for row in source["eye_ball_lst"]] == [(1, 6)] * 3


def test_single_values_that_differ_are_given_by_our_names(tmp_path: Path) -> None:
    asked = disagreements(read(written(tmp_path)), vars(Settings()))
    assert asked == {
        "steps": 10,
        "overlap": 70,
        "mode": "online",
        "fix_kp_cond": 1,
        "fix_kp_cond_dim": [0, 202],
        "delta_eye_open_n": [70, 90],
        "delta_pitch": 2,
    }


def test_what_is_done_as_asked_is_no_disagreement(tmp_path: Path) -> None:
    cfg = read(written(tmp_path))
    keys = vars(Settings()) | disagreements(cfg, vars(Settings()))
    assert disagreements(cfg, keys) == {}
    assert disagreements(NO_CFG, keys) == {}


def test_a_truth_value_is_not_a_number(tmp_path: Path) -> None:
    cfg = read(written(tmp_path, options(drive_eye=True, fix_kp_cond=True)))
    assert disagreements(cfg, vars(Settings(fix_kp_cond=1)))["fix_kp_cond"] is True
    assert disagreements(cfg, vars(Settings(drive_eye=True))).keys() >= {"fix_kp_cond"}
    assert "drive_eye" not in disagreements(cfg, vars(Settings(drive_eye=True)))


def test_every_one_of_our_names_is_a_key() -> None:
    assert set(OUR_NAMES.values()) <= set(yaml.safe_load(CONF.read_text()))


def without(section: str, key: str) -> Callable[[dict[str, Any]], Any]:
    return lambda content: content[section].pop(key)


def network(**changes: Any) -> Callable[[dict[str, Any]], Any]:
    return lambda content: content["audio2motion_cfg"].update(changes)


def source(**changes: Any) -> Callable[[dict[str, Any]], Any]:
    return lambda content: content["default_kwargs"]["ch_info"].update(changes)


@pytest.mark.parametrize(
    ("change", "complaint"),
    [
        (lambda content: content.pop("base_cfg"), "base_cfg: expected a dict, found no such key"),
        (lambda content: content.update(base_cfg=[1]), "base_cfg: expected a dict, found list"),
        (network(audio_feat_dim=1059), "audio2motion_cfg.audio_feat_dim: expected 1103, found 1059"),
        (network(motion_feat_dim=ones(2)), "motion_feat_dim: expected 265, found an array of shape (2,)"),
        (without("audio2motion_cfg", "seq_frames"), "seq_frames: expected 80, found nothing"),
        (network(w2f_type="wavlm"), "audio2motion_cfg.w2f_type: expected hubert, found 'wavlm'"),
        (network(use_emo=False), "audio2motion_cfg.use_emo: expected True, found False"),
        (options(emo=ones(600, 7)), "default_kwargs.emo: expected shape (n, 8), found (600, 7)"),
        (options(emo=ones(0, 8)), "default_kwargs.emo: expected shape (n, 8), found (0, 8)"),
        (options(emo=ones(2, 8) * np.inf), "default_kwargs.emo: holds values that are no finite numbers"),
        (options(delta_eye_arr=[1]), "delta_eye_arr: expected an array, found a list of 1"),
        (options(delta_eye_arr=np.full((2, 63), 1e300)), "delta_eye_arr: holds values that are no finite"),
        (options(v_min_max_for_clip=ones(1, 265)), "v_min_max_for_clip: expected 2 rows or more, found 1"),
        (options(max_size=ones(3)), "default_kwargs.max_size: expected no array, found shape (3,)"),
        (options(N_d=250), "default_kwargs.N_d: expected -1, found 250"),
        (options(ctrl_info={3: {"delta_yaw": 1}}), "ctrl_info: expected {}, found a dict of 1"),
        (options(overall_ctrl_info=3), "overall_ctrl_info: expected a dict, found 3"),
        (options(overall_ctrl_info={"delta_exp": 3}), "overall_ctrl_info.'delta_exp': expected one of"),
        (options(overall_ctrl_info={"delta_yaw": "3"}), "delta_yaw: expected a number, found '3'"),
        (options(ch_info=[1]), "ch_info.x_s_info_lst: expected a list of dicts"),
        (source(x_s_info_lst=[]), "ch_info.x_s_info_lst: expected a list of dicts"),
        (
            source(x_s_info_lst=[{"scale": ones(1)}]),
            "x_s_info_lst[0].pitch: expected an array, found nothing",
        ),
        (source(sc=ones(62)), "ch_info.sc: expected shape (63,), found (62,)"),
        (source(eye_open_lst=None), "ch_info.eye_open_lst: expected a list of arrays, found nothing"),
        (source(eye_ball_lst=[ones(6)]), "ch_info.eye_ball_lst: expected shape (n, 6), found (6,)"),
        (lambda c: c["default_kwargs"]["ch_info"]["x_s_info_lst"][0].update(scale=ones(1) * 0), "scale: exp"),
        (options(max_size="\x1b[2J"), "default_kwargs.max_size: expected a printable word, found '\\x1b[2J'"),
        (options(fade_type="s" * 81), "default_kwargs.fade_type: expected a printable word, found 'sss"),
        (options(fade_out_keys=("exp\n",)), "fade_out_keys: expected a printable word, found 'exp\\n'"),
        (options(use_d_keys={"\x07": 1.0}), "use_d_keys: expected a printable word, found '\\x07'"),
        (options(use_d_keys=["exp"] * 7), "default_kwargs.use_d_keys: expected at most 6 entries, found 7"),
        (options(emo=[4] * 100_001), "default_kwargs.emo: expected at most 100000 entries, found 100001"),
        (options(emo=[[4] * 8]), "default_kwargs.emo: expected at most 7 entries, found 8"),
        (options(emo=[ones(8)]), "default_kwargs.emo: expected no array, found shape (8,)"),
        (options(overall_ctrl_info=ones(2)), "overall_ctrl_info: expected a dict, found an array of shape"),
        (
            options(emo=np.zeros((100_001, 8), np.int8)),
            "default_kwargs.emo: expected shape (n, 8), n at most 100000, found (100001, 8)",
        ),
        (
            # one array of 120 KB in many places, which would become gigabytes
            source(eye_open_lst=[np.zeros((60_000, 2), np.int8)] * 500),
            "ch_info.eye_open_lst: expected at most 100000 rows, found 30000000",
        ),
    ],
)
def test_what_does_not_fit_is_named_with_what_was_found(tmp_path: Path, change: Any, complaint: str) -> None:
    path = written(tmp_path, change)
    with pytest.raises(ValueError) as caught:
        read(path)
    message = str(caught.value)
    assert message.startswith(f"avatar.cfg={path}: ")
    assert complaint in message
    assert message.endswith("; use a file of the released ditto_cfg, or avatar.cfg=null")
    assert "\n" not in message


@pytest.mark.parametrize(
    ("content", "complaint"),
    [
        (b"", "an empty file"),
        (b"\0" * (64 * 2**20 + 1), "more than 64 MiB"),
        (b"<!DOCTYPE html>", "a broken pickle"),
        (pickle.dumps([1]), "base_cfg: expected a dict, found a file that holds a list"),
    ],
)
def test_a_file_of_another_kind_is_refused(tmp_path: Path, content: bytes, complaint: str) -> None:
    path = tmp_path / "cfg.pkl"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=complaint):
        read(path)


def test_a_missing_file_and_a_folder_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="No such file or directory"):
        read(tmp_path / "cfg.pkl")
    with pytest.raises(ValueError, match="Is a directory"):
        read(tmp_path)
