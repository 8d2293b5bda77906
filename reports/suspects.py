"""Suspects: measured again within a budget, tonight's code and an earlier commit in turn; what came of it."""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from statistics import median

from reports import attribution
from reports.again import Measured
from reports.blocks import num
from reports.compare import Finding, in_words
from reports.decision import Decision, control, decide
from reports.history import Change, Session
from reports.launches import Launched
from reports.screening import ENOUGH, PRIORITY, Suspect
from reports.statement import Line

# (point id, base commit or "" for tonight's code alone, launches, minutes that are left) -> both sides
Measure = Callable[[str, str, int, float], Measured]
TONIGHT, LEVELS = ("slow", "fast"), ("late", "creep")  # suspicions of tonight's own figure, and of a level
_ALONE = 3  # launches of tonight's code where there is nothing to measure it against


@dataclass(frozen=True)
class Budget:
    """How much measuring again may take. launches: a side; minutes: of all sessions together."""

    launches: int = 5
    minutes: float = 60.0


@dataclass(frozen=True)
class Answer:
    """What measuring a suspect again gave.

    word      of WORDS in reports.statement
    fault     whether tonight's figure is of the machine, and no value to compare others with
    """

    suspect: Suspect
    word: str
    text: str
    fault: bool = False
    session: Session | None = None
    change: Change | None = None

    @property
    def line(self) -> Line:
        figures = {"why": self.suspect.why, "session": asdict(self.session) if self.session else None}
        return Line(self.suspect.series.point.label, self.suspect.metric, self.word, self.text, figures)


def answers(suspects: Sequence[Suspect], measure: Measure | None, budget: Budget, night: str) -> list[Answer]:
    """What each suspect turned out to be; without `measure` they stay suspects.

    Those of the same point and base share a session. Verdicts on all of them are controlled together.
    """
    found = [_innocent(one, night) for one in suspects if one.same_code]
    compared: list[tuple[Suspect, Measured, Decision]] = []
    until = time.monotonic() + 60 * budget.minutes
    for group in _groups([one for one in suspects if not one.same_code]):
        left_min = (until - time.monotonic()) / 60
        point, base = group[0].series.point, group[0].base.commit
        if measure is None or left_min <= 0:
            why = "as asked" if measure is None else "the budget ended"
            found += [Answer(one, "suspect", f"{_step(one)}; not measured again: {why}") for one in group]
            continue
        if point.is_foreign:
            sides = Measured(None, None, "its code lies outside of this repository")
        else:
            sides = measure(point.id, base, budget.launches, left_min)
        if sides.base is None or not any(launch.ok for launch in sides.base.launches):
            left_min = max((until - time.monotonic()) / 60, 0.01)
            again = measure(point.id, "", _ALONE, left_min).new
            found += [_alone(one, again, sides.problem, night) for one in group]
        else:
            compared += [(one, sides, decide_on(one, sides)) for one in group]
    controlled = control([decision for *_, decision in compared])
    pairs = zip(compared, controlled, strict=True)
    return found + [_answer(one, sides, decision, night) for (one, sides, _), decision in pairs]


def recorded(suspects: Sequence[Suspect], sessions: Sequence[Session], night: str) -> list[Answer]:
    """The same from what the history has of that night: to decide again without measuring again."""
    known = {(each.point, each.metric, each.why): each for each in sessions}
    return [
        _remembered(one, known.get((one.series.point.id, one.metric, one.why)), night) for one in suspects
    ]


def _remembered(one: Suspect, session: Session | None, night: str) -> Answer:
    if one.same_code:
        return _innocent(one, night)
    if session is None:
        return Answer(one, "suspect", f"{_step(one)}; not measured again that night")
    gave = f"{session.ratio:.3f} times BASE" if session.ratio else "without a base"
    return Answer(one, session.word, f"{_step(one)}; measured again that night, {gave}", session=session)


def _groups(suspects: Sequence[Suspect]) -> list[list[Suspect]]:
    """By point and base, the most urgent first."""
    found: dict[tuple[str, str], list[Suspect]] = {}
    for one in sorted(suspects, key=lambda one: (PRIORITY.index(one.why), -abs(math.log(one.excess)))):
        found.setdefault((one.series.point.id, one.base.commit), []).append(one)
    return list(found.values())


def _innocent(one: Suspect, night: str) -> Answer:
    """Nothing to measure: what is another with the same code is the machine."""
    text = f"{_step(one)}; the code is that of {one.base.night[:10]}, so this is the machine"
    return Answer(one, "same code", text, one.why in TONIGHT, change=_of_the_machine(one, night))


def _of_the_machine(one: Suspect, night: str) -> Change | None:
    """A level, not a night, that innocent code has: from there on the machine is another."""
    return _accept(one, night, "machine") if one.why in LEVELS else None


def _step(one: Suspect) -> str:
    more = f"{100 * (one.excess - 1):+.1f} %"
    what = {
        "late": f"the level has changed by {more} since {one.base.night[:10]}",
        "creep": f"the last nights are {more} from the anchor of {one.base.night[:10]}",
        "share": f"its share of all stages' time is {more} from the last nights",
        "learning": f"this environment is new; {one.base.night[:10]} was another",
    }
    value = num(median(one.series.point.numbers(one.metric)))
    return what.get(one.why, f"{value} is {more} from the last nights")


def decide_on(one: Suspect, sides: Measured) -> Decision:
    """Two thirds of the least change that matters are enough, after a suspicion: but no less than what
    measuring the same code twice has given here.
    """
    assert sides.base is not None
    numbers = [side.numbers(one.metric) if side else [] for side in (sides.base, sides.new)]
    base, new = ([[value] for value in values if value > 0] for values in numbers)
    accept = max(ENOUGH * one.min_effect, one.series.noise_floor(one.metric) or 0.0)
    return decide(base, new, one.min_effect, accept=accept, earlier=one.series.deviations(one.metric))


def _answer(one: Suspect, sides: Measured, decision: Decision, night: str) -> Answer:
    assert sides.base is not None
    new = sides.new or replace(one.series.point, launches=())
    if sides.base.ok and new.launches and not new.ok and decision.verdict != "slower":
        return _ended(one, new, "none of the base's", decision, night)
    text = f"{_step(one)}; measured again, {in_words(_finding(one, decision), sides.base, new)}"
    if decision.verdict in ("slower", "faster"):
        return _changed(one, sides.base, new, decision, text, night)
    floor = one.series.noise_floor(one.metric) or 0.0
    if floor > ENOUGH * one.min_effect:
        text = f"{text} Measuring the same code twice has given {100 * floor:.1f} % here."
    if sides.problem and decision.verdict == "inconclusive":
        text = f"{text} {sides.problem}."
    is_open = decision.verdict == "inconclusive" and _may_be(one, decision)
    word = "inconclusive" if is_open else "not confirmed"
    moved = _of_the_machine(one, night) if word == "not confirmed" else None
    return Answer(one, word, text, one.why in TONIGHT, session_of(one, word, decision, night), moved)


def _finding(one: Suspect, decision: Decision) -> Finding:
    return Finding(one.metric, one.min_effect, decision)


def _ended(one: Suspect, new: Launched, beside: str, decision: Decision | None, night: str) -> Answer:
    """Tonight's code did not end ok when it was measured again; beside: how the base did."""
    wrong = [launch for launch in new.launches if not launch.ok]
    word, of = wrong[0].outcome, f"{len(wrong)} of {len(new.launches)} launches of tonight's code"
    text = f"{_step(one)}; measured again, {of}: {wrong[0].reason or word}; {beside}"
    return Answer(one, word, text, one.why in TONIGHT, session_of(one, word, decision, night))


def _may_be(one: Suspect, decision: Decision) -> bool:
    """Whether it leans the way of the suspicion, or nothing can be said of it."""
    if decision.ratio is None:
        return True
    needed = 1 + ENOUGH * one.min_effect
    return decision.ratio >= needed if one.excess >= 1 else decision.ratio <= 1 / needed


def _changed(
    one: Suspect, base: Launched, new: Launched, decision: Decision, text: str, night: str
) -> Answer:
    assert decision.ratio is not None
    if attribution.explains(one.metric):
        text = f"{text} {attribution.words(attribution.parts(base, new, one.min_effect))}."
    accepted = _accept(one, night, "confirmed", decision.ratio)
    # Tonight's figure went the other way than its code: that is the machine on top of it.
    fault = one.why in TONIGHT and (decision.ratio > 1) != (one.excess > 1)
    session = session_of(one, decision.verdict, decision, night)
    return Answer(one, decision.verdict, text, fault, session, accepted)


def _accept(one: Suspect, night: str, how: str, ratio: float | None = None) -> Change:
    """From the first night at the new level: tonight, or where it was found late the one after the base."""
    point, base = one.series.point, one.base
    first, commit = night, point.commit
    if one.why == "late":
        later = [each for each in one.series.of(one.metric) if each.night > base.night]
        first, commit = later[0].night, later[0].commit
    size = ratio or one.excess
    return Change(first, night, point.id, one.metric, size, base.night, base.commit, commit, how)


def session_of(one: Suspect, word: str, decision: Decision | None, night: str) -> Session:
    point = one.series.point
    numbers = (decision.ratio, decision.low, decision.high) if decision else (None, None, None)
    launches = (decision.n_base, decision.n_new) if decision else (0, _ALONE)
    ran = (one.base.commit, point.commit, one.same_code)
    return Session(night, point.id, one.metric, one.why, *ran, word, *numbers, launches)


def _alone(one: Suspect, again: Launched | None, problem: str, night: str) -> Answer:
    """No base to measure: tonight's code once more. Beyond the limit both times is a regression, though not
    compared; looking back or ahead has no limit to be beyond.
    """
    numbers = again.numbers(one.metric) if again else []
    why = f"not compared with {one.base.commit[:12] or 'a commit'}: {problem}"
    if again and again.launches and not again.ok:
        return _ended(one, again, why, None, night)
    text = f"{_step(one)}; {why}"
    if one.why != "slow" or one.limit is None or not numbers:
        return Answer(one, "suspect", text, session=session_of(one, "suspect", None, night))
    is_over = median(numbers) > one.limit
    word, than = ("slower", "is over") if is_over else ("not confirmed", "is not over")
    text = f"{text}; measured again alone, {num(median(numbers))} {than} {num(one.limit)}"
    accepted = _accept(one, night, "not compared") if is_over else None
    return Answer(one, word, text, not is_over, session_of(one, word, None, night), accepted)
