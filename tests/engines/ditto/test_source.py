"""A portrait becomes a frame of the size asked for, with its face where the stored crop says."""

import json
import math
import runpy
from pathlib import Path

import cv2
import numpy as np
import pytest

from engines.ditto import source

PORTRAIT = Path(__file__).parents[3] / "media" / "portrait.png"

# A stored crop as a user writes it.
WHOLE = (
    '{"image_px": [100, 100], "centre_px": [50.0, 50.0], "size_px": 80.0, "angle_deg": 0.0, '
    '"eye_open": [0.3, 0.3], "eye_ball": [0.0, 0.0, 0.0, 0.0, 0.0, 0.0]}'
)


def marked(folder, width=400, height=600, angle=0.0):
    """A black picture with a red, a green and a blue dot along the face's down axis, and its crop."""
    picture = np.zeros((height, width, 3), np.uint8)
    centre = np.array([0.6 * width, 0.4 * height])
    down = np.array([-math.sin(math.radians(angle)), math.cos(math.radians(angle))])
    for step, colour in ((-60, (0, 0, 255)), (0, (0, 255, 0)), (60, (255, 0, 0))):
        x, y = np.rint(centre + step * down).astype(int)
        cv2.circle(picture, (int(x), int(y)), 9, colour, -1)
    path = folder / "face.png"
    cv2.imwrite(str(path), picture)
    crop = {
        "image_px": [width, height],
        "centre_px": centre.tolist(),
        "size_px": 240.0,
        "angle_deg": angle,
        "eye_open": [0.8, 0.9],
        "eye_ball": [0, 0, 0, 0, 0, 0],
    }
    path.with_suffix(".json").write_text(json.dumps(crop))
    return path


def place(picture, channel):
    """Centre (x, y) of what has this colour."""
    y, x = np.nonzero(picture[:, :, channel] > 128)
    return np.array([x.mean(), y.mean()])


@pytest.mark.parametrize("angle", [0.0, 25.0, -40.0])
@pytest.mark.parametrize("size", [(400, 600), (200, 300), (240, 240), (420, 500)])
def test_the_crop_is_upright_and_centred_at_every_size_and_angle(tmp_path, size, angle):
    portrait = source.read_portrait(marked(tmp_path, angle=angle), *size, max_dim=1920, crop_px=512)
    assert portrait.frame.shape == (size[1], size[0], 3)
    # 60 of 240 px are a quarter of the crop; half a pixel of the small frame is up to 3 px of the crop
    for channel, y in ((0, 128), (1, 256), (2, 384)):
        np.testing.assert_allclose(place(portrait.crop, channel), [256, y], atol=3.5)


@pytest.mark.parametrize("angle", [0.0, 25.0])
def test_the_matrix_back_finds_the_marks_in_the_frame(tmp_path, angle):
    portrait = source.read_portrait(marked(tmp_path, angle=angle), 200, 300, max_dim=1920, crop_px=64)
    for channel, y in ((0, 16), (1, 32), (2, 48)):
        expected = (portrait.m_c2o @ [32, y, 1])[:2]
        np.testing.assert_allclose(place(portrait.frame, channel), expected, atol=1)


def test_a_wider_portrait_loses_its_sides_equally(tmp_path):
    # 400x600 scaled by 0.75 covers 100x450; of 300 px, 100 in the middle stay
    portrait = source.read_portrait(marked(tmp_path), 100, 450, max_dim=1920, crop_px=64)
    assert place(portrait.frame, 1) == pytest.approx([0.75 * 240 - 100, 0.75 * 240], abs=1)


@pytest.mark.parametrize(
    ("size", "max_dim", "frame"),
    [((384, 579), 1920, (578, 384)), ((180, 240), 1920, (240, 180))],
)
def test_sides_are_cut_to_even_numbers(size, max_dim, frame):
    portrait = source.read_portrait(PORTRAIT, *size, max_dim=max_dim, crop_px=64)
    assert portrait.frame.shape[:2] == frame


def test_a_size_above_the_longest_allowed_is_refused_and_not_shrunk_without_a_word():
    with pytest.raises(ValueError, match=r"workload.resolution=1432x1920: larger than avatar.max_size=960"):
        source.read_portrait(PORTRAIT, 1432, 1920, max_dim=960, crop_px=64)


@pytest.mark.parametrize(
    "crop",
    ["", "[]", '{"size_px": 1}', WHOLE.replace("80.0", "0"), WHOLE.replace("80.0", '"big"')],
)
def test_a_crop_that_is_none_is_named_with_its_file(tmp_path, crop):
    portrait = tmp_path / "face.png"
    portrait.with_suffix(".json").write_text(crop)
    with pytest.raises(ValueError, match=r"face.png: face.json does not hold a crop"):
        source.StoredCrop.beside(portrait)


def test_a_whole_crop_is_read(tmp_path):
    portrait = tmp_path / "face.png"
    portrait.with_suffix(".json").write_text(WHOLE)
    assert source.StoredCrop.beside(portrait).size_px == 80.0


def test_the_shipped_portrait_has_its_face_in_the_crop():
    portrait = source.read_portrait(PORTRAIT, 716, 960, max_dim=1920, crop_px=512)
    red, _, blue = np.moveaxis(portrait.crop.astype(int), 2, 0)
    lips = (red > 180) & (red - blue > 90)
    assert lips.sum() > 500
    y, x = np.nonzero(lips)
    assert x.mean() == pytest.approx(256, abs=3)
    assert 256 < y.mean() < 420
    assert (portrait.eye_open > 0.3).all()


def test_the_networks_input_is_a_batch_of_one_in_0_to_1(tmp_path):
    portrait = source.read_portrait(marked(tmp_path), 400, 600, max_dim=1920, crop_px=512)
    image = portrait.network_input(256)
    assert (image.shape, image.dtype) == ((1, 3, 256, 256), np.float32)
    assert image[0, 1, 128, 128] == 1
    assert image.min() == 0


def test_a_portrait_without_a_stored_crop_is_refused_with_a_remedy(tmp_path):
    path = marked(tmp_path)
    path.with_suffix(".json").unlink()
    with pytest.raises(ValueError, match=r"no stored crop face\.json beside it; use media/portrait\.png"):
        source.read_portrait(path, 64, 64, 1920, 64)


def test_a_stored_crop_of_another_picture_is_refused(tmp_path):
    path = marked(tmp_path)
    cv2.imwrite(str(path), np.zeros((300, 400, 3), np.uint8))
    with pytest.raises(ValueError, match=r"crop is for \(400, 600\), the image is \(400, 300\)"):
        source.read_portrait(path, 64, 64, 1920, 64)


def test_a_file_that_is_no_image_is_refused(tmp_path):
    (tmp_path / "a.png").write_text("no picture")
    with pytest.raises(ValueError, match="not a readable image"):
        source.read_portrait(tmp_path / "a.png", 64, 64, 1920, 64)


def test_a_stored_crop_with_other_keys_is_refused(tmp_path):
    path = marked(tmp_path)
    path.with_suffix(".json").write_text('{"centre": [1, 2]}')
    with pytest.raises(ValueError, match=r"does not hold a crop.*centre"):
        source.read_portrait(path, 64, 64, 1920, 64)


def test_another_number_of_landmarks_is_refused():
    with pytest.raises(ValueError, match="landmarks=68: a crop needs 106 or 203 points"):
        source.crop_matrix(np.zeros((68, 2), np.float32), 512)


def test_the_drawing_still_gives_the_crop_that_is_stored():
    drawing = runpy.run_path(str(PORTRAIT.with_name("draw_portrait.py")))
    assert drawing["stored_crop"]() == json.loads(PORTRAIT.with_suffix(".json").read_text())
