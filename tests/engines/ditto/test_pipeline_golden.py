"""The arithmetic around the networks gives the reference implementation's numbers."""

from pathlib import Path

import pytest

from tests import golden

FILE = Path(__file__).parents[2] / "data" / "golden.json"
CASES = {case["id"]: case for case in golden.load(FILE)["cases"] if "/pipe/" in case["id"]}


@pytest.mark.parametrize("name", CASES)
def test_a_pipeline_case_is_within_its_tolerances(name):
    errors = golden.replay(CASES[name])
    assert len(errors) >= 4 * len(CASES[name]["outputs"])
    assert [error for error in errors if not error.ok] == []


@pytest.mark.parametrize(
    ("name", "said", "meant"),
    [
        ("motion_stitch_image_default", "setup {}", "setup {'drive_eye': False}"),
        ("motion_stitch_image_default", "per-call {}", "per-call {'vad_alpha': 0.5}"),
        ("motion_stitch_image_ctrl", "'fade_type': 's'", "'fade_type': 'd0'"),
        ("audio2motion_online", "'fix_kp_cond': 1", "'fix_kp_cond': 0"),
        ("audio2motion_offline", "'smo_k_d': 3", "'smo_k_d': 1"),
        ("condition_video", "idx=-5", "idx=5"),
        ("crop_matrices", "70.0", "71.0"),
    ],
)
def test_a_case_fails_when_it_is_run_with_another_option(name, said, meant):
    case = CASES[f"open/pipe/{name}"]
    assert said in case["what"]
    other = {**case, "what": case["what"].replace(said, meant)}
    assert any(not error.ok for error in golden.replay(other))
