"""python -m reports RUN: the report of a stored run; its commands compare, gate, pin and export."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Sequence

from harness.store import UnreadableResult
from reports.statement import Refused

# command -> module with its `main`: imported when it is called, since `changes` is called once per series
_COMMANDS = {
    "compare": "reports.compare",
    "gate": "reports.gate",
    "anchor": "reports.anchor",
    "changes": "reports.answers",
    "export": "reports.exporting",
}


def main(arguments: Sequence[str] | None = None) -> int:
    """The exit code; a wrong setting, a missing run, a damaged file or a full disk is one line and 2."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    module = _COMMANDS.get(given[0]) if given else None
    command = importlib.import_module(module or "reports.page")
    try:
        return int(command.main(given[1:] if module else given))
    except (OSError, Refused, UnreadableResult) as error:
        sys.stderr.write(f"{error}\n")
        return 2
    except KeyboardInterrupt:
        sys.stderr.write("interrupted\n")
        return 130


if __name__ == "__main__":
    sys.exit(main())
