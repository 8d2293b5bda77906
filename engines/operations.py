"""How many operations a call takes, counted in its own thread alone."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeVar

import torch
from torch.utils.flop_counter import FlopCounterMode

Result = TypeVar("Result")


class _Whole:
    """In the place of torch's ModuleTracker, which hooks itself into the modules of the whole process: a
    network that another thread runs meanwhile fails in it.
    """

    parents = frozenset({"Global"})

    def __enter__(self) -> None:
        pass

    def __exit__(self, *_: object) -> None:
        pass


def counted(call: Callable[[], Result]) -> tuple[Result, float]:
    """What a call returns, and its FLOPs: 2 per multiplication with addition in convolutions, matrix products
    and attention; nothing else counts. Tensors of the device "meta" do.
    """
    counter: Any = FlopCounterMode(display=False)
    counter.mod_tracker = _Whole()
    with torch.no_grad(), counter:
        result = call()
    return result, float(counter.get_total_flops())
