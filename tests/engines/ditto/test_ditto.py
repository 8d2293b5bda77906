"""Ditto from sound and portrait to a video, at tiny size on the CPU."""

import dataclasses
import threading
from pathlib import Path

import av
import numpy as np
import pytest
import torch

from engines.contract import Job, Piece
from engines.ditto.networks import build
from engines.ditto.pipeline import Ditto

PORTRAIT = Path(__file__).parents[3] / "media" / "portrait.png"
RATE = 24_000
NAMES = ["source", "features", "motion", "stitch", "warp", "decode", "putback", "write"]


@pytest.fixture(scope="module")
def ditto():
    before = torch.get_num_threads()
    component = Ditto(device="cpu", size="tiny", steps=5)
    component.load()
    component.build()
    yield component
    torch.set_num_threads(before)


@pytest.fixture
def job(tmp_path):
    return Job(
        index=0,
        text="",
        language="en",
        voice="",
        portrait=str(PORTRAIT),
        width=180,
        height=240,
        output=str(tmp_path / "out.mp4"),
        seed=7,
        num_tokens=None,
    )


def sound(seconds, pieces=3):
    """A tone in pieces of unequal length."""
    samples = round(seconds * RATE)
    tone = (0.4 * np.sin(2 * np.pi * 220 * np.arange(samples) / RATE)).astype(np.float32)
    cuts = [samples * i * i // pieces**2 for i in range(1, pieces)]
    return [Piece("audio", part, len(part), RATE) for part in np.split(tone, cuts)]


def run(component, job, pieces):
    """What each stage gave out, driven depth first like the executors do."""
    stages = component.stages(job)
    given = {stage.name: [] for stage in stages}

    def push(index, piece):
        for result in stages[index].feed(piece):
            forward(index, result)

    def forward(index, result):
        given[stages[index].name].append(result)
        if index + 1 < len(stages):
            push(index + 1, result)

    for piece in pieces:
        push(0, piece)
    for index, stage in enumerate(stages):
        for result in stage.flush():
            forward(index, result)
    return given


def decoded(path):
    with av.open(path) as container:
        pictures = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
        container.seek(0)
        samples = sum(frame.samples for frame in container.decode(audio=0))
    return pictures, samples


# tiny windows have 20 frames, 10 of them new: 42 frames take 5, 5 frames less than one, 103 frames 11
@pytest.mark.parametrize(
    ("audio_s", "frames"),
    [(0.2, 5), *(pytest.param(*clip, marks=pytest.mark.slow) for clip in ((1.66, 42), (4.12, 103)))],
)
def test_a_clip_has_25_frames_a_second_and_all_of_its_sound(ditto, job, audio_s, frames):
    given = run(ditto, job, sound(audio_s))
    pictures, samples = decoded(job.output)
    assert len(pictures) == frames
    assert {picture.shape for picture in pictures} == {(240, 180, 3)}
    assert audio_s * RATE <= samples < audio_s * RATE + 2048
    (video,) = given["write"]
    assert (video.kind, video.count) == ("video", frames)
    assert video.data == {"path": job.output, "frames": frames, "audio_s": pytest.approx(audio_s, abs=1e-4)}
    assert sum(piece.count for piece in given["putback"] if piece.kind == "frame") == frames


def test_the_face_moves_and_the_rest_of_the_picture_does_not(ditto, job):
    given = run(ditto, job, sound(1.0))
    spread = np.stack([piece.data for piece in given["putback"]]).std(axis=0).max(axis=2)
    # the stored crop is 1242 of 1920 px high around row 767: rows 18 to 173 of 240
    assert spread[:17].max() == 0
    assert spread[175:].max() == 0
    assert spread[70:120, 60:120].max() > 1


def test_stages_are_named_in_order(ditto, job):
    assert [stage.name for stage in ditto.stages(job)] == NAMES


def test_a_stage_does_its_work_one_frame_at_a_time(ditto, job, monkeypatch):
    calls = []
    stitch = ditto.models.stitch
    monkeypatch.setattr(ditto.models, "stitch", lambda *points: calls.append(1) or stitch(*points))
    keypoints = ditto.stages(job)[3].feed(Piece("motion", np.zeros((1000, 265), np.float32), 1000))
    assert calls == []
    for _ in range(3):
        next(keypoints)
    assert len(calls) == 3


def test_the_same_job_gives_the_same_bytes_alone_and_beside_others(ditto, job, tmp_path):
    run(ditto, job, sound(0.6))
    reference = Path(job.output).read_bytes()
    torch.manual_seed(1)
    jobs = [dataclasses.replace(job, output=str(tmp_path / f"{i}.mp4")) for i in range(2)]
    threads = [threading.Thread(target=run, args=(ditto, other, sound(0.6))) for other in jobs]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [Path(other.output).read_bytes() == reference for other in jobs] == [True, True]


def test_another_seed_gives_another_motion(ditto, job):
    other = dataclasses.replace(job, seed=8)
    first, second = (run(ditto, each, sound(0.2))["motion"][0].data for each in (job, other))
    assert np.abs(first - second).max() > 1e-3


def test_the_portrait_is_read_once_for_each_size(ditto, job, tmp_path):
    def source(width):
        other = dataclasses.replace(job, width=width)
        stage = ditto.stages(other)[0]
        list(stage.feed(sound(0.2)[0]))
        return stage.clip.source

    assert source(180) is source(180)
    assert source(200) is not source(180)
    assert source(200).size == (200, 240)


def test_what_ran_is_attested(ditto, job):
    run(ditto, job, sound(0.2))
    attest = ditto.attest()
    assert list(attest["stages"]) == NAMES
    assert {attest["stages"][name]["backend"] for name in NAMES[:6]} == {"eager"}
    assert {attest["stages"][name]["dtype"] for name in NAMES[:6]} == {"float32"}
    assert {attest["stages"][name]["device"] for name in NAMES} == {"cpu"}
    assert (attest["weights"], attest["device"], attest["size"]) == ("random", "cpu", "tiny")
    hubert = sum(weight.numel() for weight in build("hubert", "tiny", "meta").parameters())
    assert attest["parameters"] - hubert == 4_462_265  # of the reference's tiny networks
    assert attest["versions"]["torch"] == torch.__version__
    assert ditto.memory() == {}


def test_warming_up_leaves_no_file(ditto, job, tmp_path):
    ditto.warm_up(job)
    assert list(tmp_path.iterdir()) == []


def test_a_job_without_sound_says_so(ditto, job):
    with pytest.raises(ValueError, match="job 0: no audio came"):
        run(ditto, job, [])


@pytest.mark.parametrize(
    ("samples", "fault"),
    [(None, "no samples"), (np.array([0, np.nan], np.float32), "samples that are not finite")],
)
def test_sound_that_is_none_is_refused_where_it_comes_in(ditto, job, samples, fault):
    with pytest.raises(ValueError, match=f"job 0: the TTS gave {fault}; Ditto needs sound, as from tts=xtts"):
        run(ditto, job, [Piece("audio", samples, 2, RATE)])


def test_sound_at_two_rates_is_refused(ditto, job):
    first, second = sound(0.2, pieces=2)
    with pytest.raises(ValueError, match="audio at 24000 and 16000 Hz"):
        run(ditto, job, [first, dataclasses.replace(second, rate=16_000)])


@pytest.mark.slow
def test_the_full_size_runs_too(job):
    before = torch.get_num_threads()
    component = Ditto(device="cpu", size="full", steps=2, cpu_threads=2)
    component.load()
    component.build()
    try:
        run(component, job, sound(0.2))
    finally:
        torch.set_num_threads(before)
    assert len(decoded(job.output)[0]) == 5
    # 177,683,715 in the reference's networks, and HuBERT's 315.4 M
    assert component.attest()["parameters"] - 177_683_715 == pytest.approx(315.4e6, abs=0.1e6)
