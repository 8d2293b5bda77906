"""A portrait or video that detectors read becomes a source, once per content and size, and is told of."""

import dataclasses
import json
from pathlib import Path

import numpy as np
import pytest
import torch

from engines.contract import Job, NotApplicable, Piece
from engines.ditto.compose import PutBack
from engines.ditto.pipeline import Ditto
from engines.ditto.registration import smooth
from tests.engines.ditto import face_models
from tests.engines.ditto.test_source import blue, film, with_blue

PORTRAIT = Path(__file__).parents[3] / "media" / "portrait.png"


@pytest.fixture(scope="module")
def ditto(tmp_path_factory):
    before = torch.get_num_threads()
    folder = face_models.folder(tmp_path_factory.mktemp("faces"))
    component = Ditto(device="cpu", size="tiny", steps=2, faces=str(folder), smo_k_s=3)
    component.load()
    component.build()
    yield component
    torch.set_num_threads(before)


def job(portrait, **changes):
    job = Job(0, "", "en", "", str(portrait), 128, 128, "out.mp4", seed=7, num_tokens=None)
    return dataclasses.replace(job, **changes)


def source(component, job):
    return component.stages(job)[0].clip.source


def test_a_photo_becomes_a_source_of_one_frame(ditto, tmp_path):
    found = source(ditto, job(with_blue(tmp_path, (7, 5), (9, 9))))
    assert (found.is_image, found.size, len(found.infos), len(found.features)) == (True, (128, 128), 1, 1)
    assert (found.eye_open.shape, found.eye_ball.shape) == ((1, 2), (1, 6))
    told = ditto.attest()["faces"]["portraits"]["photo.png 128x128"]
    assert (told["faces"], told["frames"]) == (2, 1)


def test_a_film_becomes_a_source_of_its_frames_played_to_the_end_and_back(ditto, tmp_path):
    path = film(tmp_path / "film.mp4", [blue((7, 5), level=level) for level in (0, 40, 80)])
    found = source(ditto, job(path))
    assert (found.is_image, len(found.infos), found.eye_open.shape) == (False, 3, (3, 2))
    assert [found.at(frame) for frame in range(8)] == [0, 1, 2, 2, 1, 0, 0, 1]
    # Far from the face each frame shows its own background.
    black = np.zeros((64, 64, 3), np.float32)
    corners = [int(found.put_back(frame)(black)[-1, -1, 0]) for frame in range(3)]
    assert corners == pytest.approx([0, 40, 80], abs=2)
    assert ditto.attest()["faces"]["portraits"]["film.mp4 128x128"]["frames"] == 3


def test_the_first_frames_keypoints_stay_as_they_were_while_the_pose_is_smoothed(ditto, tmp_path):
    path = film(tmp_path / "film.mp4", [blue((7, 5), level=level) for level in (0, 90, 180)])
    found = source(ditto, job(path))
    # smo_k_s=3: of the first frame the mean of two is kept
    assert np.abs(found.keypoints - found.infos[0]["kp"].reshape(-1)).max() > 0
    alone = source(ditto, job(film(tmp_path / "one.mp4", [blue((7, 5))])))
    np.testing.assert_allclose(found.keypoints, alone.infos[0]["kp"].reshape(-1), atol=1e-3)


def test_smoothing_takes_fewer_frames_at_the_ends():
    infos = [{"t": np.array([[value]], np.float32)} for value in (1, 2, 6, 7)]
    values = [info["t"].item() for info in smooth(infos, 3)]
    assert values == pytest.approx([1.5, 3, 5, 6.5])
    assert [info["t"].item() for info in smooth(infos, 1)] == [1, 2, 6, 7]
    # an even number reaches as far as the next odd one, as upstream's
    assert smooth(infos, 2)[1]["t"].item() == 3


def test_a_film_plays_through_all_stages(ditto, tmp_path):
    path = film(tmp_path / "film.mp4", [blue((7, 5), level=level) for level in (0, 40, 80)])
    pieces = [Piece("audio", np.zeros(4800, np.float32), 4800, 24_000)]
    for stage in ditto.stages(job(path, output=str(tmp_path / "out.mp4"))):
        pieces = [out for piece in pieces for out in stage.feed(piece)] + list(stage.flush())
    assert pieces[-1].data["frames"] == 5


def test_the_same_picture_under_another_name_is_read_once(ditto, tmp_path):
    first, other = (job(with_blue(tmp_path, (7, 5), name=name)) for name in ("a.png", "b.png"))
    assert source(ditto, first) is source(ditto, other)
    changed = job(with_blue(tmp_path, (7, 6), name="c.png"))
    assert source(ditto, changed) is not source(ditto, first)
    assert source(ditto, dataclasses.replace(first, width=256, height=256)) is not source(ditto, first)


def test_a_job_without_a_face_fails_in_one_line_and_the_next_one_works(ditto, tmp_path):
    with pytest.raises(ValueError, match=r"empty\.png: no face found"):
        source(ditto, job(with_blue(tmp_path, name="empty.png")))
    assert source(ditto, job(with_blue(tmp_path, (7, 5)))).is_image


def test_what_runs_is_read_back_as_plain_data(ditto, tmp_path):
    source(ditto, job(with_blue(tmp_path, (7, 5))))
    told = json.loads(json.dumps(ditto.attest()))
    assert told["faces"]["backends"]["det_10g.onnx"]["backend"] == "onnxruntime CPUExecutionProvider"
    assert told["versions"]["onnxruntime"]
    ran = {"device": "cpu", "size": "tiny", "precision": "fp32", "steps": 2}
    assert {key: told["ran"][key] for key in ran} == ran


def test_a_stored_crop_is_told_too():
    component = Ditto(device="cpu", size="tiny", steps=2)
    component.load()
    component.build()
    assert isinstance(source(component, job(PORTRAIT)).put_back(0), PutBack)
    faces = component.attest()["faces"]
    assert faces["backends"] == {"stored crop": {"backend": "json"}}
    assert faces["portraits"]["portrait.png 128x128"]["faces"] is None


def test_missing_detectors_are_told_before_the_networks_are_loaded(tmp_path, monkeypatch):
    monkeypatch.setattr("engines.ditto.pipeline.Models", lambda settings: pytest.fail("loaded"))
    component = Ditto(device="cpu", size="tiny", faces=str(tmp_path))
    with pytest.raises(ValueError, match=r"no det_10g\.onnx, 2d106det\.onnx, .* there; give the folder"):
        component.load()


def test_detectors_do_not_fall_back_to_the_cpu(tmp_path, monkeypatch):
    monkeypatch.setattr("engines.ditto.pipeline.Models", lambda settings: pytest.fail("loaded"))
    component = Ditto(device="cuda", size="tiny", faces=str(face_models.folder(tmp_path)))
    with pytest.raises(NotApplicable, match="CUDAExecutionProvider asked for"):
        component.load()
