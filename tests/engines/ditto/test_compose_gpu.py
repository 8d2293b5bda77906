"""Put-back on a torch device gives OpenCV's pixels to one level; here on the CPU."""

import cv2
import numpy as np
import pytest
import torch

from engines.ditto.compose import PutBack, feather_mask
from engines.ditto.compose_gpu import DevicePutBack

SIDE = 64
FRAMES = [(90, 120), (91, 77), (33, 250)]


def turned(scale, angle, place):
    """(3, 3) that puts the middle of the render at `place` (x, y) of the frame."""
    matrix = np.eye(3)
    matrix[:2, :2] = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    matrix[:2, 2] = place - matrix[:2, :2] @ [SIDE / 2, SIDE / 2]
    return matrix


def noise(shape, seed=0):
    return np.random.default_rng(seed).uniform(0, 255, shape).astype(np.float32)


def planes(render):
    return torch.from_numpy(np.ascontiguousarray(render.transpose(2, 0, 1)))


def both(frame, matrix, render):
    mask = feather_mask(SIDE, SIDE)
    device = DevicePutBack(frame, matrix, mask, "cpu")
    return PutBack(frame, matrix, mask)(render), device(planes(render))


@pytest.mark.parametrize("size", FRAMES, ids=["wide", "odd", "flat"])
@pytest.mark.parametrize("scale", [0.3, 0.72, 1.0, 1.9, 3.0])
def test_every_pixel_is_opencvs_to_one_level_wherever_the_face_lies(size, scale):
    random = np.random.default_rng(round(100 * scale))
    frame, differing, total = noise((*size, 3), 1).astype(np.uint8), 0, 0
    for angle in random.uniform(-np.pi, np.pi, 6):
        # corners and edges too: about half of the renders lie partly outside the frame
        place = random.uniform(-0.1, 1.1, 2) * size[::-1]
        expected, given = both(frame, turned(scale, angle, place), noise((SIDE, SIDE, 3)))
        difference = np.abs(expected.astype(int) - given)
        assert difference.max() <= 1
        differing, total = differing + np.count_nonzero(difference), total + difference.size
    # noise is the worst case; where two float32 results fall on two sides of a whole number
    assert differing < 0.002 * total


def test_a_smooth_picture_has_the_same_pixels_nearly_everywhere():
    frame = noise((90, 120, 3), 1).astype(np.uint8)
    render = cv2.GaussianBlur(noise((SIDE, SIDE, 3)), (0, 0), 3)
    expected, given = both(frame, turned(1.3, 0.4, (50, 40)), render)
    assert np.count_nonzero(expected != given) < 1e-4 * expected.size
    assert np.count_nonzero(given != frame) > 0.1 * frame.size  # something was put there at all


def test_a_face_outside_the_picture_changes_nothing():
    frame = noise((90, 120, 3), 1).astype(np.uint8)
    _, given = both(frame, turned(1.0, 0.0, (500, 500)), noise((SIDE, SIDE, 3)))
    np.testing.assert_array_equal(given, frame)


def test_a_frame_is_not_touched_by_a_later_one():
    frame = noise((90, 120, 3), 1).astype(np.uint8)
    matrix, mask = turned(1.0, 0.2, (60, 45)), feather_mask(SIDE, SIDE)
    put_back = DevicePutBack(frame, matrix, mask, "cpu")
    renders = [noise((SIDE, SIDE, 3), seed) for seed in range(4)]
    frames = [put_back(planes(render)) for render in renders]
    reference = PutBack(frame, matrix, mask)
    for one, render in zip(frames, renders, strict=True):
        assert np.abs(one.astype(int) - reference(render)).max() <= 1


@pytest.mark.parametrize(
    ("render", "said"),
    [
        (torch.zeros(3, 32, 32), r"\(1, 3, 32, 32\)"),
        (torch.zeros(SIDE, SIDE, 3), r"\(1, 64, 64, 3\)"),
        (torch.zeros(3, SIDE, SIDE, dtype=torch.float16), "float16"),
    ],
)
def test_another_render_than_it_was_made_for_is_refused(render, said):
    frame = np.zeros((90, 120, 3), np.uint8)
    put_back = DevicePutBack(frame, turned(1.0, 0.0, (60, 45)), feather_mask(SIDE, SIDE), "cpu")
    with pytest.raises(ValueError, match=said):
        put_back(render)
