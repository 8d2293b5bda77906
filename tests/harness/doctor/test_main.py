"""The command: what it prints for a person, the same as JSON, and its exit codes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from harness.doctor import __main__ as doctor
from harness.doctor import checks
from harness.doctor.checks import GPU, NEEDED, OPTIONAL, Check
from tests.harness.doctor.machines import interpreter
from tests.harness.points import ROOT


def asked(monkeypatch: pytest.MonkeyPatch, **groups: str) -> None:
    """The command has these checks of broken.py alone: function=group."""
    at = "tests.harness.doctor.broken"
    given = tuple(Check(name, group, f"{at}:{name}") for name, group in groups.items())
    monkeypatch.setattr(checks, "CHECKS", given)


def test_a_person_reads_a_line_for_each_finding_by_need(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked(monkeypatch, noted=OPTIONAL, fine=NEEDED, missing=GPU, raises=NEEDED)
    assert doctor.main([]) == 1
    assert capsys.readouterr().out == (
        "needed\n"
        "  ok       fine     all is well\n"
        "  unknown  raises   the check failed: LookupError: the file has no such entry\n"
        "\n"
        "for a GPU\n"
        "  missing  missing  it is not there\n"
        "                    mend: get it\n"
        "\n"
        "optional\n"
        "  note     noted    it could be better\\x1b[2J\n"
        "                    mend: make it better\n"
        "\n"
        "Missing: missing. Not known: raises. 1 note.\n"
    )


def test_notes_and_what_is_not_known_of_the_optional_do_not_fail(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked(monkeypatch, fine=NEEDED, noted=NEEDED, crashes=OPTIONAL)
    assert doctor.main([]) == 0
    assert capsys.readouterr().out.endswith("\nAll that is needed is there; 1 note.\n")


@pytest.mark.parametrize(("function", "code"), [("fine", 0), ("noted", 0), ("missing", 1), ("crashes", 1)])
def test_the_exit_code_and_the_json_say_the_same(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], function: str, code: int
) -> None:
    asked(monkeypatch, **{function: NEEDED})
    assert doctor.main(["--json"]) == code
    said = json.loads(capsys.readouterr().out)
    assert said["ok"] is (code == 0)
    [line] = said["lines"]
    assert list(line) == ["group", "check", "status", "found", "mend"]
    assert (line["group"], line["check"]) == ("needed", function)


@pytest.mark.parametrize("arguments", [["--tts"], ["--tts="], ["--avatar", ""], ["extra"], ["--jason"]])
def test_a_wrong_argument_is_exit_code_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        doctor.main(arguments)
    assert ended.value.code == 2
    assert capsys.readouterr().out == ""


def run(python: str, folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    command = [python, "-m", "harness.doctor", *arguments]
    variables = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        command, cwd=folder, env=variables, capture_output=True, text=True, timeout=30, check=False
    )


def test_a_machine_on_which_the_tests_run_has_all_that_is_needed(here: Path) -> None:
    done = run(sys.executable, here, "--json")
    said = json.loads(done.stdout)
    assert (done.stderr, said["ok"], done.returncode) == ("", True, 0), done.stdout
    lines = {line["check"]: line for line in said["lines"]}
    needed = ["python", "packages", "encoders", "processes", "runs/", "temp folder", "/dev/shm"]
    assert {lines[name]["status"] for name in needed} == {"ok"}
    assert "libx264 and aac encode" in lines["encoders"]["found"]
    assert "the same in all processes" in lines["clock"]["found"]
    assert {line["group"] for line in said["lines"]} == set(checks.GROUPS)
    assert not (here / "runs").exists()


def test_what_the_terminal_cannot_show_is_no_traceback(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONIOENCODING", "ascii")
    done = run(sys.executable, tmp_path, "--tts", str(tmp_path / "é"))
    assert (done.stderr, done.returncode) == ("", 1)
    assert f"there is no folder {tmp_path}/\\xe9" in done.stdout


def test_a_python_without_any_package_is_told_to_install_them(tmp_path: Path) -> None:
    done = run(str(interpreter(tmp_path, packages=False)), tmp_path)
    assert (done.stderr, done.returncode) == ("", 1)
    lines = done.stdout.splitlines()
    [packages] = [index for index, line in enumerate(lines) if line.split()[:2] == ["missing", "packages"]]
    assert all(name in lines[packages] for name in ("psutil", "torch", "coqui-tts", "torchaudio"))
    mend = lines[packages + 1].split()
    assert (mend[0], mend[1], mend[-1]) == ("mend:", f"VENV={tmp_path}", "./install.sh")
    assert "not looked at: it needs the module pynvml" in done.stdout
    assert f"  ok       python          3.{sys.version_info[1]}." in done.stdout
    assert lines[-1].startswith("Missing: packages. Not known: encoders, load, GPU. ")
