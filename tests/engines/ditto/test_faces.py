"""The detectors find the face, its points and its eyes: by hand, and against upstream's own numbers."""

import hashlib
import sys
import types

import numpy as np
import pytest

from engines.contract import NotApplicable
from engines.ditto import detector, face_mesh, faces
from engines.ditto.crop import invert
from engines.ditto.face_files import face_files
from tests.engines.ditto import face_models


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return face_models.folder(tmp_path_factory.mktemp("faces"))


@pytest.fixture(scope="module")
def finder(folder):
    return faces.Finder(folder, "cpu", 1)


def picture(*cells, side=512):
    """Black, with full blue in places (column, row) of 32 px: there the detector's score is 127.5 / 128."""
    image = np.zeros((side, side, 3), np.uint8)
    for column, row in cells:
        image[32 * row : 32 * row + 32, 32 * column : 32 * column + 32, 2] = 255
    return image


def test_a_box_reaches_from_its_anchor_as_far_as_the_model_says(finder):
    boxes, best = finder._detect(picture((5, 3)))
    # place (5, 3) of 32 px has its anchor at (160, 96), one stride to each side; its second anchor overlaps
    np.testing.assert_array_equal(boxes, [[128, 64, 192, 128, np.float32(127.5 / 128)]])
    assert best == np.float32(127.5 / 128)


@pytest.mark.parametrize(
    ("height", "width", "factor"),
    [(1024, 1024, 0.5), (1024, 700, 0.5), (300, 512, 1.0), (256, 128, 2.0), (160, 1024, 0.5)],
)
def test_boxes_are_in_pixels_of_the_picture_whatever_its_shape(finder, height, width, factor):
    image = np.zeros((height, width, 3), np.uint8)
    low, high = round(32 / factor), round(64 / factor)  # place (1, 1) of the 512 px that the detector sees
    image[low:high, low:high, 2] = 255
    boxes, _ = finder._detect(image)
    # one stride around the anchor at (32, 32)
    np.testing.assert_allclose(boxes[:1, :4], [[0, 0, 64 / factor, 64 / factor]], atol=1e-3)


def test_a_picture_that_is_a_line_is_still_looked_at(finder):
    boxes, best = finder._detect(np.zeros((2, 4000, 3), np.uint8))
    assert len(boxes) == 0
    assert best < 0.5


def test_of_overlapping_boxes_the_better_one_stays():
    # widths count one pixel more: 10 x 10 boxes, moved by 4: common 60, together 140: 0.4286; by 5: 0.3333
    boxes = np.array([[0, 0, 9, 9, 0.6], [4, 0, 13, 9, 0.9], [9, 0, 18, 9, 0.7]], np.float32)
    np.testing.assert_array_equal(detector.suppress(boxes), boxes[[1, 2]])


def test_the_largest_of_several_faces_is_taken_and_their_number_is_told(tmp_path):
    distances = {stride: np.ones((2 * (512 // stride) ** 2, 4)) for stride in face_models.STRIDES}
    distances[32][2 * (16 * 10 + 12) :][:2] = 2  # the face at place (12, 10) is twice as wide
    finder = faces.Finder(face_models.folder(tmp_path, boxes=distances), "cpu", 1)
    face = finder.find(picture((3, 3), (12, 10), (6, 3)), 512)
    assert face.found == 3
    # The largest box is 128 px wide around (384, 320), so the 106 points span 0.8 of 192 px, and their crop
    # is 1.5 times that: 230 px, a tenth of which it lies higher.
    assert face.landmarks.mean(axis=0) == pytest.approx([384, 320 - 23], abs=6)


def test_a_picture_without_a_face_is_refused_with_the_best_score(finder):
    image = picture()
    image[32:64, 32:64, 2] = 180  # (180 - 127.5) / 128
    with pytest.raises(faces.NoFace, match=r"no face found \(best score 0\.41, needs 0\.5\); use a picture"):
        finder.find(image, 512)


def test_the_106_points_lie_in_a_square_one_and_a_half_times_the_box(finder):
    image = picture((5, 3))
    points = finder._place_106(image, np.array([100, 200, 180, 260], np.float32))
    # the box's longer side is 80 px, so the square has 120, around (140, 230)
    expected = np.array([140, 230]) + (face_models.POINTS_106 - 0.5) * 120
    np.testing.assert_allclose(points, expected, atol=1e-3)


def test_a_tracked_frame_needs_no_detector(finder):
    first = finder.find(picture((5, 3)), 512)
    second = finder.find(picture(), 512, first.landmarks)
    assert second.found is None
    # The circle is 0.8 of a crop that is 1.5 times the circle it came from.
    ratio = np.ptp(second.landmarks[:, 0]) / np.ptp(first.landmarks[:, 0])
    assert ratio == pytest.approx(1.5 * 0.8, rel=0.01)


def test_the_crop_has_the_networks_side_and_shows_the_same(finder):
    image = picture((5, 3))
    full, tiny = finder.find(image, 512), finder.find(image, 64)
    np.testing.assert_allclose(tiny.matrix, full.matrix / 8, rtol=1e-5, atol=1e-4)
    np.testing.assert_array_equal(tiny.eye_open, full.eye_open)


def test_both_forms_of_the_203_points_are_read(folder, finder, tmp_path):
    face_models.folder(tmp_path)
    face_models.landmarks_203(tmp_path / "landmark203.onnx", with_others=True)
    image = picture((5, 3))
    other = faces.Finder(tmp_path, "cpu", 1)
    np.testing.assert_array_equal(other.find(image, 512).landmarks, finder.find(image, 512).landmarks)


def test_the_mesh_is_laid_into_a_square_around_the_face(finder):
    points = finder._mesh(np.zeros((512, 512, 3), np.uint8))
    # The model's face: 64 of 128 px around place (8, 8), whose middle is 8.5 / 16; the square is 1.5 times
    # that, 0.75 of the crop. Its eyes are level: no turn.
    expected = (face_models.mesh_points() / 256 - [0.5, 0.5, 0]) * 0.75 + [8.5 / 16, 8.5 / 16, 0]
    np.testing.assert_allclose(points, expected, atol=1e-6)


def test_the_square_turns_with_the_eyes():
    face = np.zeros(17, np.float32)
    face[:4] = 32, 40, 96, 88
    face[4:8] = 0.4, 0.4, 0.6, 0.6  # the second eye to the right and as much down: 45 degrees, clockwise
    centre, width, angle = face_mesh.face_square(face, 256)
    np.testing.assert_allclose(centre, [128, 128])
    assert (width, angle) == (pytest.approx(1.5 * 128), pytest.approx(np.pi / 4))


def test_overlapping_faces_are_merged_by_their_scores():
    rows = np.zeros((3, 17), np.float32)
    rows[:, :4] = [0, 0, 10, 10], [2, 0, 12, 10], [50, 50, 60, 60]
    rows[:, 16] = 0.5, 1.0, 0.7
    merged = face_mesh.merge(rows)
    # 80 of 120 in common: one face, at (0.5 * 0 + 1.0 * 2) / 1.5, with the mean of the scores
    np.testing.assert_allclose(merged[0, [0, 2, 16]], [4 / 3, 34 / 3, 0.75], rtol=1e-6)
    np.testing.assert_array_equal(merged[1], rows[2])


def test_a_face_without_area_does_not_keep_the_merging_busy():
    rows = np.zeros((2, 17), np.float32)
    rows[:, 16] = 0.9, 0.8
    assert len(face_mesh.merge(rows)) == 2


def test_a_crop_without_eyes_is_refused(tmp_path):
    face_models.folder(tmp_path)
    face_models.blaze_face(tmp_path / "blaze_face.onnx", logits=np.full((1, 896, 1), -0.1))
    with pytest.raises(faces.NoFace, match="no points of the 478 that tell the eyes"):
        faces.Finder(tmp_path, "cpu", 1).find(picture((5, 3)), 512)


@pytest.mark.parametrize("value", [np.nan, 0.3])
def test_points_that_span_no_face_are_refused(tmp_path, value):
    face_models.folder(tmp_path)
    constant = np.full((1, 406), value, np.float32)
    face_models.affine(
        tmp_path / "landmark203.onnx", "input", (1, 3, 224, 224), {"landmarks": (constant, None)}
    )
    with pytest.raises(faces.NoFace, match="span no face"):
        faces.Finder(tmp_path, "cpu", 1).find(picture((5, 3)), 512)


# Computed by upstream's own classes (ditto-talkinghead e9191cf, numpy 2.4, OpenCV 5.0, onnxruntime 1.31, CPU)
# on the files and the picture of the test below.
UPSTREAM = {
    "faces": 58,
    "box": [81.37865, 65.85873, 295.04031, 299.84335, 0.88637],
    "landmarks_106": [
        [325.54712, 187.42555],
        [127.32143, 146.25429],
        [102.40163, 57.03125],
        [318.24966, 164.03378],
    ],
    "landmarks_203": [
        [137.04597, 93.22825],
        [90.51969, 282.32077],
        [108.88287, -25.97777],
        [378.0853, 152.73209],
    ],
    "m_c2o": [[1.65953, -0.18469, -171.73862], [0.18469, 1.65953, -439.62979]],
    "eye_open": [7.19319, 22.37448],
    "eye_ball": [-0.43454, 0.38209, -0.09224, 0.20184, 0.07424, 0.08794],
    "tracked_m_c2o": [[2.03064, -0.23615, -244.02821], [0.23615, 2.03064, -627.00873]],
}


def waves(shape, size, step):
    """Values in [-size, size] that no two places share."""
    return size * np.sin(step * np.arange(np.prod(shape), dtype=np.float64)).reshape(shape)


def busy_folder(at):
    """Files whose outputs depend on what they are shown."""
    boxes = {s: 3 + waves((2 * (512 // s) ** 2, 4), 2, 0.37) for s in face_models.STRIDES}
    face_models.detector(at / "det_10g.onnx", gains=(0.7, 0.8, 1.0), boxes=boxes)
    face_models.landmarks_106(at / "2d106det.onnx", gain=waves((3, 212), 3e-4, 0.71))
    face_models.landmarks_203(at / "landmark203.onnx", gain=waves((3, 406), 0.05, 0.53))
    regressors = waves((1, 896, 16), 4, 0.29)
    regressors[..., 2:4] += 60
    regressors[..., 4:8] += 14, -12, -14, -10
    logits = waves((1, 896, 1), 3, 0.11) - 1.5
    face_models.blaze_face(at / "blaze_face.onnx", regressors, logits, gain=waves((3, 896), 0.5, 0.17))
    face_models.face_mesh(at / "face_mesh.onnx", gain=waves((3, 1434), 5, 0.83))
    return at


def busy_picture():
    y, x = np.mgrid[:400, :300]
    rings = np.hypot(x - 170, y - 180)
    planes = 127 + 127 * np.cos(rings / 40), x * 255 / 299, 255 * np.exp(-((rings / 90) ** 2))
    return np.stack(planes, axis=2).astype(np.uint8)


def test_the_whole_path_gives_upstreams_numbers(tmp_path):
    finder = faces.Finder(busy_folder(tmp_path), "cpu", 1)
    image = busy_picture()
    face = finder.find(image, 512)
    boxes, _ = finder._detect(image)
    tracked = finder.find(np.roll(image, 5, axis=1), 512, face.landmarks)
    found = {
        "faces": face.found,
        "box": boxes[0],
        "landmarks_106": finder._place_106(image, boxes[0])[::35],
        "landmarks_203": face.landmarks[::67],
        "m_c2o": invert(face.matrix)[:2],
        "eye_open": face.eye_open[0],
        "eye_ball": face.eye_ball[0],
        "tracked_m_c2o": invert(tracked.matrix)[:2],
    }
    for name, expected in UPSTREAM.items():
        np.testing.assert_allclose(found[name], expected, rtol=1e-4, atol=1e-4, err_msg=name)


def test_what_runs_is_told_for_each_file(folder, finder):
    names = ("det_10g.onnx", "2d106det.onnx", "landmark203.onnx", "blaze_face.onnx", "face_mesh.onnx")
    hashes = {name: hashlib.sha256((folder / name).read_bytes()).hexdigest()[:16] for name in names}
    assert finder.backends == {
        name: {"backend": "onnxruntime CPUExecutionProvider", "sha256": hashes[name]} for name in names
    }
    assert set(finder.versions) == {"onnxruntime"}


def test_all_missing_files_are_named_in_one_line(tmp_path):
    (tmp_path / "det_10g.onnx").touch()
    (tmp_path / "blaze_face.onnx").touch()
    with pytest.raises(
        ValueError, match=r"avatar\.faces=.*: no 2d106det\.onnx, landmark203\.onnx, "
    ) as refused:
        face_files(tmp_path)
    assert "face_landmarker.task (or blaze_face.onnx and face_mesh.onnx) there; give the folder" in str(
        refused.value
    )


def test_the_names_of_the_released_onnx_folder_are_known_too(tmp_path):
    for name in ("insightface_det", "landmark106", "landmark203", "blaze_face", "face_mesh"):
        (tmp_path / f"{name}.onnx").touch()
    assert face_files(tmp_path).detector.name == "insightface_det.onnx"


def test_with_both_forms_of_the_mesh_the_one_on_the_asked_device_runs(tmp_path):
    names = ("det_10g.onnx", "2d106det.onnx", "landmark203.onnx", "face_landmarker.task")
    for name in (*names, "blaze_face.onnx", "face_mesh.onnx"):
        (tmp_path / name).touch()
    assert face_files(tmp_path).task is None
    (tmp_path / "face_mesh.onnx").unlink()
    assert face_files(tmp_path).task == tmp_path / "face_landmarker.task"


def test_a_file_under_another_files_name_is_told(tmp_path):
    face_models.folder(tmp_path)
    (tmp_path / "landmark203.onnx").write_bytes((tmp_path / "2d106det.onnx").read_bytes())
    with pytest.raises(ValueError, match=r"landmark203\.onnx has the input data \[1, 3, 192, 192\]"):
        faces.Finder(tmp_path, "cpu", 1)


@pytest.mark.parametrize("content", [b"", b"<html>not found</html>", b"\x08\x07\x12\x05"])
def test_a_file_that_is_no_model_is_told(tmp_path, content):
    face_models.folder(tmp_path)
    (tmp_path / "2d106det.onnx").write_bytes(content)
    with pytest.raises(
        ValueError, match=r"avatar\.faces=.*onnxruntime cannot read 2d106det\.onnx"
    ) as refused:
        faces.Finder(tmp_path, "cpu", 1)
    assert "\n" not in str(refused.value)


def test_a_device_that_is_not_there_is_not_replaced(folder):
    with pytest.raises(NotApplicable, match=r"CUDAExecutionProvider asked for, onnxruntime has"):
        faces.Finder(folder, "cuda", 1)


# mediapipe's task file is not among what a test can make, so a module of the same calls stands in for it.
@pytest.fixture
def mediapipe(monkeypatch):
    """mediapipe's interface (0.10.20 to 1.2) as far as it is used; `points` is what it finds."""
    state = types.SimpleNamespace(points=[], asked=[], fault=None)

    def create(options):
        if state.fault:
            raise state.fault
        state.asked.append((options.base_options.model_asset_path, options.num_faces))
        return types.SimpleNamespace(detect=lambda image: types.SimpleNamespace(face_landmarks=state.points))

    vision = types.SimpleNamespace(
        FaceLandmarker=types.SimpleNamespace(create_from_options=create),
        FaceLandmarkerOptions=types.SimpleNamespace,
    )
    package = types.SimpleNamespace(
        __version__="1.2", Image=types.SimpleNamespace, ImageFormat=types.SimpleNamespace(SRGB=1)
    )
    python = types.SimpleNamespace(BaseOptions=types.SimpleNamespace)
    for name, module in (("", package), (".tasks.python", python), (".tasks.python.vision", vision)):
        monkeypatch.setitem(sys.modules, f"mediapipe{name}", module)
    return state


def with_task(folder):
    face_models.folder(folder)
    (folder / "blaze_face.onnx").unlink()
    (folder / "face_landmarker.task").write_bytes(b"task")
    return folder


def test_a_task_file_is_run_by_mediapipe(tmp_path, mediapipe):
    places = face_models.mesh_points() / 256
    mediapipe.points = [[types.SimpleNamespace(x=x, y=y, z=z) for x, y, z in places]]
    finder = faces.Finder(with_task(tmp_path), "cpu", 1)
    face = finder.find(picture((5, 3)), 512)
    assert mediapipe.asked == [(str(tmp_path / "face_landmarker.task"), 1)]
    # by hand from the points: three lid distances over the eye's width
    lids = sum(np.linalg.norm(places[low] - places[up]) for low, up in ((145, 159), (144, 160), (153, 158)))
    assert face.eye_open[0, 0] == pytest.approx(lids / np.linalg.norm(places[33] - places[133]), rel=1e-5)
    # printf task | sha256sum
    told = {"backend": "mediapipe cpu", "sha256": "0ebb429fa86d481c"}
    assert finder.backends["face_landmarker.task"] == told
    assert finder.versions["mediapipe"] == "1.2"


@pytest.mark.parametrize("points", [[], [[types.SimpleNamespace(x=0.1, y=0.1, z=0.0)] * 468]])
def test_a_task_that_gives_no_or_other_points_is_refused(tmp_path, mediapipe, points):
    mediapipe.points = points
    with pytest.raises(faces.NoFace, match=r"(no|468) points of the 478"):
        faces.Finder(with_task(tmp_path), "cpu", 1).find(picture((5, 3)), 512)


def test_a_task_that_cannot_be_read_is_told(tmp_path, mediapipe):
    mediapipe.fault = RuntimeError("Unable to open zip archive.\nsecond line")
    with pytest.raises(ValueError, match=r"mediapipe cannot read face_landmarker\.task: Unable to open zip"):
        faces.Finder(with_task(tmp_path), "cpu", 1)


def test_without_mediapipe_a_task_is_not_applicable(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "mediapipe", None)
    with pytest.raises(NotApplicable, match=r"face_landmarker\.task needs mediapipe.*blaze_face\.onnx"):
        faces.Finder(with_task(tmp_path), "cpu", 1)
