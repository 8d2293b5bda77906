"""Whether a portrait or source video may be decoded: format, size and wholeness, by Pillow alone."""

from __future__ import annotations

import struct
import warnings
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from PIL import BmpImagePlugin, JpegImagePlugin, PngImagePlugin, WebPImagePlugin
from PIL.ImageFile import ImageFile

from engines.checkpoint import sha256

MAX_SIDE = 8192
MAX_PIXELS = 64_000_000
MIN_SIDE = 16
# The plugins are called directly: Image.open tries every format it knows on a file nobody vouches for.
_IMAGES: dict[str, tuple[bytes, int, type[ImageFile]]] = {
    "PNG": (b"\x89PNG\r\n\x1a\n", 0, PngImagePlugin.PngImageFile),
    "JPEG": (b"\xff\xd8\xff", 0, JpegImagePlugin.JpegImageFile),
    "WebP": (b"WEBP", 8, WebPImagePlugin.WebPImageFile),
    "BMP": (b"BM", 0, BmpImagePlugin.BmpImageFile),
}
# The name is FFmpeg's for the one demuxer that may read the file: others follow links to further files.
_VIDEOS: dict[str, tuple[bytes, int]] = {
    "mov": (b"ftyp", 4),
    "matroska": (b"\x1aE\xdf\xa3", 0),
    "avi": (b"AVI ", 8),
}
# AVIF and HEIC share the first bytes of MP4 and are no videos.
_STILL_BRANDS = (b"avif", b"avis", b"heic", b"heix", b"mif1", b"msf1")
# What Pillow's plugins raise for a file that is broken or lies about itself.
_BROKEN = (OSError, SyntaxError, ValueError, EOFError, IndexError, KeyError, TypeError, struct.error)


class Header(NamedTuple):
    """What a file says of itself. width and height are px, 0 for a video: its decoder tells them."""

    format: str
    width: int
    height: int
    is_video: bool = False


def header(path: Path) -> Header:
    """Format and size from the first bytes; nothing is decoded. Raises ValueError, one line."""
    start = _first_bytes(path)
    for name, (magic, offset) in _VIDEOS.items():
        if start[offset : offset + len(magic)] == magic and start[8:12] not in _STILL_BRANDS:
            return Header(name, 0, 0, is_video=True)
    with path.open("rb") as file, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        name, image = _opened(path, start, file)
        return Header(name, *image.size)


def digest(path: Path) -> str:
    """Hex sha256 of a portrait's bytes. Raises ValueError for what is no file."""
    _first_bytes(path)
    return sha256(path)


def check_image(path: Path) -> None:
    """Raises ValueError, one line, for what cannot become a portrait; of a video only the format is seen.

    An image is decoded once to see that it is whole, and not again while the file stays as it is.
    """
    found = header(path)
    if found.is_video:
        return
    check_size(path, found.width, found.height)
    status = path.stat()
    _check_whole(path, status.st_mtime_ns, status.st_size)


def check_size(path: Path, width: int, height: int) -> None:
    """Raises ValueError for a picture too small for a face, or too large to be decoded in good faith."""
    said = f"workload.portrait={path}: {width}x{height} px: "
    if min(width, height) < MIN_SIDE:
        raise ValueError(f"{said}too small for a face, at least {MIN_SIDE} px a side; use a larger picture")
    if max(width, height) > MAX_SIDE or width * height > MAX_PIXELS:
        raise ValueError(
            f"{said}at most {MAX_SIDE} px a side and {MAX_PIXELS // 10**6} megapixels are read; scale it down"
        )


def _first_bytes(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            start = file.read(32)
    except OSError as error:
        raise ValueError(
            f"workload.portrait={path}: cannot be read: {error.strerror}; use media/portrait.png"
        ) from error
    if not start:
        raise ValueError(f"workload.portrait={path}: an empty file; use media/portrait.png")
    return start


def _opened(path: Path, start: bytes, file: object) -> tuple[str, ImageFile]:
    for name, (magic, offset, plugin) in _IMAGES.items():
        if start[offset : offset + len(magic)] == magic:
            try:
                return name, plugin(file, str(path))  # type: ignore[arg-type]
            except _BROKEN as error:
                raise ValueError(
                    f"workload.portrait={path}: not a readable image: a broken {name} header "
                    f"({_line(error)}); save it again, or use media/portrait.png"
                ) from error
    raise ValueError(
        f"workload.portrait={path}: not a readable image: its first bytes are of none of "
        f"{', '.join(_IMAGES)}, MP4, MOV, MKV, WebM, AVI; convert it, or use media/portrait.png"
    )


@lru_cache(maxsize=256)
def _check_whole(path: Path, mtime_ns: int, size: int) -> None:
    """Decode once and throw away: OpenCV fills what a cut file lacks with grey and says nothing."""
    with path.open("rb") as file, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        name, image = _opened(path, _first_bytes(path), file)
        try:
            image.load()
        except _BROKEN as error:
            raise ValueError(
                f"workload.portrait={path}: not a readable image: the {name} breaks off or is damaged "
                f"({_line(error)}); take it anew from where it came, or use media/portrait.png"
            ) from error


def _line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]
