"""Markdown of a report's sections, for pull requests: text from anywhere shows as it is."""

from __future__ import annotations

import re
from collections.abc import Sequence

from reports.blocks import Block, Card, Excerpt, Figure, Grid, Section, Text
from reports.text import clip, escaped, plain


def markdown(name: str, sections: Sequence[Section]) -> str:
    """The page without its drawings, for pull requests."""
    parts = [f"# Report: {escaped(name)}"]
    for section in sections:
        parts.append(f"## {escaped(section.title)}")
        parts += [_block(block) for block in section.blocks]
    return "\n\n".join(parts) + "\n"


def _block(block: Block) -> str:
    if isinstance(block, Text):
        text = escaped(block.text)
        return f"**{text}**" if block.tone == "lead" else f"_{text}_" if block.tone == "note" else text
    if isinstance(block, Grid):
        return _table(block)
    if isinstance(block, Figure):
        return f"Figure (in report.html): {escaped(block.alt)}"
    return _card(block) if isinstance(block, Card) else _folded(block)


def _card(block: Card) -> str:
    """Its head as lines, and all of the evidence folded into one."""
    facts = [f"- {word}: {escaped(clip(text))}" for word, text in block.facts]
    more = ["To find the smallest point that still fails:", f"    {block.command}"] if block.command else []
    todo = [f"What to do: {escaped(clip(block.todo))}", *more]
    text = "\n\n".join(f"{one.title}:\n{one.text}" for one in block.evidence)
    link = next((one.link for one in block.evidence if one.link), "")
    parts = [
        f"### {block.tone}: {escaped(clip(block.title))}",
        f"**{escaped(clip(block.lead))}**",
        "\n".join(facts),
        *todo,
        *([_folded(Excerpt("Evidence", text, link))] if text else []),
    ]
    return "\n\n".join(parts)


def _table(block: Grid) -> str:
    marks = ["---:" if index in block.numeric else "---" for index in range(len(block.heads))]
    rows = [_line([cell.text for cell in row]) for row in block.rows]
    caption = [f"_{escaped(block.caption)}_\n"] if block.caption else []
    return "\n".join([*caption, _line(block.heads), f"| {' | '.join(marks)} |", *rows])


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(escaped(clip(cell)) for cell in cells) + " |"


def _folded(block: Excerpt) -> str:
    text = plain(block.text)
    longest = max((len(run) for run in re.findall(r"`+", text)), default=0)
    fence = "`" * max(3, longest + 1)
    link = f"\n\n[{block.link.split('/')[-1]}]({block.link})" if block.link else ""
    summary = f"<summary>{escaped(block.title)}</summary>"
    return f"<details>{summary}\n\n{fence}text\n{text}\n{fence}{link}\n\n</details>"
