"""python -m reports export: a stored run in other tools' forms, exit codes, and where it is written."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from reports.__main__ import main as reports
from tests.data.make_runs import measured, point, save


def main(arguments: list[str]) -> int:
    return reports(["export", *arguments])


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A working folder with runs/first."""
    monkeypatch.chdir(tmp_path)
    save(tmp_path / "runs" / "first", [measured(point("sequential", 1))])
    return tmp_path


def test_each_format_is_written_to_standard_output(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["first", "--format", "pytest-benchmark"]) == 0
    (one,) = json.loads(capsys.readouterr().out)["benchmarks"]
    assert one["stats"]["median"] == 2.0  # RTF of a clip of 4 s that takes 8 s
    assert main(["first", "--format", "benchmark-action"]) == 0
    assert {"name", "unit", "value"} <= json.loads(capsys.readouterr().out)[0].keys()
    assert main(["first", "--format", "openmetrics"]) == 0
    families = {family.name for family in text_string_to_metric_families(capsys.readouterr().out)}
    assert {"talking_head_ok", "talking_head_rtf_aggregate", "talking_head_stage_busy_ratio"} <= families


def test_another_metric_and_a_file_of_its_own(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = here / "made" / "new.json"
    assert main([str(here / "runs/first"), "--format", "pytest-benchmark", "--metric", "ttfa_s",
                 "--out", str(out)]) == 0  # fmt: skip
    assert capsys.readouterr().out == ""
    data = json.loads(out.read_text())
    assert data["benchmarks"][0]["extra_info"]["metric"] == "ttfa_s"
    assert data["machine_info"]["cpu"]["brand_raw"] == "Example CPU"
    assert data["commit_info"]["dirty"] is False
    assert [path.name for path in out.parent.iterdir()] == ["new.json"]


@pytest.mark.parametrize(
    ("arguments", "wrong"),
    [
        (["nothing", "--format", "openmetrics"], "nothing: no such run"),
        (["first", "--format", "pytest-benchmark", "--metric", "speed"], "no point has speed; there is"),
        (["first", "--format", "openmetrics", "--out", "runs"], "runs"),
    ],
)
def test_what_cannot_be_exported_is_one_line_and_exit_code_2(
    arguments: list[str], wrong: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(arguments) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert wrong in line


def test_a_damaged_run_is_not_exported_in_part(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (file,) = (here / "runs" / "first").glob("*/*/result.json")
    file.write_text("{")
    assert main(["first", "--format", "openmetrics"]) == 2
    assert str(file.relative_to(here)) in capsys.readouterr().err


def test_an_unknown_format_is_refused_with_those_that_there_are(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as stopped:
        main(["first", "--format", "xml"])
    assert stopped.value.code == 2
    assert "openmetrics" in capsys.readouterr().err
