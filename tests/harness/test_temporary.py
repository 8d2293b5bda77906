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

from harness import leftovers
from harness.point import Point
from harness.result import Measurement, Outcome
from tests.harness.points import point


def test_each_point_has_a_temporary_folder_of_its_own_that_goes_with_all_in_it() -> None:
    folder, other = leftovers.temporary("0123456789abcdef.point.0"), leftovers.temporary("0123456789abcdef.p")
    (folder / "deep" / "deeper").mkdir(parents=True)
    (folder / "deep" / "deeper" / "frame.png").write_bytes(b"frame")
    (folder / "deep" / "frame.png").symlink_to("deeper/frame.png")
    leftovers.remove_temporary(folder)
    assert not folder.exists()
    assert other.is_dir()
    leftovers.remove_temporary(other)
    leftovers.remove_temporary(other)  # it is gone already


def test_no_file_is_written_to_find_out_where_temporary_folders_can_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A harness that is killed between writing and removing it would leave it for ever."""
    monkeypatch.setattr(tempfile, "tempdir", None)
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    assert leftovers.temporary("token.point.0").parent == tmp_path
    assert tempfile.tempdir is None  # where Python remembers that it has tried one


def test_a_link_out_of_the_temporary_folder_is_removed_and_what_it_leads_to_is_not(tmp_path: Path) -> None:
    (tmp_path / "weights.bin").touch()
    folder = leftovers.temporary("token.point.0")
    (folder / "cache").symlink_to(tmp_path)
    leftovers.remove_temporary(folder)
    assert not folder.exists()
    assert (tmp_path / "weights.bin").exists()


def test_a_temporary_folder_is_short_enough_for_the_sockets_of_multiprocessing() -> None:
    folder = leftovers.temporary(f"{secrets.token_hex(8)}.0123456789ab.0")
    inner = folder / "pymp-abcdefgh"
    inner.mkdir()
    with contextlib.closing(socket.socket(socket.AF_UNIX)) as line:
        line.bind(str(inner / "listener-abcdefgh"))
    leftovers.remove_temporary(folder)
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
        folder = leftovers.temporary("token.point.0")
        inner = folder / "modules" / "cache"
        inner.mkdir(parents=True)
        (inner / "a.pyc").touch()
        for one in (inner, inner.parent, folder):
            one.chmod(mode)
        assert leftovers.remove_temporary(folder) == ""
    assert not folder.exists()


def test_what_a_link_leads_to_is_not_opened_up() -> None:
    with plain_user():
        folder, elsewhere = leftovers.temporary("token.point.0"), leftovers.temporary("token.other.0")
        (folder / "read-only").mkdir()
        (folder / "read-only" / "weights").symlink_to(elsewhere)
        for one in (folder / "read-only", elsewhere):
            one.chmod(0o500)
        assert leftovers.remove_temporary(folder) == ""
        assert elsewhere.stat().st_mode & 0o777 == 0o500
        assert leftovers.remove_temporary(elsewhere) == ""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root makes another user's file")
def test_what_stays_is_told() -> None:
    with plain_user():
        folder = leftovers.temporary("token.point.0")
        (folder / "mine").touch()
    (folder / "roots").mkdir()
    (folder / "roots" / "file").touch()
    with plain_user():
        assert leftovers.remove_temporary(folder) == str(folder)
    assert [path.name for path in folder.iterdir()] == ["roots"]
    assert leftovers.remove_temporary(folder) == ""


def test_the_evidence_of_a_point_says_what_stays(
    measured: Callable[[Point], Measurement], monkeypatch: pytest.MonkeyPatch
) -> None:
    remove = leftovers.remove_temporary
    monkeypatch.setattr(
        leftovers, "remove_temporary", lambda folder: remove(folder) or f"{folder.name} stays"
    )
    result = measured(point()).result
    assert result.outcome is Outcome.OK
    assert result.evidence["temporary_left"].endswith(" stays")
