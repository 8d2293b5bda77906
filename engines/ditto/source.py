"""The portrait or source video: frames of the size asked for, each with its face crop and its eyes."""

from __future__ import annotations

import math
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import av
import cv2
import numpy as np
from numpy.typing import NDArray

from engines.ditto.check import check_resolution
from engines.ditto.crop import cover, fit, invert, similarity
from engines.ditto.faces import Face, Finder, NoFace
from engines.ditto.images import check_image, check_size, header
from engines.ditto.settings import Settings
from engines.ditto.stored_crop import StoredCrop

Array = NDArray[np.float32]
Picture = NDArray[np.uint8]

# Each frame keeps 8 MB of features on the device, so a film by mistake must not begin to fill it.
MAX_FRAMES = 1500
_AS_STORED = (1, 0, 0, 0, 1, 0, 0, 0, 1)


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
    check_resolution(width, height, settings.max_size)
    height, width, _ = fit(height, width, settings.max_size)
    stored = StoredCrop.beside(path) if finder is None else None
    landmarks = None
    for number, picture in enumerate(pictures(path, settings.source_frames)):
        frame, scale, shift = cover(picture, width, height)
        if stored is not None:
            stored.check_size(path, picture.shape[1], picture.shape[0])
            face = _stored_face(stored, scale, shift, settings.crop_px)
        else:
            face = _find(finder, path, number, frame, settings.crop_px, landmarks)
            landmarks = face.landmarks
        yield _portrait(frame, face, settings.crop_px)


def _stored_face(
    stored: StoredCrop, scale: NDArray[np.float64], shift: NDArray[np.int64], crop_px: int
) -> Face:
    """The face on a frame that `cover` made of the image."""
    centre = np.array(stored.centre_px) * scale - shift
    side, angle = stored.size_px * float(scale.mean()), math.radians(stored.angle_deg)
    eyes = np.array([stored.eye_open], np.float32), np.array([stored.eye_ball], np.float32)
    return Face(similarity(centre, side, angle, crop_px), *eyes, landmarks=None, found=None)


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
                yield _upright(_rgb(frame), _display_matrix(frame), path)
                count += 1
    except av.FFmpegError as error:
        raise ValueError(
            f"workload.portrait={path}: the video breaks after {count} frames: {error.strerror}; "
            "make it anew, or use media/portrait.png"
        ) from error
    if not count:
        raise ValueError(f"workload.portrait={path}: a video without frames; use media/portrait.png")


def _rgb(frame: av.VideoFrame) -> Picture:
    """(H, W, 3) as it is stored."""
    return frame.reformat(format="rgb24", interpolation="BICUBIC").to_ndarray().astype(np.uint8, copy=False)


def _display_matrix(frame: av.VideoFrame) -> tuple[int, ...]:
    """(a, b, u, c, d, v, x, y, w): place (p, q) is shown at (a p + c q + x, b p + d q + y), whatever x and y.

    Not frame.rotation, which says the same of a picture that is mirrored and of one that is not.
    """
    data = frame.side_data.get("DISPLAYMATRIX")
    return _AS_STORED if data is None else struct.unpack("=9i", bytes(data)[:36])


def _upright(picture: Picture, matrix: tuple[int, ...], path: Path) -> Picture:
    """Turned and mirrored as the file says: phones store upright videos lying. Raises ValueError."""
    right_x, right_y, _, down_x, down_y = matrix[:5]
    if right_x and down_y and not right_y and not down_x:
        signs = right_x, down_y
    elif right_y and down_x and not right_x and not down_y:
        picture, signs = picture.transpose(1, 0, 2), (down_x, right_y)
    else:
        raise ValueError(
            f"workload.portrait={path}: a video that is shown slanted, not turned by quarters; make it anew"
        )
    return np.ascontiguousarray(picture[:: 1 if signs[1] > 0 else -1, :: 1 if signs[0] > 0 else -1])
