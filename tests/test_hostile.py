"""Hostile and broken inputs on the command line: one line, exit code 2, nothing written, nothing loaded."""

from __future__ import annotations

import os
import pickle
import shutil
import struct
import subprocess
import sys
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from harness import settings
from harness.settings import SettingError
from tests.engines.ditto.test_cfg import online
from tests.harness.cases import asked_for, some_now
from tests.harness.conf import composed
from tests.harness.points import ROOT, environment

MOST_MEMORY_KIB = 3 * 2**20  # of address space for the whole command
REAL = ["tts=xtts", "avatar=ditto", "device=cpu", "size=tiny", "report=false"]


class Payload:
    """Pickled, it runs a command where it is loaded."""

    def __reduce__(self) -> tuple[Callable[[str], int], tuple[str]]:
        return os.system, ("touch executed",)


def png(width: int, height: int, *chunks: tuple[bytes, bytes]) -> bytes:
    """A grey image of which only the header is true, with further chunks."""
    header = (b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    parts = [
        struct.pack(">I", len(data)) + name + data + struct.pack(">I", zlib.crc32(name + data))
        for name, data in (header, *chunks, (b"IEND", b""))
    ]
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


def webp(width: int, height: int) -> bytes:
    """A lossless image of 34 bytes of which only the header is true."""
    body = b"WEBPVP8L" + struct.pack("<IBI", 14, 0x2F, (width - 1) | (height - 1) << 14) + bytes(9)
    return b"RIFF" + struct.pack("<I", len(body)) + body


def zeros(mebibytes: int) -> bytes:
    """So many MiB of zeros, compressed to a thousandth."""
    packer = zlib.compressobj(9)
    packed = b"".join(packer.compress(bytes(2**20)) for _ in range(mebibytes))
    return packed + packer.flush()


def lying_wav() -> bytes:
    honest = bytearray((ROOT / "media/voice_3s.wav").read_bytes())
    at = honest.index(b"data") + 4
    honest[at : at + 4] = struct.pack("<I", 2**31)
    return bytes(honest)


def released_cfg(**options: Any) -> bytes:
    """A pickle with the networks of the release and these options."""
    return pickle.dumps({**online(), "default_kwargs": options})


def shared_rows() -> bytes:
    """208 KB that would become 100 million rows: one array in a thousand places."""
    shapes = {"scale": 1, "pitch": 66, "yaw": 66, "roll": 66, "t": 3, "exp": 63}
    info = {key: np.ones((1, width), np.float32) for key, width in shapes.items()}
    eyes = {"eye_open_lst": [np.zeros((100_000, 2), np.int8)] * 1000, "eye_ball_lst": [np.zeros((1, 6))]}
    return released_cfg(ch_info={"x_s_info_lst": [info], "sc": np.zeros(63), **eyes})


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of files that nobody should trust; each image has a stored crop beside it."""
    folder = tmp_path_factory.mktemp("inputs")
    (folder / "evil.pkl").write_bytes(pickle.dumps({"base_cfg": Payload()}))
    (folder / "huge.png").write_bytes(png(20_000, 20_000, (b"IDAT", zeros(382))))
    (folder / "bomb.png").write_bytes(png(100, 100, (b"zTXt", b"a\0\0" + zeros(64)), (b"IDAT", zeros(512))))
    (folder / "header.png").write_bytes(png(20_000, 20_000)[:33])
    (folder / "huge_webp.png").write_bytes(webp(16_383, 16_383))
    (folder / "shared.pkl").write_bytes(shared_rows())
    (folder / "bell.pkl").write_bytes(released_cfg(max_size="bell\x07\n\x1b[2J"))
    (folder / "empty.png").touch()
    (folder / "folder.png").mkdir()
    (folder / "loop.png").symlink_to("loop.png")
    (folder / "lying.wav").write_bytes(lying_wav())
    (folder / "text.wav").write_text("not a sound")
    for name in ("pipe.png", "pipe.wav", "pipe.pkl"):
        os.mkfifo(folder / name)
    for image in folder.glob("*.png"):
        shutil.copy(ROOT / "media/portrait.json", image.with_suffix(".json"))
    return folder


# What is typed, with {here} for the folder of inputs, and how the one line begins.
WRONG = {
    "avatar.cfg={here}/evil.pkl": "avatar.cfg={here}/evil.pkl: ",
    "workload.portrait={here}/huge.png": "workload.portrait={here}/huge.png: ",
    "workload.portrait={here}/bomb.png": "workload.portrait={here}/bomb.png: ",
    "workload.portrait={here}/huge_webp.png": "workload.portrait={here}/huge_webp.png: ",
    "avatar.cfg={here}/shared.pkl": "avatar.cfg={here}/shared.pkl: ",
    "workload.portrait={here}/pipe.png": "workload.portrait={here}/pipe.png: is not a file",
    "workload.portrait=/proc/self/mem": "workload.portrait=/proc/self/mem: ",
    "workload.voice={here}/lying.wav": "workload.voice={here}/lying.wav: its header promises 2147483648 ",
    "workload.voice=/dev/zero": "workload.voice=/dev/zero: is not a file",
    "workload.texts=['']": "workload.texts=['']: text 0 must not be empty",
    "workload.texts=['bell\x07']": "workload.texts=['bell\\x07']: text 0 has U+0007 at character 4",
    "workload.texts=['caf\udce9']": "workload.texts=['caf\\udce9']: text 0 is not valid Unicode at ",
    f"workload.texts=[{'a' * 10_000}]": "workload.texts, text 0: 10000 characters, with workload.tokens",
    "name=a/../../x": "name=a/../../x: a folder name of letters",
}
# The same, without a process for each.
ALSO_WRONG = {
    "avatar.cfg={here}/bell.pkl": "avatar.cfg={here}/bell.pkl: default_kwargs.max_size: expected a printable",
    "avatar.cfg={here}/pipe.pkl": "avatar.cfg={here}/pipe.pkl: is not a file",
    "workload.portrait={here}/header.png": "workload.portrait={here}/header.png: ",
    "workload.portrait={here}/empty.png": "workload.portrait={here}/empty.png: ",
    "workload.portrait={here}/folder.png": "workload.portrait={here}/folder.png: is not a file",
    "workload.portrait={here}/loop.png": "workload.portrait={here}/loop.png: not found",
    "workload.portrait=/dev/zero": "workload.portrait=/dev/zero: is not a file",
    "workload.voice={here}/text.wav": "workload.voice={here}/text.wav: not readable audio",
    "workload.voice={here}/pipe.wav": "workload.voice={here}/pipe.wav: is not a file",
    "workload.voice=/proc/self/mem": "workload.voice=/proc/self/mem: Input/output error",
    "name=/tmp/x": "name=/tmp/x: a folder name of letters",
}


def start(folder: Path, argument: str) -> subprocess.Popen[bytes]:
    command = [sys.executable, "-m", "harness", *REAL, os.fsencode(argument)]
    return subprocess.Popen(
        ["bash", "-c", f'ulimit -v {MOST_MEMORY_KIB}; exec "$@"', "bash", *command],
        cwd=folder,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


@pytest.fixture(scope="module")
def refused(
    inputs: Path, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest
) -> dict[str, tuple[int, str, Path]]:
    """What each command line that is asked for came to, two at a time."""
    found = {}
    cases = asked_for(request)
    for pair in (cases[at : at + 2] for at in range(0, len(cases), 2)):
        folders = [tmp_path_factory.mktemp("hostile") for _ in pair]
        for folder in folders:
            (folder / "media").symlink_to(ROOT / "media")
        running = [
            start(folder, case.format(here=inputs)) for folder, case in zip(folders, pair, strict=True)
        ]
        for case, folder, process in zip(pair, folders, running, strict=True):
            _, errors = process.communicate(timeout=60)
            found[case] = (process.returncode, errors.decode(), folder)
    return found


@pytest.mark.parametrize("case", some_now(WRONG), ids=lambda case: ascii(case)[1:60])
def test_a_hostile_input_is_one_line_and_nothing_is_written(
    refused: dict[str, tuple[int, str, Path]], inputs: Path, case: str
) -> None:
    code, errors, folder = refused[case]
    assert code == 2, errors
    [line] = errors.splitlines()
    assert line.startswith(WRONG[case].format(here=inputs))
    assert line.isprintable()
    assert len(line) < 400
    assert [path.name for path in folder.iterdir()] == ["media"]


@pytest.mark.parametrize("case", list(ALSO_WRONG))
def test_other_files_that_are_none_are_one_line_too(
    inputs: Path, case: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    with pytest.raises(SettingError) as caught:
        settings.read(composed(*REAL, case.format(here=inputs)))
    assert str(caught.value).startswith(ALSO_WRONG[case].format(here=inputs))
    assert "\n" not in str(caught.value)


def test_a_text_that_is_a_command_or_a_path_is_only_a_text(tmp_path: Path) -> None:
    (tmp_path / "media").symlink_to(ROOT / "media")
    text = r"workload.texts=['../../x; touch executed; $(touch executed) `touch executed`']"
    few = ["avatar=simulated", "tts=canned", "limits=quick", text]
    command = [sys.executable, "-m", "harness", *REAL, *few]
    run = subprocess.run(command, cwd=tmp_path, env=environment(), capture_output=True, text=True, timeout=60)
    assert run.returncode == 0, run.stderr
    assert {path.name for path in tmp_path.iterdir()} == {"media", "runs"}
    assert {path.name for path in (tmp_path / "runs").iterdir()} == {"points"}


def test_nothing_of_the_inputs_was_executed_or_changed(
    refused: dict[str, tuple[int, str, Path]], inputs: Path
) -> None:
    assert {path.suffix for path in inputs.iterdir()} == {".pkl", ".png", ".json", ".wav"}
    assert (inputs / "lying.wav").read_bytes() == lying_wav()


def test_the_hostile_pickle_would_have_run_its_command(inputs: Path, tmp_path: Path) -> None:
    code = f"import pickle; pickle.load(open({str(inputs / 'evil.pkl')!r}, 'rb'))"
    subprocess.run([sys.executable, "-c", code], cwd=tmp_path, env=environment(), check=True)
    assert (tmp_path / "executed").exists()
