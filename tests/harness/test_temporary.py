"""Temporary files of a point: in a folder of its own, which goes with whatever is in it."""

from __future__ import annotations

import contextlib
import os
import secrets
import socket
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from harness import temporary
from harness.point import Point
from harness.result import Measurement, Outcome
from tests.harness.points import point


def test_each_point_has_a_temporary_folder_of_its_own_that_goes_with_all_in_it() -> None:
    folder, other = temporary.make("0123456789abcdef.point.0"), temporary.make("0123456789abcdef.p")
    (folder / "deep" / "deeper").mkdir(parents=True)
    (folder / "deep" / "deeper" / "frame.png").write_bytes(b"frame")
    (folder / "deep" / "frame.png").symlink_to("deeper/frame.png")
    temporary.remove(folder)
    assert not folder.exists()
    assert other.is_dir()
    temporary.remove(other)
    temporary.remove(other)  # it is gone already


@pytest.mark.parametrize("missing", [[], ["TMPDIR"], ["TMPDIR", "TEMP"], ["TMPDIR", "TEMP", "TMP"]])
def test_temporary_files_are_where_python_puts_them(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, missing: list[str]
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", None)
    for name in ("TMPDIR", "TEMP", "TMP"):
        (tmp_path / name).mkdir(exist_ok=True)
        monkeypatch.setenv(name, str(tmp_path / name))
    for name in missing:
        monkeypatch.setenv(name, str(tmp_path / "nothing"))
    assert str(temporary.root()) == tempfile.gettempdir()


def test_where_tmp_cannot_be_used_the_folders_are_tried_that_python_tries(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("TMPDIR", "TEMP", "TMP"):
        monkeypatch.delenv(name, raising=False)
    *elsewhere, here = tempfile._candidate_tempdir_list()
    assert (temporary._ELSE, here) == ((*elsewhere, "."), str(Path.cwd()))
    usable, no_folder = tmp_path / "usable", tmp_path / "file"
    usable.mkdir()
    no_folder.touch(mode=0o755)
    monkeypatch.setattr(temporary, "_ELSE", (str(tmp_path / "nothing"), str(no_folder), str(usable)))
    assert temporary.root() == usable
    monkeypatch.setattr(temporary, "_ELSE", (str(tmp_path / "nothing"), "."))
    monkeypatch.chdir(tmp_path)
    assert temporary.root() == tmp_path


def test_a_current_folder_that_is_gone_is_no_temp_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "gone").mkdir()
    monkeypatch.chdir(tmp_path / "gone")
    (tmp_path / "gone").rmdir()
    monkeypatch.setenv("TMPDIR", ".")
    monkeypatch.setattr(temporary, "_ELSE", (str(tmp_path), "."))
    assert temporary.root() == tmp_path
    monkeypatch.setattr(temporary, "_ELSE", (".",))
    assert temporary.root() == Path("/tmp")  # whoever writes there is told why that fails


def test_a_relative_temp_folder_counts_from_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("TMPDIR", ".")
    assert temporary.root() == tmp_path  # a point's processes may work elsewhere


def test_no_file_is_written_to_find_out_where_temporary_folders_can_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A harness that is killed between writing and removing it would leave it for ever."""
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    assert temporary.make("token.point.0").parent == tmp_path
    assert tempfile.tempdir is None  # where Python remembers that it has tried one


def test_a_link_out_of_the_temporary_folder_is_removed_and_what_it_leads_to_is_not(tmp_path: Path) -> None:
    (tmp_path / "weights.bin").touch()
    folder = temporary.make("token.point.0")
    (folder / "cache").symlink_to(tmp_path)
    temporary.remove(folder)
    assert not folder.exists()
    assert (tmp_path / "weights.bin").exists()


def test_a_temporary_folder_is_short_enough_for_the_sockets_of_multiprocessing() -> None:
    folder = temporary.make(f"{secrets.token_hex(8)}.0123456789ab.0")
    inner = folder / "pymp-abcdefgh"
    inner.mkdir()
    with contextlib.closing(socket.socket(socket.AF_UNIX)) as line:
        line.bind(str(inner / "listener-abcdefgh"))
    temporary.remove(folder)
    assert not folder.exists()


@contextlib.contextmanager
def plain_user() -> Iterator[None]:
    """Root may write to any folder; this one may not."""
    is_root = os.geteuid() == 0
    if is_root:
        os.seteuid(65_534)
    try:
        yield
    finally:
        if is_root:
            os.seteuid(0)


@pytest.mark.parametrize("mode", [0o500, 0o000])
def test_folders_that_a_point_made_read_only_go_all_the_same(mode: int) -> None:
    with plain_user():
        folder = temporary.make("token.point.0")
        inner = folder / "modules" / "cache"
        inner.mkdir(parents=True)
        (inner / "a.pyc").touch()
        for one in (inner, inner.parent, folder):
            one.chmod(mode)
        assert temporary.remove(folder) == ""
    assert not folder.exists()


def test_what_a_link_leads_to_is_not_opened_up() -> None:
    with plain_user():
        folder, elsewhere = temporary.make("token.point.0"), temporary.make("token.other.0")
        (folder / "read-only").mkdir()
        (folder / "read-only" / "weights").symlink_to(elsewhere)
        for one in (folder / "read-only", elsewhere):
            one.chmod(0o500)
        assert temporary.remove(folder) == ""
        assert elsewhere.stat().st_mode & 0o777 == 0o500
        assert temporary.remove(elsewhere) == ""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root makes another user's file")
def test_what_stays_is_told() -> None:
    with plain_user():
        folder = temporary.make("token.point.0")
        (folder / "mine").touch()
    (folder / "roots").mkdir()
    (folder / "roots" / "file").touch()
    with plain_user():
        assert temporary.remove(folder) == str(folder)
    assert [path.name for path in folder.iterdir()] == ["roots"]
    assert temporary.remove(folder) == ""


def test_the_evidence_of_a_point_says_what_stays(
    measured: Callable[[Point], Measurement], monkeypatch: pytest.MonkeyPatch
) -> None:
    remove = temporary.remove
    monkeypatch.setattr(temporary, "remove", lambda folder: remove(folder) or f"{folder.name} stays")
    result = measured(point()).result
    assert result.outcome is Outcome.OK
    assert result.evidence["temporary_left"].endswith(" stays")
