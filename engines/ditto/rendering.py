"""The stages from keypoints to MP4, one frame at a time: warp, decode, putback, write."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from engines.contract import Piece
from engines.ditto import features
from engines.ditto.clip import Clip, ClipStage
from engines.ditto.compose_gpu import DevicePutBack
from engines.ditto.writer import Mp4Writer


class Warp(ClipStage):
    """Keypoints to the warped feature, which stays on the device."""

    name = "warp"

    def __init__(self, clip: Clip) -> None:
        super().__init__(clip)
        self._frame = 0

    def feed(self, piece: Piece) -> Iterator[Piece]:
        source = self.clip.source
        feature = source.features[source.at(self._frame)]
        self._frame += 1
        yield Piece("feature_3d", self.clip.models.warp(feature, *piece.data))


class Decode(ClipStage):
    """Warped feature to a face: on the host, or still on the device where it is put back there."""

    name = "decode"

    def feed(self, piece: Piece) -> Iterator[Piece]:
        models = self.clip.models
        stays = models.settings.putback == "gpu"
        yield Piece("crop", models.render(piece.data) if stays else models.decode(piece.data))


class PutBackStage(ClipStage):
    """Face to a whole frame (H, W, 3) uint8."""

    name = "putback"

    def __init__(self, clip: Clip) -> None:
        self.on_device = clip.models.settings.putback == "gpu"
        super().__init__(clip)
        self._frame = 0

    def feed(self, piece: Piece) -> Iterator[Piece]:
        source = self.clip.source
        put_back = source.put_back(source.at(self._frame))
        self._frame += 1
        self.clip.ran["putback"] = "gpu" if isinstance(put_back, DevicePutBack) else "cpu"
        yield Piece("frame", put_back(piece.data))


class Write(ClipStage):
    """Frames and sound to an MP4."""

    name = "write"
    on_device = False

    def __init__(self, clip: Clip) -> None:
        super().__init__(clip)
        self._writer: Mp4Writer | None = None
        self._sounds = 0

    def feed(self, piece: Piece) -> Iterator[Piece]:
        if self._writer is None:
            self._writer = self._opened()
        self._add_sound(self._writer)
        self._writer.add(piece.data)
        yield from ()

    def _opened(self) -> Mp4Writer:
        settings = self.clip.models.settings
        width, height = self.clip.source.size
        return Mp4Writer(
            Path(self.clip.job.output),
            width,
            height,
            fps=features.FPS,
            rate=self.clip.rate,
            threads=settings.x264_threads,
            encoder=self.clip.encoder,
            preset=settings.x264_preset,
            container=settings.container,
        )

    def _add_sound(self, writer: Mp4Writer) -> None:
        """What has come since the last frame."""
        for sound in self.clip.sound[self._sounds :]:
            writer.add_audio(sound)
            self._sounds += 1

    def flush(self) -> Iterator[Piece]:
        if self._writer is None:
            raise ValueError(f"job {self.clip.job.index}: no frame came, so there is no video to write")
        self._add_sound(self._writer)
        self._writer.finish()
        self.clip.ran.update(self._writer.ran())
        data: dict[str, Any] = {
            "path": self.clip.job.output,
            "frames": self._writer.frames,
            "audio_s": sum(map(len, self.clip.sound)) / self.clip.rate,
        }
        yield Piece("video", data, count=self._writer.frames)


def rendering_stages(clip: Clip) -> list[ClipStage]:
    """Fresh for one job, in order."""
    return [Warp(clip), Decode(clip), PutBackStage(clip), Write(clip)]
