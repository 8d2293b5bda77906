"""The stages from keypoints to MP4: warp and decode in batches, putback and write frame by frame."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import groupby
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engines.contract import Piece
from engines.ditto import features
from engines.ditto.batches import Batch, InFlight
from engines.ditto.clip import Clip, ClipStage
from engines.ditto.compose_gpu import DevicePutBack, Landed
from engines.ditto.transfer import Arriving
from engines.ditto.writer import Mp4Writer


class Warp(ClipStage):
    """Keypoints to warped features, which stay on the device."""

    name = "warp"

    def feed(self, piece: Piece) -> Iterator[Piece]:
        batch, source = piece.data, self.clip.source
        features = [source.features[source.at(frame)] for frame in batch.frames]
        warped = self.clip.models.warp(features, *batch.data)
        yield Piece("feature_3d", Batch(batch.frames, batch.last, warped), count=len(batch.frames))


class Decode(ClipStage):
    """Warped features to faces: still on the device where they are put back there, else on the host.

    Faces for the host are waited for here: as many batches later as in_flight says.
    """

    name = "decode"

    def __init__(self, clip: Clip) -> None:
        super().__init__(clip)
        self._stays = clip.models.settings.putback == "gpu"
        self._in_flight: InFlight[tuple[Batch, Arriving]] = InFlight(clip.models.settings.in_flight)

    def feed(self, piece: Piece) -> Iterator[Piece]:
        batch = piece.data
        faces = self.clip.models.decode(batch.data)[: len(batch.frames)]
        if self._stays:
            yield _crop(batch, faces)
            return
        self.clip.ran["in_flight"] = self._in_flight.limit
        arriving = Arriving(faces.permute(0, 2, 3, 1).contiguous())
        for drawn, there in self._in_flight.add((batch, arriving), batch.last):
            yield _crop(drawn, there.wait())


def _crop(batch: Batch, faces: Any) -> Piece:
    return Piece("crop", Batch(batch.frames, batch.last, faces), count=len(batch.frames))


class PutBackStage(ClipStage):
    """Faces to whole frames (H, W, 3) uint8, a piece each.

    Frames that are made on the device are waited for here: as many batches later as in_flight says.
    """

    name = "putback"

    def __init__(self, clip: Clip) -> None:
        settings = clip.models.settings
        self.on_device = settings.putback == "gpu"
        super().__init__(clip)
        self._in_flight: InFlight[list[Landed]] = InFlight(settings.in_flight)

    def feed(self, piece: Piece) -> Iterator[Piece]:
        frames = self._on_device(piece.data) if self.on_device else self._on_host(piece.data)
        return (Piece("frame", frame) for frame in frames)

    def _on_host(self, batch: Batch) -> Iterator[NDArray[np.uint8]]:
        source = self.clip.source
        for number, face in zip(batch.frames, batch.data, strict=True):
            put_back = source.put_back(source.at(number))
            self.clip.ran["putback"] = "gpu" if isinstance(put_back, DevicePutBack) else "cpu"
            yield put_back(face)

    def _on_device(self, batch: Batch) -> Iterator[NDArray[np.uint8]]:
        self.clip.ran["in_flight"] = self._in_flight.limit
        for launched in self._in_flight.add(self._launched(batch), batch.last):
            for landed in launched:
                yield from landed.frames()

    def _launched(self, batch: Batch) -> list[Landed]:
        """Frames that show the same source frame go together: of a portrait all."""
        source, launched, done = self.clip.source, [], 0
        for shown, frames in groupby(batch.frames, key=source.at):
            put_back = source.put_back(shown)
            if not isinstance(put_back, DevicePutBack):
                raise TypeError(f"putback=gpu: the source puts back with {type(put_back).__name__}")
            self.clip.ran["putback"] = "gpu"
            count = len(list(frames))
            launched.append(put_back.launch(batch.data[done : done + count]))
            done += count
        return launched


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
            threading=settings.x264_threading,
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
