"""Line: what one check has found, as data. Standard library only."""

from __future__ import annotations

from dataclasses import dataclass

OK, NOTE, NONE, MISSING, UNKNOWN = "ok", "note", "none", "missing", "unknown"
"""ok; note: it works, with less or worse; none: not there and not needed; missing: needed and not there;
unknown: the check itself failed or gave no answer.
"""


@dataclass(frozen=True)
class Line:
    """One finding.

    check   what was looked at, in a word or two
    status  one of the five words above
    found   what is there or what is missing, in words
    mend    the command that mends it, or what to do where no command does; "" for nothing
    """

    check: str
    status: str
    found: str
    mend: str = ""
