"""Convolutions of pictures enlarged by repeating pixels, done before the enlarging: several times less work.

In a picture enlarged s times a kernel of size 3 sees, along each axis, at most two different pixels: the
first copy of a pixel sees the one before it and itself, the last copy itself and the next one, those between
only itself. So the sums of the weights that meet the same pixel are kernels of size 2, 1 and 2 on the small
picture, and their results are the enlarged picture's, sorted by place. Exact but for the order of sums.
"""

from __future__ import annotations

import torch
from torch import Tensor

FIRST, MIDDLE, LAST = 0, 1, 2


def _fold_axis(weight: Tensor, axis: int, place: int) -> Tensor:
    """A kernel of size 3 along `axis` -> size 2 (FIRST: before, itself; LAST: itself, next) or 1 (MIDDLE)."""
    before, here, after = weight.unbind(axis)
    if place == FIRST:
        return torch.stack([before, here + after], axis)
    if place == LAST:
        return torch.stack([before + here, after], axis)
    return torch.stack([before + here + after], axis)


def fold(weight: Tensor, row: int, column: int) -> Tensor:
    """(O, I, ..., 3, 3) -> the kernel for output pixels at this place of their pixel's copies."""
    return _fold_axis(_fold_axis(weight, weight.ndim - 2, row), weight.ndim - 1, column)


def corners(weight: Tensor) -> Tensor:
    """(O, I, ..., 3, 3) -> (4 O, I, ..., 2, 2) for the places first/last, rows outer.

    With a padding of 1 pixel, output index i is the place FIRST of pixel i and LAST of pixel i - 1.
    """
    places = (FIRST, LAST)
    return torch.cat([fold(weight, row, column) for row in places for column in places])


def edges(weight: Tensor, axis: int) -> Tensor:
    """(O, I, 3, 3) -> (2 O, I, 2, 1) for axis 0, else (2 O, I, 1, 2): first, then last; middle across."""
    pairs = [(place, MIDDLE) if axis == 0 else (MIDDLE, place) for place in (FIRST, LAST)]
    return torch.cat([fold(weight, *pair) for pair in pairs])
