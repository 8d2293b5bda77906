"""The networks give the reference implementation's numbers for the same weights and inputs."""

import copy
import json
import sys
from pathlib import Path

import pytest
import torch

from tests import golden

FILE = Path(__file__).parents[2] / "data" / "golden.json"
CASES = {case["id"]: case for case in golden.load(FILE)["cases"]}
NETWORK_CASES = [name for name in CASES if "/pipe/" not in name or name.endswith("/schedule")]
# What these hold is held by others: all operators by the tiny cases, and at full size by one diffusion step.
SLOW = {f"open/full/{name}" for name in ("chain", "lmdm/ddim50", "lmdm/ddim10", "decoder", "warp_network")}


@pytest.fixture(scope="module", autouse=True)
def two_threads():
    """The reference was made with two threads; another split of sums rounds differently."""
    before = torch.get_num_threads()
    torch.set_num_threads(2)
    yield
    torch.set_num_threads(before)
    golden.filled.cache_clear()


@pytest.mark.parametrize(
    "name", [pytest.param(name, marks=pytest.mark.slow if name in SLOW else ()) for name in NETWORK_CASES]
)
def test_a_case_is_within_its_tolerances(name):
    errors = golden.replay(CASES[name])
    assert len(errors) >= 4 * len(CASES[name]["outputs"])
    assert [error for error in errors if not error.ok] == []


def changed(name, change):
    case = copy.deepcopy(CASES[name])
    change(case)
    return case


def shift_a_value(case):
    case["outputs"][0]["values"][7] += 2 * case["outputs"][0]["tol_values"]


def shift_the_mean(case):
    case["outputs"][0]["mean"] += 2 * case["outputs"][0]["tol_stats"]


def widen(case):
    case["outputs"][0]["shape"][-1] += 1


def other_weights(case):
    case["weights_seed"] += 1


def other_input(case):
    case["inputs"][0]["tag"] += "x"


def ask_for_more(case):
    case["outputs"].append({**case["outputs"][0], "name": "depth"})


@pytest.mark.parametrize(
    "change", [shift_a_value, shift_the_mean, widen, other_weights, other_input, ask_for_more]
)
def test_a_case_that_differs_fails(change):
    text, ok = golden.line(changed("open/tiny/stitch_network", change))
    assert not ok
    assert text.startswith("open/tiny/stitch_network ")
    assert text.endswith("FAIL")


def run(monkeypatch, tmp_path, *cases):
    file = tmp_path / "cases.json"
    file.write_text(json.dumps({"meta": {"threads": 2}, "cases": cases}))
    monkeypatch.setattr(sys, "argv", ["tests.golden", str(file), "--only", "stitch"])
    return golden.main()


def test_the_command_prints_a_line_a_case_and_exits_with_1_if_one_failed(monkeypatch, tmp_path, capsys):
    good, other = CASES["open/tiny/stitch_network"], CASES["open/tiny/decoder"]
    assert run(monkeypatch, tmp_path, good, other) == 0
    assert run(monkeypatch, tmp_path, changed(good["id"], shift_a_value), good) == 1
    lines = capsys.readouterr().out.splitlines()
    assert [line.rsplit(maxsplit=1)[-1] for line in lines] == ["ok", "FAIL", "ok"]
