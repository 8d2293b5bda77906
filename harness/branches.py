"""Branches: which `acquire` and `release` of a function were made when it is at a place, branch by branch.

What only a branch did in which a frame is not counts by how that one ends: not at all where it leaves. Runs
no code of what it looks at. Standard library only.
"""

from __future__ import annotations

import ast
import bisect
from collections.abc import Iterable, Sequence
from typing import NamedTuple


class Place(NamedTuple):
    """Where a piece of source begins and ends, as in ast. Columns are -1 for Python 3.10, which has none."""

    line: int
    column: int
    end_line: int
    end_column: int

    def has(self, other: Place) -> bool:
        return self[:2] <= other[:2] and other[2:] <= self[2:]


class Taken(NamedTuple):
    """A lock, and whether its taker has it for sure: an `acquire` with a limit may have come back without."""

    lock: ast.expr
    is_sure: bool


Locks = dict[str, Taken]  # by how they are written
_Outcomes = dict[ast.expr, bool]
_TRIES: tuple[type[ast.Try], ...] = (ast.Try, getattr(ast, "TryStar", ast.Try))  # except*, since 3.11


class _ThereError(Exception):
    """The walk has come to its place. Holds what is taken there."""

    def __init__(self, taken: Locks) -> None:
        self.taken = taken


def of(node: ast.expr | ast.stmt) -> Place:
    return Place(node.lineno, node.col_offset, node.end_lineno or 0, node.end_col_offset or 0)


def called(call: ast.Call) -> ast.Attribute:
    assert isinstance(call.func, ast.Attribute)
    return call.func


def taken(body: Sequence[ast.stmt], calls: Sequence[ast.Call], here: Place) -> list[Taken]:
    """What a function has taken and not released at a place. calls: those of methods among its own lines, in
    their order.
    """
    walk = _Walk(calls, here)
    try:
        walk.run(body, {})
    except _ThereError as there:
        return list(there.taken.values())
    return []


class _Walk:
    """Through the statements of a function in the order of its text, up to a place.

    seen    what was taken where an exception may have come from, since the `try` that is walked through
    jumps   what was taken at each `break` and `continue` of the loop that is walked through
    """

    def __init__(self, calls: Sequence[ast.Call], here: Place) -> None:
        self.calls, self.starts, self.here = calls, [of(call)[:2] for call in calls], here
        self.seen: list[Locks] = []
        self.jumps: dict[type[ast.stmt], list[Locks]] = {ast.Break: [], ast.Continue: []}

    def run(self, body: Sequence[ast.stmt], held: Locks | None) -> Locks | None:
        """What is taken behind some statements; None where nobody comes, for all have left before."""
        for statement in body:
            if self._is_ahead(statement):
                raise _ThereError(held or {})
            if held is None and not self._is_over(statement):
                held = _joined(self.seen)  # somebody is there all the same, by a `with` that hides exceptions
            if held is not None:
                held = self._step(statement, held)
        return held

    def _is_ahead(self, node: ast.stmt) -> bool:
        return of(node)[:2] > self.here[:2] if self.here.column >= 0 else node.lineno > self.here.line

    def _is_over(self, node: ast.expr | ast.stmt) -> bool:
        return of(node)[2:] <= self.here[:2] if self.here.column >= 0 else of(node).end_line < self.here.line

    def _step(self, one: ast.stmt, held: Locks) -> Locks | None:
        if isinstance(one, ast.If):
            return self._if(one, held)
        if isinstance(one, (ast.While, ast.For, ast.AsyncFor)):
            return self._loop(one, held)
        if isinstance(one, ast.Match):
            return self._match(one, held)
        if isinstance(one, (ast.With, ast.AsyncWith)):
            for item in one.items:
                held = self._count(item.context_expr, held)
            return self.run(one.body, held)
        if isinstance(one, _TRIES):
            return self._try(one, held)
        return self._plain(one, held)

    def _plain(self, one: ast.stmt, held: Locks) -> Locks | None:
        held = self._count(one, held, _outcomes(one.test, True) if isinstance(one, ast.Assert) else {})
        if not self._is_over(one):
            raise _ThereError(held)
        if isinstance(one, (ast.Break, ast.Continue)):
            self.jumps[type(one)].append(held)
        return None if isinstance(one, (ast.Return, ast.Raise, ast.Break, ast.Continue)) else held

    def _if(self, one: ast.If, held: Locks) -> Locks | None:
        ends = [
            self.run(block, self._count(one.test, held, _outcomes(one.test, is_so)))
            for block, is_so in ((one.body, True), (one.orelse, False))
        ]
        # `if had: lock.release()`: what may have been taken was released if it was.
        released = {
            lock
            for lock, before in held.items()
            if not before.is_sure and any(end is not None and lock not in end for end in ends)
        }
        end = _either(ends)
        return end and {lock: its for lock, its in end.items() if lock not in released}

    def _loop(self, one: ast.While | ast.For | ast.AsyncFor, held: Locks) -> Locks | None:
        asked = one.test if isinstance(one, ast.While) else one.iter
        yes, no = (_outcomes(asked, is_so) if isinstance(one, ast.While) else {} for is_so in (True, False))
        outer, self.jumps = self.jumps, {ast.Break: [], ast.Continue: []}
        end = self.run(one.body, self._count(asked, held, yes))
        jumps, self.jumps = self.jumps, outer
        left = self._count(asked, _joined([held, *([] if end is None else [end]), *jumps[ast.Continue]]), no)
        is_endless = isinstance(asked, ast.Constant) and bool(asked.value)
        return _either([self.run(one.orelse, None if is_endless else left), *jumps[ast.Break]])

    def _match(self, one: ast.Match, held: Locks) -> Locks | None:
        held = self._count(one.subject, held)
        ends: list[Locks | None] = []
        for case in one.cases:
            guard = case.guard
            ends.append(
                self.run(case.body, self._count(guard, held, _outcomes(guard, True)) if guard else held)
            )
        last = one.cases[-1]
        takes_all = isinstance(last.pattern, ast.MatchAs) and not last.pattern.pattern and not last.guard
        return _either([*ends, None if takes_all else held])

    def _try(self, one: ast.Try, held: Locks) -> Locks | None:
        """An exception comes from any statement of the body; whatever leaves goes by the `finally`."""
        outer, self.seen = self.seen, []
        jumps, self.jumps = self.jumps, {ast.Break: [], ast.Continue: []}
        end = self.run(one.body, held)
        caught = _joined(self.seen)
        if any(_takes_all(handler) for handler in one.handlers):
            self.seen = []
        ends = [self.run(handler.body, caught) for handler in one.handlers]
        end = _either([self.run(one.orelse, end), *ends])
        raised, self.seen = self.seen, outer
        leaving, self.jumps = self.jumps, jumps
        if one.finalbody and not self._is_over(one):
            ways = [*raised, *leaving[ast.Break], *leaving[ast.Continue]]
            self.run(one.finalbody, _either([end, *ways]))
        for states, found in ((raised, self.seen), *((leaving[kind], jumps[kind]) for kind in jumps)):
            then = self.run(one.finalbody, _either(states))
            found += [] if then is None else [then]
        return self.run(one.finalbody, end)

    def _count(self, node: ast.expr | ast.stmt, held: Locks, outcomes: _Outcomes | None = None) -> Locks:
        """What is taken after the calls in a statement or an expression, those before the place."""
        found, calls = dict(held), self._calls(node)
        is_release = isinstance(node, ast.Expr) and [called(call).attr for call in calls] == ["release"]
        if not is_release and not isinstance(node, (ast.Pass, ast.Break, ast.Continue)):
            self.seen.append(held)
        for call in calls:
            if called(call).attr in ("acquire", "release") and self._is_over(call):
                is_limited = bool(call.args or call.keywords)
                _note(call, (outcomes or {}).get(call, None if is_limited else True), found)
        return found

    def _calls(self, node: ast.expr | ast.stmt) -> Sequence[ast.Call]:
        """Those in it."""
        place = of(node)
        first = bisect.bisect_left(self.starts, place[:2])
        return self.calls[first : bisect.bisect_left(self.starts, place[2:], first)]


def _note(call: ast.Call, was_had: bool | None, held: Locks) -> None:
    """Notes an `acquire` or a `release`. was_had: whether the lock was got, None where nothing tells."""
    lock = ast.unparse(called(call).value)
    if called(call).attr == "release":
        held.pop(lock, None)
    # What was had before is still had, however another try came out.
    elif was_had or (was_had is None and lock not in held):
        held[lock] = Taken(called(call).value, bool(was_had))


def _outcomes(asked: ast.expr, is_so: bool) -> _Outcomes:
    """How what a condition asks came out, where it came out so."""
    if isinstance(asked, ast.UnaryOp) and isinstance(asked.op, ast.Not):
        return _outcomes(asked.operand, not is_so)
    if isinstance(asked, ast.NamedExpr):
        return _outcomes(asked.value, is_so)
    if isinstance(asked, ast.BoolOp) and isinstance(asked.op, ast.And) is is_so:  # all of them are
        return {one: so for part in asked.values for one, so in _outcomes(part, is_so).items()}
    return {asked: is_so}


def _takes_all(handler: ast.ExceptHandler) -> bool:
    kind = handler.type
    return kind is None or (isinstance(kind, ast.Name) and kind.id in ("Exception", "BaseException"))


def _either(ends: Iterable[Locks | None]) -> Locks | None:
    """What is taken where several ways meet; None where none of them leads there."""
    there = [end for end in ends if end is not None]
    return _joined(there) if there else None


def _joined(ways: Sequence[Locks]) -> Locks:
    """For sure is what is so on each of some ways."""
    its = {lock: one for way in ways for lock, one in way.items()}
    return {
        lock: Taken(one.lock, all(lock in way and way[lock].is_sure for way in ways))
        for lock, one in its.items()
    }
