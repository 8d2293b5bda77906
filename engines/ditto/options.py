"""What those keys of conf/avatar/ditto.yaml may hold that take a list, a mapping or several forms."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

NUM_EMOTIONS = 8
MOTION_DIM = 265
PARTS = ("exp", "pitch", "yaw", "roll", "t", "scale")
"""Parts of the motion that can be driven or faded."""
CONTROLS = ("delta_pitch", "delta_yaw", "delta_roll", "alpha_pitch", "alpha_yaw", "alpha_roll", "vad_alpha")
"""Controls of every frame, by upstream's names, which are ours too; null leaves one out."""

_MOST_ENTRIES = 100_000  # about an hour of frames


def check(values: Mapping[str, Any]) -> None:
    """Raises ValueError, one line.

    values  the keys emo, fix_kp_cond_dim, use_d_keys, fade_out_keys and delta_eye_open_n, and the fades
    """
    forms = {
        "emo": (_is_emotion, "0 to 7, several [3,4] (1 to 7), or a list a frame [[4],[3,4]]; use 4"),
        "fix_kp_cond_dim": (_is_span, f"null or [first,end] of {MOTION_DIM} motion values; use [0,202]"),
        "use_d_keys": (_are_factors, f"null, or of {', '.join(PARTS)} a list or {{exp: 1.0}}; use null"),
        "fade_out_keys": (_are_parts, f"a list of {', '.join(PARTS)}; use [exp]"),
        "delta_eye_open_n": (_are_pauses, "-1, 0, a number of frames or a list of them; use 0"),
    }
    for key, (fits, rule) in forms.items():
        if not fits(values[key]):
            raise ValueError(f"avatar.{key}={_short(values[key])}: {rule}")
    for key in ("fade_in", "fade_out"):
        if values[key] > 0 and not values["fade_type"]:
            raise ValueError(
                f"avatar.{key}={values[key]}: fades only with a target; add avatar.fade_type=d0 or s"
            )


def _short(value: Any) -> str:
    text = str(value)
    return text if len(text) <= 80 else f"{text[:77]}..."


def _is_whole(value: Any, low: int, high: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and low <= value <= high


def _is_list(value: Any, most: int = _MOST_ENTRIES) -> bool:
    return isinstance(value, Sequence) and not isinstance(value, str) and 1 <= len(value) <= most


def _are_classes(value: Any) -> bool:
    """Upstream takes up to 7 at once."""
    return _is_list(value, NUM_EMOTIONS - 1) and all(_is_whole(entry, 0, NUM_EMOTIONS - 1) for entry in value)


def _is_emotion(value: Any) -> bool:
    if _is_whole(value, 0, NUM_EMOTIONS - 1) or _are_classes(value):
        return True
    return _is_list(value) and all(map(_are_classes, value))


def _is_span(value: Any) -> bool:
    if value is None:
        return True
    whole = _is_list(value) and len(value) == 2 and all(_is_whole(entry, 0, MOTION_DIM) for entry in value)
    return whole and bool(value[0] < value[1])


def _are_parts(value: Any) -> bool:
    return _is_list(value) and all(entry in PARTS for entry in value) and len(set(value)) == len(value)


def _are_factors(value: Any) -> bool:
    if not isinstance(value, Mapping):
        return value is None or _are_parts(value)
    numbers = [factor for factor in value.values() if isinstance(factor, (int, float))]
    finite = len(numbers) == len(value) and all(map(math.isfinite, numbers))
    return bool(value) and finite and all(part in PARTS for part in value)


def _are_pauses(value: Any) -> bool:
    if _is_list(value):
        return all(_is_whole(entry, 0, _MOST_ENTRIES) for entry in value)
    return _is_whole(value, -1, _MOST_ENTRIES)
