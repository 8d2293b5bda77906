"""The stages from sound to keypoints, offline and online: source, features, motion, stitch."""

from __future__ import annotations

import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from engines.contract import Piece
from engines.ditto import features
from engines.ditto.batches import Batch, ranges
from engines.ditto.clip import Clip, ClipStage
from engines.ditto.conditioning import Conditions, emotion_rows
from engines.ditto.fusion import Info, OnlineWindows, join, split
from engines.ditto.motion import Sampler
from engines.ditto.stitching import MotionStitch, StitchOptions, fade_alpha

Array = NDArray[np.float32]


class SourceStage(ClipStage):
    """Portrait to features and keypoints, once per portrait and size; audio passes through."""

    name = "source"

    def feed(self, piece: Piece) -> Iterator[Piece]:
        _ = self.clip.source
        yield piece


class Features(ClipStage):
    """Audio pieces of any length, collected, to HuBERT features (frames, 1024) at the end."""

    name = "features"

    def feed(self, piece: Piece) -> Iterator[Piece]:
        if piece.kind == "audio":
            self._hear(piece)
        yield from ()

    def _hear(self, piece: Piece) -> None:
        clip = self.clip
        if piece.data is None or not np.isfinite(piece.data).all():
            fault = "no samples" if piece.data is None else "samples that are not finite"
            raise ValueError(
                f"job {clip.job.index}: the TTS gave {fault}; Ditto needs sound, as from tts=xtts"
            )
        if clip.rate not in (0, piece.rate):
            raise ValueError(
                f"job {clip.job.index}: audio at {clip.rate} and {piece.rate} Hz; one rate per job"
            )
        clip.rate = piece.rate
        clip.sound.append(np.asarray(piece.data, np.float32).reshape(-1))

    def flush(self) -> Iterator[Piece]:
        self._check_heard()
        models = self.clip.models
        audio = features.resample(np.concatenate(self.clip.sound), self.clip.rate)
        rows = features.encode(audio, models.hear, models.settings.batch)
        rows = features.cut_to_clip(rows, len(audio))
        yield Piece("features", rows, count=len(rows))

    def _check_heard(self) -> None:
        if not sum(map(len, self.clip.sound)):
            raise ValueError(f"job {self.clip.job.index}: no audio came; Ditto needs at least one sample")


class OnlineFeatures(Features):
    """Audio pieces of any length to features, 5 frames at a time; first comes the silence before the clip.

    At the end 3 to 7 frames more than the clip has, as upstream.
    """

    def __init__(self, clip: Clip) -> None:
        super().__init__(clip)
        self._resampler: features.Resampler | None = None
        self._chunks = features.Chunks(clip.models.hear, clip.models.settings.batch)

    def feed(self, piece: Piece) -> Iterator[Piece]:
        if piece.kind != "audio":
            return
        self._hear(piece)
        if self._resampler is None:
            self._resampler = features.Resampler(self.clip.rate)
            models = self.clip.models
            overlap, batch = models.settings.overlap, models.settings.batch
            yield from _as_features([features.silence(overlap, models.hear, batch)])
        yield from _as_features(self._chunks.feed(self._resampler.feed(self.clip.sound[-1])))

    def flush(self) -> Iterator[Piece]:
        self._check_heard()
        assert self._resampler is not None
        self.clip.frames = features.clip_frames(self._resampler.samples_16k)
        yield from _as_features(self._chunks.feed(self._resampler.finish()))
        yield from _as_features(self._chunks.finish())


def _as_features(chunks: Iterable[Array]) -> Iterator[Piece]:
    return (Piece("features", rows, count=len(rows)) for rows in chunks)


@dataclass(frozen=True)
class Origin:
    """Whose pose, eyes and keypoints condition the motion.

    info       of the first frame, as fusion.Info
    eye_open   (n, 2);  eye_ball (n, 6)
    keypoints  (63,) canonical ones
    """

    info: Info
    eye_open: Array
    eye_ball: Array
    keypoints: Array


def origin(clip: Clip) -> Origin:
    """The source, or the face that avatar.cfg brings along (ch_info)."""
    other = clip.models.cfg.ch_info
    if other is not None:
        return Origin(
            other["x_s_info_lst"][0],
            np.concatenate(other["eye_open_lst"]),
            np.concatenate(other["eye_ball_lst"]),
            other["sc"].reshape(-1),
        )
    source = clip.source
    return Origin(source.infos[0], source.eye_open, source.eye_ball, source.keypoints)


def conditions(clip: Clip) -> Conditions:
    settings, cfg, face = clip.models.settings, clip.models.cfg, origin(clip)
    used = slice(0, 1) if settings.eye_f0_mode else slice(None)
    mood = emotion_rows(settings.emo) if cfg.emo is None else cfg.emo
    return Conditions(face.eye_open[used], face.eye_ball[used], face.keypoints, mood)


def sampler(clip: Clip) -> Sampler:
    made = Sampler(clip.models, conditions(clip), join(origin(clip).info), clip.job.seed)
    clip.ran.update(made.ran)
    return made


class Motion(ClipStage):
    """Features (n, 1024) to motion (n, 265): all windows of the clip, in order."""

    name = "motion"

    def feed(self, piece: Piece) -> Iterator[Piece]:
        self.clip.frames = len(piece.data)
        self.clip.ran["mode"] = "offline"
        yield Piece("motion", sampler(self.clip).whole(piece.data), count=len(piece.data))


class OnlineMotion(ClipStage):
    """Features to motion as soon as a window is whole; as many rows in all as the clip has frames."""

    name = "motion"

    def __init__(self, clip: Clip) -> None:
        super().__init__(clip)
        self._windows: OnlineWindows | None = None
        self._frames = 0

    def feed(self, piece: Piece) -> Iterator[Piece]:
        if self._windows is None:
            self._windows = sampler(self.clip).online(piece.data)
            self.clip.ran["mode"] = "online"
        else:
            yield from self._cut(self._windows, self._windows.feed(piece.data))

    def flush(self) -> Iterator[Piece]:
        if self._windows is not None:
            yield from self._cut(self._windows, self._windows.finish())

    def _cut(self, windows: OnlineWindows, motion: Iterator[Array]) -> Iterator[Piece]:
        for rows in motion:
            self.clip.first_motion = windows.first
            if self.clip.frames is not None:
                rows = rows[: self.clip.frames - self._frames]
            self._frames += len(rows)
            if len(rows):
                yield Piece("motion", rows, count=len(rows))


class Stitch(ClipStage):
    """Motion (n, 265) to keypoints, a batch of frames at a time; a piece of motion ends with a short batch.

    So no frame waits for motion that is not there yet, and the last batch of a piece says that it is.
    """

    name = "stitch"

    def __init__(self, clip: Clip) -> None:
        super().__init__(clip)
        self._combine: MotionStitch | None = None
        self._limits = clip.models.cfg.v_min_max_for_clip
        self._frame = 0

    def feed(self, piece: Piece) -> Iterator[Piece]:
        models, first = self.clip.models, self._frame
        for frames, last in ranges(first, len(piece.data), models.settings.batch):
            points = [self._points(piece.data[frame - first]) for frame in frames]
            x_s, x_d = (np.concatenate(part) for part in zip(*points, strict=True))
            yield Piece("keypoints", Batch(frames, last, models.stitch(x_s, x_d)), count=len(frames))

    def _points(self, row: Array) -> tuple[Array, Array]:
        """(x_s, x_d), each (1, 21, 3), of the next frame."""
        if self._combine is None:
            self._combine = self._begun()
        source = self.clip.source
        info = source.infos[source.at(self._frame)]
        points = self._combine(info, self._driving(row), **self._fade())
        self._frame += 1
        return points

    def _begun(self) -> MotionStitch:
        first = self.clip.first_motion
        chance = random.Random(self.clip.job.seed)
        return MotionStitch(_options(self.clip), chance, None if first is None else self._driving(first))

    def _driving(self, row: Array) -> Info:
        """Motion by name, within the limits that avatar.cfg may set."""
        return split(row if self._limits is None else np.clip(row, *self._limits))

    def _fade(self) -> dict[str, float]:
        settings, frames = self.clip.models.settings, _known_frames(self.clip)
        alpha = fade_alpha(self._frame, frames, settings.fade_in, settings.fade_out)
        return {} if alpha is None else {"fade_alpha": alpha}


def _known_frames(clip: Clip) -> int:
    """Frames of the clip, -1 online: a clip whose end fell into its first window must not look otherwise."""
    return -1 if clip.models.settings.mode == "online" or clip.frames is None else clip.frames


def _options(clip: Clip) -> StitchOptions:
    settings, source = clip.models.settings, clip.source
    scale = origin(clip).info["scale"].item() / source.infos[0]["scale"].item()
    return StitchOptions(
        is_image=source.is_image,
        N_d=_known_frames(clip),
        use_d_keys=settings.use_d_keys,
        relative_d=settings.relative_d,
        drive_eye=settings.drive_eye,
        delta_eye_arr=clip.models.cfg.delta_eye_arr,
        delta_eye_open_n=settings.delta_eye_open_n,
        fade_out_keys=settings.fade_out_keys,
        fade_type=settings.fade_type,
        flag_stitching=settings.stitching,
        scale_ratio=scale,
        overall_ctrl_info=settings.controls,
    )


def driving_stages(clip: Clip) -> list[ClipStage]:
    """From sound to keypoints, fresh for one job; online and offline they have the same names."""
    if clip.models.settings.mode == "online":
        return [SourceStage(clip), OnlineFeatures(clip), OnlineMotion(clip), Stitch(clip)]
    return [SourceStage(clip), Features(clip), Motion(clip), Stitch(clip)]
