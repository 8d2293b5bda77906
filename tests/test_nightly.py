"""`.ci/nightly`, `.ci/history` and `.ci/issue` as cron runs them.

bash, git and a remote are real; docker and gh are programs that play their part: docker the harness and the
gate with the exit codes that a test names, gh keeps issues in a file.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

ROOT = Path(__file__).parent.parent
HISTORY = "runs/baselines/nvidia-l4/nightly.jsonl"
BRANCH = "nightly-history"
MARK = "<!-- written by the nightly gate -->"
DOCKER = r"""#!/usr/bin/env bash
echo "docker $*" >> "$PLAY/calls"
[ "$1" = build ] && exit "${BUILD:-0}"
[ "$1" = run ] || exit 0
[[ "$*" == *"--entrypoint chown"* ]] && exit 0
if [[ "$*" == *"-m harness"* ]]; then
  [ ! -e runs/nightly/result ] || echo "measured beside an older night" >&2
  echo measured > runs/nightly/result
  [ -z "${SLOW:-}" ] || exec sleep "$SLOW"
  exit "${SWEEP:-0}"
fi
printf '## Gate nightly\n\n| point | figure |\n' > runs/nightly/gate.md
python3 - "$GATE" > runs/nightly/gate.json << 'END'
import json, os, sys
point = os.environ.get("POINT", "threads x2")
lines = [{"code": 10 * (sys.argv[1] == "10"), "point": point, "metric": "rtf_aggregate", "word": "slower"}]
print(json.dumps({"lines": [{"code": 0, "point": "fine", "metric": "ttfa_s"}, *lines]}))
END
mkdir -p runs/baselines/nvidia-l4
echo "{\"night\": \"${NIGHT:-1}\"}" >> runs/baselines/nvidia-l4/nightly.jsonl
exit "${GATE:-0}"
"""
GH = r"""
import json, os, pathlib, sys
play = pathlib.Path(os.environ["PLAY"])
args = sys.argv[1:]
with (play / "calls").open("a") as calls:
    calls.write(" ".join(["gh", *args[:2]]) + "\n")
file = play / "issues.json"
issues = json.loads(file.read_text()) if file.exists() else []
option = lambda name: args[args.index(name) + 1] if name in args else ""
if args[:2] == ["issue", "list"]:
    mark = args[args.index("--jq") + 1].split('"')[1]
    found = [issue["number"] for issue in issues if issue["open"] and mark in issue["body"]]
    print(*found[:1])
elif args[:2] == ["issue", "create"]:
    assert option("--body-file") == "-"
    issues.append({"number": len(issues) + 1, "open": True, "title": option("--title"), "comments": [],
                   "body": sys.stdin.read(), "label": option("--label")})
elif args[0] == "issue":
    issue = issues[int(args[2]) - 1]
    if args[1] == "edit":
        issue |= {"title": option("--title"), "body": sys.stdin.read()}
    issue["comments"] += [said for said in (option("--body"), option("--comment")) if said]
    issue["open"] = args[1] != "close"
file.write_text(json.dumps(issues))
sys.exit(int(os.environ.get("GH_FAILS", 0)))
"""


def git(folder: Path, *args: str) -> str:
    identity = ("-c", "user.name=Someone", "-c", "user.email=someone@example.org")
    run = subprocess.run(["git", *identity, *args], cwd=folder, capture_output=True, text=True, check=True)
    return run.stdout.strip()


@dataclass
class Place:
    """A clone of a bare repository, with the scripts and the two played programs."""

    root: Path
    code: int = -1
    said: str = ""
    environment: dict[str, str] = field(default_factory=dict)

    @property
    def checkout(self) -> Path:
        return self.root / "checkout"

    @property
    def calls(self) -> list[str]:
        file = self.root / "calls"
        return file.read_text().splitlines() if file.exists() else []

    @property
    def issues(self) -> list[dict[str, Any]]:
        file = self.root / "issues.json"
        return list(json.loads(file.read_text())) if file.exists() else []

    def pushed(self) -> list[str]:
        return git(self.root / "remote.git", "show", f"{BRANCH}:{HISTORY}").splitlines()

    def run(self, *command: str, **more: str) -> int:
        path = f"{self.root / 'bin'}:{os.environ['PATH']}"
        environment = {k: v for k, v in os.environ.items() if not k.startswith(("GITHUB_", "GH_", "GIT_"))}
        environment |= {"PATH": path, "PLAY": str(self.root), "HOME": str(self.root), "RETRY_S": "0"}
        run = subprocess.run(
            [f".ci/{command[0]}", *command[1:]], cwd=self.checkout, env=environment | self.environment | more,
            capture_output=True, text=True, check=False, timeout=60,
        )  # fmt: skip
        self.code, self.said = run.returncode, run.stdout + run.stderr
        return self.code


@pytest.fixture
def place(tmp_path: Path) -> Place:
    git(tmp_path, "init", "--quiet", "--bare", "--initial-branch=main", "remote.git")
    git(tmp_path, "clone", "--quiet", "remote.git", "checkout")
    checkout = tmp_path / "checkout"
    shutil.copytree(ROOT / ".ci", checkout / ".ci")
    (checkout / "runs").mkdir()
    shutil.copy(ROOT / "runs/.gitignore", checkout / "runs")
    git(checkout, "checkout", "--quiet", "-B", "main")
    git(checkout, "add", ".")
    git(checkout, "commit", "--quiet", "-m", "first")
    git(checkout, "push", "--quiet", "origin", "main")
    (tmp_path / "bin").mkdir()
    for name, text in (("docker", DOCKER), ("gh", f"#!{sys.executable}{GH}")):
        (tmp_path / "bin" / name).write_text(text)
        (tmp_path / "bin" / name).chmod(0o755)
    return Place(tmp_path, environment={"GH_TOKEN": "a-token"})


@pytest.mark.parametrize(
    ("gate", "exits", "words"),
    [
        ("0", 0, "notice: fine"),
        ("10", 10, "error: regressed"),
        ("11", 0, "notice: inconclusive"),
        ("12", 12, "error: not measured as asked"),
        ("2", 2, "error: a wrong setting"),
        ("137", 137, "error: the gate itself ended with 137"),
    ],
)
def test_the_code_of_the_gate_is_passed_on_with_words_and_its_history_is_pushed(
    gate: str, exits: int, words: str, place: Place
) -> None:
    assert place.run("nightly", GATE=gate) == exits, place.said
    assert words in place.said
    assert (place.checkout / "runs/nightly/exit_code").read_text() == f"{gate}\n"
    assert place.pushed() == ['{"night": "1"}']
    assert [issue["title"] for issue in place.issues] == (
        ["Regressed: threads x2: rtf_aggregate"] if gate == "10" else []
    )


def test_an_inconclusive_night_fails_where_that_was_asked(place: Place) -> None:
    assert place.run("nightly", GATE="11", STRICT="1") == 11


def test_what_ran_is_the_sweep_then_the_gate_in_the_image_of_this_checkout(place: Place) -> None:
    place.run(
        "nightly", ALLOW="driver,torch", SETTINGS="tts.weights=/models/x repeats=9", MODELS="/srv/models"
    )
    build, _prune, sweep, gate, report = [
        call
        for call in place.calls
        if call.startswith("docker") and "chown" not in call and " rm " not in call
    ]
    assert build.endswith(" .")
    for call in (sweep, gate):
        assert "--gpus all --ipc=host --cap-add=SYS_PTRACE" in call
        assert (
            f"--volume {place.checkout}/.git:/bench/.git --volume {place.checkout}/runs:/bench/runs" in call
        )
        assert "--volume /srv/models:/models:ro" in call
        assert "a-token" not in call
        assert "GH_TOKEN" not in call
    assert sweep.endswith("-m harness +sweep=nightly tts.weights=/models/x repeats=9")
    assert gate.endswith("-m reports gate runs/nightly --strict --noise=1 --allow=driver --allow=torch")
    assert report.endswith("-m reports runs/nightly")


def test_on_a_machine_without_docker_the_same_commands_run_in_its_environment(place: Place) -> None:
    python = place.checkout / ".venv/bin/python"
    python.parent.mkdir(parents=True)
    python.write_text('#!/bin/sh\nexec docker run "$@"\n')
    python.chmod(0o755)
    assert place.run("nightly", WHERE="here", GATE="10") == 10, place.said
    assert [call for call in place.calls if call.startswith("docker")] == [
        "docker run -m harness +sweep=nightly",
        "docker run -m reports gate runs/nightly --strict --noise=1",
        "docker run -m reports runs/nightly",
    ]


def test_what_somebody_types_into_the_form_stays_one_word_of_the_gates(place: Place) -> None:
    place.run("nightly", "measure", ALLOW="--baselines=/etc,content of a.wav,$(touch pwned);*")
    (gate,) = [call for call in place.calls if "reports gate" in call]
    assert gate.endswith(
        "--strict --noise=1 --allow=--baselines=/etc --allow=content of a.wav --allow=$(touch pwned);*"
    )
    assert not (place.checkout / "pwned").exists()


def test_in_a_job_the_words_are_annotations(place: Place) -> None:
    place.run("nightly", "measure", GATE="12", GITHUB_ACTIONS="true")
    assert "::error title=nightly::not measured as asked" in place.said


def test_measuring_alone_tells_nobody_and_telling_alone_measures_nothing(place: Place) -> None:
    assert place.run("nightly", "measure", GATE="10") == 10
    assert place.issues == []
    assert git(place.root / "remote.git", "branch", "--list", BRANCH) == ""
    measured = len([call for call in place.calls if call.startswith("docker")])
    assert place.run("nightly", "tell") == 0
    assert [issue["open"] for issue in place.issues] == [True]
    assert place.pushed() == ['{"night": "1"}']
    assert len([call for call in place.calls if call.startswith("docker")]) == measured


def test_telling_of_a_night_without_a_decision_says_so(place: Place) -> None:
    assert place.run("nightly", "tell") == 12
    assert "no decision" in place.said


@pytest.mark.parametrize(
    ("setting", "exits", "words"),
    [
        ({"SWEEP": "2"}, 2, "a wrong setting"),
        ({"SWEEP": "130"}, 12, "measuring ended with 130"),
        ({"BUILD": "1"}, 12, "the image could not be built"),
        ({"HISTORY_REMOTE": "gone"}, 12, "no history"),
        ({"SLOW": "30", "LIMIT": "0.2s"}, 12, "not measured within 0.2s"),
    ],
)
def test_what_goes_wrong_before_the_gate_has_its_own_words_and_no_verdict(
    setting: dict[str, str], exits: int, words: str, place: Place
) -> None:
    git(place.checkout, "remote", "add", "gone", str(place.root / "nowhere"))
    assert place.run("nightly", "measure", **setting) == exits
    assert words in place.said
    assert not any("reports gate" in call for call in place.calls)
    assert place.calls == [] or "chown" in place.calls[-1]  # nothing stays that root wrote


def test_a_point_that_is_not_ok_is_for_the_gate_to_judge(place: Place) -> None:
    assert place.run("nightly", SWEEP="1", GATE="10") == 10


def test_the_night_before_is_set_aside_and_not_taken_for_tonight(place: Place) -> None:
    place.run("nightly", POINT="yesterday")
    place.run("nightly", NIGHT="2", POINT="today")
    assert "measured beside" not in place.said
    assert "yesterday" in (place.checkout / "runs/nightly.before/gate.json").read_text()
    assert place.pushed() == ['{"night": "1"}', '{"night": "2"}']


def test_two_nights_at_once_do_not_share_the_gpu(place: Place) -> None:
    lock = place.checkout / "runs/.nightly.lock"
    with subprocess.Popen(["flock", lock, "sh", "-c", "echo held; read wait"], stdin=-1, stdout=-1) as holder:
        assert holder.stdout and holder.stdout.readline()
        assert place.run("nightly") == 12
        assert holder.stdin
        holder.stdin.close()
    assert "another night" in place.said
    assert place.calls == []


def test_one_issue_is_opened_kept_up_to_date_and_closed(place: Place) -> None:
    (place.root / "issues.json").write_text(
        json.dumps([{"number": 1, "open": True, "title": "by hand", "body": "", "comments": []}])
    )
    place.run("nightly", GATE="10")
    place.run("nightly", GATE="10", NIGHT="2", POINT="worse `$(reboot)` \"x\"", GITHUB_RUN_ID="77",
              GITHUB_SERVER_URL="https://github.com", GITHUB_REPOSITORY="a/b")  # fmt: skip
    by_hand, issue = place.issues
    assert issue["title"] == 'Regressed: worse `$(reboot)` "x": rtf_aggregate'
    assert issue["label"] == "regression"
    assert "| point | figure |" in issue["body"]
    assert "https://github.com/a/b/actions/runs/77" in issue["body"]
    assert issue["body"].rstrip().endswith(MARK)
    assert len(issue["comments"]) == 1
    for code in ("11", "12"):  # which say nothing about the code
        place.run("nightly", GATE=code)
        assert place.issues[1] == issue
    place.run("nightly", GATE="0")
    by_hand, issue = place.issues
    assert by_hand["open"] is True
    assert issue["open"] is False
    assert "Fine again" in issue["comments"][-1]
    place.run("nightly", GATE="10")
    assert [each["open"] for each in place.issues] == [True, False, True]


def test_a_long_report_is_cut_to_what_an_issue_takes(place: Place) -> None:
    night = place.checkout / "runs/nightly"
    night.mkdir()
    (night / "gate.md").write_text("±" * 60_000)
    slower = [{"code": 10, "point": "ü" * 100 + "\n", "metric": "ttfa_s"}] * 5
    (night / "gate.json").write_text(json.dumps({"lines": slower}))
    assert place.run("issue", "10") == 0, place.said
    (issue,) = place.issues
    assert issue["title"].startswith("Regressed: üüü")
    assert issue["title"].endswith(" and 3 more")
    assert len(issue["title"]) < 256
    assert len(issue["body"].encode()) < 61_000
    assert MARK in issue["body"]


def test_without_a_token_no_issue_is_touched(place: Place) -> None:
    assert place.run("nightly", GATE="10", GH_TOKEN="") == 10
    assert not any(call.startswith("gh") for call in place.calls)


def test_what_cannot_be_told_fails_a_night_that_was_fine_and_never_hides_one_that_was_not(
    place: Place,
) -> None:
    assert place.run("nightly", GH_FAILS="1") == 1
    assert "the issue is not up to date" in place.said
    assert place.run("nightly", GATE="10", GH_FAILS="1") == 10


# history


def lines(place: Place, *texts: str) -> None:
    file = place.checkout / HISTORY
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("".join(f"{text}\n" for text in texts))


def elsewhere(place: Place, texts: Sequence[str]) -> None:
    """Somebody else pushes a history."""
    other = Place(place.root / "other")
    if not other.checkout.exists():
        other.root.mkdir()
        git(other.root, "clone", "--quiet", str(place.root / "remote.git"), "checkout")
    lines(other, *texts)
    assert other.run("history", "push") == 0, other.said


def test_pushing_touches_neither_the_working_tree_nor_the_branch_that_is_checked_out(place: Place) -> None:
    lines(place, "a")
    before = git(place.checkout, "rev-parse", "HEAD"), git(place.checkout, "status", "--porcelain")
    assert place.run("history", "push") == 0, place.said
    assert (git(place.checkout, "rev-parse", "HEAD"), git(place.checkout, "status", "--porcelain")) == before
    assert git(place.root / "remote.git", "ls-tree", "-r", "--name-only", BRANCH) == HISTORY
    assert git(place.root / "remote.git", "rev-parse", "main") == before[0]


def test_pushing_twice_is_one_commit(place: Place) -> None:
    lines(place, "a")
    place.run("history", "push")
    assert place.run("history", "push") == 0
    assert "nothing new" in place.said
    assert git(place.root / "remote.git", "rev-list", "--count", BRANCH) == "1"


def test_a_line_that_was_cut_short_stays_here(place: Place) -> None:
    lines(place, "a", "b")
    with (place.checkout / HISTORY).open("a") as file:
        file.write('{"night": ')
    assert place.run("history", "push") == 0, place.said
    assert place.pushed() == ["a", "b"]


def test_a_branch_that_moved_since_it_was_fetched_keeps_both_lines_in_order(place: Place) -> None:
    lines(place, "a")
    place.run("history", "push")
    elsewhere(place, ["a", "b"])
    lines(place, "a", "c")
    assert place.run("history", "push") == 0, place.said
    assert place.pushed() == ["a", "b", "c"]


def test_a_branch_that_moves_while_it_is_pushed_is_tried_again(place: Place) -> None:
    """git's own hook pushes another line between the fetch and the push, once."""
    lines(place, "a")
    place.run("history", "push")
    elsewhere(place, ["a"])
    lines(Place(place.root / "other"), "a", "b")
    hook = place.checkout / ".git/hooks/pre-push"
    hook.write_text(
        f"#!/bin/sh\n[ -e {place.root}/moved ] || {{ touch {place.root}/moved\n"
        f"  env -u GIT_DIR -u GIT_INDEX_FILE sh -c 'cd {place.root}/other/checkout && .ci/history push'; }}\n"
    )
    hook.chmod(0o755)
    lines(place, "a", "c")
    assert place.run("history", "push") == 0, place.said
    assert "rejected" in place.said
    assert place.pushed() == ["a", "b", "c"]
    assert git(place.root / "remote.git", "rev-list", "--count", BRANCH) == "3"


def test_a_remote_that_takes_nothing_fails_after_five_tries_and_the_lines_stay(place: Place) -> None:
    hook = place.root / "remote.git/hooks/pre-receive"
    hook.write_text("#!/bin/sh\necho refused >&2\nexit 1\n")
    hook.chmod(0o755)
    lines(place, "a")
    assert place.run("history", "push") == 1
    assert place.said.count("refused") == 5
    assert (place.checkout / HISTORY).read_text() == "a\n"


def test_pulling_gives_the_lines_of_the_branch_and_keeps_what_was_never_pushed(place: Place) -> None:
    elsewhere(place, ["a", "b"])
    lines(place, "a", "kept")
    assert place.run("history", "pull") == 0, place.said
    assert (place.checkout / HISTORY).read_text().split() == ["a", "b", "kept"]


def test_the_first_night_has_no_history_and_a_checkout_without_a_remote_keeps_its_own(place: Place) -> None:
    assert place.run("history", "pull") == 0, place.said
    assert not (place.checkout / HISTORY).exists()
    git(place.checkout, "remote", "remove", "origin")
    lines(place, "a")
    assert place.run("history", "push") == 0
    assert "no remote" in place.said


@pytest.mark.parametrize("command", [["nightly", "now"], ["history"], ["issue"]])
def test_a_wrong_word_is_answered_with_the_usage(command: list[str], place: Place) -> None:
    assert place.run(*command) != 0
    assert "usage" in place.said
