"""What can be told of a checkpoint file without loading it: that it is truncated, a web page, a pointer."""

from __future__ import annotations

import struct
import zipfile
from pathlib import Path

_HEAD = 256
_ZIP = b"PK\x03\x04"
_PICKLE = b"\x80"


def file_complaint(path: Path) -> str:
    """Why the file cannot be a model of any kind, "" if it may be one."""
    try:
        with path.open("rb") as file:
            head = file.read(_HEAD)
    except OSError as error:
        return f"cannot be read ({error.strerror})"
    if not head:
        return "is an empty file"
    if head.startswith(b"version https://git-lfs"):
        return "is a Git LFS pointer of a few lines, not the file itself"
    if head.lstrip().lower().startswith((b"<!doctype", b"<html", b"<?xml")):
        return "is a web page, not the file itself"
    return ""


def pth_complaint(path: Path, least_bytes: int = 0) -> str:
    """What is wrong with a file of torch.save, "" if its frame is whole: reads the ends of the file alone.

    least_bytes  that its tensors take, where that is known
    """
    complaint = file_complaint(path)
    if complaint:
        return complaint
    with path.open("rb") as file:
        head = file.read(len(_ZIP))
    if head.startswith(_ZIP):
        complaint = _zip_complaint(path)
    elif not head.startswith(_PICKLE):
        complaint = "is neither a zip archive nor a pickle, as torch.save writes them"
    size = path.stat().st_size
    if not complaint and size < least_bytes:
        return f"has {size} bytes, its tensors need {least_bytes}: truncated, or of another model"
    return complaint


def _zip_complaint(path: Path) -> str:
    """torch.save stores without compression, so an entry that would grow on reading is refused."""
    try:
        with zipfile.ZipFile(path) as archive:
            entries = archive.infolist()
    except (zipfile.BadZipFile, NotImplementedError, ValueError, OSError, struct.error) as error:
        return f"is truncated or broken ({str(error)[:80]})"
    if not any(entry.filename.rpartition("/")[2] == "data.pkl" for entry in entries):
        return "is a zip archive without data.pkl, so not of torch.save"
    packed = [entry for entry in entries if entry.compress_type or entry.file_size != entry.compress_size]
    if packed:
        return "is a compressed zip archive, which torch.save never writes"
    if sum(entry.file_size for entry in entries) > path.stat().st_size:
        return "is a zip archive whose entries overlap, which torch.save never writes"
    return ""
