"""Every file of conf/ composes, keeps its own rules, explains its keys and stands in --help."""

from __future__ import annotations

import functools
import importlib.util
import itertools
import re
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import yaml
from hydra.core.override_parser.overrides_parser import OverridesParser
from omegaconf import DictConfig, OmegaConf

from engines import contract
from harness import settings
from harness.deadlines import LIMIT_OF, PATIENT
from harness.quality import is_optimised
from harness.result import PHASES
from tests.harness.conf import CONF, composed, options
from tests.harness.points import ROOT

GROUPS = ("tts", "avatar", "asr", "executor", "workload", "limits")
OPTIONS = [(group, option) for group in GROUPS for option in options(group)]
FILES = sorted(CONF.glob("**/*.yaml"))
# What a name alone says, in these files; everything else is explained beside it.
OBVIOUS = {
    "_target_",
    "name",
    "role",
    "texts",
    "language",
    "seed",
    "precision",
    "backend",
    "workers",
    "jobs",
    "kind",
}


@pytest.fixture(autouse=True)
def at_the_root(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)


def loaded(path: Path) -> dict[str, Any]:
    return yaml.safe_load(path.read_text()) or {}


# Options that need a path which only their user knows, and what they say without it.
NEEDS = {("avatar", "ditto_upstream"): r"avatar\.root=null: .*; use avatar\.root=/path/to/"}
NEEDS_GPU = {("avatar", "ditto_fast")}
MOST_COMBINATIONS = 10


@functools.cache
def chosen(group: str, option: str) -> DictConfig:
    return composed(f"{group}={option}")


@pytest.mark.parametrize(("group", "option"), OPTIONS)
def test_every_option_makes_a_point(group: str, option: str) -> None:
    if (group, option) in NEEDS:
        with pytest.raises(settings.SettingError, match=NEEDS[group, option]):
            settings.read(chosen(group, option))
        return
    plan = settings.read(chosen(group, option))
    assert ("it needs a GPU" in plan.not_applicable) == ((group, option) in NEEDS_GPU), plan.not_applicable
    assert plan.not_applicable == "" or (group, option) in NEEDS_GPU
    assert plan.point.num_jobs == max(4 * plan.point.workers, len(plan.point.workload["texts"]))


# A bisect takes its points from what is stored.
GRIDS = [sweep for sweep in options("sweep") if sweep != "bisect"]


@pytest.mark.parametrize("sweep", GRIDS)
def test_the_first_and_the_last_point_of_every_sweep_keep_the_rules(sweep: str) -> None:
    keeps_the_rules(sweep, lambda axes: [tuple(axis[0] for axis in axes), tuple(axis[-1] for axis in axes)])


@pytest.mark.slow
@pytest.mark.parametrize("sweep", GRIDS)
def test_every_value_of_every_sweep_keeps_the_rules(sweep: str) -> None:
    keeps_the_rules(sweep, combinations)


def keeps_the_rules(sweep: str, chosen: Callable[[list[list[str]]], list[tuple[str, ...]]]) -> None:
    config = composed(f"+sweep={sweep}", with_hydra=True)
    assert config.name == sweep  # its results go to runs/<the word on the command line>
    assert config.hydra.sweeper._target_ == "hydra_plugins.planned.PlannedSweeper"
    params = [f"{key}={value}" for key, value in (config.hydra.sweeper.params or {}).items()]
    axes = [
        [f"{axis.key_or_group}={value}" for value in axis.sweep_string_iterator()]
        if axis.is_sweep_override()
        else [axis.input_line]
        for axis in OverridesParser.create().parse_overrides(params)
    ]
    plans = [settings.read(composed(f"+sweep={sweep}", *values)) for values in chosen(axes)]
    settings.check_sweep(plans)
    assert len({plan.point.id for plan in plans}) == len(plans) > 1


def combinations(axes: list[list[str]]) -> list[tuple[str, ...]]:
    """All; of many the first values, the last, and each value of each axis with the others' first."""
    every = list(itertools.product(*axes))
    if len(every) <= MOST_COMBINATIONS:
        return every
    first = every[0]
    single = [(*first[:at], value, *first[at + 1 :]) for at, axis in enumerate(axes) for value in axis[1:]]
    return [first, *single, every[-1]]


def test_the_sweep_over_workers_has_the_same_jobs_at_every_point() -> None:
    assert loaded(CONF / "sweep/workers.yaml")["workload"]["jobs"] == 12


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(CONF)))
def test_every_file_opens_with_what_it_is(path: Path) -> None:
    lines = path.read_text().splitlines()
    assert re.match(r"# \S+ \S+", lines[1] if lines[0] == "# @package _global_" else lines[0])


@pytest.mark.parametrize("path", FILES, ids=lambda path: str(path.relative_to(CONF)))
def test_every_key_is_explained_or_obvious(path: Path) -> None:
    text = re.sub(r"^defaults: \[.*\]$", "", path.read_text(), flags=re.MULTILINE)
    top = re.split(r"^(?:rules|check|impossible|hydra|defaults):", text, flags=re.MULTILINE)[0]
    above = ""
    for line in top.splitlines():
        above = line if line[:1].isalpha() else above
        explained_above = line.endswith(": null") and "#" in above  # like the one under which it stands
        key = re.match(r"\s*([a-z_]+):", line)
        inside_a_mapping = line.startswith("  ") and "{" in line
        if key and key.group(1) not in OBVIOUS and not inside_a_mapping and path.parent.name != "sweeper":
            nested = re.fullmatch(r"[a-z_]+:\s*", line)  # its keys are explained one by one
            assert "#" in line or nested or explained_above, f"{path.name}: {line}"


@pytest.mark.parametrize(("group", "option"), OPTIONS)
def test_every_rule_is_about_a_key_of_its_file_and_allows_the_default(group: str, option: str) -> None:
    data = loaded(CONF / group / f"{option}.yaml")
    known = set(chosen(group, option)[group] or ())  # with those of the file that it stands on
    assert {key.partition(".")[0] for key in data.get("rules", {})} <= known
    for combination in data.get("impossible", ()):
        own = {key for key in combination if "." not in key}
        assert own - {"because"} <= known
        for key in set(combination) - own:
            above, _, last = key.rpartition(".")
            assert last in OmegaConf.select(chosen(group, option), above), key
        assert "; use " in combination["because"]


def test_every_default_of_a_group_is_a_file() -> None:
    for item in loaded(CONF / "config.yaml")["defaults"]:
        if isinstance(item, dict):
            for group, option in item.items():
                assert group.startswith("override hydra/") or (CONF / group / f"{option}.yaml").is_file()


@pytest.mark.parametrize("option", ["avatar=ditto", "tts=xtts"])
def test_what_is_optimised_are_keys_of_the_component_and_its_defaults_are_the_reference(option: str) -> None:
    data = OmegaConf.to_container(composed(option), resolve=True)[option.partition("=")[0]]
    assert set(data["optimised"]) <= set(data)
    assert {"backend", "precision"} <= set(data["optimised"])
    assert not is_optimised(asdict(settings.read(composed(option)).point))


@pytest.mark.parametrize("option", options("executor"))
def test_every_executor_is_a_module_of_its_name(option: str) -> None:
    assert loaded(CONF / "executor" / f"{option}.yaml")["name"] == option
    assert (ROOT / "harness/executors" / f"{option}.py").is_file()


@pytest.mark.parametrize(
    ("group", "option"), [pair for pair in OPTIONS if pair[0] in ("tts", "avatar", "asr")]
)
def test_every_component_names_a_module_that_exists(group: str, option: str) -> None:
    target = composed(f"{group}={option}")[group].get("_target_")
    if target is None:
        assert (group, option) == ("asr", "none")
        return
    module = ROOT.joinpath(*target.split(".")[:-1]).with_suffix(".py")
    assert f"class {target.rpartition('.')[2]}" in module.read_text()
    assert module.is_relative_to(ROOT / Path(contract.__file__).parent.name)


@pytest.mark.parametrize("size", ["tiny", "full"])
@pytest.mark.parametrize("option", options("limits"))
def test_every_phase_has_a_limit(option: str, size: str) -> None:
    limits = OmegaConf.to_container(composed(f"limits={option}", f"size={size}"), resolve=True)["limits"]
    own = set(PHASES) - LIMIT_OF.keys() - {PATIENT}
    assert LIMIT_OF.keys() <= set(PHASES)
    assert set(LIMIT_OF.values()) <= limits.keys()
    assert own | {"start", "idle", "first_output", "total", "moving", "stages"} == limits.keys() - {"rules"}
    assert limits["rules"].keys() == limits.keys() - {"rules", "stages"}
    assert limits["stage"] <= limits["job"] <= limits["total"]


def test_no_key_is_a_bare_boolean() -> None:
    def keys(data: Any) -> list[Any]:
        if isinstance(data, dict):
            return [*data, *itertools.chain.from_iterable(map(keys, data.values()))]
        return list(itertools.chain.from_iterable(map(keys, data))) if isinstance(data, list) else []

    assert {type(key) for path in FILES for key in keys(loaded(path))} == {str}


@pytest.mark.parametrize("option", options("workload"))
def test_the_texts_have_the_lengths_that_their_comment_promises(option: str) -> None:
    path = CONF / "workload" / f"{option}.yaml"
    comment, lengths = path.read_text().splitlines()[0], [len(text) for text in loaded(path)["texts"]]
    for low, high in re.findall(r"(\d+) to (\d+) characters", comment):
        assert (min(lengths), max(lengths)) == (int(low), int(high))
    for pair in re.findall(r"(\d+) or (\d+) characters", comment):
        assert set(lengths) == {int(length) for length in pair}
    for length in re.findall(r"chunks of (\d+) characters", comment):
        assert set(lengths) == {int(length)}
    for about in re.findall(r"about (\d+) characters", comment):
        assert sum(lengths) == pytest.approx(int(about), abs=5)
    each = re.search(r"lengths: ([\d, and]+) characters", comment)
    if each:
        assert lengths == [int(number) for number in re.findall(r"\d+", each.group(1))]


def test_the_lengths_of_every_workload_are_promised_somewhere() -> None:
    for option in options("workload"):
        assert re.search(
            r"\d+ ?characters", (CONF / "workload" / f"{option}.yaml").read_text().splitlines()[0]
        )


def test_help_mentions_every_group_and_shows_every_option() -> None:
    template = composed(with_hydra=True).hydra.help.template
    for group in (path.name for path in CONF.iterdir() if path.is_dir() and path.name != "hydra"):
        assert re.search(rf"^\s+{group}\s+\S", template, re.MULTILINE)
    assert "$APP_CONFIG_GROUPS" in template  # Hydra puts the options of every group here
    assert importlib.util.find_spec("hydra") is not None
