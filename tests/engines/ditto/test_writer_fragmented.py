"""A fragmented MP4 plays up to its last fragment while it grows, and after its writer was killed."""

import shutil
import subprocess
import sys
from pathlib import Path

import av
import numpy as np
import pytest

from engines.ditto.writer import Mp4Writer, is_fragmented
from tests.engines.ditto.test_writer import HEIGHT, RATE, WIDTH, decoded, frames, noisy_faces, tone, write

ROOT = Path(__file__).parents[3]
CUT_OFF = """
import sys, time
from pathlib import Path
from engines.ditto.writer import Mp4Writer
from tests.engines.ditto.test_writer import HEIGHT, RATE, WIDTH, frames, tone
writer = Mp4Writer(Path(sys.argv[1]), WIDTH, HEIGHT, rate=RATE, container="fragmented")
writer.add_audio(tone(4))
for frame in frames(28):
    writer.add(frame)
print("written", flush=True)
time.sleep(60)
"""


def streaming(path, **settings):
    return Mp4Writer(path, WIDTH, HEIGHT, rate=RATE, container="fragmented", **settings)


def seen(path, tmp_path):
    """What a player finds in a file that is still open: a copy of it, decoded."""
    shutil.copy(path, tmp_path / "seen.mp4")
    return decoded(tmp_path / "seen.mp4")


def test_the_file_grows_under_its_own_name_and_the_first_fragment_comes_after_six_frames(tmp_path):
    path = tmp_path / "a.mp4"
    writer = streaming(path)
    assert writer.growing == path
    writer.add_audio(tone(0.5))
    for frame in frames(6):
        writer.add(frame)
    pictures, sound, _ = seen(path, tmp_path)
    assert len(pictures) == 5
    assert 0.1 * RATE < len(sound) < 0.4 * RATE
    writer.discard()


def test_frames_and_sound_stand_side_by_side_although_the_sound_came_first(tmp_path):
    path = tmp_path / "a.mp4"
    writer = streaming(path)
    writer.add_audio(tone(10))
    for frame in frames(50):
        writer.add(frame)
    pictures, sound, _ = seen(path, tmp_path)
    assert len(pictures) >= 45
    # no later than the last frame, and the encoder's own delay
    assert 1.7 * RATE < len(sound) < 2.2 * RATE
    writer.discard()


def test_once_the_sound_began_frames_do_not_wait_for_more_of_it(tmp_path):
    path = tmp_path / "a.mp4"
    writer = streaming(path)
    writer.add_audio(tone(1.2)[:4096])
    for frame in frames(30):
        writer.add(frame)
    pictures, _, _ = seen(path, tmp_path)
    assert len(pictures) >= 20
    writer.finish(tone(1.2)[4096:])
    pictures, sound, _ = decoded(path)
    assert len(pictures) == 30
    assert 1.2 * RATE <= len(sound) < 1.2 * RATE + 2048


def test_a_finished_file_has_all_frames_and_the_whole_sound_from_its_first_sample(tmp_path):
    path = tmp_path / "a.mp4"
    writer, sound = streaming(path), tone(1.2)
    for index, frame in enumerate(frames(30)):
        writer.add_audio(sound[index * 960 : index * 960 + 960])
        writer.add(frame)
    writer.finish()
    with av.open(str(path)) as container:
        times = [float(frame.time) for frame in container.decode(video=0)]
    np.testing.assert_allclose(times, np.arange(30) / 25, atol=1e-4)
    pictures, heard, rate = decoded(path)
    assert (len(pictures), rate) == (30, 25)
    assert np.abs(pictures[7].astype(float) - frames(8)[7]).mean() < 4
    assert 1.2 * RATE <= len(heard) < 1.2 * RATE + 2048
    # a tone that starts late, or an empty block in front, would not match sample by sample
    np.testing.assert_allclose(heard[2048:20000], sound[2048:20000], atol=0.05)
    assert is_fragmented(path)


def test_a_writer_that_was_killed_leaves_a_file_that_plays(tmp_path):
    path = tmp_path / "a.mp4"
    child = subprocess.Popen([sys.executable, "-c", CUT_OFF, str(path)], cwd=ROOT, stdout=subprocess.PIPE)
    assert child.stdout is not None
    assert child.stdout.readline() == b"written\n"
    child.kill()
    child.wait()
    child.stdout.close()
    pictures, sound, _ = decoded(path)
    assert len(pictures) == 25  # five whole fragments of five frames; the sixth was not complete
    assert 0.8 * RATE < len(sound) < 1.2 * RATE


def test_a_discarded_one_leaves_nothing_behind(tmp_path):
    writer = streaming(tmp_path / "a.mp4")
    writer.add_audio(tone(0.5))
    for frame in frames(12):
        writer.add(frame)
    assert (tmp_path / "a.mp4").stat().st_size > 0
    writer.discard()
    assert list(tmp_path.iterdir()) == []
    with pytest.raises(ValueError, match="the writer has ended"):
        writer.add(frames(1)[0])


def test_equal_input_gives_equal_bytes_with_slices_too(tmp_path):
    files = set()
    for _ in range(3):
        writer = Mp4Writer(tmp_path / "a.mp4", 180, 240, rate=RATE, threads=2, container="fragmented")
        for frame in noisy_faces(20):
            writer.add(frame)
        writer.finish(tone(0.8))
        files.add((tmp_path / "a.mp4").read_bytes())
    assert len(files) == 1


def test_an_mp4_of_the_default_kind_only_collects_the_sound(tmp_path):
    whole, sound = write(tmp_path / "whole.mp4", frames(30), 1.2), tone(1.2)
    writer = Mp4Writer(tmp_path / "pieces.mp4", WIDTH, HEIGHT, rate=RATE)
    for start, frame in zip(range(0, 30_000, 1000), frames(30), strict=True):
        writer.add_audio(sound[start : start + 1000])
        writer.add(frame)
    writer.finish()
    assert (tmp_path / "pieces.mp4").read_bytes() == whole.read_bytes()
    assert not is_fragmented(whole)
