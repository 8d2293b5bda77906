"""Compare: two sides point by point, launch against launch; what got slower, and in which stage."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from statistics import geometric_mean
from typing import Any

from reports import attribution, command
from reports.blocks import num
from reports.decision import Decision, control, decide
from reports.fingerprint import unlike
from reports.gated import check_fails, fails, min_effects
from reports.launches import Launched
from reports.microbenchmarks import pytest_benchmark_in
from reports.statement import Line, Refused, Statement, count, points, worst_first
from reports.stored import launched

_MOST_IN_A_ROW = 2  # launches of one side, in A B B A A B B A: three in a row are no alternation


@dataclass(frozen=True)
class Rule:
    """How to decide. fail: least change that matters, by metric, where it is not the usual one.

    allowed         names of the fingerprint or of the configuration that may differ
    allow_unpaired  take sides that were measured one after the other; drift between them then reads as a
                    change: 14 to 57 % false alarms where it was measured
    """

    fail: Mapping[str, float]
    allowed: Sequence[str] = ()
    allow_unpaired: bool = False


@dataclass(frozen=True)
class Finding:
    """One figure of one pair."""

    metric: str
    min_effect: float
    decision: Decision


class Unjoinable(Refused):
    """Points of the two sides that cannot be told apart by what both runs varied."""


def compare(base: Sequence[Launched], new: Sequence[Launched], rule: Rule) -> Statement:
    """Join the points, decide on each figure, and say it in words. Raises Unjoinable."""
    pairs = join(base, new)
    found = {index: findings(*pair, rule) for index, pair in enumerate(pairs) if not _barrier(*pair, rule)}
    kept = iter(control([each.decision for every in found.values() for each in every]))
    found = {index: [replace(each, decision=next(kept)) for each in every] for index, every in found.items()}
    lines = [
        line
        for index, pair in enumerate(pairs)
        for line in (_lines(*pair, found[index], rule) if index in found else [_barrier(*pair, rule)])
        if line
    ]
    joined = {id(side) for pair in pairs for side in pair}
    lines += [_missing(point, "only in BASE") for point in base if id(point) not in joined]
    lines += [Line(x.label, "", "new", "only in NEW") for x in new if id(x) not in joined]
    lines += (
        [] if pairs else [Line("", "", "missing", "no point of NEW is one of BASE: nothing was compared")]
    )
    return Statement("Comparison", f"{points(len(pairs))} compared: {count(lines)}.", worst_first(lines))


def join(base: Sequence[Launched], new: Sequence[Launched]) -> list[tuple[Launched, Launched]]:
    """Points with the same id, then those that agree on every axis that both sides varied."""
    by_id = {point.id: point for point in base}
    pairs = [(by_id[point.id], point) for point in new if point.id in by_id]
    taken = {point.id for point, _ in pairs}
    rest_base = [point for point in base if point.id not in taken]
    rest_new = [point for point in new if point.id not in taken]
    axes = _shared(rest_base, rest_new)
    table: dict[tuple[Any, ...], Launched] = {}
    for point in rest_base:
        _put(table, tuple(point.axes.get(axis) for axis in axes), point, axes)
    seen: dict[tuple[Any, ...], Launched] = {}
    for point in rest_new:
        key = tuple(point.axes.get(axis) for axis in axes)
        if key in table:
            _put(seen, key, point, axes)
            pairs.append((table[key], point))
    return pairs


def _shared(base: Sequence[Launched], new: Sequence[Launched]) -> list[str]:
    names = [axis for point in base for axis in point.axes]
    both = {axis for point in new for axis in point.axes}
    return [axis for axis in dict.fromkeys(names) if axis in both]


def _put(
    table: dict[tuple[Any, ...], Launched], key: tuple[Any, ...], point: Launched, axes: list[str]
) -> None:
    if key in table:
        raise Unjoinable(
            f"{table[key].label} and {point.label} agree in all that both runs varied ({', '.join(axes)}); "
            "compare runs that vary the same"
        )
    table[key] = point


def _missing(point: Launched, text: str) -> Line:
    return Line(point.label, "", "missing", text)


def _barrier(base: Launched, new: Launched, rule: Rule) -> Line | None:
    """Why a pair has no figures to compare: it did not end ok, or unlike things were measured."""
    differing = differences(base, new, rule.allowed)
    if differing:
        told = "; ".join(f"{name}: {old} in BASE, {now} in NEW" for name, (old, now) in differing.items())
        remedy = f"if that is meant, --allow {next(iter(differing))}"
        return Line(new.label, "", "unlike", f"{told}; {remedy}", {"unlike": differing})
    if not new.ok:
        before = "ok" if base.ok else base.complaint or "nothing"
        wrong = next((x.outcome for x in new.launches if not x.ok), "missing")
        never = wrong == "skipped" and base.complaint.startswith("skipped")
        word, text = "not here" if never else wrong, new.complaint or "no launch"
        return Line(new.label, "", word, f"{text} (BASE: {before})")
    if not any(launch.ok for launch in base.launches):
        return Line(new.label, "", "fixed", f"ok; BASE was {base.complaint or 'not measured'}")
    return None


def differences(base: Launched, new: Launched, allowed: Sequence[str]) -> dict[str, tuple[str, str]]:
    """What differs in fingerprint and configuration without being allowed; axes of a joined pair agree."""
    old, now = ({key: str(value) for key, value in side.config.items()} for side in (base, new))
    return unlike(base.fingerprint, new.fingerprint, allowed) | unlike(old, now, allowed)


def is_alternating(base: Launched, new: Launched) -> bool:
    """Whether the launches took turns, on one host: what drifts then meets both sides alike."""
    turns = sorted([(x.at, 0) for x in base.launches] + [(x.at, 1) for x in new.launches])
    longest = max(len(list(run)) for _, run in itertools.groupby(side for _, side in turns))
    hosts = {launch.host for launch in (*base.launches, *new.launches)}
    return longest <= _MOST_IN_A_ROW and len(hosts) == 1


def findings(base: Launched, new: Launched, rule: Rule) -> list[Finding]:
    """Each gated figure that both sides have."""
    found = []
    for metric, effect in min_effects(new.on_gpu, rule.fail).items():
        old, now = ([[value] for value in side.numbers(metric)] for side in (base, new))
        if old and now and min(*old, *now) > [0.0]:
            found.append(Finding(metric, effect, decide(old, now, effect)))
    return found


def _lines(base: Launched, new: Launched, found: Sequence[Finding], rule: Rule) -> list[Line]:
    paired = rule.allow_unpaired or is_alternating(base, new)
    if not found:
        return [Line(new.label, "", "missing", "no figure was measured on both sides")]
    return [_line(base, new, each, paired) for each in found]


def _line(base: Launched, new: Launched, finding: Finding, paired: bool) -> Line:
    verdict = finding.decision.verdict
    word = verdict if paired or verdict == "inconclusive" else "unpaired"
    text = in_words(finding, base, new)
    if word == "unpaired":
        text = f"would be {verdict}, but launches did not take turns, see python -m harness.ab: {text}"
    if verdict in ("slower", "faster") and attribution.explains(finding.metric):
        text = f"{text} {attribution.words(attribution.parts(base, new, finding.min_effect))}."
    return Line(new.label, finding.metric, word, text, figures(finding, base, new))


def in_words(finding: Finding, base: Launched, new: Launched) -> str:
    """`0.812 -> 0.909, 1.12 times BASE (95 % interval 1.08 to 1.16, 5 and 5 launches; 3 % matters).`"""
    decision = finding.decision
    numbers = [side.numbers(finding.metric) for side in (base, new)]
    values = " -> ".join(num(geometric_mean(each)) if each else "nothing" for each in numbers)
    if decision.ratio is None or decision.low is None or decision.high is None:
        return f"{values}; {decision.why}."
    interval = f"95 % interval {decision.low:.3f} to {decision.high:.3f}"
    basis = (
        f"{interval}, {decision.n_base} and {decision.n_new} launches; {100 * finding.min_effect:g} % matters"
    )
    told = f"{values}, {decision.ratio:.3f} times BASE ({basis})"
    if decision.verdict == "inconclusive":
        more = f"; about {decision.needed} launches a side would tell" if decision.needed else ""
        return f"{told}: {decision.why}{more}."
    return f"{told}."


def figures(finding: Finding, base: Launched, new: Launched) -> dict[str, Any]:
    """The same for the JSON file; ids and commits of both sides included."""
    sides = {"base": base.numbers(finding.metric), "new": new.numbers(finding.metric)}
    ids = {"base_id": base.id, "new_id": new.id, "base_commit": base.commit, "new_commit": new.commit}
    return {**ids, **sides, "min_effect": finding.min_effect, "decision": asdict(finding.decision)}


def main(arguments: Sequence[str]) -> int:
    """The exit code of reports.statement. Raises Refused for a wrong setting, and as launched."""
    about = "Two stored runs, point by point, launch against launch: what got slower?"
    parser = command.parser("compare", about)
    parser.add_argument("base", metavar="BASE", help="a run's name or folder, or JSON of pytest-benchmark")
    parser.add_argument("new", metavar="NEW", help="likewise; python -m harness.ab makes a pair of them")
    parser.add_argument("--allow-unpaired", action="store_true", help="though launches did not take turns")
    given = command.parsed(parser, arguments)
    rule = Rule(fails(given.fail), given.allow, given.allow_unpaired)
    base, new = _side(Path(given.base)), _side(Path(given.new))
    check_fails(rule.fail, [*base, *new])
    return command.say(compare(base, new, rule), given)


def _side(path: Path) -> list[Launched]:
    """A stored run; or files of pytest-benchmark, each a launch: one, or all of a folder."""
    files = [path] if path.suffix == ".json" and path.is_file() else sorted(path.glob("*.json"))
    if files and not any(path.glob("*/*/result.json")):
        return pytest_benchmark_in(files)
    return launched(command.folder_of(str(path)))
