"""Operations are counted, and no other thread notices."""

from __future__ import annotations

import pytest

torch = pytest.importorskip("torch")
from torch.nn.modules import module as modules  # noqa: E402

from engines.operations import counted  # noqa: E402


def test_a_product_with_addition_is_two_operations() -> None:
    linear = torch.nn.Linear(30, 40, device="meta")
    result, flops = counted(lambda: linear(torch.empty(5, 30, device="meta")))
    assert (result.shape, flops) == ((5, 40), 2 * 5 * 30 * 40)


def test_a_convolution_counts_its_taps() -> None:
    convolution = torch.nn.Conv1d(3, 4, 5, device="meta")
    _, flops = counted(lambda: convolution(torch.empty(1, 3, 24, device="meta")))
    assert flops == 2 * 20 * 3 * 4 * 5


def test_nothing_is_hooked_into_the_modules_of_the_process() -> None:
    """A network that another thread runs meanwhile would fail in it."""
    hooks: list[int] = []

    def look() -> None:
        hooks.append(len(modules._global_forward_hooks) + len(modules._global_forward_pre_hooks))

    counted(look)
    assert hooks == [0]
