"""Configurations composed as the command line does, in this process and without measuring."""

from __future__ import annotations

from pathlib import Path

from hydra import compose, initialize_config_dir
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig

from harness import settings
from tests.harness.points import ROOT

CONF = ROOT / "conf"


def composed(*overrides: str, with_hydra: bool = False) -> DictConfig:
    """conf/config.yaml with overrides, on a machine with no GPU."""
    settings.register_resolvers(has_gpu=False)
    OverridesParser.create()  # registers Hydra's own resolvers
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return compose("config", list(overrides), return_hydra_config=with_hydra)


def planned(*overrides: str) -> settings.Planned:
    """As the sweeper reads one point, on simulated components."""
    return settings.read(composed("tts=simulated", "avatar=simulated", "limits=quick", *overrides))


def options(group: str) -> list[str]:
    return sorted(path.stem for path in Path(CONF, group).glob("*.yaml"))
