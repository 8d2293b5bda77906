"""A render covers the face softly and leaves the rest of the picture alone."""

import cv2
import numpy as np
import pytest

from engines.ditto.compose import PutBack, feather_mask


def blended(frame, render, matrix, mask):
    """The same rule without any shortcut: warp all, then weigh."""
    size = frame.shape[1], frame.shape[0]
    weight = cv2.warpAffine(mask, matrix[:2], size, flags=cv2.INTER_LINEAR)[:, :, None]
    warped = cv2.warpAffine(render, matrix[:2], size, flags=cv2.INTER_LINEAR)
    return weight * warped + (1 - weight) * frame


@pytest.fixture
def pictures():
    random = np.random.default_rng(0)
    frame = random.integers(0, 256, (90, 120, 3)).astype(np.uint8)
    return frame, cv2.GaussianBlur(random.uniform(0, 255, (64, 64, 3)).astype(np.float32), (0, 0), 3)


@pytest.mark.parametrize(
    "matrix",
    [
        [[0.8, 0.1, 30.0], [-0.1, 0.8, 20.0], [0, 0, 1]],
        [[0.8, 0.0, -20.0], [0.0, 0.8, 60.0], [0, 0, 1]],
        [[3.0, 0.0, -20.0], [0.0, 3.0, -30.0], [0, 0, 1]],
    ],
    ids=["inside", "over the edge", "larger than the frame"],
)
def test_only_the_box_of_the_face_is_computed_and_the_result_is_the_same(pictures, matrix):
    frame, render = pictures
    mask = feather_mask(64, 64)
    put_back = PutBack(frame, np.array(matrix), mask)
    difference = np.abs(put_back(render) - blended(frame, render, np.array(matrix), mask))
    # truncation is up to one level, the box's shifted origin rounds differently by less than another
    assert difference.max() < 2


def test_a_face_outside_the_picture_changes_nothing(pictures):
    frame, render = pictures
    matrix = np.array([[1.0, 0, 500], [0, 1, 500], [0, 0, 1]])
    np.testing.assert_array_equal(PutBack(frame, matrix, feather_mask(64, 64))(render), frame)


def test_frames_do_not_share_memory(pictures):
    frame, render = pictures
    put_back = PutBack(frame, np.array([[1.0, 0, 10], [0, 1, 10], [0, 0, 1]]), feather_mask(64, 64))
    first = put_back(render)
    kept = first.copy()
    put_back(255 - render)
    np.testing.assert_array_equal(first, kept)


def test_the_mask_is_one_in_the_middle_and_zero_all_around():
    mask = feather_mask(100, 60)[:, :, 0]
    assert mask.shape == (60, 100)
    assert (mask[3:57, 5:95] == 1).all()
    border = np.concatenate([mask[0], mask[-1], mask[:, 0], mask[:, -1]])
    assert (border == 0).all()
