"""What a comparison is worth later: other inputs, a reference measured anew, and only some of the jobs."""

from __future__ import annotations

from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from harness import store
from harness.reference import compare_again, compared, is_outdated, unlike
from harness.result import JobResult, Outcome, PointResult
from tests.harness.points import point

PORTRAIT = {"faces": {"portraits": {"me.png 64x64": {"sha256": "0a", "faces": 1}}}}


def job(number: int, content: str) -> JobResult:
    return JobResult(
        number, 0, 0.0, 1.0 + number, 0.4, 10, None, None, f"output/job{number}.mp4", f"as {content}", True,
        checks={"content": content},
    )  # fmt: skip


def stored(run: Path, executor: str, contents: str, **changes: Any) -> PointResult:
    """An ok result, a letter of `contents` for each job's pictures and sound; kept in the run."""
    made = point(executor, jobs=len(contents))
    plain: dict[str, Any] = {
        "started_at": "2026-11-01T10:00:00+00:00",
        "jobs": tuple(job(number, content) for number, content in enumerate(contents)),
        "wall_s": float(len(contents)),
        "environment": {"code": "c0de", "machine": "bench-1"},
        "inputs": {"me.png": "0a", "me.wav": "0b"},
        "attestation": {
            "worker 0": {"avatar": {"weights": "random", "versions": {"torch": "2.11"}, **PORTRAIT}}
        },
    }
    result = PointResult(made.id, 0, Outcome.OK, asdict(made), duration_s=9.0, **{**plain, **changes})
    keep(run, result)
    return result


def keep(run: Path, result: PointResult) -> PointResult:
    folder = store.folder(run, result.id, result.repeat)
    folder.mkdir(parents=True, exist_ok=True)
    store.save_result(result, folder)
    return result


def judge(run: Path, result: PointResult) -> PointResult:
    return keep(run, compared(result, store.folder(run, result.id, result.repeat), run))


def attested(**avatar: Any) -> dict[str, Any]:
    return {"attestation": {"worker 0": {"avatar": avatar}}}


@pytest.mark.parametrize(
    ("changes", "what"),
    [
        ({"inputs": {"me.png": "0c", "me.wav": "0b"}}, "content of me.png"),
        ({"inputs": {"me.png": "0a", "me.wav": "0c"}}, "content of me.wav"),
        (attested(weights="checkpoint 1234"), "avatar.weights"),
        (attested(versions={"torch": "2.13"}), "avatar.versions.torch"),
        (attested(faces={"portraits": {"me.png 64x64": {"sha256": "0d"}}}),
         "avatar.faces.portraits.me.png 64x64.sha256"),
        ({"environment": {"code": "e15e", "machine": "bench-1"}}, "code"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
def test_with_other_inputs_or_versions_nobody_is_blamed_for_another_output(
    changes: dict[str, Any], what: str, tmp_path: Path
) -> None:
    base = stored(tmp_path, "sequential", "ab")
    result = judge(tmp_path, stored(tmp_path, "processes", "xy", **changes))
    said = f"not compared: the sequential reference {base.id} repeat 0 had other {what}"
    assert (result.outcome, result.compared) == (Outcome.OK, said)


def test_how_a_run_went_and_what_only_one_side_tells_is_no_other_input(tmp_path: Path) -> None:
    base = stored(tmp_path, "sequential", "ab", **attested(weights="random", options={"tf32": False}))
    other = stored(tmp_path, "threads", "ab", inputs={}, **attested(options={"tf32": True}, **PORTRAIT))
    assert unlike(base, other) == []
    more = {"faces": {"portraits": {"me.png 64x64": {"sha256": "0a", "faces": 3}}}}
    assert unlike(stored(tmp_path, "sequential", "ab"), replace(other, **attested(**more))) == []


def test_a_comparison_of_some_of_the_jobs_says_of_how_many(tmp_path: Path) -> None:
    base = stored(tmp_path, "sequential", "ab")
    result = judge(tmp_path, stored(tmp_path, "threads", "abcd"))
    name = f"the sequential reference {base.id} repeat 0"
    assert result.compared == f"2 of 4 outputs compared, 2 equal to those of {name}"
    assert ["equal" in one.checks for one in result.jobs] == [True, True, False, False]


def anew(run: Path, base: PointResult, contents: str) -> PointResult:
    """The reference as a later measurement of the same point found it."""
    jobs = tuple(job(number, content) for number, content in enumerate(contents))
    return keep(run, replace(base, jobs=jobs, started_at="2026-11-01T11:00:00+00:00"))


def test_what_was_equal_is_not_called_so_after_its_reference_has_changed(tmp_path: Path) -> None:
    base = stored(tmp_path, "sequential", "ab")
    equal = judge(tmp_path, stored(tmp_path, "threads", "ab"))
    assert equal.compared.startswith("2 of 2 outputs equal")
    assert not is_outdated(equal, tmp_path)
    assert compare_again(base, tmp_path) == []
    [again] = compare_again(anew(tmp_path, base, "ax"), tmp_path)
    assert again == store.load_result(store.folder(tmp_path, equal.id, 0))
    assert (again.outcome, again.job, again.wall_s) == (Outcome.INVALID, 1, None)
    assert again.compared == f"differs from the sequential reference {base.id} repeat 0"
    assert not is_outdated(again, tmp_path)


def test_a_result_that_was_wrongly_called_invalid_is_ok_again_with_all_its_figures(tmp_path: Path) -> None:
    base = stored(tmp_path, "sequential", "xb")
    good = stored(tmp_path, "threads", "ab")
    wrong = judge(tmp_path, good)
    assert (wrong.outcome, wrong.worker, wrong.job) == (Outcome.INVALID, 0, 0)
    [again] = compare_again(anew(tmp_path, base, "ab"), tmp_path)
    assert again.compared.startswith("2 of 2 outputs equal")
    # nothing of the former judgement is left: as compared with the right one at once
    fresh = judge(tmp_path, good)
    assert replace(again, overhead={}) == replace(fresh, overhead={})
    assert (again.outcome, again.reason, again.wall_s) == (Outcome.OK, "", 2.0)


def test_a_comparison_outlives_a_reference_that_was_deleted(tmp_path: Path) -> None:
    base = stored(tmp_path, "sequential", "ab")
    equal = judge(tmp_path, stored(tmp_path, "threads", "ab"))
    (store.folder(tmp_path, base.id, 0) / "result.json").unlink()
    assert not is_outdated(equal, tmp_path)


def test_a_comparison_of_before_references_were_marked_is_made_again(tmp_path: Path) -> None:
    stored(tmp_path, "sequential", "ab")
    equal = judge(tmp_path, stored(tmp_path, "threads", "ab"))
    assert is_outdated(replace(equal, reference={}), tmp_path)
