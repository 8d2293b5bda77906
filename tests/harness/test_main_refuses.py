"""Wrong settings on the command line: one line, exit code 2, nothing written, nothing loaded."""

from __future__ import annotations

from pathlib import Path

import pytest

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
}


@pytest.fixture(scope="module")
def refused(tmp_path_factory: pytest.TempPathFactory) -> dict[tuple[str, ...], tuple[int, str, Path]]:
    """What each wrong command line came to, two at a time."""
    found = {}
    cases = list(WRONG)
    for pair in (cases[at : at + 2] for at in range(0, len(cases), 2)):
        folders = [tmp_path_factory.mktemp("wrong") for _ in pair]
        for folder in folders:
            (folder / "media").symlink_to(ROOT / "media")
        running = [start(folder, *case) for folder, case in zip(folders, pair, strict=True)]
        for case, folder, process in zip(pair, folders, running, strict=True):
            found[case] = (*end(process), folder)
    return found


@pytest.mark.parametrize("case", list(WRONG), ids=" ".join)
def test_a_wrong_setting_is_one_line_and_exit_code_2_and_nothing_is_written(
    refused: dict[tuple[str, ...], tuple[int, str, Path]], case: tuple[str, ...]
) -> None:
    code, errors, folder = refused[case]
    assert code == 2, errors
    [line] = errors.splitlines()
    assert line.startswith(WRONG[case])
    assert len(line) < 250
    assert [path.name for path in folder.iterdir()] == ["media"]
