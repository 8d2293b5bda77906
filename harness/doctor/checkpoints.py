"""Checkpoints: whether a folder has what the loaders want, by names, sizes and heads of files alone.

The checks are those of a measurement, which conf/ names; no pickle is loaded.
"""

from __future__ import annotations

import os
import re
from pathlib import Path

from hydra import compose, initialize_config_dir
from omegaconf import OmegaConf

from harness import settings
from harness.doctor.install import ROOT
from harness.doctor.line import MISSING, OK, Line


def tts(folder: str) -> list[Line]:
    return [_looked_at("tts", folder, "tts=xtts", "avatar=simulated")]


def avatar(folder: str) -> list[Line]:
    return [_looked_at("avatar", folder, "avatar=ditto", "tts=simulated")]


def _looked_at(component: str, folder: str, *choice: str) -> Line:
    """As `python -m harness` looks at them before it loads anything, on a CPU at full size."""
    name, copy = f"{component} weights", "copy there what docs/checkpoints.md lists, and look again"
    if not Path(folder).is_dir():
        return Line(name, MISSING, f"there is no folder {folder}", copy)
    os.chdir(ROOT)  # where the portrait and the voice of the default workload are
    settings.register_resolvers(has_gpu=False)
    with initialize_config_dir(str(ROOT / "conf"), version_base="1.3"):
        config = compose("config", ["device=cpu", "size=full", *choice])
    OmegaConf.update(config, f"{component}.weights", _escaped(folder))
    wanted = config[component].rules.weights.folder_with
    lacking = [file for file in wanted if not Path(folder, file).is_file()]
    if lacking:
        return Line(name, MISSING, f"{folder} has no {', '.join(lacking)}", copy)
    try:
        settings.read(config)
    except settings.SettingError as error:
        return Line(name, MISSING, str(error), copy)
    files = [path for path in Path(folder).rglob("*") if path.is_file()]
    size_gib = sum(path.stat().st_size for path in files) / 2**30
    found = f"{folder}: all files are there and whole as far as their ends tell, {size_gib:.1f} GiB"
    return Line(name, OK, found)


def _escaped(text: str) -> str:
    """As OmegaConf takes it for the text itself: ${x} would be another setting's value."""
    return re.sub(r"(\\*)\$\{", r"\1\1\\${", text)
