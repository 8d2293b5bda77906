"""Work per frame is that of the networks: counted by hand, and by others' counters at full size."""

import pytest

from engines.ditto.settings import Settings
from engines.ditto.work import work


def test_the_stitching_networks_products_are_counted_by_hand():
    # 126 inputs, hidden 16 and 8, 65 outputs: 2 operations per weight; biases are weights, too
    weights = 126 * 16 + 16 * 8 + 8 * 65
    found = work(Settings())["stitch"]
    assert found["flops"] == 2 * weights
    assert found["bytes"] == 4 * (weights + 16 + 8 + 65) + 4 * (63 + 63 + 63)


def test_a_batch_shares_the_weights_and_a_precision_makes_them_smaller():
    one, four = (work(Settings(batch=batch))["stitch"] for batch in (1, 4))
    assert four["flops"] == one["flops"]
    assert one["bytes"] - four["bytes"] == pytest.approx(4 * (2664 + 89) * 3 / 4)
    half = work(Settings(stage_precision={"stitch": "bf16"}))["stitch"]
    assert one["bytes"] - half["bytes"] == 2 * (2664 + 89)


def test_motion_is_shared_by_the_frames_that_a_window_adds():
    few, many = (work(Settings(steps=steps))["motion"]["flops"] for steps in (10, 50))
    # of 20 frames 10 are new, or 5; the context comes once
    assert work(Settings(steps=10, overlap=15))["motion"]["flops"] == pytest.approx(2 * few)
    assert 4 < many / few < 5


def test_the_full_networks_have_the_reference_counters_gmac_per_frame():
    found = work(Settings(size="full"))
    gmac = {stage: each["flops"] / 2e9 for stage, each in found.items()}
    # measured on the reference implementation: per frame, and per HuBERT call of 5 frames
    assert gmac["decode"] == pytest.approx(445.8, abs=0.1)
    assert gmac["warp"] == pytest.approx(171.0, abs=0.1)
    assert 5 * gmac["features"] == pytest.approx(7.24, abs=0.01)


def test_a_hubert_file_has_no_known_work(tmp_path):
    (tmp_path / "hubert.onnx").touch()
    assert set(work(Settings(hubert=str(tmp_path / "hubert.onnx")))) == {"motion", "stitch", "warp", "decode"}
