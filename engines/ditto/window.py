"""A whole motion window in one call: all that no step changes is computed before the loop over the steps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from engines.ditto.diffusion import Step
from engines.ditto.networks.lmdm import Attention, DecoderLayer, MotionDecoder, rotate

_BRANCHES = 2  # of the guidance: unconditional first


class Constants(NamedTuple):
    """What the steps of a window share, layers first.

    keys, values  (layers, 2, heads, frames + 2, width / heads) of the memory; the time's two rows come last
    time_keys, time_values  (steps, layers, 1, heads, 2, width / heads): those two rows, per step
    films         (steps, layers, 3, 2, 2, 1, width): scale + 1 and shift of each branch
    row           (1, 1, width): what the frame before the window adds to every frame
    """

    keys: Tensor
    values: Tensor
    time_keys: Tensor
    time_values: Tensor
    films: Tensor
    row: Tensor


class LayerWeights(nn.Module):
    """One decoder layer's step: self attention, attention to the memory, feed-forward."""

    def __init__(self, layer: DecoderLayer) -> None:
        super().__init__()
        self.layer = layer
        self._heads = layer.self_attn.heads

    def forward(self, x: Tensor, table: Tensor, keys: Tensor, values: Tensor, films: Tensor) -> Tensor:
        """x (2, T, width) float32 -> the same; keys, values (2, heads, S, d), films (3, 2, 2, 1, width)."""
        layer = self.layer
        y = _norm(layer.norm1, x)
        x = x + _film(self._attend_self(layer.self_attn, y, rotate(y, table)), films[0])
        y = rotate(_norm(layer.norm2, x), table)
        x = x + _film(self._attend_memory(layer.multihead_attn, y, keys, values), films[1])
        y = _linear(layer.linear2, F.gelu(_linear(layer.linear1, _norm(layer.norm3, x))))
        return x + _film(y, films[2])

    def _attend_self(self, attention: Attention, plain: Tensor, turned: Tensor) -> Tensor:
        weight, bias = attention.in_proj_weight, attention.in_proj_bias
        width = plain.shape[-1]
        query_key = F.linear(turned.to(weight.dtype), weight[: 2 * width], bias[: 2 * width])
        value = F.linear(plain.to(weight.dtype), weight[2 * width :], bias[2 * width :])
        query, key = query_key.chunk(2, dim=-1)
        return self._mixed(attention, query, *(_split(part, self._heads) for part in (key, value)))

    def _attend_memory(self, attention: Attention, turned: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        weight, bias = attention.in_proj_weight, attention.in_proj_bias
        width = turned.shape[-1]
        query = F.linear(turned.to(weight.dtype), weight[:width], bias[:width])
        return self._mixed(attention, query, keys, values)

    def _mixed(self, attention: Attention, query: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        mixed = F.scaled_dot_product_attention(_split(query, self._heads), keys, values)
        return attention.out_proj(mixed.transpose(1, 2).flatten(2))


def _split(x: Tensor, heads: int) -> Tensor:
    """(..., T, width) -> (..., heads, T, width / heads)."""
    return x.unflatten(-1, (heads, -1)).transpose(-2, -3)


def _norm(norm: nn.LayerNorm, x: Tensor) -> Tensor:
    """In float32 whatever the weights are, as x is."""
    return F.layer_norm(x, norm.normalized_shape, norm.weight.float(), norm.bias.float(), norm.eps)


def _linear(linear: nn.Linear, x: Tensor) -> Tensor:
    return linear(x.to(linear.weight.dtype))


def _film(y: Tensor, film: Tensor) -> Tensor:
    return film[0] * y + film[1]


class GuidedUpdate(nn.Module):
    """One step: both branches, the guidance, and x at the next time."""

    def __init__(self, network: MotionDecoder, guidance: float) -> None:
        super().__init__()
        self.layers = nn.ModuleList(LayerWeights(layer) for layer in network.seqTransDecoder.stack)
        self.input, self.final = network.input_projection, network.final_layer
        self._guidance = guidance

    def forward(
        self,
        x: Tensor,
        noise: Tensor,
        row: Tensor,
        table: Tensor,
        keys: Tensor,
        values: Tensor,
        films: Tensor,
        factors: Tensor,
    ) -> Tensor:
        """x, noise (1, T, 265) -> x at the next time.

        keys, values (layers, 2, heads, S, d); films (layers, 3, 2, 2, 1, width)
        factors      (3,): of the clean prediction, of x, of the noise
        """
        motion = x.shape[-1]
        y = F.linear(x.to(self.input.weight.dtype), self.input.weight[:, :motion]).float() + row
        y = y.expand(_BRANCHES, -1, -1)
        for number, layer in enumerate(self.layers):
            y = layer(y, table, keys[number], values[number], films[number])
        null, given = _linear(self.final, y).float().chunk(2)
        clean = null + self._guidance * (given - null)
        return factors[0] * clean + factors[1] * x + factors[2] * noise


class Window(nn.Module):
    """All steps of a window. Same function as the loop of engines.ditto.diffusion.sample over GuidedStep.

    The residual stream, norms, angles and the sampled motion are float32, whatever the weights are cast to.
    """

    casts_itself = True
    # What a compiler should see: one step, not the unrolled loop over all of them.
    regions = ("step",)

    def __init__(self, network: MotionDecoder, table: Sequence[Step], guidance: float = 2.0) -> None:
        super().__init__()
        self.network = network
        self.step = GuidedUpdate(network, guidance)
        frames = network.null_cond_embed.shape[1]
        device = network.null_cond_embed.device
        self._tables = (table, frames)
        times = torch.tensor([step.time for step in table], dtype=torch.int64, device=device)
        self.register_buffer("times", times, persistent=False)
        self._factors = torch.tensor([_factors(step) for step in table], device=device)
        # Kept out of the buffers, so that no cast of the module to half precision takes their digits.
        self._angles = network.rotary.table(frames + 2)

    def forward(self, start: Tensor, row: Tensor, conditions: Tensor, noise: Tensor) -> Tensor:
        """start (1, T, 265), row (1, 265), conditions (1, T, 1103), noise (S - 1, 1, T, 265); as start."""
        shared = self._constants(row, conditions)
        x = start
        keys, values = shared.keys, shared.values
        for number in range(len(self.times)):
            keys[..., -2:, :] = shared.time_keys[number]
            values[..., -2:, :] = shared.time_values[number]
            # The last step has no noise; its factor is 0.
            fresh = noise[number] if number < len(noise) else start
            x = self.step(
                x,
                fresh,
                shared.row,
                self._angles,
                keys,
                values,
                shared.films[number],
                self._factors[number],
            )
        return x

    def _constants(self, row: Tensor, conditions: Tensor) -> Constants:
        network, dtype = self.network, self.network.final_layer.weight.dtype
        given = network.encode(conditions.to(dtype))
        tokens = torch.cat([network.null_cond_embed, given.tokens])
        hidden = torch.cat([network.null_cond_hidden, given.hidden]).float()
        time = network.time_mlp[1:](network.time_mlp[0](self.times).to(dtype))
        modulation = network.to_time_cond(time).float()[:, None] + hidden  # (steps, 2, width)
        tokens = network.norm_cond(tokens)
        time_tokens = network.norm_cond(network.to_time_tokens(time))
        keys, values = self._project(tokens, 0)
        time_keys, time_values = self._project(time_tokens, tokens.shape[1])
        room = torch.zeros_like(keys[..., :2, :])
        frame = F.linear(row.to(dtype), network.input_projection.weight[:, row.shape[1] :])
        return Constants(
            torch.cat([keys, room], dim=-2),
            torch.cat([values, room], dim=-2),
            time_keys.transpose(0, 1)[:, :, None],
            time_values.transpose(0, 1)[:, :, None],
            self._films(modulation.to(dtype)),
            (frame + network.input_projection.bias).float()[:, None],
        )

    def _project(self, memory: Tensor, position: int) -> tuple[Tensor, Tensor]:
        """Memory (n, S, width) at positions from `position` -> keys and values (layers, n, heads, S, d)."""
        stack = self.network.seqTransDecoder.stack
        turned = rotate(memory.float(), self._angles[:, position:]).to(memory.dtype)
        keys, values = [], []
        for layer in stack:
            attention = layer.multihead_attn
            weight, bias = attention.in_proj_weight.chunk(3), attention.in_proj_bias.chunk(3)
            keys.append(_split(F.linear(turned, weight[1], bias[1]), attention.heads))
            values.append(_split(F.linear(memory, weight[2], bias[2]), attention.heads))
        return torch.stack(keys), torch.stack(values)

    def _films(self, modulation: Tensor) -> Tensor:
        """(steps, 2, width) -> (steps, layers, 3, 2, 2, 1, width) float32."""
        active = F.mish(modulation)
        rows = []
        for layer in self.network.seqTransDecoder.stack:
            films = [film.block[1](active).float() for film in (layer.film1, layer.film2, layer.film3)]
            parts = [torch.stack([film.chunk(2, -1)[0] + 1, film.chunk(2, -1)[1]], dim=1) for film in films]
            rows.append(torch.stack(parts, dim=1))
        return torch.stack(rows, dim=1).unsqueeze(-2)


def _factors(step: Step) -> tuple[float, float, float]:
    """Of the clean prediction, of x and of the noise: the update of engines.ditto.diffusion in one line."""
    if step.next_time < 0:
        return 1.0, 0.0, 0.0
    return step.sqrt_alpha_next - step.c / step.recipm1, step.c * step.recip1m, step.sigma
