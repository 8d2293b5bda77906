"""Motion diffusion network (LMDM): denoises a window of motion, given audio, source and time."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
from torch import Tensor, nn
from torch.nn import functional as F

_THETA = 10_000.0
_NUM_TIME_TOKENS = 2


@dataclass(frozen=True)
class LmdmSize:
    """Dimensions; `frames` is the length of a window and fixed by the weights."""

    motion: int = 265
    condition: int = 1103
    frames: int = 80
    width: int = 512
    feedforward: int = 1024
    layers: int = 8
    heads: int = 8


class Context(NamedTuple):
    """The encoded condition of a window, constant over its steps.

    tokens (B, frames, width), hidden (B, width)
    """

    tokens: Tensor
    hidden: Tensor


class Rotary(nn.Module):
    """Rotary position encoding over the whole width, in interleaved pairs, before the projections."""

    def __init__(self, width: int) -> None:
        super().__init__()
        # explicit device: the values must exist although modules are first built without storage
        exponents = torch.arange(0, width, 2, dtype=torch.float32, device="cpu") / width
        self.register_buffer("freqs", 1.0 / _THETA**exponents)

    def table(self, length: int) -> Tensor:
        """(2, length, width): cosine and sine for positions 0..length-1."""
        positions = torch.arange(length, dtype=self.freqs.dtype, device=self.freqs.device)
        angles = torch.outer(positions, self.freqs).repeat_interleave(2, dim=-1)
        return torch.stack([angles.cos(), angles.sin()])


def rotate(x: Tensor, table: Tensor) -> Tensor:
    """x (B, T, width), table (2, at least T, width) of Rotary -> x rotated by its positions."""
    cosine, sine = table[:, : x.shape[1]]
    pairs = x.unflatten(-1, (-1, 2))
    turned = torch.stack([-pairs[..., 1], pairs[..., 0]], dim=-1).flatten(-2)
    return x * cosine + turned * sine


class Attention(nn.Module):
    """Multi-head attention with the keys of nn.MultiheadAttention, without its branches."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.in_proj_weight = nn.Parameter(torch.zeros(3 * width, width))
        self.in_proj_bias = nn.Parameter(torch.zeros(3 * width))
        self.out_proj = nn.Linear(width, width)
        self.heads = heads

    def forward(self, query: Tensor, key: Tensor, value: Tensor) -> Tensor:
        """(B, T, width), (B, S, width), (B, S, width) -> (B, T, width)."""
        inputs = (query, key, value)
        weights, biases = self.in_proj_weight.chunk(3), self.in_proj_bias.chunk(3)
        projected = [F.linear(x, w, b) for x, w, b in zip(inputs, weights, biases, strict=True)]
        q, k, v = (x.unflatten(-1, (self.heads, -1)).transpose(1, 2) for x in projected)
        mixed = F.scaled_dot_product_attention(q, k, v)
        return self.out_proj(mixed.transpose(1, 2).flatten(2))


class EncoderLayer(nn.Module):
    """Pre-norm transformer layer for the condition."""

    def __init__(self, size: LmdmSize, rotary: Rotary) -> None:
        super().__init__()
        self.self_attn = Attention(size.width, size.heads)
        self.linear1 = nn.Linear(size.width, size.feedforward)
        self.linear2 = nn.Linear(size.feedforward, size.width)
        self.norm1 = nn.LayerNorm(size.width)
        self.norm2 = nn.LayerNorm(size.width)
        self.rotary = rotary

    def forward(self, x: Tensor) -> Tensor:
        """(B, T, width) -> the same shape."""
        y = self.norm1(x)
        turned = rotate(y, self.rotary.table(y.shape[1]))
        x = x + self.self_attn(turned, turned, y)
        return x + self.linear2(F.gelu(self.linear1(self.norm2(x))))


class Film(nn.Module):
    """Scales and shifts all frames by what the time and the condition as a whole say."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.block = nn.Sequential(nn.Mish(), nn.Linear(width, 2 * width))

    def forward(self, x: Tensor, time: Tensor) -> Tensor:
        """(B, T, width), (B, width) -> (B, T, width)."""
        scale, shift = self.block(time).unsqueeze(1).chunk(2, dim=-1)
        return (scale + 1) * x + shift


class DecoderLayer(nn.Module):
    """Self attention, attention to the memory and feed-forward, each modulated by time."""

    def __init__(self, size: LmdmSize, rotary: Rotary) -> None:
        super().__init__()
        width = size.width
        self.self_attn = Attention(width, size.heads)
        self.multihead_attn = Attention(width, size.heads)
        self.linear1 = nn.Linear(width, size.feedforward)
        self.linear2 = nn.Linear(size.feedforward, width)
        self.norm1, self.norm2, self.norm3 = nn.LayerNorm(width), nn.LayerNorm(width), nn.LayerNorm(width)
        self.film1, self.film2, self.film3 = Film(width), Film(width), Film(width)
        self.rotary = rotary

    def forward(self, x: Tensor, memory: tuple[Tensor, Tensor], time: Tensor, table: Tensor) -> Tensor:
        """x (B, T, width), memory rotated and plain (B, S, width), time (B, width) -> the shape of x."""
        y = self.norm1(x)
        turned = rotate(y, table)
        x = x + self.film1(self.self_attn(turned, turned, y), time)
        y = rotate(self.norm2(x), table)
        x = x + self.film2(self.multihead_attn(y, *memory), time)
        y = self.linear2(F.gelu(self.linear1(self.norm3(x))))
        return x + self.film3(y, time)


class DecoderStack(nn.Module):
    """The decoder layers; angles and rotated memory are the same for all, so they are made once."""

    def __init__(self, size: LmdmSize, rotary: Rotary) -> None:
        super().__init__()
        self.stack = nn.ModuleList(DecoderLayer(size, rotary) for _ in range(size.layers))

    def forward(self, x: Tensor, memory: Tensor, time: Tensor) -> Tensor:
        """(B, T, width), (B, S, width), (B, width) -> (B, T, width)."""
        table = self.stack[0].rotary.table(memory.shape[1])
        both = rotate(memory, table), memory
        for layer in self.stack:
            x = layer(x, both, time, table)
        return x


class SinusoidalTime(nn.Module):
    """Sine and cosine embedding of the diffusion time, in float32 whatever the weights are."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self._half = width // 2

    def forward(self, time: Tensor) -> Tensor:
        """(B,) int64 -> (B, width) float32."""
        rate = math.log(_THETA) / (self._half - 1)
        frequencies = torch.exp(torch.arange(self._half, dtype=torch.float32, device=time.device) * -rate)
        angles = time[:, None] * frequencies
        return torch.cat([angles.sin(), angles.cos()], dim=-1)


class MotionDecoder(nn.Module):
    """state_dict of `model_state_dict` in the released lmdm_v0.4_hubert.pth. Predicts the clean motion.

    Meant for float32, as upstream runs it: its cost is launches, and half precision spoils the rotary angles.
    Source: core/models/modules/lmdm_modules, ditto-talkinghead e9191cf, by its facts.
    """

    def __init__(self, size: LmdmSize) -> None:
        super().__init__()
        width = size.width
        self.null_cond_embed = nn.Parameter(torch.zeros(1, size.frames, width))
        self.null_cond_hidden = nn.Parameter(torch.zeros(1, width))
        self.rotary = Rotary(width)
        self.time_mlp = nn.Sequential(SinusoidalTime(width), nn.Linear(width, 4 * width), nn.Mish())
        self.to_time_cond = nn.Sequential(nn.Linear(4 * width, width))
        self.to_time_tokens = nn.Sequential(
            nn.Linear(4 * width, _NUM_TIME_TOKENS * width), nn.Unflatten(-1, (_NUM_TIME_TOKENS, width))
        )
        self.norm_cond = nn.LayerNorm(width)
        self.input_projection = nn.Linear(2 * size.motion, width)
        self.cond_encoder = nn.Sequential(*(EncoderLayer(size, self.rotary) for _ in range(2)))
        self.cond_projection = nn.Linear(size.condition, width)
        self.non_attn_cond_projection = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width)
        )
        self.seqTransDecoder = DecoderStack(size, self.rotary)
        self.final_layer = nn.Linear(width, size.motion)

    def encode(self, cond: Tensor) -> Context:
        """(B, frames, 1103) -> the context of the conditional branch."""
        tokens = self.cond_encoder(self.cond_projection(cond))
        return Context(tokens, self.non_attn_cond_projection(tokens.mean(dim=1)))

    def null_context(self, batch: int) -> Context:
        """The context of the unconditional branch."""
        return Context(self.null_cond_embed.expand(batch, -1, -1), self.null_cond_hidden.expand(batch, -1))

    def denoise(self, x: Tensor, cond_frame: Tensor, context: Context, time: Tensor) -> Tensor:
        """x (B, frames, 265), cond_frame (B, 265), time (B,) int64 -> the clean motion, shape of x."""
        frame = cond_frame.unsqueeze(1).expand(-1, x.shape[1], -1)
        x = self.input_projection(torch.cat([x, frame], dim=-1))
        hidden = self.time_mlp(time)
        memory = self.norm_cond(torch.cat([context.tokens, self.to_time_tokens(hidden)], dim=1))
        x = self.seqTransDecoder(x, memory, self.to_time_cond(hidden) + context.hidden)
        return self.final_layer(x)

    def forward(self, x: Tensor, cond_frame: Tensor, cond: Tensor, time: Tensor) -> Tensor:
        """The conditional branch alone.

        x (B, 80, 265), cond_frame (B, 265), cond (B, 80, 1103), time (B,) int64 -> the shape of x.
        """
        return self.denoise(x, cond_frame, self.encode(cond), time)


class ContextEncoder(nn.Module):
    """Both branches' context, once per window; its results are inputs of every GuidedStep of that window."""

    def __init__(self, network: MotionDecoder) -> None:
        super().__init__()
        self.network = network

    def forward(self, cond: Tensor) -> tuple[Tensor, Tensor]:
        """(B, frames, 1103) -> tokens (2B, frames, width), hidden (2B, width); unconditional first."""
        given, null = self.network.encode(cond), self.network.null_context(cond.shape[0])
        return torch.cat([null.tokens, given.tokens]), torch.cat([null.hidden, given.hidden])


class GuidedStep(nn.Module):
    """One denoising step with classifier-free guidance; both branches run as one batch."""

    def __init__(self, network: MotionDecoder, guidance: float = 2.0) -> None:
        super().__init__()
        self.network = network
        self._guidance = guidance

    def forward(self, x: Tensor, cond_frame: Tensor, tokens: Tensor, hidden: Tensor, time: Tensor) -> Tensor:
        """x (B, frames, 265), cond_frame (B, 265), time (B,) int64 -> x_start, the shape of x.

        tokens, hidden  of ContextEncoder
        """
        x, cond_frame, time = (torch.cat([part, part]) for part in (x, cond_frame, time))
        null, given = self.network.denoise(x, cond_frame, Context(tokens, hidden), time).chunk(2)
        return null + self._guidance * (given - null)
