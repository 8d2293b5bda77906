"""Whether a portrait or source video may be decoded: format, size and wholeness, by Pillow alone."""

from __future__ import annotations

import mmap
import re
import struct
import warnings
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from PIL import BmpImagePlugin, Image, JpegImagePlugin, PngImagePlugin, WebPImagePlugin
from PIL.ImageFile import ImageFile

from engines.checkpoint import sha256

MAX_SIDE = 8192
MAX_PIXELS = 64_000_000
MIN_SIDE = 16
MAX_SCANS = 100  # of a progressive JPEG; encoders write about 10, each passes through the whole picture
_MOST_SEGMENTS = 100_000  # of a JPEG besides
# A marker that a length follows: no stuffed byte, no restart, no start; what ends a run of 0xFF counts.
_MARKER = re.compile(rb"\xff[^\x00\x01\xd0-\xd8\xff]")
_END, _SCAN = 0xD9, 0xDA
_ORIENTATION = 0x0112
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


def check_image(path: Path) -> tuple[int, int]:
    """(width, height) px as shown, turned as the EXIF data says; (0, 0) for a video: its decoder tells them.

    An image is decoded once to see that it is whole, and not again while the file stays as it is.
    Raises ValueError, one line, for what cannot become a portrait; of a video only the format is seen.
    """
    found = header(path)
    if found.is_video:
        return 0, 0
    check_size(path, found.width, found.height)
    status = path.stat()
    turned = _check_whole(path, status.st_mtime_ns, status.st_size)
    return (found.height, found.width) if turned else (found.width, found.height)


def check_size(path: Path, width: int, height: int) -> None:
    """Raises ValueError for a picture too small for a face, or too large to be decoded in good faith."""
    said = f"workload.portrait={path}: {width}x{height} px: "
    if min(width, height) < MIN_SIDE:
        raise ValueError(f"{said}too small for a face, at least {MIN_SIDE} px a side; use a larger picture")
    if max(width, height) > MAX_SIDE or width * height > MAX_PIXELS:
        raise ValueError(said + _too_large())


def _too_large() -> str:
    return f"at most {MAX_SIDE} px a side and {MAX_PIXELS // 10**6} megapixels are read; scale it down"


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
            except Image.DecompressionBombError as error:  # some plugins look at the size themselves
                raise ValueError(f"workload.portrait={path}: {_too_large()}") from error
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
def _check_whole(path: Path, mtime_ns: int, size: int) -> bool:
    """Decode once and throw away: OpenCV fills what a cut file lacks with grey and says nothing.

    Returns whether it is shown with its sides swapped.
    """
    with path.open("rb") as file, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        name, image = _opened(path, _first_bytes(path), file)
        if name == "JPEG":
            _check_scans(path)
        try:
            image.load()
        except _BROKEN as error:
            raise ValueError(
                f"workload.portrait={path}: not a readable image: the {name} breaks off or is damaged "
                f"({_line(error)}); take it anew from where it came, or use media/portrait.png"
            ) from error
        return _is_turned(image)


def _check_scans(path: Path) -> None:
    """A scan of a few bytes takes as long as one of the whole picture."""
    scans = segments = at = 0
    with path.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
        while (found := _MARKER.search(data, at)) and data[found.start() + 1] != _END:
            at = found.end()
            at += int.from_bytes(data[at : at + 2], "big")
            scans += data[found.start() + 1] == _SCAN
            segments += 1
            if scans > MAX_SCANS or segments > _MOST_SEGMENTS:
                raise ValueError(
                    f"workload.portrait={path}: a JPEG of more than {MAX_SCANS} scans, which no camera and "
                    "no program writes; save it again, or use media/portrait.png"
                )


def _is_turned(image: ImageFile) -> bool:
    """By the EXIF data alone, as OpenCV has it; Pillow's own getexif() also believes XMP data."""
    exif = Image.Exif()
    try:
        exif.load(image.info.get("exif", b""))
    except _BROKEN:
        return False
    return exif.get(_ORIENTATION) in (5, 6, 7, 8)


def _line(error: BaseException) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0][:200]
