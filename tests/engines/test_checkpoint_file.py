"""A checkpoint file whose archive would grow on reading is told apart without reading it."""

from __future__ import annotations

import copy
import zipfile
from pathlib import Path

from engines.checkpoint_file import pth_complaint


def archive(path: Path, names: int) -> Path:
    """A stored archive of 10 KB whose table of contents names its one tensor so often."""
    with zipfile.ZipFile(path, "w") as file:
        file.writestr("archive/data.pkl", b"\x80\x02}.")
        file.writestr("archive/data/0", bytes(10_000))
        file.filelist += [copy.copy(file.filelist[-1]) for _ in range(names - 1)]
    return path


def test_an_archive_whose_tensor_stands_there_once_is_fine(tmp_path: Path) -> None:
    assert pth_complaint(archive(tmp_path / "decoder.pth", names=1)) == ""


def test_an_archive_that_gives_the_same_bytes_many_names_is_refused(tmp_path: Path) -> None:
    path = archive(tmp_path / "decoder.pth", names=5)
    with zipfile.ZipFile(path) as file:  # nothing in it is compressed: its entries alone add up to more
        assert {entry.compress_type for entry in file.infolist()} == {zipfile.ZIP_STORED}
        assert sum(entry.file_size for entry in file.infolist()) > 5 * 10_000 > 3 * path.stat().st_size
    assert pth_complaint(path) == "is a zip archive whose entries overlap, which torch.save never writes"
