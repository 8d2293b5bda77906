"""The crop stored beside a portrait: where the face is and how its eyes are. Loads nothing heavy."""

from __future__ import annotations

import hashlib
import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from engines.ditto.images import MAX_SIDE, check_image

_MAX_BYTES = 2**16


@dataclass(frozen=True)
class StoredCrop:
    """What a detector would find, kept beside a portrait as X.json; of a video it holds for every frame.

    image_px  (width, height) as shown, to which the other figures refer, each 1 to MAX_SIDE
    centre_px (x, y) and size_px of the square
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
        """Raises ValueError, one line, when there is none, or none that holds a crop."""
        path = _path(portrait)
        content = _content(portrait)
        try:
            if len(content) > _MAX_BYTES:
                raise ValueError(f"more than {_MAX_BYTES // 2**10} KiB")
            data = json.loads(content.decode())
            keys: dict[str, Any] = {
                key: tuple(value) if isinstance(value, list) else value for key, value in data.items()
            }
            return cls(**keys)
        except (TypeError, ValueError, AttributeError, OverflowError, RecursionError) as error:
            reason = ascii(str(error))[1:-1][:200]
            raise ValueError(
                f"workload.portrait={portrait}: {path.name} does not hold a crop: {reason}; "
                "its keys are those of media/portrait.json"
            ) from error

    def __post_init__(self) -> None:
        for key, count in (("image_px", 2), ("centre_px", 2), ("eye_open", 2), ("eye_ball", 6)):
            values = getattr(self, key)
            if not isinstance(values, tuple) or len(values) != count or not all(map(_is_number, values)):
                raise ValueError(f"{key} must be {count} numbers")
        if not all(1 <= side <= MAX_SIDE for side in self.image_px):
            raise ValueError(f"image_px must be 1 to {MAX_SIDE}")
        if not _is_number(self.size_px) or self.size_px <= 0 or not _is_number(self.angle_deg):
            raise ValueError("size_px must be a positive number and angle_deg a number")
        if not all(0 <= at < side for at, side in zip(self.centre_px, self.image_px, strict=True)):
            raise ValueError("centre_px lies outside of image_px")

    def check_size(self, portrait: Path, width: int, height: int) -> None:
        """Raises ValueError for a picture of another size, as it is shown."""
        if self.image_px != (width, height):
            raise ValueError(
                f"workload.portrait={portrait}: its stored crop is for {self.image_px}, the image is "
                f"{(width, height)} px; write the crop again"
            )


def check_portrait(portrait: Path) -> None:
    """The portrait is whole and its stored crop belongs to it. Raises ValueError, one line.

    Of a video the size is compared when its frames are read: only its decoder tells it.
    """
    width, height = check_image(portrait)
    stored = StoredCrop.beside(portrait)
    if width:
        stored.check_size(portrait, width, height)


def digest(portrait: Path) -> str:
    """Hex sha256 of the stored crop's file. Raises ValueError where there is none."""
    return hashlib.sha256(_content(portrait)).hexdigest()


def _path(portrait: Path) -> Path:
    return portrait.with_suffix(".json")


def _content(portrait: Path) -> bytes:
    """Of a file too large to be one, no more than tells that it is."""
    path = _path(portrait)
    if not path.is_file():
        raise ValueError(
            f"workload.portrait={portrait}: no stored crop {path.name} beside it; "
            "use media/portrait.png, write its crop as in media/portrait.json, or give the face "
            "detectors by avatar.faces=FOLDER"
        )
    try:
        with path.open("rb") as file:
            return file.read(_MAX_BYTES + 1)
    except OSError as error:
        raise ValueError(
            f"workload.portrait={portrait}: {path.name} cannot be read: {error.strerror}; "
            "use media/portrait.png"
        ) from error


def _is_number(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and math.isfinite(value)
