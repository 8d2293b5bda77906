"""The section on what did not end ok: a row and a card for each, hangs that are the same, and what stayed."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence

from harness.result import Measurement, Outcome
from reports import history
from reports.blocks import Block, Card, Cell, Grid, Section, Text, grid, num
from reports.cards import asked_jobs, card, detection, left, lines, where
from reports.history import DamagedHistory, History
from reports.points import PointRows, in_order
from reports.stored import machine, of_table
from reports.tables import Table, hang_class, hang_signature
from reports.tonight import tonight_of

_MOST_CARDS, _OPEN_CARDS = 40, 3
_MOST_NAMED = 5

Found = Sequence[tuple[PointRows, Measurement]]


def incidents(table: Table) -> Section | None:
    """What each measurement that did not end ok came to, and what of an ok one was not as it should be."""
    every = [(p, r.measurement) for p in in_order(table.points) for r in p.rows]
    broken = [(p, m) for p, m in every if m.result.outcome not in (Outcome.OK, Outcome.SKIPPED)]
    skipped = [(p, m) for p, m in every if m.result.outcome is Outcome.SKIPPED]
    blocks: list[Block] = _broken(table, broken) if broken else []
    if rows := _odd([(p, m) for p, m in every if m.result.outcome is Outcome.OK]):
        blocks.append(grid("point|repeat>|what", rows, "Finished, but"))
    if skipped:
        tag = Cell("skipped", "skipped")
        untried: list[list[str | Cell]] = [[point.label, tag, m.result.reason] for point, m in skipped]
        blocks.append(grid("point|outcome|why it cannot run here", untried, "Skipped points were not tried."))
    return Section("incidents", "Incidents", tuple(blocks)) if blocks else None


def _broken(table: Table, broken: Found) -> list[Block]:
    """A sentence, a card for each, the hangs that are the same, and a row for each."""
    alike = by_signature(broken)
    blocks: list[Block] = [Text(_lead(broken, alike), "lead"), *_cards(table, broken, alike)]
    if len(broken) > _MOST_CARDS:
        text = f"Cards of the first {_MOST_CARDS} of {len(broken)}; results.csv has all."
        blocks.append(Text(text, "note"))
    blocks += [_same(alike, *_nights(table))] if alike else []
    return [*blocks, _grid(broken)]


def _cards(table: Table, broken: Found, alike: Mapping[str, Found]) -> Iterator[Card]:
    """Hangs first. Open are the first few that are unlike; the others show their title and what happened."""
    ordered = sorted(broken, key=lambda found: found[1].result.outcome not in (Outcome.HUNG, Outcome.TIMEOUT))
    seen: set[str] = set()
    for point, m in ordered[:_MOST_CARDS]:
        mine = hang_signature(m.result)
        folded = mine in seen or len(seen) >= _OPEN_CARDS
        yield card(table, point, m, len(alike.get(mine, ())) - 1, folded)
        seen.add(mine or f"{m.result.id} {m.result.repeat}")


def by_signature(found: Found) -> dict[str, Found]:
    """The hangs that have a signature, those that come most often first."""
    grouped: dict[str, list[tuple[PointRows, Measurement]]] = {}
    for point, m in found:
        if mine := hang_signature(m.result):
            grouped.setdefault(mine, []).append((point, m))
    return dict(sorted(grouped.items(), key=lambda item: -len(item[1])))


def _lead(broken: Found, alike: Mapping[str, Found]) -> str:
    """`3 measurements did not end ok: 2 hung, 1 crashed. The same hang: event, stage avatar.warp (twice).`"""
    kinds = Counter(str(m.result.outcome) for _, m in broken)
    counted = ", ".join(f"{kinds[kind]} {kind}" for kind in map(str, Outcome) if kinds[kind])
    many = "measurements" if len(broken) > 1 else "measurement"
    often = [found for found in alike.values() if len(found) > 1]
    told = [f"{hang_class(one[0][1].result)}, {_shared(one)} ({len(one)} times)" for one in often[:3]]
    more = [f"{len(often) - 3} other{'s' * (len(often) > 4)}"] if len(often) > 3 else []
    same = f" The same hang: {'; '.join([*told, *more])}." if told else ""
    return f"{len(broken)} {many} did not end ok: {counted}.{same}"


def _shared(found: Found) -> str:
    return where(found[0][1].result, with_worker=False)


def _grid(broken: Found) -> Grid:
    rows: list[list[str | Cell]] = []
    for point, m in broken:
        result = m.result
        at = ".".join(part for part in (result.component, result.stage) if part) or "-"
        outcome = Cell(str(result.outcome), str(result.outcome))
        place = [
            hang_class(result) or "-",
            result.phase or "-",
            at,
            _number(result.worker),
            _number(result.job),
        ]
        jobs = f"{len(result.jobs)} of {asked_jobs(result)}"
        ended = [detection(result) or "at its end", jobs, num(result.duration_s)]
        rows.append([point.label, str(result.repeat), outcome, *place, *ended])
    heads = "point|repeat>|outcome|class|phase|component.stage|worker>|job>|detected|jobs done>|after, s>"
    return grid(heads, rows, "Workers, jobs and repeats count from 0.")


def _number(index: int) -> str:
    return str(index) if index >= 0 else "-"


def _same(alike: Mapping[str, Found], known: History | None, night: str) -> Grid:
    """The hangs by their signature: of this run, and where it has a history of its nights before it."""
    rows: list[list[str | Cell]] = []
    for mine, found in alike.items():
        row = [mine, hang_class(found[0][1].result) or "-", _shared(found), str(len(found)), _named(found)]
        rows.append([*row, *([_before(known, mine, night)] if known else [])])
    heads = "signature|class|where|times>|at" + ("|nights" if known else "")
    return grid(heads, rows, "The same hang: alike in class, place and stack")


def _named(found: Found) -> str:
    """`threads x2 (repeats 0, 1); processes x2 (repeat 0)`."""
    repeats: dict[str, list[str]] = {}
    for point, m in found:
        repeats.setdefault(point.label, []).append(str(m.result.repeat))
    told = [
        f"{label} (repeat{'s' * (len(each) > 1)} {', '.join(each)})"
        for label, each in list(repeats.items())[:_MOST_NAMED]
    ]
    more = len(repeats) - _MOST_NAMED
    return "; ".join([*told, *([f"and {more} more point{'s' * (more > 1)}"] if more > 0 else [])])


def _nights(table: Table) -> tuple[History | None, str]:
    """The history of the run and the night in it that the run is, or would be. None where there is no history
    that can be read: the section on it says what is wrong.
    """
    points = of_table(table)
    path = history.file_of(table.folder.parent / "baselines", machine(points), table.name)
    try:
        known = history.read(path) if path.is_file() else None
    except DamagedHistory:
        known = None
    return known, tonight_of(points, known, {}).night if known else ""


def _before(known: History, mine: str, night: str) -> str:
    """The gate's own words and its own nights, whether or not it has stored this one by now."""
    before = [(number, at) for number, at in known.hung_as(mine) if at < night]
    if not before:
        return "in no night before"
    number, at = before[-1]
    return f"in {len(before)} night{'s' * (len(before) > 1)} before, last on night {number} ({at[:10]})"


def _odd(ok: Found) -> list[list[str | Cell]]:
    """What ended ok and yet was late once, or left something behind."""
    told = [(point, m, [*lines(m.result.evidence, "moved"), *left(m.result)]) for point, m in ok]
    return [[point.label, str(m.result.repeat), "; ".join(words)] for point, m, words in told if words]
