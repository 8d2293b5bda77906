"""`python -m harness.doctor`: whether this machine has what measuring needs, and what mends it."""

from __future__ import annotations

import argparse
import io
import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

from harness import rules
from harness.doctor import checks
from harness.doctor.checks import Check
from harness.doctor.line import MISSING, NOTE, UNKNOWN, Line

_EPILOG = """\
ok; note: it works, with less or worse; none: not there and not needed; missing: needed and not there;
unknown: it could not be looked at.
Exit code: 0 all that is needed is there, 1 some of it is missing or unknown, 2 a wrong argument.
"""
Found = Sequence[tuple[Check, Sequence[Line]]]


def main(arguments: Sequence[str] | None = None) -> int:
    """Exit code: 0 all that is needed is there, 1 something is missing or unknown, 2 a wrong argument."""
    given = _parser().parse_args(arguments)
    asked = {component: getattr(given, component) for component in ("tts", "avatar")}
    weights = [checks.checkpoint(component, str(path)) for component, path in asked.items() if path]
    try:
        found = checks.run([*checks.CHECKS, *weights])
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
        return 130
    wrong = [line for check, lines in found for line in lines if _is_wrong(check, line)]
    if isinstance(sys.stdout, io.TextIOWrapper):  # names of files may hold what its encoding has not
        sys.stdout.reconfigure(errors="backslashreplace")
    sys.stdout.write((_json(found, not wrong) if given.json else _text(found, wrong)) + "\n")
    return 1 if wrong else 0


def _is_wrong(check: Check, line: Line) -> bool:
    return line.status == MISSING or (line.status == UNKNOWN and check.group != checks.OPTIONAL)


def _json(found: Found, ok: bool) -> str:
    lines = [{"group": check.group, **asdict(line)} for check, lines in found for line in lines]
    return json.dumps({"ok": ok, "lines": lines}, indent=1)


def _text(found: Found, wrong: Sequence[Line]) -> str:
    """A block for each group, a line for each finding, and below it what mends it."""
    width = max(len(line.check) for _, lines in found for line in lines)
    blocks = [[group, *_block(group, found, width)] for group in checks.GROUPS]
    return "\n\n".join("\n".join(block) for block in [*blocks, [_sum(found, wrong)]])


def _block(group: str, found: Found, width: int) -> Iterator[str]:
    for line in (line for check, lines in found if check.group == group for line in lines):
        yield f"  {line.status:<7}  {line.check:<{width}}  {rules.one_line(line.found)}"
        if line.mend:
            yield f"  {'':<7}  {'':<{width}}  mend: {rules.one_line(line.mend)}"


def _sum(found: Found, wrong: Sequence[Line]) -> str:
    notes = sum(line.status == NOTE for _, lines in found for line in lines)
    there = f"{notes} note{'' if notes == 1 else 's'}" if notes else "nothing to note"
    if not wrong:
        return f"All that is needed is there; {there}."
    said = []
    for status, words in ((MISSING, "Missing"), (UNKNOWN, "Not known")):
        names = dict.fromkeys(line.check for line in wrong if line.status == status)
        said += [f"{words}: {', '.join(names)}"] if names else []
    return f"{'. '.join(said)}. {there.capitalize()}."


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m harness.doctor",
        description=__doc__,
        epilog=_EPILOG,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--json", action="store_true", help="the same as data")
    parser.add_argument("--tts", metavar="FOLDER", type=_folder, help="a checkpoint to look at, of XTTS-v2")
    parser.add_argument("--avatar", metavar="FOLDER", type=_folder, help="the folder ditto_pytorch, likewise")
    return parser


def _folder(text: str) -> Path:
    """Absolute, as the checks run where the project is."""
    if not text:
        raise argparse.ArgumentTypeError("names no folder")
    return Path(text).absolute()


if __name__ == "__main__":
    sys.exit(main())
