"""What is measured in two checkouts: which results, what a side lacks, and files that lie in one alone."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from harness import ab, store
from harness.result import Outcome
from tests.data.make_runs import ENVIRONMENT, broken, measured, save
from tests.harness.points import point

POINT = point(jobs=1)
SKIPPED = point(jobs=2)
CODE = ("harness/once.py", "engines/simulated.py")
COMMIT = "c" * 40


def tree(folder: Path, *files: str) -> Path:
    """A checkout that has these files."""
    for name in files:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).touch()
    return folder


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """This checkout, with the code that POINT needs."""
    monkeypatch.setattr(ab, "ROOT", tree(tmp_path / "here", *CODE))
    return tmp_path / "here"


def session(base: Path | None, left_s: float = -1.0) -> ab.Session:
    """Its budget has ended, unless there is time left."""
    out = ab.ROOT.parent / "out"
    out.mkdir(exist_ok=True)
    sides = {ab.NEW: ab.ROOT} | ({ab.BASE: base} if base else {})
    return ab.Session(out, sides, 3, time.monotonic() + left_s, COMMIT)


def config(**parts: Mapping[str, Any]) -> dict[str, Any]:
    """POINT's stored configuration, with more keys in some of its parts."""
    stored = measured(POINT).result.point
    return {**stored, **{name: {**stored[name], **more} for name, more in parts.items()}}


def placed(base: Path | None, point: Mapping[str, Any]) -> dict[str, Any]:
    """The configuration that both sides are given."""
    assert "the budget ended" in ab.measure(session(base), POINT.id, point)
    found: dict[str, Any] = json.loads((ab.ROOT.parent / f"out/{POINT.id}.json").read_text())
    return found


# Results


def test_what_was_skipped_is_not_measured_again(tmp_path: Path) -> None:
    run = save(tmp_path / "run", [measured(POINT), broken(SKIPPED, Outcome.SKIPPED, "no GPU")])
    assert list(ab.points_of(run, [])) == [POINT.id]
    with pytest.raises(ab.Refused, match=f"no point {SKIPPED.id}; it has {POINT.id}"):
        ab.points_of(run, [SKIPPED.id])


def test_a_run_of_which_all_was_skipped_has_nothing_to_measure_again(tmp_path: Path) -> None:
    run = save(tmp_path / "run", [broken(SKIPPED, Outcome.SKIPPED, "no GPU")])
    with pytest.raises(ab.Refused, match="no results to measure again; it has none"):
        ab.points_of(run, [])


def test_an_id_that_is_no_point_s_becomes_no_folder(tmp_path: Path) -> None:
    one = measured(POINT)
    (tmp_path / "run/x/0").mkdir(parents=True)
    store.save(replace(one, result=replace(one.result, id="../elsewhere")), tmp_path / "run/x/0")
    with pytest.raises(ab.Refused, match=r"'\.\./elsewhere' is no point's id"):
        ab.points_of(tmp_path / "run", [])


def test_what_an_earlier_session_left_is_emptied(tmp_path: Path) -> None:
    out = tree(tmp_path / "out", "base/point/0/result.json", "new/point/0/result.json", "point.json")
    assert list(ab.emptied(out).iterdir()) == []


# Code


def test_a_base_that_cannot_measure_or_lacks_an_engine_is_told_by_the_module(
    here: Path, tmp_path: Path
) -> None:
    """An installed package, of this checkout, would else run in place of what the base has not."""
    base = tree(tmp_path / "base", "README.md")
    why = "the base side could not be measured: it has no"
    assert ab.measure(session(base, 60), POINT.id, config()) == f"{why} harness.once"
    tree(base, "harness/once.py", "engines/__init__.py")
    assert ab.measure(session(base, 60), POINT.id, config()) == f"{why} engines.simulated"
    assert not list(tmp_path.glob("out/*"))


def test_a_package_is_a_module_and_what_is_no_engine_of_ours_is_not_looked_for(
    here: Path, tmp_path: Path
) -> None:
    base = tree(tmp_path / "base", "harness/once.py", "engines/simulated/__init__.py")
    parts = {"tts": {"_target_": "elsewhere.Engine"}}
    assert "the budget ended" in ab.measure(session(base), POINT.id, config(**parts))


def test_a_base_that_ran_another_commit_leaves_no_result_that_could_be_taken_for_it(
    here: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def launch(tree: Path, file: Path, folder: Path, number: int) -> str:
        folder.mkdir(parents=True)
        store.save(measured(POINT, number, environment={**ENVIRONMENT, "commit": "d" * 40}), folder)
        return ""

    monkeypatch.setattr(ab, "_launch", launch)
    base = tree(tmp_path / "base", *CODE)
    why = ab.measure(session(base, 60), POINT.id, config())
    assert why == f"the base side could not be measured: it ran {'d' * 40} instead of {COMMIT}"
    assert not list(tmp_path.glob("out/base/*/*"))


# Files


def test_a_file_that_lies_here_and_not_in_the_base_is_given_by_its_full_path(
    here: Path, tmp_path: Path
) -> None:
    """Models are untracked, and lie in no work tree of a commit."""
    tree(here, "models/speaker.wav", "clips/face.png")
    base = tree(tmp_path / "base", *CODE, "clips/face.png")
    parts: dict[str, dict[str, Any]] = {
        "tts": {"speaker": "models/speaker.wav", "nested": {"weights": "models"}, "precision": "fp32"},
        "avatar": {"portrait": "clips/face.png", "none": "models/none.pth", "steps": 10},
    }
    found = placed(base, config(**parts))
    assert found["tts"]["speaker"] == str(here / "models/speaker.wav")
    assert found["tts"]["nested"] == {"weights": str(here / "models")}
    assert found["tts"]["precision"] == "fp32"
    avatar = {name: found["avatar"][name] for name in parts["avatar"]}
    assert avatar == parts["avatar"]  # in both trees or in neither: each side's own


def test_a_full_path_stays_and_a_cache_is_shared_before_it_is_there(here: Path, tmp_path: Path) -> None:
    elsewhere = tree(tmp_path / "elsewhere", "weights.pth") / "weights.pth"
    base = tree(tmp_path / "base", *CODE)
    parts = {"tts": {"weights": str(elsewhere), "cache": "cache/tts"}}
    found = placed(base, config(**parts))["tts"]
    assert (found["weights"], found["cache"]) == (str(elsewhere), str(here / "cache/tts"))


@pytest.mark.parametrize("text", ["", "x" * 5000, "models\0", "Read models/speaker.wav aloud."])
def test_a_text_that_is_no_path_stays_as_it_is(text: str, here: Path, tmp_path: Path) -> None:
    tree(here, "models/speaker.wav")
    base = tree(tmp_path / "base", *CODE)
    assert placed(base, config(workload={"text": text}))["workload"]["text"] == text
    assert placed(None, config(workload={"text": text}))["workload"]["text"] == text


def test_a_side_that_does_not_end_ok_twice_ends_its_session(
    here: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[str] = []

    def launch(tree: Path, file: Path, folder: Path, number: int) -> str:
        side = folder.parent.parent.name
        made.append(side[0])
        one = measured(POINT) if side == ab.BASE else broken(POINT, Outcome.HUNG, "stage warp did not end")
        environment = {**ENVIRONMENT, "commit": COMMIT, "changed_files": 0}
        result = replace(one.result, repeat=number, environment=environment)
        folder.mkdir(parents=True)
        store.save(replace(one, result=result), folder)
        return ""

    monkeypatch.setattr(ab, "_launch", launch)
    base = tree(ab.ROOT.parent / "base", *CODE)
    said = ab.measure(session(base, 60.0), POINT.id, config())
    assert said == "2 launches of the new side did not end ok: hung, stage warp did not end"
    assert "".join(made) == "bnn"  # A B, and of B A no more than the second B
