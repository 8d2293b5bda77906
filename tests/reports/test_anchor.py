"""Moving the anchor: a commit of that file alone, with every figure that moves; or one line why not."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from reports import anchor, history
from reports.__main__ import main
from reports.anchor import Anchor
from reports.history import DamagedHistory, History
from tests.reports.sides import CONFIG, PRINTS, date, night

RTF = "rtf_aggregate"
WHOLE = (
    '{"schema": 1, "night": "", "commit": "", "reason": "", "fingerprints": {}, "values": {"p": {"m": 0.8}}}'
)
FILE = "runs/baselines/nvidia-l4/nightly.anchor.json"


def git(*arguments: str) -> str:
    done = subprocess.run(["git", *arguments], capture_output=True, text=True, check=True)
    return done.stdout.strip()


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository with a commit, and a history of three nights of a point: 0.80, 0.82 and 0.88."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", "/dev/null")
    monkeypatch.setenv("GIT_CONFIG_NOSYSTEM", "1")
    for who in ("AUTHOR", "COMMITTER"):
        monkeypatch.setenv(f"GIT_{who}_NAME", "Somebody")
        monkeypatch.setenv(f"GIT_{who}_EMAIL", "somebody@example.com")
    git("init", "--quiet")
    Path("README").write_text("first\n")
    Path(".gitignore").write_text("*\n!.gitignore\n")  # as runs/ is in the project
    git("add", "--force", "README", ".gitignore")
    git("commit", "--quiet", "--message", "first")
    nights_of("nvidia-l4")
    return tmp_path


def nights_of(gpu: str) -> History:
    known = history.read(Path(f"runs/baselines/{gpu}/nightly.jsonl"))
    lines = [
        ("fingerprint", {"key": "f", "values": PRINTS}),
        ("point", {"id": "point", "label": "sequential x1", "config": CONFIG}),
        *history.lines_of([
            *(night(number, value) for number, value in enumerate((0.8, 0.82, 0.88))),
            night(3, outcome="hung", values={}),
        ]),
    ]  # fmt: skip
    history.append(known, {"sweep": "nightly", "gpu": gpu}, lines)
    return history.read(known.path)


def pin(*arguments: str) -> int:
    return main(["anchor", "nightly", *arguments])


def refused(capsys: pytest.CaptureFixture[str], *arguments: str) -> str:
    """No file and no commit came to be; the line that says why."""
    head = git("rev-parse", "HEAD")
    assert pin(*arguments) == 2
    assert git("rev-parse", "HEAD") == head
    assert not list(Path("runs").glob("**/*.anchor.json"))
    (line,) = capsys.readouterr().err.splitlines()
    return line


def test_the_anchor_s_commit_has_that_file_alone_and_leaves_what_was_staged(here: Path) -> None:
    Path("README").write_text("second\n")
    git("add", "README")
    assert pin("--night", "2026-03-01", "--reason", "the first release") == 0
    assert git("show", "--name-only", "--format=", "HEAD") == FILE
    assert git("status", "--porcelain") == "M  README"


def test_the_commit_s_message_has_the_reason_and_every_figure(
    here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert pin("--night", "2026-03-01", "--reason", "the first release") == 0
    message = git("show", "--no-patch", "--format=%B", "HEAD")
    assert message.splitlines() == [
        f"baselines: move the anchor of nightly to {date(0)}",
        "",
        "the first release",
        "",
        "sequential x1 rtf_aggregate: 0.8",
    ]
    assert capsys.readouterr().out.strip() == message


def test_a_move_says_from_where_to_where_and_by_how_much(here: Path) -> None:
    assert pin("--night", "2026-03-01", "--reason", "first") == 0
    assert pin("--night", "2026-03-03", "--reason", "put-back in 16 bits is worth it") == 0
    message = git("show", "--no-patch", "--format=%B", "HEAD").splitlines()
    assert message[0] == f"baselines: move the anchor of nightly from {date(0)} to {date(2)}"
    assert message[-1] == "sequential x1 rtf_aggregate: 0.8 -> 0.88 (+10.0 %)"
    assert git("rev-list", "--count", "HEAD") == "3"


def test_what_is_pinned_is_read_back(here: Path) -> None:
    assert pin("--night", "2026-03-02", "--reason", "first") == 0
    known = history.read(Path("runs/baselines/nvidia-l4/nightly.jsonl"))
    assert anchor.read(known) == Anchor(
        date(1), f"{1:040x}", "first", {"point": {RTF: 0.82}}, {"point": "f"}
    )  # fmt: skip
    assert not list(here.glob("**/*.tmp"))


@pytest.mark.parametrize(
    ("night_given", "said"),
    [
        ("2027-01-01", "there is no such night"),
        ("2026-03-04", f"no point was ok in {date(3)}"),
    ],
)
def test_a_night_that_cannot_be_pinned_is_refused_with_the_last_ones(
    night_given: str, said: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    line = refused(capsys, "--night", night_given, "--reason", "why")
    assert line.startswith(f"--night {night_given}: {said} in runs/baselines/nvidia-l4/nightly.jsonl")
    assert line.endswith(f"the last ones are {date(1)}, {date(2)}, {date(3)}")


@pytest.mark.parametrize("reason", ["", "  \n"])
def test_without_a_reason_nothing_moves(reason: str, here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = refused(capsys, "--night", "2026-03-01", "--reason", reason)
    assert line == "--reason: must say why the level moves; it becomes the commit's message"


def test_outside_of_a_repository_the_file_is_written_to_be_committed_by_hand(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GIT_CEILING_DIRECTORIES", str(tmp_path.parent))
    nights_of("nvidia-l4")
    assert pin("--night", "2026-03-01", "--reason", "why") == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert "not a git repository" in line
    assert line.endswith(f"commit {FILE} by hand")
    assert Path(FILE).is_file()


def test_without_git_the_file_is_written_to_be_committed_by_hand(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", str(here))
    assert pin("--night", "2026-03-01", "--reason", "why") == 2
    assert "git: No such file or directory; commit" in capsys.readouterr().err
    assert Path(FILE).is_file()


def test_of_two_machines_one_must_be_chosen(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    nights_of("nvidia-h200")
    line = refused(capsys, "--night", "2026-03-01", "--reason", "why")
    assert line == "nightly: 2 histories in runs/baselines; choose with --gpu: nvidia-h200, nvidia-l4"
    assert pin("--night", "2026-03-01", "--reason", "why", "--gpu", "nvidia-h200") == 0
    assert git("show", "--name-only", "--format=", "HEAD") == "runs/baselines/nvidia-h200/nightly.anchor.json"


def test_a_sweep_without_a_history_is_refused(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["anchor", "weekly", "--night", "2026-03-01", "--reason", "why"]) == 2
    assert capsys.readouterr().err.startswith("weekly: no history in runs/baselines")


def test_a_gpu_that_is_a_path_is_refused(here: Path, capsys: pytest.CaptureFixture[str]) -> None:
    line = refused(capsys, "--night", "2026-03-01", "--reason", "why", "--gpu", "/etc")
    assert line == "nightly: no history in runs/baselines; choose with --gpu: nvidia-l4"


def test_a_gpu_may_be_named_as_it_names_itself(here: Path) -> None:
    nights_of("nvidia-h200")
    assert pin("--night", "2026-03-01", "--reason", "why", "--gpu", "NVIDIA L4") == 0
    assert git("show", "--name-only", "--format=", "HEAD") == FILE


def test_a_figure_that_was_not_confirmed_in_that_night_is_not_pinned(here: Path) -> None:
    known = history.read(Path("runs/baselines/nvidia-l4/nightly.jsonl"))
    rows = [night(5, values={RTF: (1.2,), "ttfa_s": (0.5,)}, faults=(RTF,))]
    history.append(known, {}, history.lines_of(rows))
    assert pin("--night", "2026-03-06", "--reason", "why") == 0
    assert json.loads(Path(FILE).read_text())["values"] == {"point": {"ttfa_s": 0.5}}


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        '{"schema": 2}',
        '{"schema": 1}',
        '{"schema": 1, "night": "x", "surprise": 1}',
        WHOLE.replace('{"m": 0.8}', "0.8"),
        WHOLE.replace("0.8", '"fast"'),
    ],
)
def test_a_damaged_anchor_is_refused_by_name_and_left_as_it_is(
    text: str, here: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    Path(FILE).write_text(text)
    assert pin("--night", "2026-03-01", "--reason", "why") == 2
    assert capsys.readouterr().err.startswith(f"{FILE}: not an anchor (")
    assert Path(FILE).read_text() == text
    with pytest.raises(DamagedHistory):
        anchor.read(history.read(Path("runs/baselines/nvidia-l4/nightly.jsonl")))


def test_the_anchor_holds_no_figure_of_a_stage(here: Path) -> None:
    known = history.read(Path("runs/baselines/nvidia-l4/nightly.jsonl"))
    rows = [night(5, values={RTF: (1.0,), "stage.avatar.warp": (0.5,)})]
    history.append(known, {}, history.lines_of(rows))
    assert pin("--night", "2026-03-06", "--reason", "why") == 0
    assert json.loads(Path(FILE).read_text())["values"] == {"point": {RTF: 1.0}}
