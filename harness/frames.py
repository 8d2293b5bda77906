"""Frames: one line of a stack, "function (file:line)", and what it says. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable

# Where Python's own library is; what was installed beside it is not of it.
_OF_LIBRARY = re.compile(r"/lib(64)?/python3\.\d+/(?!(site|dist)-packages/)")


def is_python(frame: str) -> bool:
    """Whether a frame is of Python and not of a library: by its file."""
    return re.search(r"\.py:[0-9]+\)$", frame) is not None


def own(frames: Iterable[str]) -> str:
    """Of a stack, innermost first, the innermost function that is not of Python's own library, with its file
    in short: "render (engines/simulated.py:88)"; "" where there is none.
    """
    found = next((one for one in frames if is_python(one) and not _OF_LIBRARY.search(one)), "")
    return re.sub(r"\((?:.*/)?([^/]+/[^/]+)\)$", r"(\1)", found)


def normal(frame: str) -> str:
    """ "function (path/file.py:12)" -> "path/file.py function": lines move, functions stay."""
    function, _, where = frame.partition(" (")
    return f"{re.sub(r':[0-9]+$', '', where.rstrip(')'))} {function}".strip()
