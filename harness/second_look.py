"""Second look: whether a busy thread moves or spins, by its stack at some moments."""

from __future__ import annotations

import itertools
import time
from dataclasses import replace
from pathlib import Path

from harness import events, frames, stacks, testimony
from harness.causes import Seen
from harness.within import Call

_QUICK_S = 1.0
_AGAIN_S, _LOOKS, _BETWEEN_S = 5.0, 3, 0.2


def seen_again(process: Seen, number: int, folder: Path, failed: list[str]) -> Seen:
    """With what further looks at a busy thread add: whether it is somewhere else by now, in other functions
    or as deep in others, and the part of its stack that stays; and its stack where there was none.
    """
    look = Call("second look", _AGAIN_S, lambda: _again(process, number, folder))
    nothing: list[stacks.Stack] = []
    found = look.given(nothing, failed)
    if not found:
        return process
    first, *later = found
    other = next((one for one in later if _is_elsewhere(one, first)), None)
    known = [stack for stack in process.dump.stacks if stack.number != number]
    seen = replace(first, frames=_shared(first, other)) if other else first
    return replace(
        process,
        dump=replace(process.dump, stacks=(*known, seen)),
        moved=process.moved | ({number} if other else set()),
    )


def _again(process: Seen, number: int, folder: Path) -> list[stacks.Stack]:
    """The stack of a thread as it was and at some later moments, until it is elsewhere, all by py-spy or all
    by the witness. Where neither answers there is no second look: the print of faulthandler may end a process
    whose threads run.
    """
    found = [one for one in [process.dump.of(number)] if one]
    for look in range(_LOOKS if process.dump.source != "faulthandler" else 0):
        time.sleep(_BETWEEN_S if look else 0)  # the first look was a while ago
        found += [one for one in [_dumped_again(process, folder).of(number)] if one]
        if found and _is_elsewhere(found[-1], found[0]):
            break
    return found


def _dumped_again(process: Seen, folder: Path) -> stacks.Dump:
    if process.dump.source != "witness":
        return stacks.dump([process.pid], _QUICK_S, stacks.QUICK)[0]
    earlier = len(events.read(folder))
    testimony.ask({process.pid}, folder, earlier)
    told = testimony.told_by(process.pid, events.read(folder)[earlier:])
    return stacks.of_witness(process.dump, told or [])


def _is_elsewhere(one: stacks.Stack, first: stacks.Stack) -> bool:
    """What has nothing in common with the first was misread: a thread that runs is looked at without a pause,
    and the function that it began with stays.
    """
    return _functions(one) != _functions(first) and bool(_shared(first, one))


def _shared(one: stacks.Stack, other: stacks.Stack) -> tuple[str, ...]:
    """The outer functions of two stacks of a thread, as far as they are the same."""
    pairs = zip(*(filter(frames.is_python, reversed(stack.frames)) for stack in (one, other)), strict=False)
    same = itertools.takewhile(lambda pair: frames.normal(pair[0]) == frames.normal(pair[1]), pairs)
    return tuple(reversed([frame for frame, _ in same]))


def _functions(stack: stacks.Stack) -> list[str]:
    """Without lines, native frames and addresses: a loop that spins in one function stays where it is."""
    return [frame.partition(" (")[0] for frame in stack.frames if frames.is_python(frame)]
