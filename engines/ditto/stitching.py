"""Driving motion put onto the source: which part moves, eyes, blinking, fades, gaze, then keypoints."""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engines.ditto.fusion import Info
from engines.ditto.keypoints import degrees, transform

Array = NDArray[np.float32]

EYE_POINTS = (11, 13, 15, 16, 18)
LIP_POINTS = (6, 12, 14, 17, 19, 20)
IMAGE_KEYS = ("exp", "pitch", "yaw", "roll", "t")
VIDEO_KEYS = ("exp",)
# A source scale ratio acts on what the motion model predicts in the source's own scale.
SCALED_KEYS = frozenset({"exp", "pitch", "yaw", "roll"})
OPEN_FRAMES = (60, 100)
ENDLESS_FRAMES = 3000


@dataclass(frozen=True)
class StitchOptions:
    """Controls of MotionStitch, with upstream's names and defaults.

    N_d               frames of the clip, for blinking; -1 when unknown
    use_d_keys        driven parts, as names or {name: factor}; None: all of an image, exp of a video
    relative_d        move relative to the first driving frame
    drive_eye         eyes follow the motion (None: image yes, video no)
    delta_eye_arr     (n, 63) one blink, added to the source's eyes instead of the motion's
    delta_eye_open_n  frames between blinks: -1 no blinks, 0 random 60..100, a number, or a list to cycle
    fade_type         "" none, "d0" to the first output, "s" to the source, by the per-frame fade_alpha
    scale_ratio       scale of the conditioning source over scale of this source
    overall_ctrl_info controls for every frame: delta_pitch|yaw|roll (degrees), alpha_pitch|yaw|roll,
                      delta_exp, vad_alpha, fade_alpha, fade_out_keys
    """

    is_image: bool = True
    N_d: int = -1
    use_d_keys: Sequence[str] | Mapping[str, float] | None = None
    relative_d: bool = True
    drive_eye: bool | None = None
    delta_eye_arr: Array | None = None
    delta_eye_open_n: int | Sequence[int] = -1
    fade_out_keys: Sequence[str] = ("exp",)
    fade_type: str = ""
    flag_stitching: bool = True
    scale_ratio: float = 1.0
    overall_ctrl_info: Mapping[str, Any] = field(default_factory=dict)

    @property
    def factors(self) -> dict[str, float]:
        """Factor of each driven part."""
        whole = IMAGE_KEYS if self.is_image else VIDEO_KEYS
        keys = whole if self.use_d_keys is None else self.use_d_keys
        given = keys if isinstance(keys, Mapping) else dict.fromkeys(keys, 1.0)
        return {
            key: factor * (self.scale_ratio if key in SCALED_KEYS else 1) for key, factor in given.items()
        }

    @property
    def eyes_driven(self) -> bool:
        return self.is_image if self.drive_eye is None else self.drive_eye


def blink_index(
    frames: int, blink_frames: int, open_frames: int | Sequence[int], rng: random.Random | None = None
) -> list[int]:
    """Row of the blink for each frame; 0 is an open eye. Open at both ends of the clip.

    open_frames  between blinks: below 0 never blink, 0 random 60..100, a number, or a list to cycle
    """
    index = [0] * frames
    if isinstance(open_frames, int) and open_frames < 0:
        return index
    fixed = [] if open_frames == 0 else [open_frames] if isinstance(open_frames, int) else list(open_frames)
    chance = rng or random.Random(0)

    def open_for(turn: int) -> int:
        return fixed[turn % len(fixed)] if fixed else chance.randint(*OPEN_FRAMES)

    start, turn = open_for(0), 1
    limit = frames - max(open_for(-1), blink_frames)
    while start < limit:
        index[start : start + blink_frames] = range(blink_frames)
        start += blink_frames + open_for(turn)
        turn += 1
    return index


def fade_alpha(frame: int, frames: int, fade_in: int, fade_out: int) -> float | None:
    """Share of the motion at a clip's ends, the rest is the fade's target; None where nothing fades.

    The fade at the end covers one frame more than its number and wins where both meet, as upstream.
    frames  of the clip; -1 while it is unknown, and then there is no fade at the end
    """
    last = frames - 1
    if fade_out > 0 and frames >= 0 and frame >= last - fade_out:
        return max((last - frame) / fade_out, 0)
    return frame / fade_in if frame < fade_in else None


def _points_mask(points: Sequence[int]) -> Array:
    mask = np.zeros((21, 3), np.float32)
    mask[list(points)] = 1
    return mask.reshape(1, -1)


def _control(info: Info, controls: Mapping[str, Any]) -> None:
    """Offsets (in degrees; the pose becomes degrees) and factors, in upstream's order, in place."""
    for pose in ("pitch", "yaw", "roll"):
        if f"delta_{pose}" in controls:
            info[pose] = degrees(info[pose]) + controls[f"delta_{pose}"]
    for pose in ("pitch", "yaw", "roll"):
        if f"alpha_{pose}" in controls:
            info[pose] = info[pose] * controls[f"alpha_{pose}"]
    if "delta_exp" in controls:
        info["exp"] = info["exp"] + controls["delta_exp"]


class MotionStitch:
    """Source and driving motion to keypoints, one frame after the other.

    It keeps the first driving frame, the fade target and the frame count: one object per clip.
    rng    chooses random blinks
    first  what motion is relative to, where that is not the first driving frame
    The stitching network is applied by the caller, where options.flag_stitching says so.
    """

    def __init__(
        self, options: StitchOptions, rng: random.Random | None = None, first: Info | None = None
    ) -> None:
        self.options = options
        self.factors = options.factors
        self._first = first
        self._fade_to: Info | None = None
        self._frame = 0
        self._source_points: Array | None = None
        self._source_gaze: tuple[float, float] | None = None
        self._blink: list[int] = []
        if options.eyes_driven and options.delta_eye_arr is not None:
            frames = ENDLESS_FRAMES if options.N_d == -1 else options.N_d
            self._blink = blink_index(frames, len(options.delta_eye_arr), options.delta_eye_open_n, rng)
        self._eyes = _points_mask(EYE_POINTS)
        moved = LIP_POINTS + (EYE_POINTS if options.eyes_driven and not self._blink else ())
        self._moved = _points_mask(moved)

    def __call__(self, source: Info, driving: Info, **controls: Any) -> tuple[Array, Array]:
        """Keypoints (x_s, x_d), each (1, 21, 3) float32, before the stitching network.

        source   of this frame, with kp;  driving  as from fusion.split
        controls override options.overall_ctrl_info for this frame
        """
        controls = {**self.options.overall_ctrl_info, **controls}
        info = self._mix(source, driving)
        info["exp"] = self._expression(source, info["exp"])
        if controls.get("vad_alpha", 1) < 1:
            alpha = controls["vad_alpha"]
            info["exp"] = info["exp"] * alpha + source["exp"] * (1 - alpha)
        _control(info, controls)
        self._fade(source, info, controls)
        if self.options.eyes_driven:
            info["exp"] = self._follow_gaze(source, info)
        self._frame += 1
        return self._source_keypoints(source), transform(info)

    def _mix(self, source: Info, driving: Info) -> Info:
        if self.options.relative_d:
            self._first = self._first or dict(driving)
            moved = {
                key: source[key] + (driving[key] - self._first[key]) * factor
                for key, factor in self.factors.items()
            }
        else:
            moved = {key: driving[key] * factor for key, factor in self.factors.items()}
        return {**source, **moved}

    def _expression(self, source: Info, exp: Array) -> Array:
        kept = exp * self._moved + source["exp"] * (1 - self._moved)
        if not self._blink:
            return kept
        assert self.options.delta_eye_arr is not None
        blink = self.options.delta_eye_arr[self._blink[self._frame % len(self._blink)]][None]
        return np.asarray(kept + blink * self._eyes)

    def _fade(self, source: Info, info: Info, controls: Mapping[str, Any]) -> None:
        target = source
        if self.options.fade_type == "d0":
            self._fade_to = target = self._fade_to or dict(info)
        if self.options.fade_type and "fade_alpha" in controls:
            alpha = controls["fade_alpha"]
            for key in controls.get("fade_out_keys", self.options.fade_out_keys):
                info[key] = info[key] * alpha + target[key] * (1 - alpha)

    def _follow_gaze(self, source: Info, info: Info) -> Array:
        """Turn the eyes by a fraction of the head's turn, so that they keep looking at the viewer."""
        if self._source_gaze is None:
            self._source_gaze = degrees(source["yaw"]).item(), degrees(source["pitch"]).item()
        dx = 0.26 * (degrees(info["yaw"]).item() - self._source_gaze[0])
        dy = 0.28 * (degrees(info["pitch"]).item() - self._source_gaze[1])
        left, right = (0.0007, 0.001) if dx > 0 else (0.001, 0.0007)
        exp = info["exp"].copy()
        exp[0, [33, 45]] += np.array([left * dx, right * dx], exp.dtype)
        exp[0, [34, 46]] -= np.float32(0.001 * dy)
        return exp

    def _source_keypoints(self, source: Info) -> Array:
        if self._source_points is None or not self.options.is_image:
            self._source_points = transform(source)
        return self._source_points
