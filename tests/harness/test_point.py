"""A point is plain data with an id."""

from __future__ import annotations

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

from harness.child import jobs_of, num_tokens
from harness.point import Point, flatten
from tests.harness.points import TEXT, environment, point


def test_a_point_survives_its_file(tmp_path: Path) -> None:
    point("threads", 3).save(tmp_path / "point.json")
    assert Point.load(tmp_path / "point.json") == point("threads", 3)


def test_the_order_of_keys_does_not_matter_and_values_do() -> None:
    given = point()
    turned = replace(given, tts=dict(reversed(given.tts.items())))
    assert turned.id == given.id
    assert replace(given, tts=given.tts | {"load_s": 0.001}).id != given.id
    assert replace(given, limits={}).id == given.id
    assert replace(given, quality={"psnr_db": 30.0}).id == given.id
    assert replace(given, tts=given.tts | {"cache": "runs/.cache"}).id == given.id


def test_the_id_is_the_same_in_another_process() -> None:
    program = "from tests.harness.points import point; print(point().id)"
    told = subprocess.run(
        [sys.executable, "-c", program], env=environment(), capture_output=True, text=True, check=True
    )
    assert told.stdout.strip() == point().id
    assert len(point().id) == 12


def test_only_configured_components_are_loaded_in_their_order() -> None:
    assert list(point().components()) == ["tts", "avatar"]
    assert list(point(asr={"_target_": "engines.simulated.Simulated"}).components()) == [
        "tts",
        "avatar",
        "asr",
    ]


def test_keys_are_flattened_as_on_the_command_line() -> None:
    assert dict(flatten({"a": {"b": 1, "c": {"d": [2, 3]}}, "e": None})) == {
        "a.b": 1,
        "a.c.d": [2, 3],
        "e": None,
    }


def test_job_k_takes_text_k_and_seed_k_whatever_the_executor(tmp_path: Path) -> None:
    texts = ["one", "two", "three"]
    lists = []
    for executor in ("sequential", "threads", "processes"):
        given = point(executor, 1, jobs=5)
        workload = given.workload | {"texts": texts, "seed": 40, "resolution": "180x240"}
        lists.append(jobs_of(replace(given, workload=workload), tmp_path))
    assert lists[0] == lists[1] == lists[2]
    assert [job.text for job in lists[0]] == ["one", "two", "three", "one", "two"]
    assert [job.seed for job in lists[0]] == [40, 41, 42, 43, 44]
    assert {(job.width, job.height) for job in lists[0]} == {(180, 240)}


def test_random_weights_say_a_text_in_a_fixed_number_of_tokens_and_real_ones_stop_by_themselves(
    tmp_path: Path,
) -> None:
    given = point()
    real = replace(given, tts=given.tts | {"weights": "/models/xtts"})
    random = replace(given, tts=given.tts | {"weights": "random"})
    assert {job.num_tokens for job in jobs_of(random, tmp_path)} == {len(TEXT)}
    assert {job.num_tokens for job in jobs_of(real, tmp_path)} == {None}
    assert num_tokens("a" * 100, 1.4) == 140
    assert num_tokens("a", 1.4) == 10
