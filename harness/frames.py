"""Frames: one line of a stack, "function (file:line)", and what it says. Pure."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

_INSTALLED = re.compile(r"/(site|dist)-packages/")
# Where Python's own library is; what was installed beside it is not of it.
_OF_LIBRARY = re.compile(r"/lib(64)?/python3\.\d+/(?!(site|dist)-packages/)")
_OF_HARNESS = re.compile(r"/harness/(child|builder|executors/\w+)\.py:")


def is_python(frame: str) -> bool:
    """Whether a frame is of Python and not of a library: by its file."""
    return re.search(r"\.py:[0-9]+\)$", frame) is not None


def waiting(stack: Sequence[str]) -> str:
    """Where one waits whose stack, innermost first, this is: the innermost function that is not of Python's
    own library; "" where there is none.

    Files are told in short. Of an installed package it is told, too, from where that was called: "generate
    (transformers/generation.py:12) called by Speak.feed (engines/xtts.py:88)".
    """
    return _told(stack, lambda frame: not _OF_LIBRARY.search(frame))


def running(stack: Sequence[str]) -> str:
    """The same of one that runs: the innermost function of Python, whosever it is."""
    return _told(stack, lambda frame: True)


def _told(stack: Sequence[str], is_it: Callable[[str], bool]) -> str:
    known = [frame for frame in stack if is_python(frame)]
    inner = next(filter(is_it, known), "")
    outer = next((frame for frame in known if not _is_of_others(frame)), "")
    is_other = bool(outer) and outer != inner and _is_of_others(inner)
    return f"{short(inner)} called by {short(outer)}" if is_other else short(inner)


def _is_of_others(frame: str) -> bool:
    return any(kind.search(frame) for kind in (_OF_LIBRARY, _INSTALLED, _OF_HARNESS))


def short(frame: str) -> str:
    """With the path in its package, or its folder alone."""
    if _INSTALLED.search(frame):
        return re.sub(r"\(.*/(site|dist)-packages/", "(", frame)
    return re.sub(r"\((?:.*/)?([^/]+/[^/]+)\)$", r"(\1)", frame)


def normal(frame: str) -> str:
    """ "function (path/file.py:12)" -> "path/file.py function": lines move, functions stay."""
    function, _, where = frame.partition(" (")
    return f"{re.sub(r':[0-9]+$', '', where.rstrip(')'))} {function}".strip()
