"""XTTS's GPT as a step that says one token; all that it reads and writes has a fixed place on the device."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from engines.xtts.layers import After, Before, Layer, Matrix, Middle, read_prompt, storage, stored
from engines.xtts.prompt import PROMPT_ID
from engines.xtts.sampling import Choice

_MATRICES = ("attend", "join", "grow", "shrink")
_STATE = ("place", "index", "token", "said", "banned")
_ROUND_TO = 16  # positions, so that rows of keys lie at even addresses


@dataclass(frozen=True)
class Form:
    """How a decoder computes.

    precision  of engines.backends.prepared.PRECISIONS, without tf32
    dtype      of keys, values and what is multiplied with them; of the weights too where they have no 8 bits
    summed     products written as sums, for Inductor: engines.xtts.layers.product. What is added from layer
               to layer is then float32, as it costs nothing there
    """

    precision: str
    dtype: torch.dtype
    summed: bool

    @property
    def stream(self) -> torch.dtype:
        return torch.float32 if self.summed else self.dtype


class Decoder(nn.Module):
    """The package's GPT body, head and tables in another layout, the state of one text, and its step.

    gpt     of the package; its weights are copied
    choose  how a token follows from the scores
    The longest text fits: 32 conditioning latents, 404 text tokens and 602 tokens of sound.
    """

    def __init__(self, gpt: nn.Module, choose: Choice, form: Form) -> None:
        super().__init__()
        self.choose, self.form = choose, form
        self.heads, self.start, self.stop = gpt.heads, gpt.start_audio_token, gpt.stop_audio_token
        self.most = gpt.max_gen_mel_tokens
        latents = gpt.conditioning_perceiver.latents
        length = len(latents) + gpt.max_text_tokens + self.most
        self.length = -(-length // _ROUND_TO) * _ROUND_TO
        self.before = Before(self.heads, form.dtype, form.summed)
        self.middle, self.after = Middle(form.summed), After(form.summed)
        with torch.no_grad():
            self._take_weights(gpt)
            self._take_state(gpt.mel_head.weight.device, len(gpt.mel_head.weight), latents.shape[-1])

    def _take_weights(self, gpt: nn.Module) -> None:
        blocks, stream = gpt.gpt.h, self.form.stream
        for name, layers in {
            "attend": [block.attn.c_attn for block in blocks],
            "join": [block.attn.c_proj for block in blocks],
            "grow": [block.mlp.c_fc for block in blocks],
            "shrink": [block.mlp.c_proj for block in blocks],
        }.items():
            self._take_matrices(name, layers)
        norms = [[norm.weight, norm.bias] for block in blocks for norm in (block.ln_1, block.ln_2)]
        stacked = torch.stack([torch.stack(pair) for pair in norms])
        self.register_buffer("norms", stacked.unflatten(0, (len(blocks), 2)).to(stream))
        for name, norm in (("body_norm", gpt.gpt.ln_f), ("final_norm", gpt.final_norm)):
            self.register_buffer(name, torch.stack([norm.weight, norm.bias]).to(stream))
        for name, weight in {
            "head": gpt.mel_head.weight,
            "head_bias": gpt.mel_head.bias,
            "tokens_table": gpt.mel_embedding.weight,
            "places_table": gpt.mel_pos_embedding.emb.weight,
        }.items():
            self.register_buffer(name, weight.detach().to(stream, copy=True))

    def _take_matrices(self, name: str, layers: list[nn.Module]) -> None:
        """Stack transformers' Conv1D layers, (inputs, outputs) each, as (layers, outputs, inputs)."""
        form, (inputs, outputs) = self.form, layers[0].weight.shape
        device = layers[0].weight.device
        kept = storage(form.precision, form.dtype)
        weights = torch.empty((len(layers), outputs, inputs), dtype=kept, device=device)
        scales = []
        for place, layer in enumerate(layers):
            numbers, scale = stored(layer.weight.detach().t(), form.precision, form.dtype)
            weights[place] = numbers
            scales.append(scale)
        self.register_buffer(name, weights)
        self.register_buffer(f"{name}_scale", None if scales[0] is None else torch.stack(scales))
        self.register_buffer(f"{name}_bias", torch.stack([layer.bias for layer in layers]).to(form.dtype))

    def _take_state(self, device: torch.device, tokens: int, width: int) -> None:
        """What belongs to the text being said.

        keys_values  (layers, 2, heads, length, D)
        place        (1,) the next free position there; index (1,) of the next token of sound
        token        (1,) the last token;  said (1, V) which were said;  banned (1, V) 0 or -inf
        tokens       (most,) and latents (most, C) float32: what was said, by index
        """
        shape = (len(self.attend), 2, self.heads, self.length, width // self.heads)
        self.register_buffer("keys_values", torch.zeros(shape, dtype=self.form.dtype, device=device))
        for name in ("place", "index", "token"):
            self.register_buffer(name, torch.zeros(1, dtype=torch.int64, device=device))
        self.register_buffer("said", torch.zeros((1, tokens), dtype=torch.bool, device=device))
        self.register_buffer("banned", torch.zeros((1, tokens), device=device))
        self.register_buffer("tokens", torch.zeros(self.most, dtype=torch.int64, device=device))
        self.register_buffer("latents", torch.zeros((self.most, width), device=device))
        self.register_buffer("positions", torch.arange(self.length, device=device))

    def layer(self, number: int) -> Layer:
        """Views of the weights of one layer."""

        def matrix(name: str) -> Matrix:
            scale = getattr(self, f"{name}_scale")
            bias = getattr(self, f"{name}_bias")[number]
            return Matrix(getattr(self, name)[number], None if scale is None else scale[number], bias)

        return Layer(self.norms[number], *map(matrix, _MATRICES))

    @torch.no_grad()
    def begin(self, prefix: Tensor, may_stop: bool) -> None:
        """Read what stands before the start token, (1, P, C) float32, and forget the text before."""
        x = prefix[0].to(self.form.stream)
        for number in range(len(self.attend)):
            x = read_prompt(x, self.layer(number), self.keys_values[number, :, :, : len(x)], self.heads)
        self.place.fill_(len(x))
        self.index.zero_()
        self.token.fill_(self.start)
        self.said.zero_()
        self.said[:, PROMPT_ID] = True
        self.said[:, self.start] = True
        self.banned.zero_()
        if not may_stop:
            self.banned[:, self.stop] = -torch.inf

    def advance(self, drawn: Tensor, length: int) -> Tensor:
        """Say the next token (1,), and store it and its latent. Nothing waits for the device.

        drawn   (1, V) exponential numbers, see engines.xtts.sampling
        length  positions that attention looks at, more than `place`
        """
        x = self.tokens_table.index_select(0, self.token) + self.places_table.index_select(0, self.index)
        ahead = self.positions[:length] > self.place
        mask = torch.zeros(ahead.shape, dtype=self.form.dtype, device=x.device)
        mask = mask.masked_fill_(ahead, -torch.inf)[None, None]
        for number in range(len(self.attend)):
            x = self._through(x, number, mask)
        for norm in (self.body_norm, self.final_norm):
            x = F.layer_norm(x, x.shape[-1:], norm[0], norm[1], 1e-5)
        scores = F.linear(x, self.head, self.head_bias).float() + self.banned
        token = self.choose(scores, self.said, drawn)
        self.latents.index_copy_(0, self.index, x.float())
        self._note(token)
        return token

    def _through(self, x: Tensor, number: int, mask: Tensor) -> Tensor:
        """One layer. Keys and values are written between its parts, so that these change nothing."""
        layer, said = self.layer(number), self.keys_values[number]
        three = self.before(x, layer.norms[0], layer.attend)
        said.index_copy_(2, self.place, three[1:])
        said = said[:, :, : mask.shape[-1]]
        x, wide = self.middle(x, three[0], said, mask, layer.norms[1], layer.join, layer.grow)
        return self.after(x, wide, layer.shrink)

    def _note(self, token: Tensor) -> None:
        self.tokens.index_copy_(0, self.index, token)
        self.said.index_fill_(1, token, True)
        self.token.copy_(token)
        self.place.add_(1)
        self.index.add_(1)

    def state(self, positions: int) -> dict[str, Tensor]:
        """A copy of what belongs to the text, of which so many positions are filled, to go on with later."""
        copied = {name: getattr(self, name).clone() for name in _STATE}
        return copied | {"keys_values": self.keys_values[:, :, :, :positions].clone()}

    def restore(self, state: Mapping[str, Tensor]) -> None:
        """Go on with a text from the copy of its state."""
        for name in _STATE:
            getattr(self, name).copy_(state[name])
        kept = state["keys_values"]
        self.keys_values[:, :, :, : kept.shape[3]].copy_(kept)

    def weights(self) -> Mapping[str, Tensor]:
        """What is multiplied for each token: the matrices of all layers, and the head."""
        return {name: getattr(self, name) for name in (*_MATRICES, "head")}


class Step(nn.Module):
    """One token, where attention looks at a fixed number of positions: what a graph is captured of.

    drawn (1, V) -> token (1,). All else that changes lies in the decoder.
    """

    # what backend compile compiles: all layers are alike
    regions = ("decoder.before", "decoder.middle", "decoder.after")
    casts_itself = True

    def __init__(self, decoder: Decoder, length: int) -> None:
        super().__init__()
        self.decoder = decoder
        self.length = length

    def forward(self, drawn: Tensor) -> Tensor:
        return self.decoder.advance(drawn, self.length)


def lengths(decoder: Decoder) -> tuple[int, ...]:
    """Attention lengths to make a step for: early tokens need not read all the places that follow."""
    return (*(length for length in (256, 512) if length < decoder.length), decoder.length)
