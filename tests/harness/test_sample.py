"""Samples against each other: what no figure can tell, what cannot be compared, what is damaged."""

from __future__ import annotations

import shutil
import zipfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness import quality, store
from harness.result import Outcome
from tests.harness.samples import ASKED, GREY, made, stored


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"frames": GREY[:, :8]}, "avatar frames are of another size: 24x8 instead of 24x16"),
        ({"sound": np.full(8_000, np.nan, np.float32)}, "tts speaks samples that are no finite numbers"),
        ({"frames": GREY[:1]}, "avatar drew only 1 of the 2 frames that are compared"),
    ],
)
def test_what_cannot_be_compared_is_no_good(changes: dict[str, Any], what: str, tmp_path: Path) -> None:
    stored(tmp_path, made())
    found = stored(tmp_path, made("fast"), **changes)
    assert (found.outcome, what in found.reason) == (Outcome.INVALID, True)


def test_points_with_different_numbers_of_frames_are_not_compared(tmp_path: Path) -> None:
    stored(tmp_path, made())
    one = replace(made("fast"), quality=ASKED | {"frames": 1})
    found = stored(tmp_path, one, GREY[1:])
    assert (found.outcome, found.quality["state"]) == (Outcome.OK, "not checked")
    assert "was measured with quality.frames=2, and this point with 1; force=true" in found.quality["text"]
    assert quality.is_wanting(one, tmp_path, 0, force=True)
    # asking for other frames later changes nothing of what was drawn
    folder = store.folder(tmp_path, found.id, 0)
    fine = stored(tmp_path, made("fast"))
    assert quality.renewed(fine, ASKED | {"frames": 1, "ssim": 0.4}, folder, tmp_path).outcome is Outcome.OK


def test_a_good_sample_of_another_reference_judges_where_the_first_has_none(tmp_path: Path) -> None:
    for executor in ("sequential", "threads"):
        stored(tmp_path, made(executor=executor))
    first = stored(tmp_path, made("fast")).quality["reference"]["id"]
    shutil.rmtree(store.folder(tmp_path, first, 0) / "sample")
    again = stored(tmp_path, made("fast"))
    assert (again.quality["state"], again.quality["reference"]["id"] != first) == ("holds", True)


def damaged(way: str, path: Path) -> None:
    """A sample that reads as a zip file and gives no arrays that were stored."""
    fine: dict[str, Any] = {"frames": GREY, "index": np.arange(2)}
    if way == "rotten":
        np.savez_compressed(path, **fine)
        content = bytearray(path.read_bytes())
        content[150:1_000] = b"\xff" * 850
        path.write_bytes(content)
    elif way in ("header", "bracket", "huge"):
        shape = {"header": "(2, ", "bracket": "(2,)) + ((", "huge": f"({2**60},)"}[way]
        head = f"{{'descr': '|u1', 'fortran_order': False, 'shape': {shape}, }}".encode()
        head += b" " * (117 - len(head)) + b"\n"
        with zipfile.ZipFile(path, "w") as file:
            file.writestr("frames.npy", b"\x93NUMPY\1\0" + len(head).to_bytes(2, "little") + head)
    elif way == "an array":
        with path.open("wb") as file:
            np.save(file, GREY)
    else:
        changed = {
            "no index": {"index": None},
            "floats": {"frames": GREY / 255},
            "grey": {"frames": GREY[..., 0]},
            "none": {"frames": GREY[:0], "index": np.arange(0)},
            "twice": {"index": np.zeros(2, int)},
            "short": {"index": np.arange(1)},
        }[way]
        np.savez(path, **{key: value for key, value in (fine | changed).items() if value is not None})


@pytest.mark.parametrize("whose", ["eager", "fast"])
@pytest.mark.parametrize(
    "way",
    [
        "rotten", "header", "bracket", "huge", "an array", "no index", "floats", "grey", "none",
        "twice", "short",
    ],
)  # fmt: skip
def test_a_damaged_sample_is_told_and_judges_nothing(way: str, whose: str, tmp_path: Path) -> None:
    stored(tmp_path, made())
    found = stored(tmp_path, made("fast"))
    folder = store.folder(tmp_path, found.id, 0)
    damaged(way, store.folder(tmp_path, made(whose).id, 0) / "sample/avatar.npz")
    fresh = quality.judged(replace(found, quality={}), folder, tmp_path)
    assert (fresh.outcome, fresh.quality["state"]) == (Outcome.OK, "not checked")
    assert "avatar.npz: " in fresh.quality["text"]


def test_a_reference_that_says_no_numbers_judges_nothing(tmp_path: Path) -> None:
    stored(tmp_path, made(), sound=np.full(8_000, np.inf, np.float32))
    found = stored(tmp_path, made("fast"))
    assert (
        found.quality["text"] == "not checked: tts speaks samples that are no finite numbers in the reference"
    )
