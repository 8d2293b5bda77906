"""The arguments of upstream's setup(): which of them are keys of conf/, and what the others may be."""

from __future__ import annotations

import difflib
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from engines.ditto import options as ditto

# Keys of conf/avatar/ditto_upstream.yaml, and the names that upstream's setup() and its SDK have for them.
OPTIONS = {
    "steps": "sampling_timesteps",
    "overlap": "overlap_v2",
    "max_size": "max_size",
    "emo": "emo",
    "fix_kp_cond": "fix_kp_cond",
    "fix_kp_cond_dim": "fix_kp_cond_dim",
    "smo_k_d": "smo_k_d",
    "smo_k_s": "smo_k_s",
    "crop_scale": "crop_scale",
    "crop_vy_ratio": "crop_vy_ratio",
    "crop_rotate": "crop_flag_do_rot",
    "source_frames": "template_n_frames",
}
WINDOW = 80  # frames of a motion window; the released models have no other
_OWN = {name: key for key, name in OPTIONS.items()} | {"online_mode": "mode"}
_READ = re.compile(r"""kwargs\.get\(\s*["'](\w+)["']""")
# Stand for the keys that avatar=ditto has and this has not.
_LEFT_OUT = {
    "use_d_keys": None, "fade_out_keys": ["exp"], "delta_eye_open_n": 0, "fade_in": 0, "fade_out": 0,
}  # fmt: skip


def check(avatar: Mapping[str, Any], module: Path) -> None:
    """Raises ValueError, one line, for what upstream would misread or drop without a word.

    avatar  the keys of conf/avatar/ditto_upstream.yaml
    module  the checkout's stream_pipeline_offline.py or _online.py, whose setup() reads its arguments
    """
    emo = avatar.get("emo")
    ditto.check({
        "emo": 0 if emo is None else emo,  # null leaves it to cfg_pkl
        "fix_kp_cond_dim": avatar.get("fix_kp_cond_dim"),
        **_LEFT_OUT,
    })  # fmt: skip
    more = avatar.get("more")
    if more is None:
        return
    if not isinstance(more, Mapping):
        raise ValueError(
            f"avatar.more={more}: null or a mapping is wanted; use avatar.more={{relative_d:false}}"
        )
    read = set(_READ.findall(module.read_text(errors="replace")))
    for name in map(str, more):
        if name in _OWN:
            raise ValueError(
                f"avatar.more.{name}={more[name]}: has a key of its own; use avatar.{_OWN[name]}"
            )
        if name not in read:
            raise ValueError(
                f"avatar.more.{name}: {module.name} reads no such argument; {_remedy(name, read)}"
            )


def check_overlap(mode: str, asked: int | None, default: int) -> None:
    """Raises ValueError where upstream's online mode would lose the clip's first frames.

    asked    avatar.overlap;  default  what cfg_pkl, or else upstream's code, says
    """
    overlap = default if asked is None else asked
    if mode == "online" and 2 * overlap < WINDOW:
        raise ValueError(
            f"avatar.overlap={'null' if asked is None else asked}: {overlap} frames are in force, and online "
            f"fewer than {WINDOW // 2} lose the frames at the start; use avatar.overlap=70"
        )


def _remedy(name: str, read: set[str]) -> str:
    free = sorted(read - _OWN.keys())
    close = difflib.get_close_matches(name, free, 1)
    return f"use {close[0]}" if close else f"choose from {', '.join(free) or 'none'}"
