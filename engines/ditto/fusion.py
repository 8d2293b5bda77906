"""Motion windows joined to one sequence: cross-fade, smoothing, and what conditions the next window."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping

import numpy as np
from numpy.typing import NDArray

Array = NDArray[np.float32]
Info = dict[str, Array]
"""scale (1,1), pitch, yaw and roll (1,66) logits, t (1,3), exp (1,63), and for a source kp (1,63)."""

PARTS = (("scale", 1), ("pitch", 66), ("yaw", 66), ("roll", 66), ("t", 3), ("exp", 63))
MOTION_DIM = sum(width for _, width in PARTS)
# Scale, pose and translation; the expression is not smoothed, or the lips would lag.
SMOOTHED_DIMS = MOTION_DIM - 63


def join(info: Mapping[str, Array]) -> Array:
    """Motion as one row (265,); scale is stored as its distance from 1."""
    values = [info[name].reshape(width) for name, width in PARTS]
    values[0] = values[0] - 1
    return np.concatenate(values)


def split(row: Array) -> Info:
    """Motion by name from one row (265,): the inverse of join."""
    info, start = {}, 0
    for name, width in PARTS:
        info[name] = row[start : start + width].reshape(1, width)
        start += width
    info["scale"] = info["scale"] + 1
    return info


def smooth(motion: Array, width: int, start: int, stop: int) -> None:
    """Replace rows start..stop-1 of (n, 265) by means over `width` frames, fewer at the ends, in place."""
    if width <= 1:
        return
    before = motion[:, :SMOOTHED_DIMS].copy()
    half = width // 2
    for row in range(start, stop):
        motion[row, :SMOOTHED_DIMS] = before[max(0, row - half) : row + half + 1].mean(axis=0)


def windows(conditions: Array, seq_frames: int, overlap: int) -> Iterator[Array]:
    """Offline windows (seq_frames, dim) of the conditions (n, dim); the last is padded with its last row."""
    for start in range(0, len(conditions), seq_frames - overlap):
        window = conditions[start : start + seq_frames]
        yield np.pad(window, ((0, seq_frames - len(window)), (0, 0)), mode="edge")


class Fusion:
    """Joins predicted windows (seq_frames, 265) and keeps the row that conditions the next prediction.

    source          (265,) the source's own motion, which conditions the first window
    overlap         frames that two neighbouring windows share, below seq_frames
    online          cross-fade over min(overlap, new frames) instead of the whole overlap
    fix_kp_cond     n > 0: every n-th window is conditioned on the source again
    fix_kp_cond_dim [first, end) of the dims that keep the previous motion even then
    smo_k_d         frames to smooth over; 1 for none
    """

    def __init__(
        self,
        source: Array,
        seq_frames: int,
        overlap: int,
        *,
        online: bool = False,
        fix_kp_cond: int = 0,
        fix_kp_cond_dim: tuple[int, int] | None = None,
        smo_k_d: int = 3,
    ) -> None:
        self.source = source
        self.seq_frames = seq_frames
        self.overlap = overlap
        self.valid_frames = seq_frames - overlap
        self.fuse_frames = min(overlap, self.valid_frames) if online else overlap
        self.fix_kp_cond = fix_kp_cond
        self.fix_kp_cond_dim = fix_kp_cond_dim
        self.smo_k_d = smo_k_d
        self.kp_cond = source.copy()
        self.motion = np.zeros((0, MOTION_DIM), np.float32)
        self._windows = 0

    def add(self, predicted: Array) -> None:
        """Append one window: the first whole, later ones by their new rows after a cross-fade."""
        if self._windows == 0:
            self.motion = predicted.astype(np.float32)
            smooth(self.motion, self.smo_k_d, 0, len(self.motion))
        else:
            self._fade_in(predicted)
            fresh = len(self.motion) - self.valid_frames
            smooth(self.motion, self.smo_k_d, fresh - self.fuse_frames, fresh + 1)
        self._windows += 1
        self._condition_next()

    def _fade_in(self, predicted: Array) -> None:
        weight = np.arange(self.fuse_frames, dtype=np.float32)[:, None] / max(self.fuse_frames, 1)
        first = len(self.motion) - self.fuse_frames
        known = predicted[self.overlap - self.fuse_frames : self.overlap]
        self.motion[first:] = self.motion[first:] * (1 - weight) + known * weight
        self.motion = np.concatenate([self.motion, predicted[self.overlap :]])

    def _condition_next(self) -> None:
        last = self.motion[len(self.motion) - self.overlap - 1]
        if self.fix_kp_cond == 0 or self._windows % self.fix_kp_cond != 0:
            self.kp_cond = last.copy()
            return
        self.kp_cond = self.source.copy()
        if self.fix_kp_cond_dim is not None:
            kept = slice(*self.fix_kp_cond_dim)
            self.kp_cond[kept] = last[kept]

    def finish(self, num_frames: int) -> Array:
        """The first num_frames rows, smoothed once more as a whole (offline)."""
        motion = self.motion[:num_frames].copy()
        smooth(motion, self.smo_k_d, 0, len(motion))
        return motion

    def trim(self) -> None:
        """Forget all but the rows that later windows can touch; upstream keeps two windows."""
        self.motion = self.motion[-2 * self.seq_frames :]


class OnlineWindows:
    """Motion while the features come, window by window, after upstream's online worker.

    The first window begins with the silence, so seq_frames - overlap rows of sound fill it. Of its motion
    only row 0 is used: `first`, to which all motion is relative. Each later window gives the frames that no
    window to come will change: valid_frames of them, at the end all that are left. A clip too short to fill
    the first window gives its frames too, where upstream gives none.

    silence  (overlap, dim) feature rows before the clip
    fusion   with online=True and an overlap of at least half a window: with less, upstream leaves out the
             clip's first frames
    predict  (rows (seq_frames, dim), frame number of the first) -> motion (seq_frames, 265); frames of the
             silence have negative numbers
    """

    def __init__(self, silence: Array, fusion: Fusion, predict: Callable[[Array, int], Array]) -> None:
        self.first: Array | None = None
        self._fusion = fusion
        self._predict = predict
        self._frame = -len(silence)
        self._rows = silence
        self._waiting = silence[:0]

    def feed(self, rows: Array) -> Iterator[Array]:
        """Motion (n, 265) of each whole window; as upstream, none before valid_frames rows are new."""
        self._waiting = np.concatenate([self._waiting, rows])
        if len(self._waiting) >= self._fusion.valid_frames:
            yield from self._whole_windows()

    def finish(self) -> Iterator[Array]:
        """Motion of what is left, in a window continued with its last row."""
        yield from self._whole_windows()
        while len(self._rows):
            yield from self._run(self._fusion.valid_frames if self.first is None else len(self._rows))

    def _whole_windows(self) -> Iterator[Array]:
        self._rows = np.concatenate([self._rows, self._waiting])
        self._waiting = self._waiting[:0]
        while len(self._rows) >= self._fusion.seq_frames:
            yield from self._run(self._fusion.valid_frames)

    def _run(self, advance: int) -> Iterator[Array]:
        """One window and its motion; then on by so many rows."""
        fusion = self._fusion
        window = self._rows[: fusion.seq_frames]
        window = np.pad(window, ((0, fusion.seq_frames - len(window)), (0, 0)), mode="edge")
        fusion.add(self._predict(window, self._frame))
        self._rows = self._rows[advance:]
        self._frame += advance
        if self.first is None:
            self.first = fusion.motion[0].copy()
            return
        final = fusion.motion[-(fusion.valid_frames + fusion.fuse_frames) :][:advance].copy()
        fusion.trim()
        yield final
