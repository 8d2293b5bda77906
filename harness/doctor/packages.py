"""Installed packages, by what they say of themselves: none of them is imported."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator

import tomllib

from harness.doctor import install
from harness.doctor.install import ROOT, version
from harness.doctor.line import MISSING, NONE, NOTE, OK, Line

# install.sh puts them beside the rest without their own dependencies.
_BESIDE = ("torchaudio", "torchcodec")
_SHOWN = ("torch", "coqui-tts", "transformers", "av")
# Two of a row write the same files, so the one installed last is half of each.
_NOT_TOGETHER = (
    ("onnxruntime", "onnxruntime-gpu"),
    ("opencv-python-headless", "opencv-python"),
    ("opencv-python-headless", "opencv-contrib-python"),
)
# extra of install.sh -> what it is good for, and what it consists of; one of a tuple is enough
_EXTRAS = {
    "onnxruntime": ("ONNX files of a checkpoint, backend=onnxruntime", (("onnxruntime", "onnxruntime-gpu"),)),
    "tensorrt-rtx": ("backend=tensorrt", (("tensorrt", "tensorrt-rtx"), ("onnx",), ("onnxscript",))),
    "faster-whisper": ("asr=faster_whisper", (("faster-whisper",), ("ctranslate2",))),
    "memray": ("profile=memory", (("memray",),)),
    "mediapipe": ("face_landmarker.task of a checkpoint", (("mediapipe",),)),
}


def needed() -> list[Line]:
    """All that pyproject.toml asks for, in a version that it takes."""
    asked = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["dependencies"]
    lacking = [name for one in [*asked, *_BESIDE] if not version(name := _name(one))]
    if lacking:
        return [Line("packages", MISSING, f"not installed: {', '.join(lacking)}", install.command())]
    wrong = [complaint for one in asked if (complaint := _complaint(one))]
    if wrong:
        return [Line("packages", MISSING, "; ".join(wrong), install.command())]
    shown = ", ".join(f"{name} {version(name)}" for name in _SHOWN)
    return [Line("packages", OK, f"all {len(asked) + len(_BESIDE)}, with {shown}"), *_clashes()]


def _complaint(asked: str) -> str:
    """What is wrong with the installed version of a requirement, "" for nothing."""
    from packaging.requirements import Requirement  # a Python without any package must get as far as here

    wanted, found = Requirement(asked).specifier, version(_name(asked))
    return "" if wanted.contains(found, prereleases=True) else f"{_name(asked)} {found} is not {wanted}"


def _name(asked: str) -> str:
    """What a requirement starts with: six of six>=1; [extra]."""
    found = re.match(r"[\w.-]+", asked)
    assert found, asked
    return found[0]


def _clashes() -> Iterator[Line]:
    for pair in _NOT_TOGETHER:
        if all(map(version, pair)):
            both = " ".join(pair)
            again = install.command("onnxruntime-gpu" if "onnxruntime-gpu" in pair else "")
            found = f"{' and '.join(pair)} overwrite each other's files"
            yield Line("packages", NOTE, found, f"python -m pip uninstall -y {both} && {again}")


def optional() -> list[Line]:
    """What only some settings need."""
    return [_extra(extra, *about) for extra, about in _EXTRAS.items()]


def _extra(extra: str, use: str, parts: tuple[tuple[str, ...], ...]) -> Line:
    found = [next(filter(version, names), None) for names in parts]
    lacking = [names[0] for names, name in zip(parts, found, strict=True) if name is None]
    if lacking:
        return Line(extra, NONE, f"without {', '.join(lacking)}; for {use}", install.command(extra))
    versions = ", ".join(f"{name} {version(name)}" for name in found if name)
    return Line(extra, OK, f"{versions}; for {use}")


def ffmpeg() -> list[Line]:
    """The program, which the harness itself does without: PyAV brings the libraries."""
    found = shutil.which("ffmpeg")
    if found:
        return [Line("ffmpeg", OK, f"{found}; for avatar=ditto_upstream alone")]
    return [Line("ffmpeg", NONE, "not on PATH; for avatar=ditto_upstream alone", "apt-get install ffmpeg")]
