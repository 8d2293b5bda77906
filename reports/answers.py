"""Answers to histories and comparisons given as JSON: the loop behind `python -m reports changes`."""

from __future__ import annotations

import argparse
import json
import math
import sys
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TextIO

MIN_EFFECT = 0.03
DIRECTIONS = ("lower_is_better", "higher_is_better")
VALUES = "values=[12.9, null, 13.1]: a list with a number or null for each night"
LAUNCHES = "a=[[1.2, 1.3], [1.2]]: a list of launches, each a list of samples; b alike"


def main(arguments: Sequence[str], input: TextIO | None = None, output: TextIO | None = None) -> int:
    """0 answered, 2 for input that cannot be answered; with --stream that line's answer is {"error": …}."""
    input, output = input or sys.stdin, output or sys.stdout
    parser = argparse.ArgumentParser(
        prog="python -m reports changes",
        description="Read a history, or with --ab a comparison, as JSON and answer in JSON.",
    )
    parser.add_argument("--stream", action="store_true", help="one object and one answer per line")
    parser.add_argument("--ab", action="store_true", help="compare b with a instead of finding changes")
    options = parser.parse_args(arguments)
    answer = comparison if options.ab else changes
    if options.stream:
        return _stream(answer, input, output)
    try:
        output.write(json.dumps(answer(_object(input.read()))) + "\n")
    except ValueError as error:
        sys.stderr.write(f"{error}\n")
        return 2
    return 0


def _stream(answer: Callable[[Mapping[str, Any]], Any], input: TextIO, output: TextIO) -> int:
    for line in iter(input.readline, ""):  # not `for line in input`, which reads ahead
        if not line.strip():
            continue
        try:
            said = answer(_object(line))
        except ValueError as error:
            said = {"error": str(error)}
        output.write(json.dumps(said) + "\n")
        output.flush()
    return 0


def changes(asked: Mapping[str, Any]) -> list[int]:
    """Of {"values", "direction", "min_effect"}: the first night of each new level, counted from 0."""
    from reports.changes import change_points

    values = asked.get("values")
    if not isinstance(values, list):
        raise ValueError(VALUES)
    wrong = next((value for value in values if value is not None and not _is_number(value)), None)
    if wrong is not None:
        raise ValueError(f"{VALUES}; not {json.dumps(wrong)[:40]}")
    return change_points(values, _min_effect(asked), _higher_is_better(asked))


def comparison(asked: Mapping[str, Any]) -> dict[str, Any]:
    """Of {"a", "b", "direction", "min_effect"}: the verdict of b against a, and what it rests on."""
    from reports.decision import decide

    for side in "ab":
        launches = asked.get(side)
        if not isinstance(launches, list) or not all(_is_numbers(launch) for launch in launches):
            raise ValueError(LAUNCHES)
    found = decide(asked["a"], asked["b"], _min_effect(asked), _higher_is_better(asked))
    return {
        "verdict": found.verdict, "ratio": found.ratio, "low": found.low, "high": found.high, "p": found.p,
        "needed": found.needed, "visible": found.visible, "why": found.why,
    }  # fmt: skip


def _object(text: str) -> Mapping[str, Any]:
    try:
        read = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise ValueError(f"not JSON: {error}") from error
    if not isinstance(read, dict):
        raise ValueError(f"a JSON object is asked for, not {type(read).__name__}")
    return read


def _is_number(value: object) -> bool:
    """NaN and infinity, which Python's JSON has, included; whole numbers that no float holds are not."""
    if isinstance(value, int):
        return not isinstance(value, bool) and abs(value) <= sys.float_info.max
    return isinstance(value, float)


def _is_numbers(value: object) -> bool:
    return isinstance(value, list) and all(_is_number(item) for item in value)


def _min_effect(asked: Mapping[str, Any]) -> float:
    effect = asked.get("min_effect")
    if effect is None:
        return MIN_EFFECT
    if not _is_number(effect) or not 0 < effect < math.inf:
        raise ValueError(f"min_effect={json.dumps(effect)}: a positive fraction, such as 0.03")
    return float(effect)


def _higher_is_better(asked: Mapping[str, Any]) -> bool:
    direction = asked.get("direction")
    if direction is not None and direction not in DIRECTIONS:
        raise ValueError(f"direction={json.dumps(direction)}: {' or '.join(DIRECTIONS)}")
    return bool(direction == "higher_is_better")
