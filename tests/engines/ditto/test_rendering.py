"""Frames on their way through rendering: in order, none held back behind the last, each from its source."""

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from engines.contract import Job, Piece
from engines.ditto.batches import Batch, ranges
from engines.ditto.cfg import NO_CFG
from engines.ditto.clip import Clip, Source
from engines.ditto.compose import PutBack, feather_mask
from engines.ditto.compose_gpu import DevicePutBack
from engines.ditto.encoders import Encoder
from engines.ditto.rendering import Decode, PutBackStage
from engines.ditto.settings import Settings
from tests.engines.ditto.test_compose_gpu import SIDE, noise, turned

MATRIX = turned(0.5, 0.2, (60, 45))
BACKGROUNDS = [noise((90, 120, 3), seed).astype(np.uint8) for seed in range(3)]


def clip(kind, num_source_frames=1, **keys):
    """A clip whose models draw the number that they are given, with real put-back objects of one kind."""
    mask = feather_mask(SIDE, SIDE)
    put_backs = [kind(BACKGROUNDS[number], MATRIX, mask) for number in range(num_source_frames)]
    nothing = np.zeros((num_source_frames, 1), np.float32)
    source = Source(
        size=(120, 90),
        is_image=num_source_frames == 1,
        keypoints=nothing,
        infos=tuple({} for _ in put_backs),
        features=(),
        eye_open=nothing,
        eye_ball=nothing,
        put_back=put_backs.__getitem__,
    )
    settings = Settings(device="cuda", **keys)  # a name: nothing here runs on one
    models = SimpleNamespace(settings=settings, cfg=NO_CFG, decode=lambda renders: renders)
    return Clip(Job(0, "", "en", "", "", 2, 2, "", 0, None), models, lambda job: source, Encoder(), {})


def on_cpu(*arguments):
    return DevicePutBack(*arguments, "cpu")


RENDERS = torch.from_numpy(np.stack([noise((3, SIDE, SIDE), seed) for seed in range(9)]))


def drawn(of, batch):
    """For each batch of nine frames, in two pieces of motion of 5 and 4, the frames that came out."""
    decode, put_back = Decode(of), PutBackStage(of)
    out = []
    for frames, last in [*ranges(0, 5, batch), *ranges(5, 4, batch)]:
        rows = RENDERS[[*frames, *[frames[-1]] * (batch - len(frames))]]  # padded, as for static shapes
        given = Batch(frames, last, rows)
        crops = list(decode.feed(Piece("feature_3d", given, len(frames))))
        out.append([frame for crop in crops for frame in put_back.feed(crop)])
    assert [*decode.flush(), *put_back.flush()] == []
    return out


@pytest.mark.parametrize("putback", ["cpu", "gpu"])
@pytest.mark.parametrize(
    ("batch", "in_flight", "counts"),
    [
        (1, 1, [1] * 9),
        (2, 1, [2, 2, 1, 2, 2]),
        (2, 2, [0, 2, 3, 0, 4]),
        (2, 8, [0, 0, 5, 0, 4]),
        (4, 2, [0, 5, 4]),
    ],
)
def test_frames_come_in_order_and_all_of_a_piece_of_motion_with_its_last_batch(
    putback, batch, in_flight, counts
):
    kind = PutBack if putback == "cpu" else on_cpu
    of = clip(kind, putback=putback, batch=batch, in_flight=in_flight)
    given = drawn(of, batch)
    assert [len(pieces) for pieces in given] == counts
    reference = PutBack(BACKGROUNDS[0], MATRIX, feather_mask(SIDE, SIDE))
    shown = [piece.data for pieces in given for piece in pieces]
    for frame, render in zip(shown, RENDERS.numpy(), strict=True):
        expected = reference(np.ascontiguousarray(render.transpose(1, 2, 0)))
        assert np.abs(frame.astype(int) - expected).max() <= 1
    assert of.ran["in_flight"] == in_flight
    assert of.ran["putback"] == putback


@pytest.mark.parametrize("putback", ["cpu", "gpu"])
def test_each_frame_of_a_batch_is_put_into_its_own_source_frame(putback):
    of = clip(PutBack if putback == "cpu" else on_cpu, 3, putback=putback, batch=4)
    shown = [piece.data for pieces in drawn(of, 4) for piece in pieces]
    # far from the face: to the end of three source frames and back again
    corners = [frame[-1, -1].tolist() for frame in shown]
    assert corners == [BACKGROUNDS[number][-1, -1].tolist() for number in (0, 1, 2, 2, 1, 0, 0, 1, 2)]
