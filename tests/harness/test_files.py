"""Files that a point names: another content under the same path is seen, a new time stamp alone is not."""

from __future__ import annotations

import hashlib
import os
from dataclasses import replace
from pathlib import Path

import pytest

from harness import files
from harness.point import Point
from tests.harness.points import avatar, point

OLD, SINCE, NEW = 1_000_000, 1_500_000, 2_000_000  # s since the epoch


@pytest.fixture
def made(tmp_path: Path) -> Point:
    """A point with a portrait, its crop, a voice clip and a folder of weights, all older than SINCE."""
    (tmp_path / "weights/models").mkdir(parents=True)
    for name in ("me.png", "me.json", "me.wav", "weights/models/net.pth"):
        (tmp_path / name).write_bytes(name.encode())
    for path in tmp_path.rglob("*"):
        os.utime(path, (OLD, OLD))
    named = {"portrait": str(tmp_path / "me.png"), "voice": str(tmp_path / "me.wav")}
    base = point(avatar=avatar(weights=str(tmp_path / "weights"), note="and/or, a text"))
    return replace(base, workload={**base.workload, **named})


def test_small_files_are_told_by_their_contents_and_folders_are_not_read(made: Point, tmp_path: Path) -> None:
    found = files.contents(made)
    wanted = {name: hashlib.sha256(name.encode()).hexdigest() for name in ("me.json", "me.png", "me.wav")}
    assert found == {str(tmp_path / name): digest for name, digest in wanted.items()}


def test_a_file_touched_and_not_changed_is_the_same(made: Point, tmp_path: Path) -> None:
    before = files.contents(made)
    os.utime(tmp_path / "me.png", (NEW, NEW))
    assert files.changed(made, before, SINCE) == ""


@pytest.mark.parametrize("name", ["me.png", "me.json", "me.wav"])
def test_another_content_is_seen_whatever_the_time_stamp_says(made: Point, tmp_path: Path, name: str) -> None:
    before = files.contents(made)
    (tmp_path / name).write_bytes(b"another")
    os.utime(tmp_path / name, (OLD, OLD))
    assert files.changed(made, before, SINCE) == str(tmp_path / name)


def test_a_newer_network_in_a_folder_is_seen_by_its_time(made: Point, tmp_path: Path) -> None:
    before = files.contents(made)
    (tmp_path / "weights/nowhere").symlink_to(tmp_path / "gone")
    os.utime(tmp_path / "weights", (OLD, OLD))
    assert files.changed(made, before, SINCE) == ""
    os.utime(tmp_path / "weights/models/net.pth", (NEW, NEW))
    assert files.changed(made, before, SINCE) == str(tmp_path / "weights")


def test_a_result_without_digests_falls_back_on_times(made: Point, tmp_path: Path) -> None:
    assert files.changed(made, {}, SINCE) == ""
    os.utime(tmp_path / "me.wav", (NEW, NEW))
    assert files.changed(made, {}, SINCE) == str(tmp_path / "me.wav")


def test_what_was_built_into_the_cache_meanwhile_is_no_change(made: Point, tmp_path: Path) -> None:
    before = files.contents(made)
    (tmp_path / "cache").mkdir()
    cached = replace(made, avatar=made.avatar | {"cache": str(tmp_path / "cache")})
    assert files.changed(cached, before, SINCE) == ""
