"""One layer of XTTS's GPT in two forms: for a token at a time, and for the whole prompt."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from engines.backends import quantised

_8_BITS = {"int8": torch.int8, "fp8": torch.float8_e4m3fn}
_NORM_EPSILON = 1e-5  # of GPT-2


class Matrix(NamedTuple):
    """A linear layer.

    weight  (outputs, inputs): each output's row lies together, as one row of inputs is multiplied with it
    scale   (outputs,) float32, what weights in 8 bits are multiplied with; None for others
    bias    (outputs,); its dtype is that in which whole prompts are computed
    """

    weight: Tensor
    scale: Tensor | None
    bias: Tensor


class Layer(NamedTuple):
    """The weights of one layer: attend gives queries, keys and values, join follows attention.

    norms  (2, 2, C): before attention and before the MLP, weight and bias of each
    """

    norms: Tensor
    attend: Matrix
    join: Matrix
    grow: Matrix
    shrink: Matrix


def stored(weight: Tensor, precision: str, dtype: torch.dtype) -> tuple[Tensor, Tensor | None]:
    """A weight (outputs, inputs) and its scales as the precision stores them; dtype: of 16 bits and more."""
    if precision == "int8":
        numbers, scale = quantised.to_int8(weight)
        return numbers, scale[:, 0]
    if precision == "fp8":
        numbers, scale = quantised.to_fp8(weight)
        return numbers, scale.expand(len(weight))
    return weight.to(dtype), None


def storage(precision: str, dtype: torch.dtype) -> torch.dtype:
    """The dtype of the numbers that `stored` gives."""
    return _8_BITS.get(precision, dtype)


def product(x: Tensor, matrix: Matrix, summed: bool) -> Tensor:
    """x (n, inputs) -> (n, outputs) in the dtype of x.

    summed  for one row: written as products and sums, which Inductor makes one kernel of that reads the
            weights once, multiplies in float32 and turns 8 bits into numbers on the way
    """
    weight, scale, bias = matrix
    if summed:
        sums = (weight.float() * x.float()).sum(dim=-1)
        if scale is not None:
            sums = sums * scale
        return (sums + bias.float()).to(x.dtype)[None]
    if scale is not None:
        weight = weight.to(bias.dtype) * scale[:, None].to(bias.dtype)
    return F.linear(x.to(bias.dtype), weight, bias).to(x.dtype)


def _normed(x: Tensor, norm: Tensor) -> Tensor:
    return F.layer_norm(x, x.shape[-1:], norm[0], norm[1], _NORM_EPSILON)


class Before(nn.Module):
    """The layer up to its keys and values: x (n, C) -> queries, keys, values (3, heads, n, C / heads).

    Without parameters, and without writing anywhere: backend compile compiles it once for all layers.
    """

    def __init__(self, heads: int, dtype: torch.dtype, summed: bool) -> None:
        super().__init__()
        self.heads, self.dtype, self.summed = heads, dtype, summed

    def forward(self, x: Tensor, norm: Tensor, attend: Matrix) -> Tensor:
        three = product(_normed(x, norm), attend, self.summed).to(self.dtype)
        return three.view(len(x), 3, self.heads, -1).permute(1, 2, 0, 3)


class Middle(nn.Module):
    """Attention of one token over what was said, and the MLP up to its activation.

    summed  see `product`; also attention is then written so
    """

    def __init__(self, summed: bool) -> None:
        super().__init__()
        self.summed = summed

    def forward(
        self,
        x: Tensor,
        query: Tensor,
        said: Tensor,
        mask: Tensor,
        norm: Tensor,
        join: Matrix,
        grow: Matrix,
    ) -> tuple[Tensor, Tensor]:
        """x (1, C), query (heads, 1, D), said (2, heads, L, D) keys and values, mask (1, 1, L) as added to
        scores -> x with what attention adds (1, C), and the MLP's inner values (1, 4 C).
        """
        heard = self._summed(query, said, mask) if self.summed else _batched(query, said, mask)
        return widened(x, heard.to(x.dtype), norm, join, grow, self.summed)

    def _summed(self, query: Tensor, said: Tensor, mask: Tensor) -> Tensor:
        keys, values = said[0].float(), said[1].float()
        scores = (query.float() * keys).sum(dim=-1) * query.shape[-1] ** -0.5 + mask[0].float()
        return (scores.softmax(dim=-1)[..., None] * values).sum(dim=1).view(1, -1)


def _batched(query: Tensor, said: Tensor, mask: Tensor) -> Tensor:
    """As few and as parallel kernels as one query allows: the fused ones use a block per head."""
    keys, values = said[0], said[1]
    mask = mask.expand(len(query), 1, -1)
    scores = torch.baddbmm(mask, query, keys.transpose(1, 2), alpha=query.shape[-1] ** -0.5)
    return torch.bmm(scores.softmax(dim=-1), values).view(1, -1)


class After(nn.Module):
    """The end of the layer: x (1, C) and the MLP's inner values (1, 4 C) -> (1, C).

    Apart, so that the inner values are computed once: Inductor would do it for each output that reads them.
    """

    def __init__(self, summed: bool) -> None:
        super().__init__()
        self.summed = summed

    def forward(self, x: Tensor, wide: Tensor, shrink: Matrix) -> Tensor:
        return x + product(wide, shrink, self.summed)


def widened(
    x: Tensor, heard: Tensor, norm: Tensor, join: Matrix, grow: Matrix, summed: bool
) -> tuple[Tensor, Tensor]:
    """What follows attention: x (n, C), heard (n, C) -> x (n, C), inner values of the MLP (n, 4 C)."""
    x = x + product(heard, join, summed)
    return x, F.gelu(product(_normed(x, norm), grow, summed), approximate="tanh")


def read_prompt(x: Tensor, layer: Layer, keys_values: Tensor, heads: int) -> Tensor:
    """A whole prompt through one layer, x (P, C) -> (P, C); stores keys and values (2, heads, P, D)."""
    three = product(_normed(x, layer.norms[0]), layer.attend, summed=False)
    query, *rest = three.view(len(x), 3, heads, -1).permute(1, 2, 0, 3)
    keys_values.copy_(torch.stack(rest))
    heard = F.scaled_dot_product_attention(query[None], rest[0][None], rest[1][None], is_causal=True)
    joined = heard[0].transpose(0, 1).reshape(x.shape)
    x, wide = widened(x, joined, layer.norms[1], layer.join, layer.grow, summed=False)
    return x + product(wide, layer.shrink, summed=False)
