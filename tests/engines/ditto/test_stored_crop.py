"""A crop beside a portrait is read and belongs to it, or is refused in one line, without loading much."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from engines.ditto import stored_crop

ROOT = Path(__file__).parents[3]
CROP = {
    "image_px": [48, 64],
    "centre_px": [24.0, 30.0],
    "size_px": 40.0,
    "angle_deg": 0.0,
    "eye_open": [0.3, 0.3],
    "eye_ball": [0.0] * 6,
}


def portrait(folder: Path, crop: str, orientation: int = 1, name: str = "face.png") -> Path:
    """A black picture of 48 x 64 px as it is stored."""
    exif = Image.Exif()
    exif[0x0112] = orientation
    Image.fromarray(np.zeros((64, 48, 3), np.uint8)).save(folder / name, exif=exif)
    (folder / name).with_suffix(".json").write_text(crop)
    return folder / name


def changed(**changes: Any) -> str:
    return json.dumps({**CROP, **changes})


def refusal(path: Path) -> str:
    with pytest.raises(ValueError) as caught:
        stored_crop.check_portrait(path)
    assert str(caught.value).startswith(f"workload.portrait={path}: ")
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 600
    return str(caught.value)


def test_a_whole_crop_is_read(tmp_path: Path) -> None:
    path = portrait(tmp_path, changed())
    stored_crop.check_portrait(path)
    assert stored_crop.StoredCrop.beside(path).size_px == 40.0


def test_the_projects_own_portrait_is_fine() -> None:
    stored_crop.check_portrait(ROOT / "media" / "portrait.png")


@pytest.mark.parametrize(
    ("crop", "reason"),
    [
        ("", "Expecting value"),
        ("[]", "no attribute"),
        ("[" * 100_000, "more than 64 KiB"),
        ("[" * 60_000, "recursion"),
        (changed() + " " * 70_000, "more than 64 KiB"),
        ('{"size_px": 1}', "missing 5 required"),
        (changed(centre=1), "unexpected keyword argument 'centre'"),
        (json.dumps({**CROP, "a\n\x1b[31m": 1}), r"unexpected keyword argument 'a\n\x1b[31m'"),
        (changed(size_px=0), "size_px must be a positive number"),
        (changed(size_px="big"), "size_px must be a positive number"),
        (changed(size_px=10**400), "too large"),
        (changed(image_px=[48, 10**300]), "image_px must be 1 to 8192"),
        (changed(eye_open=[0.3]), "eye_open must be 2 numbers"),
        (changed(eye_ball=[float("nan")] * 6), "eye_ball must be 6 numbers"),
        (changed(centre_px=[48, 10]), "centre_px lies outside of image_px"),
    ],
    ids=map(str, range(15)),
)
def test_what_is_no_crop_is_refused_in_one_line(tmp_path: Path, crop: str, reason: str) -> None:
    message = refusal(portrait(tmp_path, crop))
    assert "face.json does not hold a crop: " in message
    assert reason in message
    assert message.endswith("; its keys are those of media/portrait.json")


def test_a_missing_crop_is_told_with_what_to_do(tmp_path: Path) -> None:
    path = portrait(tmp_path, changed())
    path.with_suffix(".json").unlink()
    assert "no stored crop face.json beside it; use media/portrait.png, write its crop as in" in refusal(path)


def test_a_crop_of_another_picture_is_told_with_both_sizes(tmp_path: Path) -> None:
    path = portrait(tmp_path, changed(image_px=[400, 600]))
    assert "its stored crop is for (400, 600), the image is (48, 64) px; write the crop again" in refusal(
        path
    )


@pytest.mark.parametrize("name", ["face.jpg", "face.png", "face.webp"])
def test_a_crop_refers_to_the_picture_as_it_is_shown(tmp_path: Path, name: str) -> None:
    lying = portrait(tmp_path, changed(), orientation=6, name=name)
    assert "the image is (64, 48) px" in refusal(lying)
    stored_crop.check_portrait(portrait(tmp_path, changed(image_px=[64, 48]), orientation=6, name=name))


def test_a_broken_picture_is_told_before_its_crop(tmp_path: Path) -> None:
    path = portrait(tmp_path, "")
    path.write_bytes(path.read_bytes()[:60])
    assert "not a readable image" in refusal(path)


def test_of_a_film_the_crop_alone_is_looked_at(tmp_path: Path) -> None:
    (tmp_path / "face.mp4").write_bytes(b"\0\0\0\x20ftypisom" + bytes(32))
    (tmp_path / "face.json").write_text(changed())
    stored_crop.check_portrait(tmp_path / "face.mp4")
    (tmp_path / "face.json").write_text("")
    assert "face.json does not hold a crop" in refusal(tmp_path / "face.mp4")


def test_the_digest_is_that_of_the_crops_bytes(tmp_path: Path) -> None:
    shutil.copy(ROOT / "media" / "portrait.png", tmp_path)
    (tmp_path / "portrait.json").write_bytes(b"abc")
    # sha256 of "abc": FIPS 180-2, appendix B.1
    assert stored_crop.digest(tmp_path / "portrait.png").startswith("ba7816bf8f01cfea")


def test_the_check_loads_nothing_heavy() -> None:
    heavy = "{'torch', 'cv2', 'onnxruntime', 'av'}"
    code = f"import sys, engines.ditto.stored_crop; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"
