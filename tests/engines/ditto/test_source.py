"""A portrait or a video becomes frames of the size asked for, with the face where a crop or detector says."""

import json
import math
import runpy
import struct
from fractions import Fraction
from pathlib import Path

import av
import cv2
import numpy as np
import pytest
from PIL import Image

from engines.ditto import crop, faces, source
from engines.ditto.settings import Settings
from tests.engines.ditto import face_models

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


def read(path, width, height, size="full", finder=None, **keys):
    return list(source.read_source(path, width, height, Settings(size=size, **keys), finder))


def place(picture, channel):
    """Centre (x, y) of what has this colour."""
    y, x = np.nonzero(picture[:, :, channel] > 128)
    return np.array([x.mean(), y.mean()])


@pytest.mark.parametrize("angle", [0.0, 25.0, -40.0])
@pytest.mark.parametrize("size", [(400, 600), (200, 300), (240, 240), (420, 500)])
def test_the_crop_is_upright_and_centred_at_every_size_and_angle(tmp_path, size, angle):
    (portrait,) = read(marked(tmp_path, angle=angle), *size)
    assert portrait.frame.shape == (size[1], size[0], 3)
    # 60 of 240 px are a quarter of the crop; half a pixel of the small frame is up to 3 px of the crop
    for channel, y in ((0, 128), (1, 256), (2, 384)):
        np.testing.assert_allclose(place(portrait.crop, channel), [256, y], atol=3.5)


@pytest.mark.parametrize("angle", [0.0, 25.0])
def test_the_matrix_back_finds_the_marks_in_the_frame(tmp_path, angle):
    (portrait,) = read(marked(tmp_path, angle=angle), 200, 300, size="tiny")
    for channel, y in ((0, 16), (1, 32), (2, 48)):
        expected = (portrait.m_c2o @ [32, y, 1])[:2]
        np.testing.assert_allclose(place(portrait.frame, channel), expected, atol=1)


def test_a_wider_portrait_loses_its_sides_equally(tmp_path):
    # 400x600 scaled by 0.75 covers 100x450; of 300 px, 100 in the middle stay
    (portrait,) = read(marked(tmp_path), 100, 450, size="tiny")
    assert place(portrait.frame, 1) == pytest.approx([0.75 * 240 - 100, 0.75 * 240], abs=1)


@pytest.mark.parametrize(("size", "frame"), [((384, 579), (578, 384)), ((180, 240), (240, 180))])
def test_sides_are_cut_to_even_numbers(size, frame):
    (portrait,) = read(PORTRAIT, *size)
    assert portrait.frame.shape[:2] == frame


def test_a_size_above_the_longest_allowed_is_refused_and_not_shrunk_without_a_word():
    with pytest.raises(ValueError, match=r"workload.resolution=1432x1920: larger than avatar.max_size=960"):
        read(PORTRAIT, 1432, 1920, max_size=960)


def test_the_shipped_portrait_has_its_face_in_the_crop():
    (portrait,) = read(PORTRAIT, 716, 960)
    red, _, blue = np.moveaxis(portrait.crop.astype(int), 2, 0)
    lips = (red > 180) & (red - blue > 90)
    assert lips.sum() > 500
    y, x = np.nonzero(lips)
    assert x.mean() == pytest.approx(256, abs=3)
    assert 256 < y.mean() < 420
    assert (portrait.eye_open > 0.3).all()


def test_the_networks_input_is_a_batch_of_one_in_0_to_1(tmp_path):
    (portrait,) = read(marked(tmp_path), 400, 600)
    image = portrait.network_input(256)
    assert (image.shape, image.dtype) == ((1, 3, 256, 256), np.float32)
    assert image[0, 1, 128, 128] == 1
    assert image.min() == 0


def test_a_portrait_without_a_stored_crop_is_refused_with_a_remedy(tmp_path):
    path = marked(tmp_path)
    path.with_suffix(".json").unlink()
    with pytest.raises(ValueError, match=r"no stored crop face\.json beside it; use media/portrait\.png"):
        read(path, 64, 64)


def test_a_stored_crop_of_another_picture_is_refused(tmp_path):
    path = marked(tmp_path)
    cv2.imwrite(str(path), np.zeros((300, 400, 3), np.uint8))
    with pytest.raises(ValueError, match=r"crop is for \(400, 600\), the image is \(400, 300\)"):
        read(path, 64, 64)


def test_a_file_that_is_no_image_is_refused(tmp_path):
    (tmp_path / "a.png").write_text("no picture")
    (tmp_path / "a.json").write_text(WHOLE)
    with pytest.raises(ValueError, match="not a readable image"):
        read(tmp_path / "a.png", 64, 64)


def test_another_number_of_landmarks_is_refused():
    with pytest.raises(ValueError, match="landmarks=68: a crop needs 106 or 203 points"):
        crop.crop_matrix(np.zeros((68, 2), np.float32), 512)


def test_the_drawing_still_gives_the_crop_that_is_stored():
    drawing = runpy.run_path(str(PORTRAIT.with_name("draw_portrait.py")))
    assert drawing["stored_crop"]() == json.loads(PORTRAIT.with_suffix(".json").read_text())


def shown(path):
    """The picture of an image file, as it is decoded."""
    (picture,) = source.pictures(path, None)
    return picture


def test_a_grey_picture_has_three_equal_channels(tmp_path):
    grey = np.tile(np.arange(0, 200, 10, np.uint8), (20, 1))
    Image.fromarray(grey).save(tmp_path / "grey.png")
    np.testing.assert_array_equal(shown(tmp_path / "grey.png"), np.repeat(grey[:, :, None], 3, axis=2))


def test_alpha_is_dropped_and_what_lies_under_it_is_shown(tmp_path):
    picture = np.full((20, 20, 4), (200, 100, 50, 0), np.uint8)
    Image.fromarray(picture).save(tmp_path / "clear.png")
    np.testing.assert_array_equal(shown(tmp_path / "clear.png"), picture[:, :, :3])


def test_of_16_bits_the_upper_8_are_kept(tmp_path):
    values = np.array([[0x0000, 0x00FF, 0x1234, 0xABCD, 0xFFFF]] * 16, np.uint16).repeat(4, axis=1)
    cv2.imwrite(str(tmp_path / "deep.png"), values)
    np.testing.assert_array_equal(shown(tmp_path / "deep.png")[:, :, 0], values >> 8)


def test_a_palette_becomes_its_colours(tmp_path):
    picture = Image.new("P", (20, 20), 1)
    picture.putpalette([0, 0, 0, 10, 20, 30])
    picture.save(tmp_path / "palette.png")
    assert (shown(tmp_path / "palette.png") == (10, 20, 30)).all()


# What a camera means by its orientation: how the stored picture is turned before it is shown.
@pytest.mark.parametrize(
    ("orientation", "turn"),
    [
        (1, lambda image: image),
        (3, lambda image: np.rot90(image, 2)),
        (6, lambda image: np.rot90(image, -1)),  # a quarter clockwise
        (8, lambda image: np.rot90(image, 1)),
        (2, np.fliplr),
    ],
)
def test_a_photo_is_turned_as_its_exif_data_says(tmp_path, orientation, turn):
    picture = np.zeros((32, 48, 3), np.uint8)
    picture[:16, :16] = 255
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(picture).save(tmp_path / "photo.jpg", exif=exif, quality=100)
    difference = shown(tmp_path / "photo.jpg").astype(int) - turn(picture)
    assert np.abs(difference).max() <= 2


def test_a_tiny_and_a_cut_picture_are_refused_in_one_line(tmp_path):
    path = marked(tmp_path, width=8, height=8)
    with pytest.raises(ValueError, match=r"face\.png: 8x8 px: too small"):
        read(path, 64, 64)
    path = marked(tmp_path)
    path.write_bytes(path.read_bytes()[:-500])
    with pytest.raises(ValueError, match=r"face\.png: not a readable image: the PNG breaks off"):
        read(path, 64, 64)


@pytest.fixture(scope="module")
def finder(tmp_path_factory):
    return faces.Finder(face_models.folder(tmp_path_factory.mktemp("faces")), "cpu", 1)


def with_blue(folder, *places, name="photo.png"):
    """Black, 512 px a side, blue in places (column, row) of 32 px: there the small detector sees a face."""
    picture = np.zeros((512, 512, 3), np.uint8)
    for column, row in places:
        picture[32 * row : 32 * row + 32, 32 * column : 32 * column + 32, 2] = 255
    Image.fromarray(picture).save(folder / name)
    return folder / name


def test_a_photo_without_a_stored_crop_is_read_with_detectors(tmp_path, finder):
    (portrait,) = read(with_blue(tmp_path, (5, 3)), 256, 256, finder=finder)
    assert portrait.found == 1
    assert (portrait.crop.shape, portrait.frame.shape) == ((512, 512, 3), (256, 256, 3))
    # The blue square of the face, at (176, 112) of 512 px, in the frame of 256 px: where the crop shows it.
    expected = np.array([176, 112]) / 2
    x, y = place(portrait.crop, 2)
    np.testing.assert_allclose((portrait.m_c2o @ [x, y, 1])[:2], expected, atol=1)


def test_a_photo_without_a_face_is_named(tmp_path, finder):
    with pytest.raises(ValueError, match=r"portrait=.*photo\.png: no face found \(best score 0\.00"):
        read(with_blue(tmp_path), 512, 512, finder=finder)


def test_a_face_that_the_cut_to_the_videos_shape_removes_is_not_found(tmp_path, finder):
    path = with_blue(tmp_path, (2, 8))  # far left: of 512 px the middle 256 stay
    with pytest.raises(ValueError, match="no face found"):
        read(path, 128, 256, finder=finder)


def film(path, pictures, rotation=0):
    """Write RGB pictures as a video, without loss but for its colours."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=25, options={"qp": "0"})
        stream.height, stream.width = pictures[0].shape[:2]
        stream.pix_fmt = "yuv444p"
        stream.time_base = Fraction(1, 25)
        if rotation:
            stream.set_display_rotation(rotation)
        for picture in pictures:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    return path


def blue(*places, level=0):
    picture = np.full((512, 512, 3), (level, level, 0), np.uint8)
    for column, row in places:
        picture[32 * row : 32 * row + 32, 32 * column : 32 * column + 32, 2] = 255
    return picture


@pytest.mark.parametrize("name", ["film.mp4", "film.mkv", "film.avi", "film.mov"])
def test_a_video_gives_its_frames_in_order(tmp_path, name):
    film(tmp_path / name, [np.full((48, 64, 3), level, np.uint8) for level in (10, 90, 200)])
    frames = list(source.pictures(tmp_path / name, None))
    assert [frame.shape for frame in frames] == [(48, 64, 3)] * 3
    assert [frame.mean() for frame in frames] == pytest.approx([10, 90, 200], abs=2)
    assert len(list(source.pictures(tmp_path / name, 2))) == 2


def test_a_film_that_was_taken_upright_is_shown_upright(tmp_path):
    lying = np.zeros((48, 64, 3), np.uint8)
    lying[:24, :32] = 255
    (frame,) = source.pictures(film(tmp_path / "film.mp4", [lying], rotation=90), None)
    expected = np.rot90(lying)  # FFmpeg's rotation counts counter-clockwise
    assert frame.shape == expected.shape
    assert np.abs(frame.astype(int) - expected).max() <= 4


def shown_by(path, *matrix):
    """The same film with another display matrix (a, b, u, c, d, v, x, y, w) in its track header."""
    content = bytearray(path.read_bytes())
    # version 0 of tkhd: 4 bytes of flags, 20 of times and length, 16 of reserved, layer and volume
    at = content.index(b"tkhd") + 4 + 4 + 20 + 16
    assert struct.unpack(">9i", content[at : at + 36]) == (65536, 0, 0, 0, 65536, 0, 0, 0, 2**30)
    content[at : at + 36] = struct.pack(">9i", *matrix)
    path.write_bytes(bytes(content))
    return path


ONE = 65536


# Where ISO 14496-12 puts the place (p, q): at (a p + c q + x, b p + d q + y).
@pytest.mark.parametrize(
    ("matrix", "turn"),
    [
        ((-ONE, 0, 0, 0, ONE, 0, 64 * ONE, 0, 2**30), np.fliplr),
        ((ONE, 0, 0, 0, -ONE, 0, 0, 48 * ONE, 2**30), np.flipud),
        ((-ONE, 0, 0, 0, -ONE, 0, 0, 0, 2**30), lambda picture: np.rot90(picture, 2)),
        ((0, ONE, 0, -ONE, 0, 0, 48 * ONE, 0, 2**30), lambda picture: np.rot90(picture, -1)),
        ((0, -ONE, 0, ONE, 0, 0, 0, 64 * ONE, 2**30), np.rot90),
        ((0, ONE, 0, ONE, 0, 0, 0, 0, 2**30), lambda picture: picture.transpose(1, 0, 2)),
    ],
)
def test_a_film_is_turned_and_mirrored_as_its_matrix_says(tmp_path, matrix, turn):
    stored = np.zeros((48, 64, 3), np.uint8)
    stored[:24, :32] = 200
    stored[:24, 32:] = 100
    (frame,) = source.pictures(shown_by(film(tmp_path / "film.mp4", [stored]), *matrix), None)
    expected = turn(stored)
    assert frame.shape == expected.shape
    assert np.abs(frame.astype(int) - expected).max() <= 4


def test_a_film_that_is_shown_slanted_is_refused(tmp_path):
    slanted = shown_by(film(tmp_path / "film.mp4", [blue()]), 46341, 46341, 0, -46341, 46341, 0, 0, 0, 2**30)
    with pytest.raises(ValueError, match=r"film\.mp4: a video that is shown slanted"):
        list(source.pictures(slanted, None))


def test_a_face_is_looked_for_in_the_first_frame_and_then_followed(tmp_path, finder):
    path = film(tmp_path / "film.mp4", [blue((5, 3)), blue(), blue()])
    portraits = read(path, 512, 512, finder=finder)
    assert [portrait.found for portrait in portraits] == [1, None, None]
    # Each crop is 0.8 * 1.5 times as large as the one before, as the small models have it.
    sizes = [np.hypot(*portrait.m_c2o[0, :2]) for portrait in portraits]
    assert sizes[1] / sizes[0] == pytest.approx(1.2, rel=0.01)
    assert sizes[2] / sizes[1] == pytest.approx(1.2, rel=0.01)


def test_a_film_without_a_face_in_its_first_frame_is_refused(tmp_path, finder):
    with pytest.raises(ValueError, match=r"film\.mp4: no face found"):
        read(film(tmp_path / "film.mp4", [blue(), blue((5, 3))]), 512, 512, finder=finder)


def test_a_stored_crop_holds_for_every_frame_of_a_film(tmp_path):
    path = film(tmp_path / "face.mp4", [np.full((100, 100, 3), level, np.uint8) for level in (50, 150)])
    path.with_suffix(".json").write_text(WHOLE)
    first, second = read(path, 100, 100)
    np.testing.assert_array_equal(first.m_c2o, second.m_c2o)
    assert (second.crop.mean(), second.eye_open.tolist()) == (
        pytest.approx(150, abs=2),
        [[pytest.approx(0.3)] * 2],
    )


def test_a_film_longer_than_what_is_kept_in_good_faith_asks_for_a_number(tmp_path, monkeypatch):
    monkeypatch.setattr(source, "MAX_FRAMES", 3)
    path = film(tmp_path / "film.mp4", [blue()] * 4)
    with pytest.raises(ValueError, match=r"more than 3 frames; say how many are used, as avatar\.source"):
        list(source.pictures(path, None))
    assert len(list(source.pictures(path, 4))) == 4


def test_a_film_that_does_not_decode_is_named(tmp_path):
    whole = film(tmp_path / "film.mp4", [blue((3, 3))] * 3).read_bytes()
    (tmp_path / "film.mp4").write_bytes(whole[:64] + bytes(256))
    with pytest.raises(ValueError, match=r"film\.mp4: the video breaks after 0 frames: ") as refused:
        list(source.pictures(tmp_path / "film.mp4", None))
    assert "\n" not in str(refused.value)


def test_a_film_with_sound_alone_is_refused(tmp_path):
    with av.open(str(tmp_path / "sound.mp4"), "w") as container:
        stream = container.add_stream("aac", rate=16000, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.zeros((1, 1024), np.float32), format="fltp", layout="mono")
        frame.sample_rate = 16000
        container.mux(stream.encode(frame))
        container.mux(stream.encode())
    with pytest.raises(ValueError, match=r"sound\.mp4: a file without pictures"):
        list(source.pictures(tmp_path / "sound.mp4", None))


def test_a_film_of_huge_pictures_is_refused_from_its_header(tmp_path, monkeypatch):
    path = film(tmp_path / "film.mp4", [blue()])
    monkeypatch.setattr("engines.ditto.images.MAX_SIDE", 500)
    monkeypatch.setattr(source, "_rgb", lambda frame: pytest.fail("decoded"))
    with pytest.raises(ValueError, match="512x512 px: at most"):
        list(source.pictures(path, None))
