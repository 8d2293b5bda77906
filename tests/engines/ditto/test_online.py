"""Ditto's online mode at tiny size: frames while the sound comes, the same video however it is cut."""

import dataclasses
import hashlib
from pathlib import Path

import numpy as np
import pytest
import torch

from engines.contract import Job, Piece
from engines.ditto.pipeline import Ditto

PORTRAIT = Path(__file__).parents[3] / "media" / "portrait.png"
# Half of a tiny window's 20 frames or more are shared; 15 leave 5 new ones, as 75 of 80 do at full size.
OVERLAP = 15


@pytest.fixture(scope="module")
def ditto():
    before = torch.get_num_threads()
    component = Ditto(device="cpu", size="tiny", steps=2, mode="online", overlap=OVERLAP)
    component.load()
    component.build()
    yield component
    torch.set_num_threads(before)


@pytest.fixture
def job(tmp_path):
    return Job(0, "", "en", "", str(PORTRAIT), 96, 128, str(tmp_path / "out.mp4"), 7, None)


def sound(seconds, piece, rate):
    samples = round(seconds * rate)
    tone = (0.4 * np.sin(2 * np.pi * 220 * np.arange(samples) / rate)).astype(np.float32)
    parts = [tone[start : start + piece] for start in range(0, samples, piece)]
    return [Piece("audio", part, len(part), rate) for part in parts]


def drawn(component, job, pieces):
    """(pieces of sound taken when each frame came, the video), pulled from the end as executors do."""
    taken, moments = [0], []

    def given():
        for piece in pieces:
            taken[0] += 1
            yield piece

    def through(stage, flow):
        for piece in flow:
            yield from stage.feed(piece)
        yield from stage.flush()

    def watched(flow):
        for piece in flow:
            moments.append(taken[0])
            yield piece

    flow = given()
    for stage in component.stages(job):
        flow = through(stage, flow)
        if stage.name == "putback":
            flow = watched(flow)
    (video,) = flow
    return moments, video


def test_frames_come_as_soon_as_the_sound_for_them_is_there(ditto, job):
    moments, video = drawn(ditto, job, sound(1.0, 80, 16_000))  # 5 ms a piece, and no resampling
    assert video.data["frames"] == len(moments) == 25
    # the first 5 frames after 485 ms, 5 more with every 200 ms, the rest when all has been said
    assert [moments.count(count) for count in (97, 137, 177)] == [5, 5, 5]
    assert moments.count(200) == 10


def test_batches_and_frames_in_flight_hold_no_frame_back(ditto, job, tmp_path):
    pieces = sound(0.7, 80, 16_000)
    at_once, _ = drawn(ditto, job, pieces)
    component = Ditto(
        device="cpu", size="tiny", steps=2, mode="online", overlap=OVERLAP, batch=4, in_flight=3
    )
    component.load()
    component.build()
    assert drawn(component, job, pieces)[0] == at_once


def test_the_resampler_adds_40_ms_at_most(ditto, job):
    moments, _ = drawn(ditto, job, sound(0.7, 120, 24_000))  # 5 ms a piece
    assert 97 <= moments[0] <= 97 + 8


def test_how_the_sound_is_cut_changes_no_byte_of_the_video(ditto, job, tmp_path):
    def digest(piece):
        output = tmp_path / f"{piece}.mp4"
        drawn(ditto, dataclasses.replace(job, output=str(output)), sound(0.9, piece, 24_000))
        return hashlib.sha256(output.read_bytes()).hexdigest()

    assert digest(777) == digest(5000) == digest(24_000)


# 12,800 samples are 20 frames; one more begins the 21st. 320 samples are less than one.
@pytest.mark.parametrize(("samples_16k", "frames"), [(12_800, 20), (12_801, 21), (320, 1), (3200, 5)])
def test_a_clip_has_25_frames_a_second_as_offline(ditto, job, samples_16k, frames):
    moments, video = drawn(ditto, job, sound(samples_16k / 16_000, 1000, 16_000))
    assert len(moments) == video.data["frames"] == frames


def test_the_stages_have_the_names_that_limits_know(ditto, job):
    names = ["source", "features", "motion", "stitch", "warp", "decode", "putback", "write"]
    assert [stage.name for stage in ditto.stages(job)] == names


def test_a_job_without_sound_says_so(ditto, job):
    with pytest.raises(ValueError, match="job 0: no audio came"):
        drawn(ditto, job, [])
    with pytest.raises(ValueError, match="job 0: no audio came"):
        drawn(ditto, job, [Piece("audio", np.zeros(0, np.float32), 0, 24_000)])


def test_warming_up_runs_online_and_leaves_no_file(ditto, job, tmp_path):
    ditto.warm_up(job)
    assert list(tmp_path.iterdir()) == []
