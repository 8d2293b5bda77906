"""Adapters: what other tools write is read, and they read what is written for them; their own code judges."""

from __future__ import annotations

import json
import os
import random
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families
from pytest_benchmark.stats import Stats

from reports.adapters import (
    benchmark_action_out,
    openmetrics_out,
    pytest_benchmark_in,
    pytest_benchmark_out,
    statistics_of,
)
from reports.launches import Launch, Launched
from reports.microbenchmarks import MAX_BYTES

MACHINE = {"node": "bench-1", "python_version": "3.12.3", "cpu": {"brand_raw": "Example CPU"}}
HOSTILE = 'a "quoted\\" label\nwith £ \x07 and }'


def point(label: str = "threads x2", figures: tuple[float, ...] = (0.8, 0.9, 0.7), **more: Any) -> Launched:
    launches = tuple(
        Launch(
            at=(f"2026-11-26T01:0{index}:00+00:00", index),
            host="bench-1",
            outcome="ok",
            reason="",
            values={"rtf_aggregate": figure, "peak_vram_mib": 4000.0 + index, "stage.tts.gpt": figure / 4},
        )
        for index, figure in enumerate(figures)
    )
    given: dict[str, Any] = {
        "id": f"id of {label}",
        "label": label,
        "axes": {"executor": "threads", "workers": 2},
        "config": {},
        "fingerprint": {"gpu": "NVIDIA L4", "cpu": "Example CPU", "python": "3.12.3"},
        "commit": "0123456789abcdef",
        "code": "c0de",
        "on_gpu": True,
        "launches": launches,
    }
    return Launched(**given | more)


def hung(label: str = "processes x3") -> Launched:
    launch = Launch(at=("2026-11-26", 1), host="bench-1", outcome="hung", reason="warp", values={})
    return point(label, launches=(launch,))


# pytest-benchmark, in


def written(folder: Path, name: str = "one.json", **changes: Any) -> Path:
    """A file as pytest-benchmark 5 writes it, with keys changed; None takes one away."""
    data: dict[str, Any] = {
        "machine_info": {
            "node": "bench-1",
            "python_version": "3.12.3",
            "system": "Linux",
            "release": "6.1",
            "cpu": {"brand_raw": "Example CPU"},
        },
        "commit_info": {"id": "0123abcd", "dirty": False},
        "benchmarks": [benchmark()],
        "datetime": "2026-11-26T01:00:00+00:00",
        "version": "5.3.1",
    }
    data = {key: value for key, value in (data | changes).items() if value is not None}
    path = folder / name
    path.write_text(json.dumps(data))
    return path


def benchmark(fullname: str = "tests/bench/a.py::b[3]", **stats: Any) -> dict[str, Any]:
    given = stats or {"data": [0.003, 0.001, 0.002], "median": 9.0}
    return {"fullname": fullname, "name": "b[3]", "params": {"size": 3}, "stats": given}


def test_a_file_is_one_launch_of_each_benchmark_and_its_value_the_median_of_the_rounds(
    tmp_path: Path,
) -> None:
    later = written(
        tmp_path,
        "a.json",
        datetime="2026-11-27",
        benchmarks=[benchmark(median=0.5), benchmark("other", median=2)],
    )
    first, other = pytest_benchmark_in([later, written(tmp_path, "b.json")])
    assert first.label == "tests/bench/a.py::b[3]"
    assert first.axes == {"size": 3}
    assert first.config == {"benchmark": "tests/bench/a.py::b[3]", "size": 3}
    assert first.fingerprint == {"cpu": "Example CPU", "python": "3.12.3", "os": "Linux 6.1"}
    assert first.commit == "0123abcd"
    assert not first.on_gpu
    assert first.ok
    assert [launch.at for launch in first.launches] == [("2026-11-26T01:00:00+00:00", 1), ("2026-11-27", 0)]
    assert first.numbers("time_s") == [0.002, 0.5]  # data before median, in the order of time
    assert other.numbers("time_s") == [2.0]
    assert other.id != first.id


def test_the_same_benchmark_has_the_same_id_wherever_it_was_measured(tmp_path: Path) -> None:
    (one,) = pytest_benchmark_in([written(tmp_path)])
    (other,) = pytest_benchmark_in([written(tmp_path, machine_info=None, commit_info=None, datetime=None)])
    assert one.id == other.id
    assert (other.fingerprint, other.commit, other.launches[0].at) == ({}, "", ("", 0))


def test_changed_files_mark_the_commit(tmp_path: Path) -> None:
    (one,) = pytest_benchmark_in([written(tmp_path, commit_info={"id": "abc", "dirty": True})])
    assert one.commit == "abc+"


@pytest.mark.parametrize(
    ("changes", "wrong"),
    [
        ({"commit_info": {"id": "other"}}, "commit is 'other', of the files before '0123abcd'"),
        ({"machine_info": {"cpu": {"brand": "Old"}}}, "cpu is 'Old'"),
    ],
)
def test_files_of_two_builds_or_machines_are_no_side_of_a_comparison(
    changes: dict[str, Any], wrong: str, tmp_path: Path
) -> None:
    paths = [written(tmp_path), written(tmp_path, "two.json", **changes)]
    with pytest.raises(ValueError, match=r"two\.json: .*two sides") as refused:
        pytest_benchmark_in(paths)
    assert wrong in str(refused.value)


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("", "not JSON"),
        ("{", "not JSON"),
        ("[" * 100_000, "not JSON"),
        ("[]", "a JSON list"),
        ("{}", "no list of benchmarks"),
        ('{"benchmarks": {}}', "no list of benchmarks"),
        ('{"benchmarks": [3]}', "benchmark 0: not an object"),
        ('{"benchmarks": [{}]}', "benchmark 0: no fullname"),
        ('{"benchmarks": [{"fullname": "x"}]}', "benchmark 0, x: None is not a time"),
        ('{"benchmarks": [{"fullname": "x", "stats": {"median": NaN}}]}', "a time of nan s"),
        ('{"benchmarks": [{"fullname": "x", "stats": {"data": [1, Infinity]}}]}', "a time of inf s"),
        ('{"benchmarks": [{"fullname": "x", "stats": {"data": [1, -1]}}]}', "a time of -1.0 s"),
        ('{"benchmarks": [{"fullname": "x", "stats": {"median": 0}}]}', "a time of 0.0 s"),
        ('{"benchmarks": [{"fullname": "x", "stats": {"median": true}}]}', "True is not a time"),
        ('{"benchmarks": [{"fullname": "x", "stats": {"median": "' + "9" * 99 + '"}}]}', "..."),
        ('{"benchmarks": [{"fullname": "x", "stats": {"median": 1' + "0" * 400 + "}}]}", "a time of inf s"),
        ('{"benchmarks": [{"fullname": "x", "stats": {"median": 1' + "0" * 5000 + "}}]}", "not JSON"),
        ('{"benchmarks": [{"fullname": "x", "stats": {"data": 3}}]}', "data is not a list"),
    ],
    ids=range(18),
)
def test_what_is_wrong_with_a_file_is_said_with_its_name(text: str, wrong: str, tmp_path: Path) -> None:
    path = tmp_path / "given.json"
    path.write_text(text)
    with pytest.raises(ValueError, match=r"given\.json: ") as refused:
        pytest_benchmark_in([path])
    assert wrong in str(refused.value)
    assert len(str(refused.value)) < 300 + len(str(path))


def test_bytes_that_are_no_text_and_a_missing_file_and_a_huge_one_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "given.json"
    with pytest.raises(ValueError, match=r"given\.json: No such file"):
        pytest_benchmark_in([path])
    path.write_bytes(b"\xff\xfe\xff")
    with pytest.raises(ValueError, match=r"given\.json: not JSON"):
        pytest_benchmark_in([path])
    with path.open("wb") as file:
        file.truncate(MAX_BYTES + 1)  # a hole: takes no space
    with pytest.raises(ValueError, match=r"given\.json: 64 MiB; at most 64 MiB"):
        pytest_benchmark_in([path])


def test_one_name_twice_in_a_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="two benchmarks are named"):
        pytest_benchmark_in([written(tmp_path, benchmarks=[benchmark(), benchmark()])])


def test_strange_types_of_what_is_not_needed_are_left_out(tmp_path: Path) -> None:
    odd = {"fullname": HOSTILE, "params": {"a": [1, {"b": None}], "c": None}, "stats": {"median": 1}}
    path = written(
        tmp_path, machine_info={"cpu": ["x"], "node": 3}, commit_info=[], datetime=7, benchmarks=[odd]
    )
    (one,) = pytest_benchmark_in([path])
    assert one.axes == {"a": '[1, {"b": null}]', "c": None}
    assert "\x07" not in one.label
    assert (one.fingerprint, one.commit, one.launches[0].host) == ({}, "", "")


def test_what_pytest_benchmark_really_writes_is_read(tmp_path: Path) -> None:
    (tmp_path / "test_it.py").write_text(
        "import pytest\n@pytest.mark.parametrize('n', [10, 1000])\ndef test_sum(benchmark, n):\n"
        "    benchmark.pedantic(sum, (range(n),), rounds=5)\n"
    )
    files = [tmp_path / "0.json", tmp_path / "1.json"]
    alone = {name: value for name, value in os.environ.items() if not name.startswith("PYTEST_")}
    for file in files:  # a worker of xdist would measure nothing
        subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"--benchmark-json={file}"],
            cwd=tmp_path, env=alone, check=True, capture_output=True,
        )  # fmt: skip
    small, large = pytest_benchmark_in(files)
    assert (small.axes, large.axes) == ({"n": 10}, {"n": 1000})
    assert len(small.numbers("time_s")) == 2
    assert max(small.numbers("time_s")) < 0.1
    assert {"python", "os"} <= small.fingerprint.keys()


# pytest-benchmark, out


def compared(*files: Path) -> str:
    program = Path(sys.executable).with_name("pytest-benchmark")
    run = subprocess.run(
        [program, "compare", *files, "--columns=median,rounds,iqr,ops", "--sort=name"],
        cwd=files[0].parent, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr
    assert "Failed to load" not in run.stdout + run.stderr
    return run.stdout


def test_its_own_command_compares_two_of_ours(tmp_path: Path) -> None:
    for name, figures in (("base", (0.8, 0.9, 0.7)), ("new", (1.6, 1.8, 1.4))):
        text = pytest_benchmark_out([point("sequential x1", figures)], "rtf_aggregate", MACHINE)
        (tmp_path / f"{name}.json").write_text(text)
    said = compared(tmp_path / "base.json", tmp_path / "new.json")
    rows = [line.split() for line in said.splitlines() if line.startswith("sequential x1")]
    assert [
        (row[2].endswith(f"{name})"), row[3]) for row, name in zip(rows, ("base", "new"), strict=True)
    ] == [
        (True, "800.0000"),
        (True, "1,600.0000"),
    ]
    assert "(1.0)" in said
    assert "(2.00)" in said


def test_what_is_written_is_read_back_with_the_same_median(tmp_path: Path) -> None:
    path = tmp_path / "ours.json"
    path.write_text(pytest_benchmark_out([point(), hung()], "rtf_aggregate", MACHINE))
    (read,) = pytest_benchmark_in([path])  # what hung has no figure, and is left out
    assert read.numbers("time_s") == [0.8]
    assert (read.label, read.commit) == ("threads x2", "0123456789abcdef")
    assert read.fingerprint["cpu"] == "Example CPU"


@pytest.mark.parametrize("n", [1, 2, 3, 4, 5, 6, 7, 8, 9, 25])
def test_the_statistics_are_those_of_pytest_benchmark(n: int) -> None:
    data = [random.Random(n * 100 + index).lognormvariate(0, 1) for index in range(n)]
    theirs = Stats()
    for value in data:
        theirs.update(value)
    ours = statistics_of(data)
    expected = theirs.as_dict()
    assert {key: ours[key] for key in expected if key not in _inexact(ours)} == {
        key: value for key, value in expected.items() if key not in _inexact(ours)
    }
    assert {key: ours[key] for key in _inexact(ours)} == pytest.approx(
        {key: expected[key] for key in _inexact(ours)}
    )


def _inexact(stats: Mapping[str, Any]) -> set[str]:
    return {key for key, value in stats.items() if isinstance(value, float)}


def test_a_metric_that_no_point_has_is_refused_with_those_that_there_are() -> None:
    with pytest.raises(ValueError, match="no point has ttfa_s; there is peak_vram_mib, rtf_aggregate, stage"):
        pytest_benchmark_out([point()], "ttfa_s", MACHINE)
    with pytest.raises(ValueError, match="none ended ok"):
        pytest_benchmark_out([hung()], "rtf_aggregate", MACHINE)
    with pytest.raises(ValueError, match="none ended ok"):
        pytest_benchmark_out([], "rtf_aggregate", MACHINE)


# github-action-benchmark


def test_an_entry_of_the_action_has_its_five_keys_with_its_types() -> None:
    """BenchmarkResult in the action's src/extract.ts: range and extra are text and may be missing."""
    entries = json.loads(benchmark_action_out([point(), point("sequential x1", (2.0,)), hung()]))
    assert entries[0] == {
        "name": "threads x2: rtf_aggregate",
        "unit": "ratio",
        "value": 0.8,
        "range": "± 0.1",
        "extra": "launches: 3\npoint: id of threads x2\ncommit: 0123456789abcdef",
    }
    assert {entry["name"].split(": ")[1]: entry["unit"] for entry in entries} == {
        "rtf_aggregate": "ratio",
        "peak_vram_mib": "MiB",
    }
    assert "range" not in next(entry for entry in entries if entry["name"].startswith("sequential"))


def test_the_action_is_not_given_an_empty_list_which_it_refuses() -> None:
    with pytest.raises(ValueError, match="none ended ok"):
        benchmark_action_out([hung()])


# OpenMetrics


def families(text: str) -> dict[str, Any]:
    return {family.name: family for family in text_string_to_metric_families(text)}


def test_prometheus_own_parser_reads_every_figure_with_its_unit() -> None:
    read = families(openmetrics_out([point(), hung()]))
    (rtf,) = read["talking_head_rtf_aggregate"].samples
    assert rtf.value == 0.8
    assert rtf.labels == {"point": "id of threads x2", "label": "threads x2", "launches": "3"}
    assert read["talking_head_rtf_aggregate"].type == "gauge"
    vram = read["talking_head_peak_vram_mib"]
    assert (vram.unit, vram.samples[0].value) == ("mib", 4001.0)
    (busy,) = read["talking_head_stage_busy_ratio"].samples
    assert (busy.labels["component"], busy.labels["stage"], busy.value) == ("tts", "gpt", 0.2)
    assert "talking_head_ttfa_s" not in read  # which none of them has


def test_a_point_that_hung_is_there_and_not_ok() -> None:
    read = families(openmetrics_out([point(), hung()]))
    assert {s.labels["label"]: s.value for s in read["talking_head_ok"].samples} == {
        "threads x2": 1,
        "processes x3": 0,
    }
    info = read["talking_head_point"].samples[0]
    assert (info.name, info.labels["gpu"]) == ("talking_head_point_info", "NVIDIA L4")
    assert info.labels["commit"] == "0123456789abcdef"


def test_hostile_labels_come_back_as_they_were_but_for_what_no_text_can_hold() -> None:
    read = families(openmetrics_out([point(HOSTILE)]))
    (sample,) = read["talking_head_rtf_aggregate"].samples
    assert sample.labels["label"] == HOSTILE.replace("\x07", "\ufffd")


def test_a_stage_with_a_hostile_name_is_a_label_and_no_name_of_a_metric() -> None:
    one = point()
    launch = replace(one.launches[0], values={'stage.tts.g"p{t}': 1.0})
    read = families(openmetrics_out([replace(one, launches=(launch,))]))
    assert read["talking_head_stage_busy_ratio"].samples[0].labels["stage"] == 'g"p{t}'


def test_no_points_are_a_valid_text() -> None:
    assert families(openmetrics_out([])) == {}
    assert openmetrics_out([]) == "# EOF\n"
