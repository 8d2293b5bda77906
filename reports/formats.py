"""A statement as text for a terminal, Markdown for a pull request, JUnit XML for a CI, and JSON."""

from __future__ import annotations

import json
import re
from xml.etree import ElementTree

from reports.statement import FINE, NOT_MEASURED, OPEN, REGRESSED, Line, Statement
from reports.text import clip, escaped, plain

SCHEMA = 1
# What XML 1.0 cannot hold even escaped.
_NO_XML = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")
_MOST_FINE = 30  # lines of a pull request's table that need nobody; the rest is counted


def text(statement: Statement) -> str:
    """The lead, then what needs somebody, a line each; what is fine is counted in the lead."""
    told = [line for line in statement.lines if line.code != FINE or line.word in ("faster", "fixed", "note")]
    said = [statement.lead, *(f"  {_where(line)}{line.word}: {line.text}" for line in told)]
    return "\n".join(_on_a_line(plain(each)) for each in said)


def _on_a_line(said: str) -> str:
    """What begins a line may command a CI's runner."""
    return re.sub(r"\s*[\n\u2028\u2029]\s*", " ", said)


def _where(line: Line) -> str:
    return "".join(f"{part}: " for part in (line.point, line.metric) if part)


def markdown(statement: Statement) -> str:
    """A heading, the lead, a table worst first; what needs nobody is folded away."""
    urgent = [line for line in statement.lines if line.code != FINE]
    calm = [line for line in statement.lines if line.code == FINE]
    parts = [f"## {escaped(statement.title)}", f"**{escaped(statement.lead)}**"]
    parts += [_table(urgent)] if urgent else []
    if calm:
        more = f"\n\n{len(calm) - _MOST_FINE} more are in the JSON file." if len(calm) > _MOST_FINE else ""
        table = f"{_table(calm[:_MOST_FINE])}{more}"
        parts.append(f"<details><summary>{len(calm)} that need nobody</summary>\n\n{table}\n\n</details>")
    return "\n\n".join(parts) + "\n"


def _table(lines: list[Line]) -> str:
    rows = [f"| {_cell(x.point)} | {_cell(x.metric)} | {_cell(x.word)} | {_cell(x.text)} |" for x in lines]
    return "\n".join(["| point | figure | verdict | in words |", "| --- | --- | --- | --- |", *rows])


def _cell(value: str) -> str:
    return escaped(clip(value, 600))


def junit(statement: Statement) -> str:
    """A case per line, in a suite per point: slower fails, not measured is an error, open is skipped."""
    root = ElementTree.Element("testsuites", name=_xml(statement.title))
    suites: dict[str, list[Line]] = {}
    for line in statement.lines:
        suites.setdefault(line.point or statement.title, []).append(line)
    for point, lines in suites.items():
        kinds = [line.code for line in lines]
        counted = {"failures": REGRESSED, "errors": NOT_MEASURED, "skipped": OPEN}
        numbers = {name: str(kinds.count(code)) for name, code in counted.items()}
        numbers |= {"name": _xml(point), "tests": str(len(lines))}
        suite = ElementTree.SubElement(root, "testsuite", numbers)
        for line in lines:
            _case(suite, line)
    ElementTree.indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + ElementTree.tostring(root, encoding="unicode") + "\n"


def _case(suite: ElementTree.Element, line: Line) -> None:
    name = line.metric or "measurement"
    case = ElementTree.SubElement(suite, "testcase", classname=_xml(line.point or "run"), name=_xml(name))
    kind = {REGRESSED: "failure", NOT_MEASURED: "error", OPEN: "skipped"}.get(line.code)
    if kind:
        said = ElementTree.SubElement(case, kind, message=_xml(f"{line.word}: {line.text}"))
        if kind != "skipped":
            said.set("type", line.word)
            said.text = _xml(line.text)
    else:
        ElementTree.SubElement(case, "system-out").text = _xml(f"{line.word}: {line.text}")


def _xml(value: str) -> str:
    return _NO_XML.sub("\ufffd", value)


def as_json(statement: Statement, code: int) -> str:
    """Everything, with the exit code that it led to."""
    lines = [
        {"point": x.point, "metric": x.metric, "word": x.word, "code": x.code, "text": x.text, **x.figures}
        for x in statement.lines
    ]
    data = {
        "schema": SCHEMA,
        "title": statement.title,
        "lead": statement.lead,
        "exit_code": code,
        **statement.facts,
        "lines": lines,
    }
    return json.dumps(data, indent=1, allow_nan=False) + "\n"
