"""The one-way rule of imports, and the sizes that keep files readable, read from the source with ast."""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
PACKAGES = ("engines", "harness", "hydra_plugins", "reports")
SOURCES = sorted(path for package in PACKAGES for path in (ROOT / package).rglob("*.py"))
# What runs in the measured process; an engine's own module comes on top, by name.
IN_THE_CHILD = {
    "harness", "harness.child", "harness.builder", "harness.branches", "harness.events", "harness.spots",
    "harness.waits", "harness.witness", "harness.point", "harness.recorder", "harness.result",
    "harness.tree", "harness.within", "harness.blocking", "harness.frames", "harness.unseen",
    "harness.futures",
    "harness.executors", "harness.executors.job",
    "engines", "engines.contract", "engines.faults", "engines.misdeeds", "engines.simulated",
} | {f"harness.executors.{path.stem}" for path in (ROOT / "harness/executors").glob("[a-z]*.py")}  # fmt: skip
ENGINE_TO_BREAK = "engines.misdeeds"  # the fault that needs torch imports it where it strikes
READ_BY_REPORTS = {
    "metrics", "breakdown", "store", "result", "point", "verdict", "attestation", "precision",
    "service", "steady", "slope", "drift", "usage",
}  # fmt: skip
MAX_LINES, MAX_FUNCTION_LINES = 300, 40
MAX_DEPTH = 10  # Ditto: pipeline, stages, clip, models, what prepares networks, rewritten and plain ones
MAX_DEPTH_OF_REPORTS = 11  # they stand on the harness's metrics: four levels of those, seven of their own


def name_of(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")


MODULES = {name_of(path): path for path in SOURCES}


@cache
def tree_of(name: str) -> ast.Module:
    return ast.parse(MODULES[name].read_text())


@cache
def imports(name: str, anywhere: bool = True) -> frozenset[str]:
    """Modules that a module imports: ours by full name, others as written. anywhere: inside functions too."""
    nodes = ast.walk(tree_of(name)) if anywhere else _at_import_time(tree_of(name))
    found: set[str] = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name}: relative imports hide where a name comes from"
            assert node.module is not None
            full = {f"{node.module}.{alias.name}" for alias in node.names}
            found |= (full & MODULES.keys()) or {node.module}
    return frozenset(found)


def _at_import_time(tree: ast.Module) -> Iterator[ast.AST]:
    todo: list[ast.AST] = list(tree.body)
    while todo:
        node = todo.pop()
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef, ast.Lambda)):
            continue
        if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test):
            continue
        yield node
        todo += ast.iter_child_nodes(node)


def ours(name: str) -> set[str]:
    return {other for other in imports(name) if other.split(".")[0] in PACKAGES}


def test_there_is_something_to_look_at() -> None:
    assert {"harness.supervisor", "engines.contract", "reports.page"} <= MODULES.keys()
    assert "harness.recorder" in imports("harness.child")


@pytest.mark.parametrize("name", [name for name in MODULES if name.startswith("engines")])
def test_engines_import_nothing_of_ours_outside_engines(name: str) -> None:
    assert {other.split(".")[0] for other in ours(name)} <= {"engines"}


@pytest.mark.parametrize("name", [name for name in MODULES if name.startswith("harness")])
def test_the_harness_knows_no_engine_and_no_report(name: str) -> None:
    child = name in ("harness.child", "harness.builder") or name.startswith("harness.executors")
    allowed = {"engines.contract", "engines.faults", "engines"} if child else set()
    foreign = {other for other in ours(name) if not other.startswith("harness")}
    if name == "harness.__main__":
        allowed = {"hydra_plugins.planned"}
    assert foreign <= allowed


@pytest.mark.parametrize("name", [name for name in MODULES if name.startswith("reports")])
def test_reports_read_what_is_stored_and_nothing_else(name: str) -> None:
    outside = {other for other in ours(name) if not other.startswith("reports")}
    assert outside <= {f"harness.{module}" for module in READ_BY_REPORTS}


@pytest.mark.parametrize("name", sorted(IN_THE_CHILD))
def test_what_runs_in_the_child_needs_the_standard_library_alone(name: str) -> None:
    foreign = {other for other in imports(name) if other.split(".")[0] not in sys.stdlib_module_names}
    assert foreign <= IN_THE_CHILD | ({"torch"} if name == ENGINE_TO_BREAK else set())
    assert "torch" not in imports(name, anywhere=False)


@pytest.mark.parametrize(
    "name", [name for name in MODULES if name.startswith(("harness", "reports", "hydra"))]
)
def test_nothing_that_the_parent_imports_is_an_engines_package(name: str) -> None:
    assert not {other.split(".")[0] for other in imports(name)} & {"torch", "TTS", "cv2", "transformers"}


def depth(name: str, above: tuple[str, ...] = ()) -> int:
    """Length of the longest chain of imports of ours. Fails on a cycle."""
    assert name not in above, f"imports go in a circle: {' -> '.join([*above, name])}"
    below = [other for other in imports(name) if other in MODULES and other != name]
    return 1 + max((depth(other, (*above, name)) for other in below), default=0)


def test_imports_never_go_in_a_circle_and_are_not_deep() -> None:
    allowed = dict.fromkeys(PACKAGES, MAX_DEPTH) | {"reports": MAX_DEPTH_OF_REPORTS}
    deep = {name for name in MODULES if depth(name) > allowed[name.split(".")[0]]}
    assert deep == set()


@pytest.mark.parametrize("path", SOURCES, ids=name_of)
def test_a_file_has_at_most_300_lines(path: Path) -> None:
    assert len(path.read_text().splitlines()) <= MAX_LINES


@pytest.mark.parametrize("name", list(MODULES))
def test_a_function_has_at_most_40_lines(name: str) -> None:
    functions = [node for node in ast.walk(tree_of(name)) if isinstance(node, ast.FunctionDef)]
    long = {node.name: (node.end_lineno or 0) - node.lineno + 1 for node in functions}
    assert {function for function, lines in long.items() if lines > MAX_FUNCTION_LINES} <= ALLOWED_LONG.get(
        name, set()
    )


# A good reason beats the budget.
ALLOWED_LONG = {
    "harness.supervisor": {"measure"},  # one story from start to result; half of it is the result's fields
}


@pytest.mark.parametrize("name", [name for name in MODULES if MODULES[name].stat().st_size])
def test_a_module_opens_with_what_it_is(name: str) -> None:
    said = ast.get_docstring(tree_of(name))
    assert said is not None
    assert len(said.splitlines()[0]) > 20
