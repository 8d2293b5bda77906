"""The arrays of a released ditto_cfg/*.pkl: shape and number of rows are checked before any is copied."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engines.ditto import pickles
from engines.ditto.options import MOTION_DIM

Array = NDArray[np.float32]

# What a conditioning source holds of its first frame; kp is not read by all.
_INFO_DIMS = {"scale": 1, "pitch": 66, "yaw": 66, "roll": 66, "t": 3, "exp": 63}
MAX_ROWS = 100_000  # of an array or a list that has one entry a frame: about an hour


def _shape(key: str, value: Any) -> tuple[int, ...]:
    if not isinstance(value, np.ndarray):
        raise pickles.Refused(f"default_kwargs.{key}: expected an array, found {shown(value)}")
    return tuple(value.shape)


def _numbers(key: str, value: NDArray[Any], infinite: bool = False) -> Array:
    """After its shape was found to be fine: this takes room."""
    with np.errstate(over="ignore"):  # what overflows is told below
        numbers = value.astype(np.float32)
    if np.isnan(numbers).any() or (not infinite and np.isinf(numbers).any()):
        raise pickles.Refused(f"default_kwargs.{key}: holds values that are no finite numbers")
    return numbers


def rows(key: str, value: Any, width: int, infinite: bool = False) -> Array:
    """(n, width) with n from 1 to MAX_ROWS."""
    _count(key, value, width)
    return _numbers(key, value, infinite)


def _count(key: str, value: Any, width: int) -> int:
    shape = _shape(key, value)
    if len(shape) != 2 or not 1 <= shape[0] <= MAX_ROWS or shape[1] != width:
        most = f", n at most {MAX_ROWS}" if shape and shape[0] > MAX_ROWS else ""
        raise pickles.Refused(f"default_kwargs.{key}: expected shape (n, {width}){most}, found {shape}")
    return shape[0]


def limits(value: Any) -> tuple[Array, Array] | None:
    """Rows 0 and 1 of (4, 265); upstream reads no others."""
    if value is None:
        return None
    values = rows("v_min_max_for_clip", value, MOTION_DIM, infinite=True)
    if len(values) < 2:
        raise pickles.Refused("default_kwargs.v_min_max_for_clip: expected 2 rows or more, found 1")
    return values[0], values[1]


def conditioning_source(info: Any) -> dict[str, Any] | None:
    """Upstream's ch_info with what is read of it, every array in its usual shape."""
    if info is None:
        return None
    first = info.get("x_s_info_lst") if isinstance(info, dict) else None
    if not isinstance(first, (list, tuple)) or not first or not isinstance(first[0], dict):
        raise pickles.Refused("default_kwargs.ch_info.x_s_info_lst: expected a list of dicts")
    widths = {**_INFO_DIMS, **({"kp": 63} if "kp" in first[0] else {})}
    source = {
        key: _sized(f"ch_info.x_s_info_lst[0].{key}", first[0].get(key), (1, width))
        for key, width in widths.items()
    }
    if not source["scale"].item() > 0:
        raise pickles.Refused("default_kwargs.ch_info.x_s_info_lst[0].scale: expected more than 0")
    return {
        "x_s_info_lst": [source],
        "sc": _sized("ch_info.sc", info.get("sc"), (63,)),
        "eye_open_lst": _eyes("ch_info.eye_open_lst", info.get("eye_open_lst"), 2),
        "eye_ball_lst": _eyes("ch_info.eye_ball_lst", info.get("eye_ball_lst"), 6),
    }


def _sized(key: str, value: Any, shape: tuple[int, ...]) -> Array:
    value = np.asarray(value) if isinstance(value, float) else value
    found = _shape(key, value)
    if math.prod(found) != math.prod(shape):
        raise pickles.Refused(f"default_kwargs.{key}: expected shape {shape}, found {found}")
    return _numbers(key, value).reshape(shape)


def _eyes(key: str, value: Any, width: int) -> list[Array]:
    """One (1, width) per source frame."""
    if not isinstance(value, (list, tuple)) or not value:
        raise pickles.Refused(f"default_kwargs.{key}: expected a list of arrays, found {shown(value)}")
    count = sum(_count(key, entry, width) for entry in value)
    if count > MAX_ROWS:
        raise pickles.Refused(f"default_kwargs.{key}: expected at most {MAX_ROWS} rows, found {count}")
    return [row[None] for entry in value for row in rows(key, entry, width)]


def shown(value: Any) -> str:
    """A value from the file in a few printable characters, whatever it is."""
    if value is None:
        return "nothing"
    if isinstance(value, np.ndarray):
        return f"an array of shape {value.shape}"
    if isinstance(value, (dict, list, tuple)):
        return f"a {type(value).__name__} of {len(value)}"
    return ascii(value)[:60] if isinstance(value, (str, float, int, bool)) else type(value).__name__
