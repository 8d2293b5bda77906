"""Options of a clip reach the stages; expected numbers come from the reference implementation."""

from types import SimpleNamespace

import numpy as np
import pytest

from engines.contract import Job, Piece
from engines.ditto.batches import Batch, ranges
from engines.ditto.cfg import NO_CFG, Cfg
from engines.ditto.clip import Clip, Source
from engines.ditto.encoders import Encoder
from engines.ditto.fusion import PARTS
from engines.ditto.rendering import PutBackStage, Warp
from engines.ditto.settings import Settings
from engines.ditto.stages import Stitch, conditions
from tests.recipe import unit


def rows(tag, *shape):
    return unit(tag, shape).astype(np.float32)


def info(tag):
    parts = {name: rows(f"{tag}/{name}", 1, width) for name, width in PARTS}
    scale = (1.2 + 0.1 * parts["scale"]).astype(np.float32)
    return {**parts, "scale": scale, "kp": rows(f"{tag}/kp", 1, 63)}


def clip(num_source_frames=1, cfg=NO_CFG, seed=0, **keys):
    """A clip of models that only stitch, and that not at all; its source frames are numbered."""
    numbers = range(num_source_frames)
    source = Source(
        size=(2, 2),
        is_image=num_source_frames == 1,
        keypoints=rows("sc", 63),
        infos=tuple(info(f"source/{number}") for number in numbers),
        features=tuple(numbers),
        eye_open=rows("eye_open", num_source_frames, 2),
        eye_ball=rows("eye_ball", num_source_frames, 6),
        put_back=lambda number: lambda face: (number, face),
    )
    models = SimpleNamespace(
        settings=Settings(**keys),
        cfg=cfg,
        stitch=lambda x_s, x_d: (x_s, x_d),
        warp=lambda features, x_s, x_d: features,
    )
    job = Job(0, "", "en", "", "", 2, 2, "", seed, None)
    return Clip(job, models, lambda job: source, Encoder(), {})


def points(of, motion):
    """(x_s, x_d), each (n, 21, 3), of motion in two pieces."""
    stage = Stitch(of)
    given = [out.data.data for part in np.array_split(motion, 2) for out in stage.feed(Piece("motion", part))]
    return np.concatenate([x_s for x_s, _ in given]), np.concatenate([x_d for _, x_d in given])


LIMITS = (np.full(265, -0.2, np.float32), np.full(265, 0.3, np.float32))
FACE = {
    "x_s_info_lst": [info("other")],
    "sc": rows("other/sc", 63),
    "eye_open_lst": [rows("other/open", 1, 2)],
    "eye_ball_lst": [rows("other/ball", 1, 6)],
}
BLINK = rows("blink", 3, 63)
# MotionStitch.setup and __call__, setup_Nd and cvt_fmt of antgroup/ditto-talkinghead e9191cf, run without
# the stitching network on the inputs made here: x_d[frame, point, axis], and the mean of all of x_d.
CASES = {
    "a video with limits, another conditioning face and fades at both ends": (
        {"num_source_frames": 3, "cfg": Cfg(v_min_max_for_clip=LIMITS, ch_info=FACE)},
        {"fade_type": "s", "fade_in": 2, "fade_out": 3},
        [0.02750707, 0.4298216, 2.35933, 0.4227537, -0.0163635],
        -0.2656322025355794,
    ),
    "an image online with blinks, controls and a fade from the first output": (
        {"cfg": Cfg(v_min_max_for_clip=LIMITS, ch_info=FACE, delta_eye_arr=BLINK)},
        {
            "mode": "online",
            "fade_type": "d0",
            "fade_in": 3,
            "fade_out_keys": ["exp", "yaw"],
            "delta_eye_open_n": [2, 1],
            "delta_pitch": 2.0,
            "alpha_yaw": 0.5,
            "vad_alpha": 0.75,
        },
        [0.4431964, -0.7395828, 0.9238039, -1.395978, 1.686095],
        -0.24693220923747128,
    ),
    "an image with blinks and factors of what is driven": (
        {"cfg": Cfg(delta_eye_arr=BLINK)},
        {"delta_eye_open_n": 2, "drive_eye": True, "use_d_keys": {"exp": 0.5, "yaw": 2.0}},
        [0.02750707, -0.8349202, 1.391734, -1.134012, 1.922623],
        -0.23169006308769838,
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_the_options_move_the_face_as_upstreams_do(case):
    given, keys, expected, mean = CASES[case]
    of = clip(**given, **keys)
    if keys.get("mode") == "online":
        of.first_motion = rows("first", 265)
    else:
        of.frames = 8
    x_s, x_d = points(of, rows("motion", 8, 265) * np.float32(0.5))
    places = [(0, 0, 0), (1, 11, 1), (3, 14, 2), (4, 15, 0), (7, 20, 1)]
    assert [float(x_d[place]) for place in places] == pytest.approx(expected, abs=2e-6)
    assert x_d.mean(dtype=np.float64) == pytest.approx(mean, abs=1e-6)
    # frame 4 of a video of three frames shows its frame 1: 0, 1, 2, 2, 1, 0
    assert x_s[4, 2, 0] == pytest.approx(
        -0.7600087523460388 if len(of.source.infos) == 3 else 0.7217658758163452
    )


def test_random_blinks_are_the_jobs_own():
    def eyes(seed):
        of = clip(cfg=Cfg(delta_eye_arr=10 * BLINK), seed=seed, delta_eye_open_n=0)
        of.frames = 300
        return points(of, np.zeros((300, 265), np.float32))[1]

    np.testing.assert_array_equal(eyes(1), eyes(1))
    assert np.abs(eyes(1) - eyes(2)).max() > 0.1


@pytest.mark.parametrize("batch", [1, 3])
def test_a_source_video_is_shown_to_its_end_and_back(batch):
    of = clip(num_source_frames=3)
    warp, put_back = Warp(of), PutBackStage(of)
    warped, shown = [], []
    for frames, last in ranges(0, 8, batch):
        [piece] = warp.feed(Piece("keypoints", Batch(frames, last, (None, None))))
        warped += piece.data.data
        crop = Batch(frames, last, [None] * len(frames))
        shown += [out.data[0] for out in put_back.feed(Piece("crop", crop))]
    assert warped == shown == [0, 1, 2, 2, 1, 0, 0, 1]


@pytest.mark.parametrize("case", CASES)
def test_batches_stitch_the_same_points_and_end_with_their_piece_of_motion(case):
    given, keys, _, _ = CASES[case]

    def stitched(batch):
        of = clip(**given, **keys, batch=batch)
        of.first_motion = rows("first", 265)
        stage = Stitch(of)
        parts = np.array_split(rows("motion", 13, 265), [8])
        return [out for part in parts for out in stage.feed(Piece("motion", part))]

    one, three = stitched(1), stitched(3)
    assert [(list(piece.data.frames), piece.data.last, piece.count) for piece in three] == [
        ([0, 1, 2], False, 3),
        ([3, 4, 5], False, 3),
        ([6, 7], True, 2),
        ([8, 9, 10], False, 3),
        ([11, 12], True, 2),
    ]
    for side in range(2):
        alone, together = (np.concatenate([p.data.data[side] for p in pieces]) for pieces in (one, three))
        np.testing.assert_array_equal(alone, together)


def test_eyes_of_a_source_video_condition_frame_by_frame_or_by_its_first():
    features = np.zeros((5, 1024), np.float32)
    eyes = slice(1024 + 8, 1024 + 16)
    own = np.concatenate([rows("eye_open", 3, 2), rows("eye_ball", 3, 6)], axis=1)
    each = conditions(clip(num_source_frames=3)).rows(features)
    np.testing.assert_array_equal(each[:, eyes], own[[0, 1, 2, 2, 1]])
    first = conditions(clip(num_source_frames=3, eye_f0_mode=True)).rows(features)
    np.testing.assert_array_equal(first[:, eyes], own[[0] * 5])


def test_another_face_conditions_in_place_of_the_source():
    row = conditions(clip(cfg=Cfg(ch_info=FACE))).rows(np.zeros((1, 1024), np.float32))[0]
    expected = [FACE["eye_open_lst"][0][0], FACE["eye_ball_lst"][0][0], FACE["sc"]]
    np.testing.assert_array_equal(row[1024 + 8 :], np.concatenate(expected))


def test_emotion_rows_of_the_file_are_cycled_and_replace_the_key():
    moods = np.eye(8, dtype=np.float32)[:3]
    of = clip(cfg=Cfg(emo=moods), emo=3)
    found = conditions(of).rows(np.zeros((5, 1024), np.float32))[:, 1024 : 1024 + 8]
    np.testing.assert_array_equal(found.argmax(axis=1), [0, 1, 2, 0, 1])


def test_emotions_of_the_key_may_differ_by_frame():
    found = conditions(clip(emo=[[4], [3, 0]])).rows(np.zeros((3, 1024), np.float32))[:, 1024 : 1024 + 8]
    # softmax of 8 at the chosen classes: e^8 / (e^8 + 7) and e^8 / (2 e^8 + 6)
    assert found[[0, 2], 4] == pytest.approx(2980.957987 / 2987.957987)
    assert found[1, [0, 3]] == pytest.approx(2980.957987 / 5967.915974)
