"""Rules: what conf/ may say of a value, and what a rule has against one. Pure but for looking at files."""

from __future__ import annotations

import importlib
import math
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from harness import inputs


def complaint(value: Any, rule: Mapping[str, Any]) -> str:
    """What a rule has against a value in words, "" for nothing.

    rule  one of {choices}, {min, max} (whole numbers only where both are whole), {pattern} with `numbers` (a
          rule for each of its groups), {texts: true, max_characters}, {each: a rule} for every item of a
          list, with `or_one` a single one will do; for paths {folder: true} (there, or to be made), {path:
          true}, {path: file} with `content`
          (module.function that takes path and rule, and says what is wrong with the file), and {path_or:
          [words]} with `folder_with` (files that the folder must have); each with an optional `hint` and
          `optional: true`
    """
    if value is None and (rule.get("optional") or None in rule.get("choices", ())):
        return ""
    if "choices" in rule:
        return "" if value in rule["choices"] else f"choose from {', '.join(map(word, rule['choices']))}"
    if "min" in rule or "max" in rule:
        return number_complaint(value, rule)
    if "pattern" in rule:
        return _form_complaint(str(value), rule)
    if "texts" in rule:
        return inputs.texts_complaint(value, rule["max_characters"])
    if "each" in rule:
        return _each_complaint(value, rule)
    if "folder" in rule:
        return _folder_complaint(value)
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
    """A value as it is typed on the command line, in one line."""
    if value is None:
        return "null"
    return str(value).lower() if isinstance(value, bool) else one_line(str(value))


def one_line(text: str) -> str:
    """With a line break as \\n, and so whatever else no terminal should be sent."""
    return "".join(each if each.isprintable() else repr(each)[1:-1] for each in text)


def _form_complaint(text: str, rule: Mapping[str, Any]) -> str:
    found = re.fullmatch(rule["pattern"], text)
    if not found:
        return "does not have the right form"
    numbers = map(int, found.groups()) if "numbers" in rule else ()
    return next((f"{each} {wrong}" for each in numbers if (wrong := complaint(each, rule["numbers"]))), "")


def _each_complaint(value: Any, rule: Mapping[str, Any]) -> str:
    if isinstance(value, str) or not isinstance(value, Sequence):
        return complaint(value, rule["each"]) if rule.get("or_one") else "must be a list, like [1,2]"
    if not value:
        return "must not be empty"
    return next((f"{word(item)} {wrong}" for item in value if (wrong := complaint(item, rule["each"]))), "")


def _folder_complaint(value: Any) -> str:
    try:
        path = Path("" if "\0" in value else value)
        there = next(each for each in (path, *path.absolute().parents) if each.exists())
    except (OSError, TypeError, ValueError):  # not a path at all, or longer than one can be
        return "is no folder; use runs/.cache"
    if path == Path():  # the current folder, or nothing at all
        return "is no folder; use runs/.cache"
    if not there.is_dir():
        return f"{there} is not a folder" if there != path else "is not a folder"
    return "" if os.access(there, os.W_OK) else f"{there} may not be written to; see its permissions"


def _path_complaint(value: Any, rule: Mapping[str, Any]) -> str:
    try:
        path = Path(value)
        wrong = _file_complaint(path, rule)
    except (OSError, TypeError, ValueError):  # not a path at all, or longer than one can be
        return f"not found; give {_wanted(rule)}"
    return wrong or _content_complaint(path, rule)


def _file_complaint(path: Path, rule: Mapping[str, Any]) -> str:
    if not path.exists():
        return f"not found; give {_wanted(rule)}"
    if rule.get("path") == "file" and not path.is_file():  # a pipe would be waited for, /dev/zero never ends
        return "is not a file"
    if not os.access(path, os.R_OK):
        return "may not be read; see its permissions"
    missing = [name for name in rule.get("folder_with", ()) if not (path / name).is_file()]
    return f"has no {missing[0]}" if missing else ""


def _content_complaint(path: Path, rule: Mapping[str, Any]) -> str:
    """What the function that conf/ names for such files has against one; this knows no format."""
    if "content" not in rule:
        return ""
    module, _, function = rule["content"].rpartition(".")
    return str(getattr(importlib.import_module(module), function)(path, rule))


def _wanted(rule: Mapping[str, Any]) -> str:
    return " or ".join([*map(word, rule.get("path_or", ())), "the path of something that exists"])
