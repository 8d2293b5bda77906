"""Put-back on an NVIDIA GPU: OpenCV's pixels to one level, without a wait before the frame is asked for."""

import numpy as np
import pytest

torch = pytest.importorskip("torch")

from engines.ditto.compose import PutBack, feather_mask  # noqa: E402 - torch first, or skip
from engines.ditto.compose_gpu import DevicePutBack  # noqa: E402

pytestmark = pytest.mark.gpu
SIDE = 512
SIZES = [(682, 512), (1080, 1920)]


@pytest.fixture(params=SIZES, ids=["512x682", "1920x1080"])
def case(request):
    """Frame, matrix from the crop to the frame, mask, four renders."""
    random = np.random.default_rng(0)
    height, width = request.param
    frame = random.integers(0, 256, (height, width, 3)).astype(np.uint8)
    scale, angle = 0.9 * width / SIDE, 0.1
    matrix = np.eye(3)
    matrix[:2, :2] = scale * np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])
    matrix[:2, 2] = np.array([width / 2, height / 2]) - matrix[:2, :2] @ [SIDE / 2, SIDE / 2]
    renders = [random.uniform(0, 255, (SIDE, SIDE, 3)).astype(np.float32) for _ in range(4)]
    return frame, matrix, feather_mask(SIDE, SIDE), renders


def on_gpu(render):
    return torch.from_numpy(render.transpose(2, 0, 1).copy()).cuda()


def test_every_pixel_is_opencvs_to_one_level(case):
    frame, matrix, mask, renders = case
    reference, put_back = PutBack(frame, matrix, mask), DevicePutBack(frame, matrix, mask, "cuda")
    for render in renders:
        difference = np.abs(put_back(on_gpu(render)).astype(int) - reference(render))
        assert difference.max() <= 1
        assert np.count_nonzero(difference) < 0.002 * difference.size


def test_a_frame_is_not_touched_by_a_later_one(case):
    frame, matrix, mask, renders = case
    reference, put_back = PutBack(frame, matrix, mask), DevicePutBack(frame, matrix, mask, "cuda")
    frames = [put_back(on_gpu(render)) for render in renders]
    for one, render in zip(frames, renders, strict=True):
        assert np.abs(one.astype(int) - reference(render)).max() <= 1
