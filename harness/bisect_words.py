"""What a bisect came to in words, as a table, as Markdown and as plain data. Pure."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable
from dataclasses import asdict
from typing import Any

from harness import rules
from harness.bisect import Answer, Ending, Neighbour, Trial, Verdict, deciding, failures
from harness.point import Point, flatten
from harness.result import PointResult

HEAD = ("variant", "result", "outcome", "tries", "point", "s")
_FAULT = ("kind", "component", "phase", "stage", "worker", "job")  # what it is and where it strikes
_LONGEST = 120  # characters of a reason in a table
_PARTS = re.compile(" and | with ")  # between the parts of a feature, as in "threads with 2 workers"


def sentences(answer: Answer) -> list[str]:
    """The answer, its most important sentence behind what was asked."""
    failed = answer.failed
    lines = [f"{failed.id} repeat {failed.repeat}: {_outcome(failed)}", *_planted(failed)]
    if not answer.trials:
        return [*lines, "the budget ended before it had failed again; give more bisect.budget_min"]
    lines.append(_again(answer.trials[0], failed))
    if answer.ending is Ending.NOT_AGAIN:
        return lines
    needed = needs(answer)
    if answer.ending is Ending.FOUND:
        left = "nothing that can be taken away; it fails without all of it"
        lines.append(f"minimal failing set: {', '.join(needed) or left}")
    lines += _uncertain(answer)
    if answer.gone:
        lines.append(f"not needed: {', '.join(answer.gone)}")
    unclear = [*answer.with_verdict(Verdict.OTHERWISE), *answer.with_verdict(Verdict.UNKNOWN)]
    lines += [_unclear(each, failed) for each in unclear]
    if answer.ending is Ending.FOUND:
        lines.append(f"first passing neighbour: {_passing(answer)}")
    lines.append(f"smallest point that fails: {answer.smallest.id}, {described(answer.smallest)}")
    return lines if answer.ending is Ending.FOUND else [*lines, *_unfinished(answer)]


def needs(answer: Answer) -> list[str]:
    """The features without each of which it passes; none of several parts one of which is needed alone."""
    found = dict.fromkeys(each.feature for each in answer.with_verdict(Verdict.PASSES))
    return [each for each in found if not any(part in found for part in _PARTS.split(each) if part != each)]


def nearest(answer: Answer) -> Neighbour | None:
    """Of the neighbours that pass the first of those that differ in fewest settings."""
    own = _settings(answer.smallest)

    def distance(neighbour: Neighbour) -> int:
        other = _settings(neighbour.trial.point) if neighbour.trial else {}
        return sum(own.get(key) != other.get(key) for key in own.keys() | other.keys())

    return min(answer.with_verdict(Verdict.PASSES), key=distance, default=None)


def _settings(point: Point) -> dict[str, Any]:
    return dict(flatten(asdict(point)))


def described(point: Point) -> str:
    """In a few words what runs."""
    jobs = f"{point.num_jobs} job{'s' * (point.num_jobs > 1)}"
    does = [f"{_class(config)} as {name}" for name, config in point.components().items()]
    return ", ".join([f"{point.executor['name']} x {point.workers}", jobs, *does])


def table(answer: Answer) -> list[tuple[str, ...]]:
    """A row for each variant under HEAD: every one differs from the smallest so far in one change."""
    return [
        (
            trial.change,
            str(trial.verdict),
            _brief(trial, answer.failed),
            str(len(trial.results)),
            trial.point.id,
            f"{sum(result.duration_s for result in trial.results):.1f}",
        )
        for trial in answer.trials
    ]


def text(answer: Answer) -> str:
    """Table and sentences for a terminal."""
    rows = [HEAD, *table(answer)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]
    return "\n".join([*(line.rstrip() for line in lines), *sentences(answer)])


def markdown(answer: Answer) -> str:
    """The page that is stored."""
    rows = [_row(HEAD), _row(["---"] * len(HEAD)), *(_row(map(_cell, row)) for row in table(answer))]
    said = [f"* {_cell(line)}" for line in sentences(answer)]
    below = (
        "Each variant is the smallest one so far with one change more; all are ordinary points of this run."
    )
    return "\n".join([f"# Bisect of {answer.failed.id}", "", *said, "", *rows, "", below, ""])


def data(answer: Answer) -> dict[str, Any]:
    """The same for programs."""
    first = nearest(answer)
    return {
        "of": answer.failed.id,
        "repeat": answer.failed.repeat,
        "ending": str(answer.ending),
        "needs": needs(answer),
        "not_needed": list(answer.gone),
        "smallest": answer.smallest.id,
        "first_passing": first and {"change": first.change, "id": first.trial and first.trial.point.id},
        "neighbours": [_neighbour(each) for each in answer.neighbours],
        "variants": [_variant(trial) for trial in answer.trials],
        "sentences": sentences(answer),
    }


def _neighbour(neighbour: Neighbour) -> dict[str, Any]:
    trial = neighbour.trial
    return {
        "change": neighbour.change,
        "feature": neighbour.feature,
        "id": trial and trial.point.id,
        "verdict": trial and str(trial.verdict),
    }


def _variant(trial: Trial) -> dict[str, Any]:
    return {
        "change": trial.change,
        "id": trial.point.id,
        "verdict": str(trial.verdict),
        "tries": [
            {
                "repeat": result.repeat,
                "outcome": str(result.outcome),
                "seconds": result.duration_s,
                "reason": result.reason,
            }
            for result in trial.results
        ],
    }


def _planted(failed: PointResult) -> list[str]:
    fault = failed.point.get("fault", {})
    if fault.get("kind", "none") == "none":
        return []
    given = [f"fault.{key}={rules.word(fault[key])}" for key in _FAULT if fault.get(key) is not None]
    return [f"planted: {' '.join(given)}"]


def _again(itself: Trial, failed: PointResult) -> str:
    again, _ = failures([itself], failed)
    tries = f"{len(itself.results)} tr{'y' if len(itself.results) == 1 else 'ies'}"
    if again:
        return f"fails again the same way: in {again} of {tries}"
    ended = "; ".join(dict.fromkeys(_outcome(result) for result in itself.results))
    return (
        f"{Ending.NOT_AGAIN} the same way: in 0 of {tries} ({ended}); a rare failure needs more bisect.tries"
    )


def _uncertain(answer: Answer) -> list[str]:
    """That it does not fail every time, where something is told to be needed."""
    again, looks = failures(answer.trials, answer.failed)
    passed = [len(each.trial.results) for each in answer.with_verdict(Verdict.PASSES) if each.trial]
    if again == looks or not passed:
        return []
    more = "tries" if min(passed) >= answer.enough else "budget_min"
    return [
        f"it does not fail every time ({again} of {looks} measurements of failing points); what passed in "
        f"{min(passed)} tries may still be without need: more bisect.{more} tells with more certainty"
    ]


def _unfinished(answer: Answer) -> list[str]:
    """What is known when time is over; what passed did so beside more than the smallest point has."""
    passed = [trial.change for trial in answer.trials if trial.verdict is Verdict.PASSES]
    left = [each.change for each in answer.neighbours if each.trial is None]
    return [
        *([f"passed so far: {', '.join(dict.fromkeys(passed))}"] if passed else []),
        f"the budget ended before: {', '.join(left)}; the same command goes on from here",
    ]


def _unclear(neighbour: Neighbour, failed: PointResult) -> str:
    assert neighbour.trial is not None
    ended = _outcome(deciding(neighbour.trial, failed))
    return f"not known of {neighbour.feature}: with {neighbour.change} it {neighbour.trial.verdict} ({ended})"


def _passing(answer: Answer) -> str:
    first = nearest(answer)
    return f"the same with {first.change} ({first.trial.point.id})" if first and first.trial else "none"


def _outcome(result: PointResult) -> str:
    reason = rules.one_line(result.reason)
    short = reason if len(reason) <= _LONGEST else f"{reason[: _LONGEST - 3]}..."
    return f"{result.outcome}, {short}" if short else str(result.outcome)


def _brief(trial: Trial, failed: PointResult) -> str:
    """How the try ended that decided; the reason only where it is another one."""
    decided = deciding(trial, failed)
    return str(decided.outcome) if trial.verdict is Verdict.SAME else _outcome(decided)


def _class(config: dict[str, Any]) -> str:
    return str(config["_target_"]).rpartition(".")[2]


def _row(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _cell(words: str) -> str:
    """No markup, no HTML, no column of its own: reasons come from what was measured."""
    return re.sub(r"([\\`*_\[\]|~])", r"\\\1", html.escape(words, quote=False))
