"""Rules: what conf/ may say of a value, and what a rule has against one. Pure but for looking at files."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any


def complaint(value: Any, rule: Mapping[str, Any]) -> str:
    """What a rule has against a value in words, "" for nothing.

    rule  one of {choices}, {min, max} (whole numbers only where both are), {pattern}, {nonempty}; for paths
          {path: true}, {path: file} with `beside` (a suffix that must exist too), and {path_or: [words]} with
          `folder_with` (files that the folder must have); each with an optional `hint` and `optional: true`
    """
    if value is None and (rule.get("optional") or None in rule.get("choices", ())):
        return ""
    if "choices" in rule:
        return "" if value in rule["choices"] else f"choose from {', '.join(map(word, rule['choices']))}"
    if "min" in rule or "max" in rule:
        return number_complaint(value, rule)
    if "pattern" in rule:
        return "" if re.fullmatch(rule["pattern"], str(value)) else "does not have the right form"
    if rule.get("nonempty"):
        return _list_complaint(value)
    return "" if value in rule.get("path_or", ()) else _path_complaint(value, rule)


def number_complaint(value: Any, rule: Mapping[str, Any]) -> str:
    low, high = rule.get("min"), rule.get("max")
    whole = isinstance(low, int) and isinstance(high, int)
    if isinstance(value, bool) or not isinstance(value, int if whole else (int, float)):
        return "must be a whole number" if whole else "must be a number"
    if not math.isfinite(value):
        return "must be a finite number"
    if low is not None and value < low:
        return f"must be at least {low}"
    if high is not None and value > high:
        return f"must be at most {high}"
    return ""


def matches(value: Any, wanted: Any) -> bool:
    """Whether a value meets a condition of `impossible`: equal, one of a list, or within {min, max}."""
    if isinstance(wanted, Mapping):
        return not number_complaint(value, wanted)
    return value in wanted if isinstance(wanted, list) else bool(value == wanted)


def word(value: Any) -> str:
    """A value as it is typed on the command line."""
    return "null" if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def _list_complaint(value: Any) -> str:
    if not isinstance(value, Sequence) or isinstance(value, str):
        return "must be a list, like [one,two]"
    return "" if value and all(str(item).strip() for item in value) else "must not be empty"


def _path_complaint(value: Any, rule: Mapping[str, Any]) -> str:
    try:
        return _file_complaint(Path(value), rule)
    except (OSError, TypeError, ValueError):  # not a path at all, or longer than one can be
        return f"not found; give {_wanted(rule)}"


def _file_complaint(path: Path, rule: Mapping[str, Any]) -> str:
    if not path.exists():
        return f"not found; give {_wanted(rule)}"
    if rule.get("path") == "file" and not path.is_file():
        return "is not a file"
    beside = path.with_suffix(rule["beside"]) if "beside" in rule else path
    if not beside.is_file() and beside != path:
        return f"has no {beside.name} beside it"
    missing = [name for name in rule.get("folder_with", ()) if not (path / name).is_file()]
    return f"has no {missing[0]}" if missing else ""


def _wanted(rule: Mapping[str, Any]) -> str:
    return " or ".join([*rule.get("path_or", ()), "the path of something that exists"])
