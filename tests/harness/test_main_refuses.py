"""Wrong settings on the command line: one line, exit code 2, nothing written, nothing loaded."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from hydra.errors import HydraException

from harness.wording import known_keys, of_hydra, of_option
from tests.harness.cases import asked_for, some_now
from tests.harness.conf import composed, options
from tests.harness.points import ROOT
from tests.harness.typed import BROKEN, end, start

WRONG = {
    ("avatar.load_ss=1",): "avatar.load_ss: there is no such key; did you mean avatar.load_s?",
    ("avatr.load_s=1",): "avatr.load_s: there is no such key; did you mean avatar.load_s?",
    ("tts=simulatd",): "tts=simulatd: choose from ",
    ("executor=thread",): "executor=thread: choose from ",
    ("+sweep=worker",): "sweep=worker: choose from ",
    ("executor.workers=2",): "executor.workers=2: executor=sequential has one worker; use executor=threads",
    (
        "workload.voice=none.wav",
    ): "workload.voice=none.wav: not found; give the path of something that exists",
    ("limits.load=soon",): "limits.load=soon: must be a number",
    ("workload.jobs=3",): "workload.jobs=3: executor.workers=1 needs at least 4",
    ("name=../x",): "name=../x: a folder name of letters",
    ("+avatar.novel=1",): "+avatar.novel: only +sweep=NAME",
    ("executor.workers=1,0",): "executor.workers=0: must be at least 1",
    ("fault.kind=hang", *BROKEN): "fault.component=avatar, fault.worker=1, fault.job=null: strikes nowhere",
    ("workload.seed=[1",): "",
    ("tts=",): "tts=: choose from canned, simulated, xtts",
    ("avatar=null",): "avatar=null: choose from ditto, ditto_fast, ditto_upstream, simulated",
    ("executor=null,threads",): "executor=null,threads: choose from pipelined, processes, queue",
    ("~asr",): "~asr: nothing can be taken away; leave it out, or give it another value",
    ("seed=1", "~workload.rules"): "~workload.rules: nothing can be taken away",
    ("tts=[xtts,canned]",): "tts=[xtts,canned]: takes one option at a time; use tts=xtts,canned",
    ("workload.rules={}",): "workload.rules: what conf/ checks is no setting",
    ("workload.texts={a:b}",): "workload.texts={a:b}: must be a list, like ",
    ('workload.voice="a\nb"',): r"workload.voice=a\nb: not found",
}


@pytest.fixture(scope="module")
def refused(
    tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> dict[tuple[str, ...], tuple[int, str, Path]]:
    """What each wrong command line that is asked for came to, two at a time."""
    found = {}
    cases = asked_for(request)
    for pair in (cases[at : at + 2] for at in range(0, len(cases), 2)):
        folders = [tmp_path_factory.mktemp("wrong") for _ in pair]
        for folder in folders:
            (folder / "media").symlink_to(ROOT / "media")
        running = [start(folder, *case) for folder, case in zip(folders, pair, strict=True)]
        for case, folder, process in zip(pair, folders, running, strict=True):
            found[case] = (*end(process), folder)
    return found


@pytest.mark.parametrize("case", some_now(WRONG), ids=" ".join)
def test_a_wrong_setting_is_one_line_and_exit_code_2_and_nothing_is_written(
    refused: dict[tuple[str, ...], tuple[int, str, Path]], case: tuple[str, ...]
) -> None:
    code, errors, folder = refused[case]
    assert code == 2, errors
    [line] = errors.splitlines()
    assert line.startswith(WRONG[case])
    assert len(line) < 250
    assert [path.name for path in folder.iterdir()] == ["media"]


@pytest.mark.parametrize(
    ("overrides", "line"),
    [
        (
            ["tts=xtts", "tts.chunk_s=1"],
            "tts.chunk_s: a key of tts=canned alone; add that, or leave the key out",
        ),
        (
            ["avatar=ditto", "avatar.stages=5"],
            "avatar.stages: a key of avatar=simulated alone; add that, or leave the key out",
        ),
        (["workload.sead=1"], "workload.sead: there is no such key; did you mean workload.seed?"),
        (["qqqq=1"], "qqqq: there is no such key; see --cfg job"),
        (["executor.qqqqqqqqqqqqqqqqq=1"], "executor.qqqqqqqqqqqqqqqqq: there is no such key; see --cfg job"),
        (["sweep=workers"], "sweep: takes a plus, as +sweep=backend"),
        (
            ["avatar=simulated", "avatar.stages={foo:1}"],
            "avatar.stages.foo: there is no such key; did you mean avatar.stages?",
        ),
        (["workload.seconds={a:b}", "workload=replay"], "workload.seconds={a:b}: must be a list, like "),
        (["limits=soon"], "limits=soon: choose from default, quick"),
    ],
)
def test_what_hydra_refuses_is_told_in_the_words_of_the_command_line(overrides: list[str], line: str) -> None:
    with pytest.raises(HydraException) as caught:
        composed(*overrides)
    assert of_hydra(caught.value).startswith(line)


def test_a_rule_is_never_what_was_meant() -> None:
    hidden = ("rules", "impossible", "optimised")
    assert not [key for key in known_keys() if any(word in key for word in hidden)]
    assert {"workload.seed", "avatar.more", "tts.chunk_s", "fault.kind"} <= set(known_keys())


def test_only_hydras_complaint_of_an_option_is_a_wrong_setting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["harness", "seed=1", "+sweep=null"])
    assert of_option(ValueError("Config group override must be a string")) == (
        f"+sweep=null: choose from {', '.join(options('sweep'))}"
    )
    with pytest.raises(ValueError, match="a bug"):
        of_option(ValueError("a bug"))
