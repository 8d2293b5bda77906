"""The MP4 writer gives playable files, the same bytes for the same input, and leaves nothing behind."""

import gc

import av
import numpy as np
import pytest

from engines.ditto.writer import Mp4Writer

WIDTH, HEIGHT, RATE = 96, 64, 24_000


def frames(count):
    """Smooth colours that brighten, and a grey square that moves."""
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    colours = np.stack([x + 40, 2 * y + 20, 200 - x - y], axis=2)
    pictures = [np.clip(colours + i, 0, 255).astype(np.uint8) for i in range(count)]
    for i, picture in enumerate(pictures):
        picture[20:40, i : i + 20] = 128
    return pictures


def noisy_faces(count):
    """A still picture with noise in the middle, 240 px high: what an untrained decoder gives."""
    random = np.random.default_rng(0)
    pictures = []
    for _ in range(count):
        picture = np.full((240, 180, 3), 200, np.uint8)
        picture[60:160, 40:140] = random.integers(0, 255, (100, 100, 3))
        pictures.append(picture)
    return pictures


def tone(seconds):
    return (0.5 * np.sin(2 * np.pi * 440 * np.arange(round(seconds * RATE)) / RATE)).astype(np.float32)


def write(path, pictures, seconds, threads=1, threading="slices"):
    height, width = pictures[0].shape[:2]
    writer = Mp4Writer(path, width, height, rate=RATE, threads=threads, threading=threading)
    for frame in pictures:
        writer.add(frame)
    writer.finish(tone(seconds))
    return path


def decoded(path):
    with av.open(str(path)) as container:
        pictures = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
        container.seek(0)
        sound = np.concatenate([frame.to_ndarray()[0] for frame in container.decode(audio=0)])
        rate = container.streams.video[0].average_rate
    return pictures, sound, rate


def test_all_frames_and_the_whole_sound_are_in_one_file(tmp_path):
    path = write(tmp_path / "new" / "a.mp4", frames(30), 1.2)
    pictures, sound, rate = decoded(path)
    assert (len(pictures), rate) == (30, 25)
    assert pictures[0].shape == (HEIGHT, WIDTH, 3)
    # colours are halved in resolution and quantised: close, not equal
    assert np.abs(pictures[7].astype(float) - frames(8)[7]).mean() < 4
    # AAC pads its last block of 1024 samples
    assert 1.2 * RATE <= len(sound) < 1.2 * RATE + 2048
    assert np.abs(sound[2048:20000]).max() == pytest.approx(0.5, abs=0.05)
    assert [file.name for file in path.parent.iterdir()] == ["a.mp4"]


@pytest.mark.parametrize(("threads", "threading"), [(1, "slices"), (2, "slices"), (4, "frames")])
def test_equal_input_gives_equal_bytes(tmp_path, threads, threading):
    # more frames than the encoder looks ahead: there its rate control once differed from run to run
    pictures = noisy_faces(50)
    files = {write(tmp_path / f"{i}.mp4", pictures, 0.4, threads, threading).read_bytes() for i in range(6)}
    assert len(files) == 1


def test_threads_with_a_frame_each_hold_frames_back_and_lose_none(tmp_path):
    pictures = frames(30)
    sliced, framed = (
        decoded(write(tmp_path / f"{threading}.mp4", pictures, 1.2, 4, threading))
        for threading in ("slices", "frames")
    )
    assert len(sliced[0]) == len(framed[0]) == 30
    # the same quality, in other bits
    assert max(np.abs(a.astype(int) - b).mean() for a, b in zip(sliced[0], framed[0], strict=True)) < 1


def test_sound_out_of_range_is_clipped_instead_of_wrapped(tmp_path):
    writer = Mp4Writer(tmp_path / "a.mp4", WIDTH, HEIGHT, rate=RATE)
    writer.add(frames(1)[0])
    writer.finish(4 * tone(0.5))
    _, sound, _ = decoded(tmp_path / "a.mp4")
    assert 0.9 < np.abs(sound).max() < 1.3


def test_a_frame_of_another_size_ends_the_file_and_removes_it(tmp_path):
    writer = Mp4Writer(tmp_path / "a.mp4", WIDTH, HEIGHT)
    writer.add(frames(1)[0])
    with pytest.raises(ValueError, match="frame 1 is 32x64, the video is 96x64"):
        writer.add(frames(1)[0][:, :32])
    assert list(tmp_path.iterdir()) == []


def test_a_writer_that_is_forgotten_leaves_no_temporary_file(tmp_path):
    writer = Mp4Writer(tmp_path / "a.mp4", WIDTH, HEIGHT)
    for frame in frames(70):  # more than the encoder holds back
        writer.add(frame)
    assert [file.name for file in tmp_path.iterdir()] == ["a.mp4.tmp.mp4"]
    del writer, frame
    gc.collect()
    assert list(tmp_path.iterdir()) == []
