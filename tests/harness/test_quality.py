"""Quality against the same work with nothing optimised: what holds, what falls short, what is judged anew."""

from __future__ import annotations

import shutil
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness import quality, store
from harness.point import Point
from harness.reference import compared
from harness.result import Outcome
from tests.harness.points import speaker
from tests.harness.samples import ASKED, GREY, SOUND, made, off_by, stored


def test_a_point_with_nothing_optimised_is_its_own_reference(tmp_path: Path) -> None:
    assert stored(tmp_path, made()).quality["state"] == "reference"


def test_frames_off_by_one_level_have_48_db_and_hold(tmp_path: Path) -> None:
    base = stored(tmp_path, made(jobs=7))
    found = stored(tmp_path, made("fast", "threads"), off_by(1))
    # 20 log10(255)
    assert (found.quality["psnr_db"], found.quality["least_psnr_db"]) == (48.13, 48.13)
    assert (found.quality["state"], found.quality["lsd_db"], found.quality["frames"]) == ("holds", 0.0, 2)
    assert found.quality["text"].endswith(f"against the plain reference {base.id} repeat 0")
    assert found.quality["reference"]["id"] == base.id
    assert (found.outcome, found.wall_s) == (Outcome.OK, 3.0)


def test_one_bad_frame_makes_the_point_invalid_in_a_sentence(tmp_path: Path) -> None:
    base = stored(tmp_path, made())
    frames = GREY.copy()
    frames[1] += 5
    found = stored(tmp_path, made("fast"), frames)
    # 20 log10(255 / 5) of the second, half the error of it over both
    assert (found.quality["least_psnr_db"], found.quality["psnr_db"]) == (34.15, 37.16)
    assert (found.outcome, found.wall_s) == (Outcome.INVALID, None)
    assert found.reason == (
        "quality: the worst of 2 frames has 34.15 dB PSNR, at least 40 (quality.psnr_db), "
        f"against the plain reference {base.id} repeat 0"
    )


def test_a_faster_tts_that_says_something_else_is_invalid(tmp_path: Path) -> None:
    stored(tmp_path, made())
    fast = replace(made(), tts=speaker(backend="fast"))
    found = stored(tmp_path, fast, sound=SOUND * np.float32(0.5))
    assert found.outcome is Outcome.INVALID
    assert (
        "the worst 0.25 s of the sound is 6.02 dB off in spectrum, at most 2 (quality.lsd_db)" in found.reason
    )
    assert found.quality["psnr_db"] == 120.0


def test_without_a_threshold_nothing_is_too_far_off(tmp_path: Path) -> None:
    stored(tmp_path, made())
    lax = replace(made("fast"), quality=ASKED | {"psnr_db": None, "ssim": None})
    assert stored(tmp_path, lax, off_by(50)).quality["state"] == "holds"
    assert lax.id == made("fast").id


def test_without_a_reference_the_words_say_why(tmp_path: Path) -> None:
    def said() -> str:
        found = stored(tmp_path, made("fast"))
        assert (found.outcome, found.quality["state"]) == (Outcome.OK, "not checked")
        return str(found.quality["text"])

    assert said() == "not checked: this run has no point of the same work with nothing optimised"
    name = f"not checked: the plain reference {made().id} repeat 0"
    stored(tmp_path, made(), environment={"code": "e15e", "machine": "bench-1"})
    assert said() == f"{name} had other code"
    stored(tmp_path, made(), outcome=Outcome.HUNG)
    assert said() == f"{name} ended hung"
    stored(tmp_path, made())
    (store.folder(tmp_path, made().id, 0) / "sample/tts.npz").unlink()
    assert said() == f"not checked: tts left no sample in {made().id}; force=true measures it anew"
    (store.folder(tmp_path, made().id, 0) / "sample/tts.npz").write_bytes(b"PK")
    assert "sample/tts.npz: cannot be read" in said()


def test_components_without_optimised_keys_are_not_checked_and_no_outcome_but_ok_is(tmp_path: Path) -> None:
    plain = replace(made("fast"), quality=ASKED | {"optimised": {}})
    assert stored(tmp_path, plain).quality["text"] == "not checked: its components leave no samples"
    assert stored(tmp_path, made("fast"), outcome=Outcome.OOM).quality == {}
    off = replace(made("fast"), quality=ASKED | {"frames": 0})
    text = "not checked: it was measured with quality.frames=0; force=true measures it anew"
    assert stored(tmp_path, off).quality["text"] == text


def test_a_reference_that_comes_later_or_anew_judges_what_is_there(tmp_path: Path) -> None:
    stored(tmp_path, made("fast"), off_by(1))
    base = stored(tmp_path, made())
    [judged] = quality.judge_again(base, [], tmp_path)
    assert judged == store.load_result(store.folder(tmp_path, judged.id, 0))
    assert judged.quality["state"] == "holds"
    assert quality.judge_again(base, [], tmp_path) == []
    worse = stored(tmp_path, made(), off_by(9), started_at="2026-11-01T11:00:00+00:00")
    [judged] = quality.judge_again(worse, [], tmp_path)
    assert (judged.quality["state"], judged.outcome) == ("below", Outcome.INVALID)
    stored(tmp_path, made(), started_at="2026-11-01T12:00:00+00:00")
    [judged] = quality.judge_again(base, [], tmp_path)
    assert (judged.outcome, judged.reason, judged.wall_s) == (Outcome.OK, "", 3.0)


def test_other_thresholds_judge_again_what_is_stored(tmp_path: Path) -> None:
    stored(tmp_path, made())
    found = stored(tmp_path, made("fast"), off_by(5))
    folder = store.folder(tmp_path, found.id, 0)
    assert found.outcome is Outcome.INVALID
    assert quality.renewed(found, ASKED, folder, tmp_path) is found
    again = quality.renewed(found, ASKED | {"psnr_db": 30.0}, folder, tmp_path)
    assert (again.outcome, again.quality["state"], again.wall_s) == (Outcome.OK, "holds", 3.0)
    assert quality.renewed(again, ASKED, folder, tmp_path).outcome is Outcome.INVALID


def test_what_is_compared_again_is_judged_again(tmp_path: Path) -> None:
    stored(tmp_path, made())
    fast = stored(tmp_path, made("fast"), off_by(5))
    folder = store.folder(tmp_path, fast.id, 0)
    open_again = compared(fast, folder, tmp_path)
    assert (open_again.outcome, open_again.quality["state"]) == (Outcome.OK, "open")
    [judged] = quality.judge_again(fast, [open_again], tmp_path)
    assert judged.outcome is Outcome.INVALID


def test_a_reference_is_wanting_until_a_good_one_of_this_code_is_stored(tmp_path: Path) -> None:
    here = quality.environment.describe()
    fast, slow = made("fast"), replace(made("fast"), fault={**made().fault, "kind": "slow"})
    assert quality.is_wanting(fast, tmp_path, 0, False)
    assert not quality.is_wanting(made(), tmp_path, 0, False)
    assert not quality.is_wanting(slow, tmp_path, 0, False)
    assert not quality.is_wanting(replace(fast, quality=ASKED | {"frames": 0}), tmp_path, 0, False)
    stored(tmp_path, made())  # of other code
    assert quality.is_wanting(fast, tmp_path, 0, False)
    stored(tmp_path, made(executor="threads"), environment=here)
    assert not quality.is_wanting(fast, tmp_path, 0, False)
    (store.folder(tmp_path, made(executor="threads").id, 0) / "sample/avatar.npz").unlink()
    assert quality.is_wanting(fast, tmp_path, 0, False)


def test_a_point_that_is_stored_with_its_verdict_wants_none(tmp_path: Path) -> None:
    stored(tmp_path, made())
    stored(tmp_path, made("fast"))
    assert not quality.is_wanting(made("fast"), tmp_path, 0, force=False)
    assert quality.is_wanting(made("fast"), tmp_path, 0, force=True)


def test_the_reference_is_typed_with_every_key_that_is_optimised() -> None:
    assert quality.overrides(asdict(made("fast"))) == [
        "tts.backend=eager", "avatar.backend=eager", "avatar.stage.warp=null",
    ]  # fmt: skip
    assert quality.plain(asdict(made("fast"))) == asdict(made())


def gone(run: Path, of: Point) -> None:
    shutil.rmtree(store.folder(run, of.id, 0) / "sample")


@pytest.mark.parametrize("lost", ["ours", "its own", "its reference"])
def test_a_broken_point_stays_broken_when_it_cannot_be_compared_again(lost: str, tmp_path: Path) -> None:
    stored(tmp_path, made())
    found = stored(tmp_path, made("fast"), off_by(5))  # 34.15 dB
    folder = store.folder(tmp_path, found.id, 0)
    if lost == "its reference":
        stored(tmp_path, made(), outcome=Outcome.HUNG, started_at="2026-11-01T11:00:00+00:00")
    else:
        gone(tmp_path, made() if lost == "ours" else made("fast"))
    again = quality.renewed(found, ASKED | {"psnr_db": 38.0}, folder, tmp_path)
    assert (again.outcome, again.quality["state"], again.wall_s) == (Outcome.INVALID, "below", None)
    assert "has 34.15 dB PSNR, at least 38 (quality.psnr_db)" in again.reason
    assert "as compared before (" in again.reason
    # what is stored suffices for other thresholds
    lax = quality.renewed(found, ASKED | {"psnr_db": 30.0}, folder, tmp_path)
    assert (lax.outcome, lax.quality["state"], lax.quality["least_psnr_db"]) == (Outcome.OK, "holds", 34.15)


def test_a_reference_measured_anew_in_vain_leaves_the_verdict_of_the_former(tmp_path: Path) -> None:
    stored(tmp_path, made())
    small = stored(tmp_path, made("fast"), GREY[:, :8])
    failed = stored(tmp_path, made(), outcome=Outcome.HUNG, started_at="2026-11-01T11:00:00+00:00")
    open_again = compared(small, store.folder(tmp_path, small.id, 0), tmp_path)
    [judged] = quality.judge_again(failed, [open_again], tmp_path)
    assert (judged.outcome, judged.quality["state"]) == (Outcome.INVALID, "below")
    assert "avatar frames are of another size: 24x8 instead of 24x16" in judged.reason
    assert "ended hung" in judged.reason
    assert quality.renewed(judged, ASKED, store.folder(tmp_path, judged.id, 0), tmp_path) == judged


def test_an_optimised_point_stored_without_samples_is_measured_again(tmp_path: Path) -> None:
    off = replace(made("fast"), quality=ASKED | {"frames": 0})
    assert quality.is_unsampled(stored(tmp_path, off), made("fast"))
    assert not quality.is_unsampled(stored(tmp_path, off), off)
    assert not quality.is_unsampled(stored(tmp_path, made("fast")), made("fast"))
    assert not quality.is_unsampled(stored(tmp_path, replace(made(), quality=off.quality)), made())


def test_a_component_of_which_nobody_sees_what_it_shows_is_not_checked(tmp_path: Path) -> None:
    def blind(backend: str, **more: Any) -> Point:
        asked = ASKED | {"optimised": {"tts": {"backend": "eager"}}, "unsampled": ["avatar"]}
        return replace(made(), tts=speaker(backend=backend), quality=asked | more)

    alone = stored(tmp_path, blind("eager", optimised={}), repeat=1)
    assert alone.quality["text"] == "not checked: avatar leaves no sample"
    plain = stored(tmp_path, blind("eager"))
    assert plain.quality == {"state": "not checked", "text": "not checked: avatar leaves no sample"}
    good = stored(tmp_path, blind("fast"))
    assert (good.outcome, good.quality["state"], good.quality["lsd_db"]) == (Outcome.OK, "not checked", 0.0)
    assert good.quality["text"].startswith("not checked: avatar leaves no sample; of the rest log-spectral")
    assert stored(tmp_path, blind("fast"), sound=SOUND / 2).outcome is Outcome.INVALID
