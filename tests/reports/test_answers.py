"""The loop that answers histories and comparisons: one object, a stream of them, and wrong ones."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from typing import Any

import pytest

from reports.answers import main

STEP = {"id": "x", "values": [10.0] * 20 + [11.0] * 20, "unit": "s", "direction": "lower_is_better"}
PAIR = {"a": [[10.0], [10.1], [9.9]], "b": [[12.0], [12.1], [11.9]], "min_effect": 0.03}


def ask(text: str, *arguments: str) -> tuple[int, list[Any]]:
    output = io.StringIO()
    code = main(list(arguments), io.StringIO(text), output)
    return code, [json.loads(line) for line in output.getvalue().splitlines()]


def test_a_history_is_answered_with_its_changes() -> None:
    assert ask(json.dumps(STEP)) == (0, [[20]])
    assert ask(json.dumps(STEP, indent=2)) == (0, [[20]])  # an object may take many lines


def test_a_comparison_is_answered_with_a_verdict_and_its_reasons() -> None:
    code, [answer] = ask(json.dumps(PAIR), "--ab")
    assert (code, answer["verdict"], answer["ratio"]) == (0, "slower", pytest.approx(1.2, rel=1e-3))
    assert answer["low"] < 1.2 < answer["high"]


def test_of_a_rate_more_is_better() -> None:
    code, [answer] = ask(json.dumps(PAIR | {"direction": "higher_is_better"}), "--ab")
    assert (code, answer["verdict"]) == (0, "faster")


def test_one_launch_is_never_slower_nor_faster() -> None:
    one = {"a": [[10.0] * 15], "b": [[20.0] * 15]}
    assert ask(json.dumps(one), "--ab")[1][0]["verdict"] == "inconclusive"


def test_a_stream_is_answered_line_by_line_and_outlives_wrong_lines() -> None:
    lines = [json.dumps(STEP), "{", "", json.dumps({"values": [1, None]}), "[]"]
    code, answers = ask("\n".join(lines), "--stream")
    assert code == 0
    assert [answers[0], answers[2]] == [[20], []]
    assert "not JSON" in answers[1]["error"]
    assert "JSON object" in answers[3]["error"]


class Flushed(io.StringIO):
    """Counts what was flushed, as a caller that waits for each answer needs it."""

    lines = 0

    def flush(self) -> None:
        self.lines += 1
        super().flush()


def test_each_answer_is_flushed() -> None:
    output = Flushed()
    main(["--stream"], io.StringIO(json.dumps(STEP) + "\n" + json.dumps(STEP) + "\n"), output)
    assert output.lines == 2


@pytest.mark.parametrize(
    ("asked", "arguments", "said"),
    [
        ("", [], "not JSON"),
        ("{", [], "not JSON"),
        ("3", [], "a JSON object is asked for, not int"),
        ("{}", [], "values="),
        ('{"values": 3}', [], "values="),
        ('{"values": ["1"]}', [], 'not "1"'),
        ('{"values": [true]}', [], "not true"),
        ('{"values": [1' + 400 * "0" + "]}", [], "values="),
        ('{"values": [], "direction": "up"}', [], "direction="),
        ('{"values": [], "min_effect": -1}', [], "min_effect=-1"),
        ('{"values": [], "min_effect": "3%"}', [], "min_effect="),
        ('{"a": [[1]]}', ["--ab"], "a=[["),
        ('{"a": [1], "b": [[1]]}', ["--ab"], "a=[["),
        ('{"a": [[1]], "b": [[0]]}', ["--ab"], "only positive numbers"),
        ('{"a": [[1]], "b": [[]]}', ["--ab"], "no sample"),
    ],
)
def test_wrong_input_is_one_clear_line_and_exit_code_2(
    asked: str, arguments: list[str], said: str, capsys: pytest.CaptureFixture[str]
) -> None:
    code, answers = ask(asked, *arguments)
    [line] = capsys.readouterr().err.splitlines()
    assert (code, answers) == (2, [])
    assert said in line


def test_null_nan_and_infinity_are_nights_without_a_result() -> None:
    values = "[" + ", ".join(["1.0"] * 20 + ["null", "NaN", "Infinity"] + ["2.0"] * 20) + "]"
    assert ask(f'{{"values": {values}}}') == (0, [[23]])


def test_a_history_is_answered_without_loading_what_draws_or_measures() -> None:
    code = (
        "import io, sys; from reports.answers import main; "
        "main([], io.StringIO('{\"values\": [1, 2]}'), io.StringIO()); "
        "print(sorted({'pandas', 'matplotlib', 'torch', 'scipy.stats'} & sys.modules.keys()))"
    )
    told = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert told.stdout.strip() == "[]"
