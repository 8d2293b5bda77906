"""Whatever stops the writing comes as an error with the path; nothing hangs, nothing stays behind."""

import errno
import os
import shutil
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from engines.ditto.writer import Mp4Writer, is_fragmented
from tests.engines.ditto.test_writer import RATE, noisy_faces, tone

ROOT = Path(__file__).parents[3]
CONTAINERS = ["mp4", "fragmented"]
# A limit on the size of files stands in for a full disk; Python ignores SIGXFSZ, so writing fails with EFBIG.
LIMITED = """
import resource, sys
from pathlib import Path
from engines.ditto.writer import Mp4Writer
from tests.engines.ditto.test_writer import noisy_faces, tone
resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, 60_000))
writer = Mp4Writer(Path(sys.argv[1]), 180, 240, container=sys.argv[2])
try:
    for frame in noisy_faces(50):
        writer.add(frame)
    writer.finish(tone(2))
except OSError as error:
    print(error.errno, error.filename)
"""


def opened(path, container):
    return Mp4Writer(path, 180, 240, rate=RATE, container=container)


def fill(writer, count):
    writer.add_audio(tone(count / 25))
    for frame in noisy_faces(count):
        writer.add(frame)


@pytest.mark.parametrize("container", CONTAINERS)
def test_a_full_disk_is_an_error_with_the_path_and_no_file_stays(tmp_path, container):
    command = [sys.executable, "-c", LIMITED, str(tmp_path / "a.mp4"), container]
    told = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=30, check=False)
    assert told.stdout == f"{errno.EFBIG} {tmp_path / 'a.mp4'}\n", told.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_device_without_space_is_an_error_and_stays_where_it_is(tmp_path):
    place = tmp_path / "full.mp4"
    place.symlink_to("/dev/full")
    writer = opened(place, "fragmented")
    with pytest.raises(OSError, match="No space left on device; the video is lost") as raised:
        fill(writer, 20)
    assert (raised.value.errno, raised.value.filename) == (errno.ENOSPC, str(place))
    assert place.is_symlink()
    assert Path("/dev/full").exists()


def test_a_player_that_goes_away_is_a_broken_pipe_and_not_a_hang(tmp_path):
    pipe = tmp_path / "live.mp4"
    os.mkfifo(pipe)
    first = []

    def watch_a_little():
        with pipe.open("rb") as file:
            first.append(file.read(8))

    player = threading.Thread(target=watch_a_little)
    player.start()
    writer = opened(pipe, "fragmented")
    with pytest.raises(BrokenPipeError, match=r"live\.mp4"):
        for _ in range(20):  # more than a pipe holds
            fill(writer, 10)
    player.join(timeout=10)
    assert first[0][4:] == b"ftyp"
    assert pipe.is_fifo()


@pytest.mark.parametrize("container", CONTAINERS)
def test_a_folder_that_went_away_is_an_error_at_the_end(tmp_path, container):
    folder = tmp_path / "run"
    writer = opened(folder / "a.mp4", container)
    fill(writer, 2)
    shutil.rmtree(folder)
    with pytest.raises(FileNotFoundError, match=r"run/a\.mp4"):
        writer.finish(tone(0.1))


def test_a_name_that_is_a_folder_is_an_error_and_the_temporary_file_goes(tmp_path):
    (tmp_path / "a.mp4").mkdir()
    writer = opened(tmp_path / "a.mp4", "mp4")
    fill(writer, 2)
    with pytest.raises(IsADirectoryError, match=r"a\.mp4"):
        writer.finish(tone(0.1))
    assert [entry.name for entry in tmp_path.iterdir()] == ["a.mp4"]


@pytest.mark.parametrize("container", CONTAINERS)
def test_a_place_where_nothing_can_be_written_is_an_error_at_once(tmp_path, container):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(OSError, match="file"):
        opened(tmp_path / "file" / "a.mp4", container)


@pytest.mark.parametrize("content", [b"", b"\0\0\0\0abcd", b"no video at all"])
def test_a_file_that_is_no_mp4_is_not_called_one(tmp_path, content):
    (tmp_path / "a.mp4").write_bytes(content)
    with pytest.raises(ValueError, match=r"a\.mp4: no MP4 with media data"):
        is_fragmented(tmp_path / "a.mp4")
