"""The eight stages of one job, from sound to MP4; models and portraits live in the component."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import torch

from engines.contract import Piece
from engines.ditto import features
from engines.ditto.clip import Clip
from engines.ditto.conditioning import Conditions, emotion_rows
from engines.ditto.fusion import Fusion, join, split, windows
from engines.ditto.stitching import MotionStitch, StitchOptions
from engines.ditto.writer import Mp4Writer


class _Stage:
    """A stage that has nothing left at the end."""

    name = ""
    on_device = True

    def __init__(self, clip: Clip) -> None:
        self.clip = clip
        self.timer = clip.timer if self.on_device else None

    def feed(self, piece: Piece) -> Iterator[Piece]:
        raise NotImplementedError

    def flush(self) -> Iterator[Piece]:
        return iter(())


class SourceStage(_Stage):
    """Portrait to features and keypoints, once per portrait and size; audio passes through."""

    name = "source"

    def feed(self, piece: Piece) -> Iterator[Piece]:
        _ = self.clip.source
        yield piece


class Features(_Stage):
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
        if not sum(map(len, self.clip.sound)):
            raise ValueError(f"job {self.clip.job.index}: no audio came; Ditto needs at least one sample")
        audio = features.resample(np.concatenate(self.clip.sound), self.clip.rate)
        rows = features.cut_to_clip(features.encode(audio, self.clip.models.hear), len(audio))
        yield Piece("features", rows, count=len(rows))


class Motion(_Stage):
    """Features (n, 1024) to motion (n, 265): all windows of the clip, in order.

    Noise comes from a generator of the job's own seed, so the order of jobs changes nothing.
    """

    name = "motion"

    def feed(self, piece: Piece) -> Iterator[Piece]:
        source, models = self.clip.source, self.clip.models
        settings = models.settings
        conditions = Conditions(
            source.eye_open, source.eye_ball, source.infos[0]["kp"].reshape(-1), emotion_rows(settings.emo)
        ).rows(piece.data)
        fusion = Fusion(
            join(source.infos[0]), settings.seq_frames, settings.overlap, smo_k_d=settings.smo_k_d
        )
        generator = torch.Generator().manual_seed(self.clip.job.seed)
        noise = models.noise(generator)
        for window in windows(conditions, settings.seq_frames, settings.overlap):
            fusion.add(models.move(window, fusion.kp_cond, noise, generator))
        yield Piece("motion", fusion.finish(len(conditions)), count=len(conditions))


class Stitch(_Stage):
    """Motion (n, 265) to keypoints, one frame at a time."""

    name = "stitch"

    def __init__(self, clip: Clip) -> None:
        super().__init__(clip)
        self._combine = MotionStitch(StitchOptions(flag_stitching=clip.models.settings.stitching))

    def feed(self, piece: Piece) -> Iterator[Piece]:
        for row in piece.data:
            x_s, x_d = self._combine(self.clip.source.infos[0], split(row))
            yield Piece("keypoints", self.clip.models.stitch(x_s, x_d))


class Warp(_Stage):
    """Keypoints to the warped feature, which stays on the device."""

    name = "warp"

    def feed(self, piece: Piece) -> Iterator[Piece]:
        yield Piece("feature_3d", self.clip.models.warp(self.clip.source.features[0], *piece.data))


class Decode(_Stage):
    """Warped feature to a face on the host."""

    name = "decode"

    def feed(self, piece: Piece) -> Iterator[Piece]:
        yield Piece("crop", self.clip.models.decode(piece.data))


class PutBackStage(_Stage):
    """Face to a whole frame (H, W, 3) uint8."""

    name = "putback"
    on_device = False

    def feed(self, piece: Piece) -> Iterator[Piece]:
        yield Piece("frame", self.clip.source.put_backs[0](piece.data))


class Write(_Stage):
    """Frames to an MP4; the sound follows at the end."""

    name = "write"
    on_device = False

    def __init__(self, clip: Clip) -> None:
        super().__init__(clip)
        self._writer: Mp4Writer | None = None

    def feed(self, piece: Piece) -> Iterator[Piece]:
        if self._writer is None:
            width, height = self.clip.source.size
            self._writer = Mp4Writer(
                Path(self.clip.job.output),
                width,
                height,
                fps=features.FPS,
                rate=self.clip.rate,
                threads=self.clip.models.settings.x264_threads,
            )
        self._writer.add(piece.data)
        yield from ()

    def flush(self) -> Iterator[Piece]:
        if self._writer is None:
            raise ValueError(f"job {self.clip.job.index}: no frame came, so there is no video to write")
        sound = np.concatenate(self.clip.sound)
        self._writer.finish(sound)
        data: dict[str, Any] = {
            "path": self.clip.job.output,
            "frames": self._writer.frames,
            "audio_s": len(sound) / self.clip.rate,
        }
        yield Piece("video", data, count=self._writer.frames)


STAGES = (SourceStage, Features, Motion, Stitch, Warp, Decode, PutBackStage, Write)
