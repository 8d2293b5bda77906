"""Wording: what Hydra refuses, in one line that names the setting and what may stand there."""

from __future__ import annotations

import difflib
import re
import sys
from pathlib import Path

from omegaconf import OmegaConf

from harness.point import flatten

CONF = Path(__file__).resolve().parent.parent / "conf"


def of_hydra(error: Exception) -> str:
    """Hydra's explanations take several lines; the first says what, the second often where."""
    text = str(error)
    missing = re.search(r"Could not find '(\w+)/(.*?)'\s+Available options in '\w+':", text, re.DOTALL)
    if missing:
        group, option = missing.groups()
        return f"{group}={option}: choose from {', '.join(_options(group))}"
    unknown = re.search(r"Could not (?:override|append to config.*?key) '(.+?)'", text)
    if unknown:
        key = unknown.group(1).removeprefix("+")
        inside = getattr(error.__cause__, "full_key", None) or key  # of {a: b} a may be what is not there
        return _no_such_key(inside if inside.startswith(f"{key}.") else key)
    unmerged = re.match("Error merging override (.*)", text, re.DOTALL)
    if unmerged and "ListConfig" in str(error.__cause__):
        return f"{unmerged.group(1)}: must be a list, like [1,2] or [one,two]"
    if unmerged:
        return f"{unmerged.group(1)}: {str(error.__cause__).partition(chr(10))[0]}"
    return " ".join(line.strip() for line in text.splitlines() if line.strip())


def _options(group: str) -> list[str]:
    return sorted(path.stem for path in (CONF / group).glob("*.yaml")) if group else []


def _no_such_key(key: str) -> str:
    """Of a group, of an option that is not chosen, or of nothing."""
    group = key.partition(".")[0]
    if key == "sweep":
        return f"sweep: takes a plus, as +sweep={_options(key)[0]}"
    if key == "of":
        return "of: a key of +sweep=bisect alone; add that, or leave the key out"
    if _options(key):
        return f"{key}: choose from {', '.join(_options(key))}"
    files = [CONF / group / f"{option}.yaml" for option in _options(group)]
    having = [path.stem for path in files if key in _keys(path, f"{group}.")]
    if having and group != "sweep":
        chosen = " or ".join(f"{group}={option}" for option in having)
        return f"{key}: a key of {chosen} alone; add that, or leave the key out"
    near = difflib.get_close_matches(key, known_keys(), n=1)
    return f"{key}: there is no such key" + (f"; did you mean {near[0]}?" if near else "; see --cfg job")


def _keys(path: Path, prefix: str) -> set[str]:
    """What a file of conf/ lets be given, as on the command line; rules are no settings."""
    data = OmegaConf.to_container(OmegaConf.load(path))
    keys = {f"{prefix}{key}" for key, _ in flatten(data)}  # type: ignore[arg-type]
    outer = {key[:place] for key in keys for place in range(len(prefix), len(key)) if key[place] == "."}
    return {
        key for key in keys | outer if not re.search(r"\b(rules|impossible|check|optimised|defaults)\b", key)
    }


def known_keys() -> list[str]:
    """Every key of every file in conf/."""
    found = _keys(CONF / "config.yaml", "") | _keys(CONF / "workload_base.yaml", "workload.")
    for path in CONF.glob("*/*.yaml"):
        group = path.parent.name
        found |= {group} if group == "sweep" else {group, *_keys(path, f"{group}.")}
    return sorted(found)


def of_option(error: ValueError) -> str:
    """Hydra refuses `avatar=null` without naming the group; what was typed does. Raises any other error."""
    if not str(error).startswith("Config group override"):
        raise error
    for group, _, value in (argument.partition("=") for argument in sys.argv[1:]):
        options = _options(group.lstrip("+"))
        if options and not set(value.split(",")) <= set(options):
            return f"{group}={value}: choose from {', '.join(options)}"
    return str(error)
