"""Gate: tonight's run against its history: what regressed, and what was not measured as asked."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from reports import again, anchor, command, history, noise, suspects
from reports.anchor import Anchor
from reports.fingerprint import unlike
from reports.gated import check_fails, fails
from reports.history import Change, History, Night, Session
from reports.launches import Launched
from reports.screening import Look, looks
from reports.series import Series, series_of
from reports.statement import Line, Refused, Statement, count, points, worst_first
from reports.stored import launched, machine
from reports.suspects import Answer, Budget, Measure
from reports.tonight import Tonight, missing, tonight_of

_INNOCENT = ("not confirmed", "same code")
_OPEN = ("inconclusive", "suspect")
_PERSISTS = 4  # nights in a row not confirmed, and tonight: then the machine itself is another


@dataclass(frozen=True)
class Options:
    """fail, allowed: see reports.compare.Rule; measure: whether suspects are measured again; noise: at how
    many points the code is then measured against itself.
    """

    baselines: Path
    fail: Mapping[str, float]
    allowed: Sequence[str] = ()
    budget: Budget = field(default_factory=Budget)
    measure: bool = True
    noise: int = 0


def gate(run: Path, options: Options) -> Statement:
    """Decide on a stored run and add it to its history. A run that is in it already is decided again from
    what was known then, and adds nothing.

    Raises as launched, DamagedHistory, Refused for a stage in options.fail that nothing has, and OSError.
    """
    measured = launched(run)
    check_fails(options.fail, measured)
    head = {"sweep": run.resolve().name, "gpu": machine(measured)}
    known = history.read(history.file_of(options.baselines, head["gpu"], head["sweep"]))
    tonight = tonight_of(measured, known, head)
    elsewhere = _elsewhere(known, options)
    if elsewhere:
        return Statement(f"Gate {head['sweep']}", f"{_when(tonight, known)}: not decided.", (elsewhere,))
    measure = partial(again.measure, run) if options.measure else None
    return decide(tonight, known, anchor.read(known), options, measure)


def _elsewhere(known: History, options: Options) -> Line | None:
    """The sweep has nights on another machine alone: a GPU that did not answer looks just so."""
    others = sorted(options.baselines.glob(f"*/{known.path.name}"))
    if known.nights or not others or {"gpu", "cpu"} & set(options.allowed):
        return None
    names = ", ".join(path.parent.name for path in others)
    here = known.path.parent.name
    text = f"its history is of {names}, and this is {here}; if that is meant, --allow gpu begins one here"
    return Line("", "", "unlike", text)


def decide(
    tonight: Tonight, known: History, pinned: Anchor | None, options: Options, measure: Measure | None
) -> Statement:
    """The statement, after the night is in the history."""
    until = time.monotonic() + 60 * options.budget.minutes
    is_known = any(row.night == tonight.night for row in known.nights)
    every = series_of(tonight.points, known, tonight.night)
    refused = {id(one): line for one in every if (line := _unlike(one, known, options.allowed))}
    series = [one for one in every if id(one) not in refused]
    seen = [
        look for one in series if one.point.ok for look in looks(one, options.fail, pinned, tonight.night)
    ]
    doubtful = [one for look in seen for one in look.suspects]
    if is_known:
        sessions = [each for each in known.sessions if each.night == tonight.night]
        found = suspects.recorded(doubtful, sessions, tonight.night)
    else:
        found = suspects.answers(doubtful, measure, options.budget, tonight.night)
        sessions = [answer.session for answer in found if answer.session]
        if measure and options.noise:
            left = Budget(options.budget.launches, (until - time.monotonic()) / 60)
            gated = {look.metric for look in seen}
            sessions += noise.sessions(series, gated, measure, left, options.noise, tonight.night)
    changes = [*(each for look in seen for each in look.changes), *_changes(found, tonight.night)]
    if series and not is_known:
        _store(tonight, known, series, found, [*sessions, *changes])
    lines = [
        *refused.values(),
        *missing(tonight, known, pinned, series, options.fail),
        *_outcomes(series, known, tonight.night),
    ]
    lines += [*_figures(seen, found), *_notes(series, known, pinned), *_accepted(changes, known, series)]
    lead = f"{_when(tonight, known)}: {points(len(tonight.points))}, {count(lines)}."
    facts = {"night": tonight.night, "history": str(known.path), "appended": bool(not is_known and series)}
    return Statement(f"Gate {tonight.head['sweep']}", lead, worst_first(lines), facts)


def _when(tonight: Tonight, known: History) -> str:
    nights = len({row.night for row in known.nights} | {tonight.night})
    again = " (decided again)" if any(row.night == tonight.night for row in known.nights) else ""
    return f"{tonight.head['sweep']} on {tonight.head['gpu']}, night {nights} of its history{again}"


def _unlike(series: Series, known: History, allowed: Sequence[str]) -> Line | None:
    """Tonight ran on something else than the last night of this point, and nobody allowed that."""
    if not series.nights or (series.epoch and series.epoch[-1] is series.nights[-1]):
        return None
    last = known.fingerprints[series.nights[-1].fingerprint]
    differing = unlike(last, series.point.fingerprint, allowed)
    if not differing:
        return None
    told = "; ".join(f"{name}: {old}, tonight {new}" for name, (old, new) in differing.items())
    options = " ".join(f"--allow {name}" for name in differing)
    text = f"{told}; nothing is compared or stored; if it is meant to be so from now on: {options}"
    return Line(series.point.label, "", "unlike", text, {"unlike": differing})


def _outcomes(series: Iterable[Series], known: History, night: str) -> list[Line]:
    """Points that were not measured to their end, in words, with how they stood before."""
    lines = []
    for one in series:
        wrong = [launch for launch in one.point.launches if not launch.ok]
        if wrong:
            last = one.nights[-1] if one.nights else None
            before = f"it was {last.outcome} on {last.night[:10]}" if last else "it is new"
            of = f"{len(wrong)} of {len(one.point.launches)} launches"
            hangs = "".join(_hung_before(each, known, night) for each in _signatures(one.point))
            text = f"{of}: {wrong[0].reason or wrong[0].outcome}; {before}{hangs}"
            # What this machine cannot run is no failure, unless it could.
            never = all(night.outcome == "skipped" for night in one.nights)
            word = "not here" if wrong[0].outcome == "skipped" and never else wrong[0].outcome
            lines.append(Line(one.point.label, "", word, text))
    return lines


def _signatures(point: Launched) -> tuple[str, ...]:
    """Of the hangs of all its launches, each once: repeats of a night need not hang alike."""
    return tuple(dict.fromkeys(launch.signature for launch in point.launches if launch.signature))


def _hung_before(signature: str, known: History, night: str) -> str:
    """`; hung as on night 12 (2026-10-12), signature 1a2b3c4d5e`."""
    same = [(number, at) for number, at in known.hung_as(signature) if at < night]
    if not same:
        return f"; a hang that no night before had, signature {signature}"
    number, at = same[-1]
    return f"; hung as on night {number} ({at[:10]}), signature {signature}"


def _figures(seen: Sequence[Look], found: Sequence[Answer]) -> list[Line]:
    """A line per figure: what measuring again gave, else what it looked like."""
    answered: dict[tuple[int, str], list[Answer]] = {}
    for answer in found:
        answered.setdefault((id(answer.suspect.series), answer.suspect.metric), []).append(answer)
    lines = []
    for look in seen:
        mine = answered.get((id(look.series), look.metric), [])
        lines += [answer.line for answer in mine]
        mended = any(answer.word == "faster" for answer in mine)
        if not mine or (look.word == "still slower" and not mended):
            word = look.word if look.word in ("learning", "still slower") else "fine"
            lines.append(
                Line(look.series.point.label, look.metric, word, look.text, {"tonight": look.tonight})
            )
    return lines


def _notes(series: Sequence[Series], known: History, pinned: Anchor | None) -> list[Line]:
    lines = [Line(one.point.label, "", "note", told) for one in series if (told := one.flaky())]
    if not known.nights:
        lines.append(Line("", "", "note", f"no history yet: tonight begins {known.path}"))
    elif pinned is None:
        sweep = known.path.stem
        remedy = f"python -m reports anchor {sweep} --night DATE --reason TEXT pins one"
        lines.append(Line("", "", "note", f"no anchor is pinned, so slow creep is not looked for; {remedy}"))
    return lines


def _accepted(changes: Sequence[Change], known: History, series: Sequence[Series]) -> list[Line]:
    """Levels that are accepted tonight without a verdict on them."""
    labels = {one.point.id: one.point.label for one in series}
    said = {
        "machine": "the level is another from {night} on ({size}) by the machine's doing; it is accepted",
        "seen": "the level is lower from {night} on ({size}), as looking back shows; it is accepted",
    }
    lines = []
    for each in changes:
        if each.how in said:
            size = f"{100 * (each.ratio - 1):+.1f} %"
            text = said[each.how].format(night=each.night[:10], size=size)
            label = labels.get(each.point, known.label(each.point))
            lines.append(Line(label, each.metric, "note", text))
    return lines


def _changes(found: Sequence[Answer], night: str) -> list[Change]:
    """What measuring again has settled; and where a figure was not confirmed for nights on end, the machine
    itself is another from the first of them on. Nights in which nothing could be told do not count.
    """
    changes = [answer.change for answer in found if answer.change]
    for answer in found:
        one, series = answer.suspect, answer.suspect.series
        last = series.good[-_PERSISTS:]
        open_nights = {
            each.night for each in series.sessions if each.metric == one.metric and each.word in _OPEN
        }
        is_long = len(last) == _PERSISTS and all(series.is_fault(row, one.metric) for row in last)
        is_clear = answer.word in _INNOCENT and not open_nights & {row.night for row in last}
        if answer.fault and is_long and is_clear:
            first, point, base = last[0].night, series.point, one.base
            how = (base.night, base.commit, point.commit, "machine")
            changes.append(Change(first, night, point.id, one.metric, one.excess, *how))
    return changes


def _store(
    tonight: Tonight,
    known: History,
    series: Sequence[Series],
    found: Sequence[Answer],
    more: Sequence[Session | Change],
) -> None:
    """Append what is new: fingerprints and points first, then tonight's rows, sessions and changes."""
    lines: list[tuple[str, Mapping[str, object]]] = []
    seen, prints = set(known.points), set(known.fingerprints)
    for one in series:
        point, key = one.point, history.key_of(one.point.fingerprint)
        if key not in prints:
            prints.add(key)
            lines.append(("fingerprint", {"key": key, "values": dict(point.fingerprint)}))
        if point.id not in seen:
            lines.append(("point", {"id": point.id, "label": point.label, "config": dict(point.config)}))
    rows = [_row(one.point, tonight.night, found) for one in series]
    history.append(known, tonight.head, [*lines, *history.lines_of([*rows, *more])])


def _row(point: Launched, night: str, found: Sequence[Answer]) -> Night:
    wrong = next((launch for launch in point.launches if not launch.ok), None)
    mine = [answer for answer in found if answer.suspect.series.point is point and answer.fault]
    names = dict.fromkeys(name for launch in point.launches for name in launch.values)
    return Night(
        night=night,
        point=point.id,
        at=point.launches[0].at[0],
        commit=point.commit,
        code=point.code,
        fingerprint=history.key_of(point.fingerprint),
        outcome=wrong.outcome if wrong else "ok",
        reason=wrong.reason if wrong else "",
        values={} if wrong else {name: tuple(point.numbers(name)) for name in names},
        faults=tuple(dict.fromkeys(answer.suspect.metric for answer in mine)),
        signatures=_signatures(point),
    )


def main(arguments: Sequence[str]) -> int:
    """The exit code of reports.statement. Raises Refused for a wrong setting, and as gate."""
    about = "Tonight's run against its history; suspects are measured again by itself."
    parser = command.parser("gate", about)
    add = parser.add_argument
    add("run", metavar="RUN", help="a run's name or folder; gate.md, gate.xml and gate.json go there")
    add("--baselines", metavar="FOLDER", type=Path, default=command.BASELINES, help="of the histories")
    add("--launches", metavar="N", type=int, default=5, help="a side, of a suspect (5)")
    add("--budget-min", metavar="MINUTES", type=float, default=60.0, help="of all suspects (60)")
    add("--noise", metavar="N", type=int, default=0, help="points to measure A against A tonight (0)")
    add("--no-measure", action="store_true", help="leave suspects open")
    given = command.parsed(parser, arguments)
    if given.launches < 3 or not given.budget_min > 0 or given.noise < 0:
        raise Refused("--launches must be at least 3, --budget-min over 0, --noise at least 0")
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # as Ctrl-C: what measures again is ended
    run, budget = command.folder_of(given.run), Budget(given.launches, given.budget_min)
    measure = not given.no_measure
    options = Options(given.baselines, fails(given.fail), given.allow, budget, measure, given.noise)
    statement = gate(run, options)
    for name, ending in (("markdown", "md"), ("junit", "xml"), ("json", "json")):
        setattr(given, name, getattr(given, name) or run / f"gate.{ending}")
    return command.say(statement, given)
