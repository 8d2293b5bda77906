"""The section on effects: what each factor of a sweep does to the RTF, averaged, and where it does not."""

from __future__ import annotations

import functools
import math
from collections import Counter
from collections.abc import Iterator, Sequence

from harness.metrics import stage_table
from reports import factorial, panels
from reports.blocks import Block, Cell, Figure, Section, Text, grid, num
from reports.factorial import Design, Effect, Factor, Interaction
from reports.least_squares import Error, Ratio
from reports.points import PointRows
from reports.tables import Table

_MOST_SENTENCES, _MOST_INTERACTIONS, _MOST_PANELS, _MOST_STAGES = 6, 8, 4, 8
_LEAST_SHARE = 0.03  # of the busy time at some point, for a stage to be listed
_NOTABLE = math.log(1.15)  # of a ratio of ratios, for a sentence on it
_HEADLINES = ("backend", "precision")


def effects(table: Table) -> Section | None:
    """Main effects in sentences and as a table, per stage, and the strongest interactions."""
    design = factorial.design_of(table)
    if design is None:
        return None
    found, error = factorial.main_effects(design)
    terms = factorial.interactions(design)
    blocks: list[Block] = [Text(sentence) for sentence in _sentences(found, terms, design)]
    blocks += [_main_grid(found), Text(_basis(error), "note"), Text(_coverage(design), "note")]
    blocks += [Text(sentence, "warn") for sentence in _confounded(design, found)]
    blocks += _stage_grid(design)
    blocks += _interaction_blocks(design, terms)
    return Section("effects", "What each setting does", tuple(blocks))


def headline(table: Table) -> str:
    """One sentence on backend and precision, "" where neither was varied."""
    design = factorial.design_of(table)
    if design is None:
        return ""
    found, error = factorial.main_effects(design)
    named = [effect for effect in found if _is_headline(effect.factor) and effect.ratio]
    said = "; ".join(f"{_versus(effect)} {speed(effect.ratio)}" for effect in named if effect.ratio)
    if not said:
        return ""
    basis = {"repeats": "95 % intervals from repeats", "residual": "95 % intervals from the model's residual"}
    intervals = basis.get(error.kind, "no interval: one measurement each")
    return f"Averaged over what else varied: {said} ({intervals})."


def _is_headline(factor: Factor) -> bool:
    return any(word in name for name in (factor.name, *factor.followers) for word in _HEADLINES)


def speed(ratio: Ratio) -> str:
    """`2.10 times faster (1.90 to 2.30)` for a ratio of times; `1.20 times slower`; `as fast`."""
    slower = ratio.value > 1
    value, *ends = [
        each if slower or each is None else 1 / each for each in (ratio.value, ratio.low, ratio.high)
    ]
    known = sorted(end for end in ends if end is not None)
    between = f" ({num(known[0])} to {num(known[1])})" if known else ""
    if known and not ratio.clear:
        return f"no clear difference: {num(value)} times {'slower' if slower else 'faster'}{between}"
    if num(value) == num(1.0):
        return f"as fast{between}"
    return f"{num(value)} times {'slower' if slower else 'faster'}{between}"


def _versus(effect: Effect) -> str:
    return f"{_joint(effect.factor)} {effect.factor.levels[effect.level]} against {effect.factor.levels[0]}"


def _joint(factor: Factor) -> str:
    return f"{factor.name} (with {', '.join(factor.followers)})" if factor.followers else factor.name


def _sentences(found: Sequence[Effect], terms: Sequence[Interaction], design: Design) -> list[str]:
    """The strongest effects as words for a decision, each with where it is another one."""
    known = [(abs(math.log(effect.ratio.value)), effect) for effect in found if effect.ratio]
    strongest = [effect for _, effect in sorted(known, key=lambda item: -item[0])[:_MOST_SENTENCES]]
    return [_sentence(effect, terms, design) for effect in strongest]


def _sentence(effect: Effect, terms: Sequence[Interaction], design: Design) -> str:
    assert effect.ratio is not None
    others = [factor.name for factor in design.factors if factor is not effect.factor]
    over = f", averaged over {', '.join(others)}" if others else ""
    text = f"{_versus(effect)}: {speed(effect.ratio)}{over}"
    term = next((t for t in terms if (t.factor, t.level) == (effect.factor, effect.level)), None)
    if term is None or not _notable(term.ratio_of_ratios):
        return f"{text}."
    there, first = f"{term.other.name}={term.other.levels[term.other_level]}", term.other.levels[0]
    at = f"at {there} {speed(term.at_level)}{_limit(design, term)}, at {term.other.name}={first} "
    return f"{text}; but {at}{speed(term.at_first)}."


def _notable(ratio: Ratio) -> bool:
    return abs(math.log(ratio.value)) > _NOTABLE and (ratio.low is None or ratio.clear)


def _limit(design: Design, term: Interaction) -> str:
    """Which stage takes most of the time there, as the points of that combination say."""
    f, g = design.factors.index(term.factor), design.factors.index(term.other)
    here = [
        str(point.rows[0].values.get("bottleneck"))
        for point, levels in zip(design.points, design.levels, strict=True)
        if (levels[f], levels[g]) == (term.level, term.other_level)
    ]
    stage, count = Counter(here).most_common(1)[0] if here else ("None", 0)
    return "" if stage == "None" or 2 * count <= len(here) else f" ({stage} decides there)"


def _main_grid(found: Sequence[Effect]) -> Block:
    rows: list[list[str | Cell]] = []
    for effect in found:
        ratio, factor = effect.ratio, effect.factor
        told = "not told apart from other settings" if ratio is None else speed(ratio)
        value = num(ratio.value) if ratio else "-"
        rows.append(
            [_joint(factor), factor.levels[effect.level], factor.levels[0], value, _interval(ratio), told,
             str(effect.num_points)]
        )  # fmt: skip
    heads = "setting|level|against|aggregate RTF, ratio>|95 % interval>|that is|ok points>"
    return grid(heads, rows, "Main effects: below 1 is faster; geometric means over the other settings.")


def _interval(ratio: Ratio | None) -> str:
    known = ratio is not None and ratio.low is not None
    return f"{num(ratio.low)} to {num(ratio.high)}" if ratio and known else "-"


def _basis(error: Error) -> str:
    if error.kind == "repeats":
        return (
            f"Intervals: Student's t over repeats, {error.freedom} degrees of freedom. They are those of the "
            "average over the points measured here, and not of each point."
        )
    if error.kind == "residual":
        return (
            f"Intervals: no point was repeated, so they rest on the residual of the additive model "
            f"({error.freedom} degrees of freedom), in which interactions and scatter of runs are together."
        )
    return "No interval: one measurement each, and no residual is left to estimate one from."


def _coverage(design: Design) -> str:
    cells = math.prod(len(factor.levels) for factor in design.factors)
    text = f"{cells - design.missing} of {cells} combinations have an ok point"
    text += (
        ": unbalanced, so effects are adjusted by the additive model." if design.missing else ": complete."
    )
    lost = "; ".join(design.lost[:6]) + (f"; and {len(design.lost) - 6} more" if len(design.lost) > 6 else "")
    return f"{text} Without an ok point, so without an effect: {lost}." if lost else text


def _confounded(design: Design, found: Sequence[Effect]) -> list[str]:
    """Factors that moved together in the whole run, and levels that the design cannot tell."""
    lines = [
        f"{', '.join(factor.followers)} changed only together with {factor.name}: the effect is of both, "
        "and which of them makes it this run cannot tell."
        for factor in design.factors
        if factor.followers
    ]
    untold = [effect for effect in found if effect.ratio is None]
    if untold:
        named = ", ".join(f"{e.factor.name}={e.factor.levels[e.level]}" for e in untold)
        lines.append(f"Confounded, so not estimated: {named}; no other ok point separates them.")
    return lines


def _stage_grid(design: Design) -> list[Block]:
    """Main effects on each stage's busy time per media second: which stage a setting acts on."""
    names = _stages(design)
    if not names:
        return []
    columns = [factorial.main_effects(design, functools.partial(_busy, name))[0] for name in names]
    rows: list[list[str | Cell]] = []
    for cells in zip(*columns, strict=True):
        factor, level = cells[0].factor, cells[0].level
        values = [num(cell.ratio.value) if cell.ratio else "-" for cell in cells]
        rows.append([_joint(factor), f"{factor.levels[level]} against {factor.levels[0]}", *values])
    heads = "|".join(["setting", "levels", *(f"{name}>" for name in names)])
    caption = "Which stage it acts on: ratios of busy time per second of media, the same model per stage."
    return [grid(heads, rows, caption)]


def _busy(name: str, point: PointRows) -> list[float]:
    found = []
    for row in point.rows:
        for stage in stage_table(row.measurement):
            if f"{stage['component']}.{stage['stage']}" == name and stage["per_media_s"]:
                found.append(float(stage["per_media_s"]))
    return found


def _stages(design: Design) -> list[str]:
    """Stages that every point has, without those that are a small part at all of them."""
    most: dict[str, float] = {}
    seen: Counter[str] = Counter()
    for point in design.points:
        for stage in stage_table(point.first):
            if stage["per_media_s"]:
                name = f"{stage['component']}.{stage['stage']}"
                seen[name] += 1
                most[name] = max(most.get(name, 0.0), stage["share"] or 0.0)
    kept = [name for name in most if seen[name] == len(design.points) and most[name] >= _LEAST_SHARE]
    return sorted(kept, key=lambda name: -most[name])[:_MOST_STAGES]


def _interaction_blocks(design: Design, terms: Sequence[Interaction]) -> list[Block]:
    if not terms:
        return []
    rows: list[list[str | Cell]] = [_interaction_row(term) for term in terms[:_MOST_INTERACTIONS]]
    heads = "effect of|at|is|and at|is|ratio of ratios>"
    caption = "Interactions: the strongest of each pair of settings, strongest first."
    note = (
        f"The strongest of {len(terms)} pairs, picked because they are: rather too large than too small. "
        "Three-way interactions are not looked for. In the figures parallel lines are no interaction."
    )
    return [*_panels(design, terms[:_MOST_PANELS]), grid(heads, rows, caption), Text(note, "note")]


def _panels(design: Design, terms: Sequence[Interaction]) -> Iterator[Figure]:
    """Small multiples of the pairs, on one scale."""
    means = [factorial.cell_means(design, term.factor, term.other) for term in terms]
    known = [value for lines in means for line in lines.values() for value in line if value is not None]
    for index, (term, lines) in enumerate(zip(terms, means, strict=True)):
        title = f"{term.factor.name} by {term.other.name}"
        at = [f"{name} {', '.join(map(num, line))}" for name, line in lines.items()]
        alt = f"Aggregate RTF over {term.other.name} ({', '.join(term.other.levels)}): {'; '.join(at)}."
        panel = panels.Panel(title, term.other.name, term.other.levels, lines)
        ends = (min(known), max(known))
        yield Figure(panels.interaction(f"interaction{index}", alt, panel, "aggregate RTF", ends), alt)


def _interaction_row(term: Interaction) -> list[str | Cell]:
    name, ratio = term.other.name, term.ratio_of_ratios
    return [
        f"{term.factor.name} {term.factor.levels[term.level]} against {term.factor.levels[0]}",
        f"{name}={term.other.levels[0]}",
        speed(term.at_first),
        f"{name}={term.other.levels[term.other_level]}",
        speed(term.at_level),
        num(ratio.value) + (f" [{num(ratio.low)}, {num(ratio.high)}]" if ratio.low is not None else ""),
    ]
