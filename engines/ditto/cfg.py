"""A released ditto_cfg/*.pkl: what it holds, checked, and where it says otherwise than the command line."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from engines.ditto import pickles
from engines.ditto.cfg_arrays import MAX_ROWS, Array, conditioning_source, limits, rows, shown
from engines.ditto.options import CONTROLS, MOTION_DIM, PARTS

_MAX_WORD = 80  # letters of a text; the longest that means something has 5
_REMEDY = "use a file of the released ditto_cfg, or avatar.cfg=null"
# The networks of the released weights, by upstream's keys of audio2motion_cfg.
_DECLARED: Mapping[str, Any] = {
    "motion_feat_dim": MOTION_DIM,
    "audio_feat_dim": 1024 + 8 + 2 + 6 + 63,
    "seq_frames": 80,
    "use_emo": True,
    "use_sc": True,
    "use_eye_open": True,
    "use_eye_ball": True,
    "w2f_type": "hubert",
}
SECTIONS = ("base_cfg", "audio2motion_cfg", "default_kwargs")
OUR_NAMES: Mapping[str, str] = {
    "sampling_timesteps": "steps",
    "overlap_v2": "overlap",
    "online_mode": "mode",
    "flag_stitching": "stitching",
    "crop_flag_do_rot": "crop_rotate",
    "template_n_frames": "source_frames",
    **{
        name: name
        for name in (
            *("max_size", "crop_scale", "crop_vy_ratio", "smo_k_s", "emo", "eye_f0_mode", "fix_kp_cond"),
            *("fix_kp_cond_dim", "smo_k_d", "use_d_keys", "relative_d", "drive_eye", "delta_eye_open_n"),
            *("fade_type", "fade_out_keys", *CONTROLS),
        )
    },
}
"""Upstream's name of a setup option -> key of conf/avatar/ditto.yaml."""

# How many entries a list takes on the command line; the others name parts of the motion.
_MOST_ENTRIES = {"emo": MAX_ROWS, "delta_eye_open_n": MAX_ROWS}
_ARRAYS = ("emo", "delta_eye_arr", "v_min_max_for_clip", "ch_info")
# Read by upstream's setup() but without a key here; with these values, and only these, they change nothing.
_NEUTRAL: Mapping[str, Sequence[Any]] = {"N_d": (-1,), "ctrl_info": ({}, [], None)}


@dataclass(frozen=True, eq=False)
class Cfg:
    """What one file says; NO_CFG says nothing.

    setup               single values of default_kwargs by upstream's names, overall_ctrl_info flattened
    emo                 (m, 8) condition rows, cycled by frame
    delta_eye_arr       (n, 63) one blink, to be added to the source's expression
    v_min_max_for_clip  two rows (265,): limits of the motion values
    ch_info             the conditioning source: x_s_info_lst [{scale (1, 1), pitch (1, 66), ...}], sc (63,),
                        eye_open_lst [(1, 2), ...], eye_ball_lst [(1, 6), ...]
    ignored             keys of default_kwargs that upstream does not read either
    digest              SHA-256 of the file
    """

    setup: Mapping[str, Any] = field(default_factory=dict)
    emo: Array | None = None
    delta_eye_arr: Array | None = None
    v_min_max_for_clip: tuple[Array, Array] | None = None
    ch_info: Mapping[str, Any] | None = None
    ignored: tuple[str, ...] = ()
    digest: str = ""


NO_CFG = Cfg()


def read(path: str | Path) -> Cfg:
    """Raises ValueError, one line with file, key, what was expected and found, and the remedy.

    Nothing in the file is run; see engines.ditto.pickles.
    """
    data = _bytes(Path(path))
    try:
        content = pickles.loads(data)
        _check_declared(content)
        return _cfg(content["default_kwargs"], hashlib.sha256(data).hexdigest())
    except pickles.Refused as error:
        raise ValueError(f"avatar.cfg={path}: {error}; {_REMEDY}") from error


def _bytes(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(pickles.MAX_BYTES + 1)
    except OSError as error:
        raise ValueError(f"avatar.cfg={path}: {error.strerror}; {_REMEDY}") from error
    if not data or len(data) > pickles.MAX_BYTES:
        size = f"more than {pickles.MAX_BYTES // 2**20} MiB" if data else "an empty file"
        raise ValueError(f"avatar.cfg={path}: {size}; {_REMEDY}")
    return data


def _check_declared(content: Any) -> None:
    """The three sections are there, and the networks are those that can be built here."""
    for section in SECTIONS:
        if not isinstance(content, dict) or not isinstance(content.get(section), dict):
            raise pickles.Refused(f"{section}: expected a dict, found {_kind(content, section)}")
    for key, expected in _DECLARED.items():
        found = content["audio2motion_cfg"].get(key)
        if isinstance(found, np.ndarray) or found != expected:
            raise pickles.Refused(f"audio2motion_cfg.{key}: expected {expected}, found {shown(found)}")


def _kind(content: Any, key: str) -> str:
    if not isinstance(content, dict):
        return f"a file that holds a {type(content).__name__}"
    return type(content[key]).__name__ if key in content else "no such key"


def _cfg(options: Mapping[Any, Any], digest: str) -> Cfg:
    for key, neutral in _NEUTRAL.items():
        value = options.get(key, neutral[0])
        if isinstance(value, np.ndarray) or value not in neutral:
            raise pickles.Refused(f"default_kwargs.{key}: expected {neutral[0]}, found {shown(value)}")
    controls = options.get("overall_ctrl_info")
    known = {*OUR_NAMES, *_ARRAYS, *_NEUTRAL, "overall_ctrl_info"} - set(CONTROLS)
    emo, eyes = options.get("emo"), options.get("delta_eye_arr")
    return Cfg(
        setup={**_singles(options, known & set(OUR_NAMES)), **_controls(controls)},
        emo=rows("emo", emo, 8) if isinstance(emo, np.ndarray) else None,
        delta_eye_arr=None if eyes is None else rows("delta_eye_arr", eyes, 63),
        v_min_max_for_clip=limits(options.get("v_min_max_for_clip")),
        ch_info=conditioning_source(options.get("ch_info")),
        ignored=tuple(sorted(shown(key) for key in set(options) - known)),
        digest=digest,
    )


def _singles(options: Mapping[Any, Any], names: set[str]) -> dict[str, Any]:
    """Values that take one word on the command line."""
    found = {}
    for name in sorted(names & set(options)):
        value = options[name]
        if isinstance(value, np.ndarray) and name == "emo":
            continue
        found[name] = _listed(name, value, _MOST_ENTRIES.get(name, len(PARTS)))
    return found


def _listed(name: str, value: Any, most: int) -> Any:
    """Tuples as lists, as YAML has them; nothing in them that could not be typed or shown.

    most  entries of a list; of one in a list len(PARTS) + 1, which is also the number of emotions at once
    """
    inner = len(PARTS) + 1
    if isinstance(value, (list, tuple, dict)) and len(value) > most:
        raise pickles.Refused(f"default_kwargs.{name}: expected at most {most} entries, found {len(value)}")
    if isinstance(value, str) and (len(value) > _MAX_WORD or not value.isprintable()):
        raise pickles.Refused(f"default_kwargs.{name}: expected a printable word, found {shown(value)}")
    if isinstance(value, np.ndarray):
        raise pickles.Refused(f"default_kwargs.{name}: expected no array, found shape {value.shape}")
    if isinstance(value, (list, tuple)):
        return [_listed(name, entry, inner) for entry in value]
    if isinstance(value, dict):
        return {_listed(name, key, inner): _listed(name, entry, inner) for key, entry in value.items()}
    return value


def _controls(controls: Any) -> dict[str, Any]:
    if controls is None:
        return {}
    if not isinstance(controls, dict):
        raise pickles.Refused(f"default_kwargs.overall_ctrl_info: expected a dict, found {shown(controls)}")
    for key, value in controls.items():
        if key not in CONTROLS:
            raise pickles.Refused(
                f"default_kwargs.overall_ctrl_info.{shown(key)}: expected one of {', '.join(CONTROLS)}"
            )
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            raise pickles.Refused(
                f"default_kwargs.overall_ctrl_info.{key}: expected a number, found {shown(value)}"
            )
    return dict(controls)


def disagreements(cfg: Cfg, keys: Mapping[str, Any]) -> dict[str, Any]:
    """Keys of conf/avatar/ditto.yaml with the values that the file asks for, where `keys` has others."""
    asked = {}
    for name, value in cfg.setup.items():
        ours, wanted = OUR_NAMES[name], value
        if name == "online_mode":
            wanted = "online" if value else "offline"
        elif name == "template_n_frames" and isinstance(value, int) and value < 1:
            wanted = None
        if not _same(wanted, keys[ours]):
            asked[ours] = wanted
    return asked


def _same(one: Any, other: Any) -> bool:
    """Equal but for the rounding to float32 that a value may have gone through."""
    if isinstance(one, Mapping) and isinstance(other, Mapping):
        return set(one) == set(other) and all(_same(one[key], other[key]) for key in one)
    if isinstance(one, Sequence) and isinstance(other, Sequence) and not isinstance(one, str):
        return len(one) == len(other) and all(map(_same, one, other))
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, (int, float)) and isinstance(other, (int, float)):
        return math.isclose(one, other, rel_tol=1e-6)
    return bool(one == other)
