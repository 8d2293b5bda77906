"""The portrait or source video: frames of the size asked for, each with its face crop and its eyes."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from engines.ditto.crop import cover, fit, invert, similarity
from engines.ditto.faces import Face, Finder, NoFace
from engines.ditto.images import check_image, check_size, header
from engines.ditto.settings import Settings

Array = NDArray[np.float32]
Picture = NDArray[np.uint8]

# Each frame keeps 8 MB of features on the device, so a film by mistake must not begin to fill it.
MAX_FRAMES = 1500


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)


@dataclass(frozen=True)
class StoredCrop:
    """What a detector would find, kept beside a portrait as X.json; of a video it holds for every frame.

    image_px  (width, height) that the other figures refer to;  centre_px (x, y) and size_px of the square
    angle_deg of the face, clockwise positive;  eye_open (2), eye_ball (6) as from eye_attributes
    """

    image_px: tuple[int, int]
    centre_px: tuple[float, float]
    size_px: float
    angle_deg: float
    eye_open: tuple[float, ...]
    eye_ball: tuple[float, ...]

    @classmethod
    def beside(cls, portrait: Path) -> StoredCrop:
        """Raises ValueError when there is none, or none that holds a crop."""
        path = portrait.with_suffix(".json")
        if not path.is_file():
            raise ValueError(
                f"workload.portrait={portrait}: no stored crop {path.name} beside it; "
                "use media/portrait.png, write its crop as in media/portrait.json, or give the face "
                "detectors by avatar.faces=FOLDER"
            )
        try:
            data = json.loads(path.read_text())
            return cls(
                **{key: tuple(value) if isinstance(value, list) else value for key, value in data.items()}
            )
        except (TypeError, ValueError, AttributeError, RecursionError) as error:
            raise ValueError(
                f"workload.portrait={portrait}: {path.name} does not hold a crop: {error}; "
                "its keys are those of media/portrait.json"
            ) from error

    def __post_init__(self) -> None:
        for key, count in (("image_px", 2), ("centre_px", 2), ("eye_open", 2), ("eye_ball", 6)):
            values = getattr(self, key)
            if not isinstance(values, tuple) or len(values) != count or not all(map(_is_number, values)):
                raise ValueError(f"{key} must be {count} numbers")
        if not _is_number(self.size_px) or self.size_px <= 0 or not _is_number(self.angle_deg):
            raise ValueError("size_px must be a positive number and angle_deg a number")
        if not all(0 <= at < side for at, side in zip(self.centre_px, self.image_px, strict=True)):
            raise ValueError("centre_px lies outside of image_px")

    def on_frame(self, scale: NDArray[np.float64], shift: NDArray[np.int64], crop_px: int) -> Face:
        """The face on a frame that `cover` made of the image."""
        centre = np.array(self.centre_px) * scale - shift
        matrix = similarity(centre, self.size_px * float(scale.mean()), math.radians(self.angle_deg), crop_px)
        eyes = np.array([self.eye_open], np.float32), np.array([self.eye_ball], np.float32)
        return Face(matrix, *eyes, landmarks=None, found=None)


@dataclass(frozen=True)
class Portrait:
    """A source frame ready for the networks.

    frame   (H, W, 3) uint8 RGB, H and W even: the video's background
    crop    (S, S, 3) uint8 RGB upright face crop;  m_c2o (3, 3) crop px to frame px
    eye_open (1, 2), eye_ball (1, 6)
    found   faces that a detector saw here; None where none was asked
    """

    frame: Picture
    crop: Picture
    m_c2o: Array
    eye_open: Array
    eye_ball: Array
    found: int | None = None

    def network_input(self, side: int) -> Array:
        """(1, 3, side, side) float32 in [0, 1]."""
        small = cv2.resize(self.crop, (side, side), interpolation=cv2.INTER_AREA)
        return np.ascontiguousarray((small.astype(np.float32) / 255)[None].transpose(0, 3, 1, 2))


def read_source(
    path: Path, width: int, height: int, settings: Settings, finder: Finder | None
) -> Iterator[Portrait]:
    """Frames of an image (one) or a video, each scaled to cover width x height and cut to its middle.

    finder  looks for the face in the first frame and follows it; None: the crop stored beside the file
    Raises ValueError, one line, for what cannot be read, is too large, or shows no face.
    """
    if max(height, width) > settings.max_size:
        raise ValueError(
            f"workload.resolution={width}x{height}: larger than avatar.max_size={settings.max_size}; "
            "raise that"
        )
    height, width, _ = fit(height, width, settings.max_size)
    stored = StoredCrop.beside(path) if finder is None else None
    landmarks = None
    for number, picture in enumerate(pictures(path, settings.source_frames)):
        frame, scale, shift = cover(picture, width, height)
        if stored is not None:
            _check_stored(path, stored, picture)
            face = stored.on_frame(scale, shift, settings.crop_px)
        else:
            face = _find(finder, path, number, frame, settings.crop_px, landmarks)
            landmarks = face.landmarks
        yield _portrait(frame, face, settings.crop_px)


def _check_stored(path: Path, stored: StoredCrop, picture: Picture) -> None:
    size = picture.shape[1], picture.shape[0]
    if stored.image_px != size:
        raise ValueError(
            f"workload.portrait={path}: its stored crop is for {stored.image_px}, the image is {size} px; "
            "write the crop again"
        )


def _find(
    finder: Finder | None,
    path: Path,
    number: int,
    frame: Picture,
    crop_px: int,
    previous: Array | None,
) -> Face:
    assert finder is not None
    try:
        return finder.find(frame, crop_px, previous)
    except NoFace as error:
        at = f"frame {number}: " if number else ""
        raise ValueError(f"workload.portrait={path}: {at}{error}") from error


def _portrait(frame: Picture, face: Face, crop_px: int) -> Portrait:
    crop = cv2.warpAffine(frame, face.matrix, (crop_px, crop_px), flags=cv2.INTER_LINEAR)
    return Portrait(
        frame, np.asarray(crop, np.uint8), invert(face.matrix), face.eye_open, face.eye_ball, face.found
    )


def pictures(path: Path, limit: int | None) -> Iterator[Picture]:
    """Frames (H, W, 3) uint8 RGB of an image, or of a video up to `limit`; checked before decoding."""
    check_image(path)
    if header(path).is_video:
        yield from _video(path, limit)
        return
    # As upstream: turned as its EXIF data says, alpha dropped, grey to RGB, 16 bits to 8.
    image = cv2.imread(str(path), cv2.IMREAD_COLOR)
    if image is None:
        raise ValueError(
            f"workload.portrait={path}: not a readable image: OpenCV cannot decode it; "
            "save it as PNG or JPEG, or use media/portrait.png"
        )
    yield np.asarray(cv2.cvtColor(image, cv2.COLOR_BGR2RGB), np.uint8)


def _video(path: Path, limit: int | None) -> Iterator[Picture]:
    """Every frame, whatever its time: a frame of the clip takes one, at 25 per second."""
    count = 0
    try:
        with av.open(str(path), format=header(path).format) as container:
            if not container.streams.video:
                raise ValueError(
                    f"workload.portrait={path}: a file without pictures; use an image or a video"
                )
            stream = container.streams.video[0]
            check_size(path, stream.codec_context.width, stream.codec_context.height)
            for frame in islice(container.decode(stream), limit):
                if limit is None and count == MAX_FRAMES:
                    raise ValueError(
                        f"workload.portrait={path}: more than {MAX_FRAMES} frames; "
                        "say how many are used, as avatar.source_frames=250"
                    )
                check_size(path, frame.width, frame.height)
                yield _rgb(frame)
                count += 1
    except av.FFmpegError as error:
        raise ValueError(
            f"workload.portrait={path}: the video breaks after {count} frames: {error.strerror}; "
            "make it anew, or use media/portrait.png"
        ) from error
    if not count:
        raise ValueError(f"workload.portrait={path}: a video without frames; use media/portrait.png")


def _rgb(frame: av.VideoFrame) -> Picture:
    """(H, W, 3), turned as the file says: phones store upright videos lying."""
    picture = frame.reformat(format="rgb24", interpolation="BICUBIC").to_ndarray()
    return np.ascontiguousarray(np.rot90(picture, frame.rotation // 90), np.uint8)
