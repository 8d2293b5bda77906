"""Spots: what a frame takes by its own lines: the locks of the `with` and the `acquire` that it is at or in.

Told by the source and the place in it of the instruction that a frame is at. Runs no code of what it looks
at. Standard library only.
"""

from __future__ import annotations

import ast
import dis
import functools
import inspect
import itertools
import linecache
import tokenize
import types
from collections.abc import Iterator
from types import CodeType, FrameType
from typing import Any

from harness import branches
from harness.branches import Place, Taken, called, of

_METHODS = frozenset(("acquire", "release", "get", "put", "wait", "wait_for"))
# The instruction that enters a `with`: of 3.10, of 3.11 to 3.13, of 3.14.
_ENTERS = {dis.opmap[name] for name in ("SETUP_WITH", "BEFORE_WITH", "LOAD_SPECIAL") if name in dis.opmap}
_SCOPES = (ast.FunctionDef, ast.AsyncFunctionDef, ast.ClassDef)
_SHORT = 2000  # lines of a file that is read as a whole, for a line of the module's own or of a lambda
_NOWHERE = Place(0, -1, 0, -1)
Spot = ast.With | ast.Call


def outwards(frame: FrameType | None) -> Iterator[FrameType]:
    """A stack, innermost first."""
    while frame:
        yield frame
        frame = frame.f_back


def at(frame: FrameType, *methods: str) -> list[ast.expr]:
    """What a frame is about to enter by a `with`, or has called one of these methods of."""
    found: list[ast.expr] = []
    spots = _spots(frame.f_code, methods)
    here = _place(frame) if spots else _NOWHERE
    for spot in spots:
        if isinstance(spot, ast.With):
            entering = _parts(frame, here, spot)[1]
            found += [entering] if entering else []
        elif isinstance(spot, ast.Call) and called(spot).attr in methods and _ends_at(spot, here):
            found.append(called(spot).value)
    return found


def above(frame: FrameType) -> list[Taken]:
    """What was taken above the place of a frame and is not released before it."""
    spots = () if _is_part(frame.f_code) else _spots(frame.f_code)
    here = _place(frame) if spots else _NOWHERE
    withs = [spot for spot in spots if isinstance(spot, ast.With)]
    calls = [spot for spot in spots if isinstance(spot, ast.Call)]
    found = [Taken(lock, True) for spot in withs for lock in _parts(frame, here, spot)[0]]
    if any(called(call).attr == "acquire" for call in calls):
        found += branches.taken(_lines(frame.f_code), calls, here)
    return found


def value(node: ast.expr, frame: FrameType) -> object:
    """What a name, an attribute or an item of one stands for in a frame; None for all else."""
    if isinstance(node, ast.Name):
        return frame.f_locals.get(node.id, frame.f_globals.get(node.id))
    if isinstance(node, ast.Attribute):
        return _attribute(value(node.value, frame), node.attr)
    if isinstance(node, ast.Subscript):
        key = node.slice.value if isinstance(node.slice, ast.Constant) else value(node.slice, frame)
        return _item(value(node.value, frame), key)
    return None


def _attribute(owner: object, name: str) -> object:
    if owner is None:
        return None
    if name.startswith("__") and not name.endswith("__"):  # private to one of its classes
        names = [f"_{kind.__name__.lstrip('_')}{name}" for kind in type(owner).__mro__]
        name = next((one for one in names if inspect.getattr_static(owner, one, None) is not None), name)
    found = inspect.getattr_static(owner, name, None)
    try:
        return found.__get__(owner) if isinstance(found, types.MemberDescriptorType) else found
    except AttributeError:  # a slot with nothing in it
        return None


def _item(holder: Any, key: Any) -> object:
    if isinstance(holder, dict) and type(key) in (str, int, bytes):  # others may compare by code of theirs
        return dict.get(holder, key)
    if type(holder) in (list, tuple) and type(key) is int and -len(holder) <= key < len(holder):
        return holder[key]
    return None


def _parts(frame: FrameType, here: Place, spot: ast.With) -> tuple[list[ast.expr], ast.expr | None]:
    """Of a `with`: what a frame is inside of, and what it is about to enter."""
    items = [item.context_expr for item in spot.items]
    if not spot.lineno <= here.line <= (spot.end_lineno or 0):
        return [], None
    for index, item in enumerate(items):  # since 3.13 the one that is entered; before, at work on it
        if here.column >= 0 and of(item).has(here):
            return items[:index], item if of(item) == here else None
    is_here = here == of(spot) or (here.column < 0 and here.line == spot.lineno)
    if is_here and frame.f_code.co_code[frame.f_lasti] in _ENTERS:
        index = _entered_before(frame, here) % len(items)
        return items[:index], items[index]
    return items, None


def _entered_before(frame: FrameType, here: Place) -> int:
    done = zip(range(0, frame.f_lasti, 2), _places(frame.f_code), strict=False)
    return sum(place == here and frame.f_code.co_code[at] in _ENTERS for at, place in done)


def _ends_at(spot: ast.Call, here: Place) -> bool:
    """By its end: a call of several lines is said to begin at the method's name."""
    return of(spot)[2:] == here[2:] if here.column >= 0 else spot.lineno == here.line


def _place(frame: FrameType) -> Place:
    return next(itertools.islice(_places(frame.f_code), max(frame.f_lasti, 0) // 2, None))


def _places(code: CodeType) -> Iterator[Place]:
    """Of each instruction."""
    if not hasattr(code, "co_positions"):
        for start, end, line in code.co_lines():
            yield from itertools.repeat(Place(line or 0, -1, line or 0, -1), (end - start) // 2)
        return
    for line, end_line, column, end_column in code.co_positions():
        if line and end_line and column is not None and end_column is not None:
            yield Place(line, column, end_line, end_column)
        else:
            yield Place(line or 0, -1, line or 0, -1)


@functools.lru_cache(maxsize=1024)
def _spots(code: CodeType, more: tuple[str, ...] = ()) -> tuple[Spot, ...]:
    """The `with` statements and the calls of methods, of those and of `more`, among a function's own lines,
    in their order; none where there is no source.
    """
    methods = _METHODS | set(more)
    if not (methods & set(code.co_names) or _ENTERS & set(code.co_code[::2])):
        return ()  # most have none: parsing them all would take longer than anybody waits for an answer
    found: list[Spot] = []
    todo: list[ast.AST] = list(_lines(code))
    others = () if _is_part(code) else (*_SCOPES, ast.Lambda)
    while todo:
        node = todo.pop()
        if isinstance(node, ast.With):
            found.append(node)
        elif isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute):
            found += [node] if node.func.attr in methods else []
        if not isinstance(node, others):
            todo += ast.iter_child_nodes(node)
    return tuple(sorted(found, key=lambda spot: of(spot)[:2]))


def _is_part(code: CodeType) -> bool:
    """Whether code is a part of a line: a lambda or a comprehension."""
    return code.co_name.startswith("<") and code.co_name != "<module>"


@functools.lru_cache(maxsize=1024)
def _lines(code: CodeType) -> list[ast.stmt]:
    """A function's own statements with the lines and columns of its file; for less than a function those of
    the whole file, if it is short.
    """
    lines, first = linecache.getlines(code.co_filename), code.co_firstlineno - 1
    if code.co_name.startswith("<"):
        return _parsed(lines, 0) if len(lines) <= _SHORT else []
    # To look for the block's end takes a hundred times longer; but a last line that does nothing has no code.
    found = _parsed(lines[first : _last_line(code)], first) or _parsed(_block(lines[first:]), first)
    itself = found[0] if found else None
    return itself.body if isinstance(itself, _SCOPES) else []


def _last_line(code: CodeType) -> int:
    inner = (_last_line(one) for one in code.co_consts if isinstance(one, CodeType))
    if hasattr(code, "co_positions"):
        return max(*(place[1] or 0 for place in code.co_positions()), 0, *inner)
    return max(*(line or 0 for _, _, line in code.co_lines()), 0, *inner)


def _block(lines: list[str]) -> list[str]:
    try:
        return inspect.getblock(lines)
    except (SyntaxError, tokenize.TokenError):  # the file is another one by now, or was never Python
        return []


def _parsed(lines: list[str], first: int) -> list[ast.stmt]:
    # A whole file is never nested, whatever its first line is: empty, or a comment.
    is_nested = first > 0 and "".join(lines[:1]).startswith((" ", "\t"))
    above = "\n" * (first - is_nested) + "if True:\n" * is_nested
    try:
        body = ast.parse(above + "".join(lines)).body
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return []
    return body[0].body if is_nested and isinstance(body[0], ast.If) else body
