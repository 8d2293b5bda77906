"""SPADE decoder rewritten: one pass per normalisation, nothing enlarged before it must be."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from engines.ditto.fused import ops
from engines.ditto.fused.layout import conv, conv_relu, frozen
from engines.ditto.fused.phases import MIDDLE, corners, edges, fold
from engines.ditto.networks.decoder import Spade, SpadeBlock, SpadeDecoder

_SLOPE = 0.2


class FusedSpade(nn.Module):
    """Scale and shift as one convolution; what is normalised comes with its mean and deviation."""

    def __init__(self, spade: Spade) -> None:
        super().__init__()
        gamma, beta = spade.mlp_gamma, spade.mlp_beta
        self.weight = frozen(torch.cat([gamma.weight, beta.weight]))
        # The factor is 1 + gamma.
        self.bias = frozen(torch.cat([gamma.bias + 1, beta.bias]))

    def forward(
        self, x: Tensor, stats: tuple[Tensor, Tensor], hidden: Tensor, slope: float, enlarge: int = 1
    ) -> Tensor:
        """x (B, H, W, C) normalised, modulated and activated; (B, H * enlarge, W * enlarge, C).

        stats   mean and 1 / deviation (B, C) of x;  hidden (B, H * enlarge, W * enlarge, 128)
        slope   of the negative side: 0.2, or 1 for none
        """
        return ops.modulate(x, stats, conv(hidden, self.weight, 1), self.bias, slope, enlarge)


class MiddleBlock(nn.Module):
    """A block that keeps size and channels.

    The biases of its convolutions are left out: each is constant over the picture, and all that reads the
    result up to the last block is an instance norm, which takes constants away.
    """

    def __init__(self, block: SpadeBlock) -> None:
        super().__init__()
        self.shared = nn.ParameterList()
        self.shared_bias = nn.ParameterList()
        for norm in (block.norm_0, block.norm_1):
            self.shared.append(frozen(norm.mlp_shared[0].weight))
            self.shared_bias.append(frozen(norm.mlp_shared[0].bias))
        self.norm_0, self.norm_1 = FusedSpade(block.norm_0), FusedSpade(block.norm_1)
        self.conv_0, self.conv_1 = frozen(block.conv_0.weight), frozen(block.conv_1.weight)

    def forward(
        self, x: Tensor, stats: tuple[Tensor, Tensor], guide: Tensor
    ) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """x (B, h, w, C) with its statistics, guide (B, h, w, 256) -> the same of the result."""
        hidden = [conv_relu(guide, w, b, 1) for w, b in zip(self.shared, self.shared_bias, strict=True)]
        y = conv(self.norm_0(x, stats, hidden[0], _SLOPE), self.conv_0, 1)
        y = conv(self.norm_1(y, ops.stats(y), hidden[1], _SLOPE), self.conv_1, 1)
        return ops.add_stats(x, y)


class UpBlock(nn.Module):
    """Enlarges by 2, then a block with a convolved shortcut; the guide is enlarged as far as x was before.

    enlarge  how often the guide's side goes into the result's
    Biases are left out as in MiddleBlock, but for the last one, which the caller adds.
    """

    def __init__(self, block: SpadeBlock, enlarge: int) -> None:
        super().__init__()
        norms = (block.norm_0, block.norm_1, block.norm_s)
        shared = torch.cat([norm.mlp_shared[0].weight for norm in norms])
        self.shared_bias = nn.ParameterList(frozen(norm.mlp_shared[0].bias) for norm in norms)
        self.corners = frozen(corners(shared))
        if enlarge > 2:
            self.rows, self.columns = frozen(edges(shared, 0)), frozen(edges(shared, 1))
            self.middle = frozen(fold(shared, MIDDLE, MIDDLE))
        self.norm_0, self.norm_1, self.norm_s = (FusedSpade(norm) for norm in norms)
        self.conv_0, self.conv_1 = frozen(block.conv_0.weight), frozen(block.conv_1.weight)
        self.conv_s = frozen(block.conv_s.weight)
        self._enlarge = enlarge

    def forward(self, x: Tensor, stats: tuple[Tensor, Tensor], guide: Tensor) -> tuple[Tensor, Tensor]:
        """x (B, H, W, C), guide (B, h, w, 256) -> shortcut and residual, (B, 2H, 2W, C'), to be added."""
        hidden = self._hidden(guide)
        shortcut = conv(self.norm_s(x, stats, hidden[2], 1.0, 2), self.conv_s)
        y = conv(self.norm_0(x, stats, hidden[0], _SLOPE, 2), self.conv_0, 1)
        return shortcut, conv(self.norm_1(y, ops.stats(y), hidden[1], _SLOPE), self.conv_1, 1)

    def _hidden(self, guide: Tensor) -> list[Tensor]:
        parts = [conv(guide, self.corners, 1)]
        if self._enlarge > 2:
            parts += [conv(guide, self.rows, (1, 0)), conv(guide, self.columns, (0, 1))]
            parts.append(conv(guide, self.middle))
        return [
            ops.assemble(parts, bias, index, len(self.shared_bias), self._enlarge)
            for index, bias in enumerate(self.shared_bias)
        ]


class FusedDecoder(nn.Module):
    """The forward of SpadeDecoder; its weights, folded before, are copied."""

    casts_itself = True

    def __init__(self, decoder: SpadeDecoder) -> None:
        super().__init__()
        decoder.fold()
        blocks = dict(decoder.named_children())
        self.fc = frozen(decoder.fc.weight)  # its bias: see MiddleBlock
        self.middle = nn.ModuleList(
            MiddleBlock(block) for name, block in blocks.items() if name.startswith("G_middle_")
        )
        self.up_0, self.up_1 = UpBlock(decoder.up_0, 2), UpBlock(decoder.up_1, 4)
        self.last_bias = frozen(decoder.up_1.conv_1.bias)
        self.image, self.image_bias = frozen(decoder.conv_img[0].weight), frozen(decoder.conv_img[0].bias)

    def forward(self, feature: Tensor) -> Tensor:
        """(B, 256, h, w) -> (B, 3, 8h, 8w) float32 in [0, 1]."""
        guide = feature.movedim(1, 3).to(self.fc.dtype).contiguous()
        x = conv(guide, self.fc, 1)
        stats = ops.stats(x)
        for block in self.middle:
            x, stats = block(x, stats, guide)
        x, stats = ops.add_stats(*self.up_0(x, stats, guide))
        shortcut, y = self.up_1(x, stats, guide)
        x = ops.add_leaky(shortcut, y, self.last_bias, _SLOPE)
        picture = conv(x, self.image, 1, self.image_bias).movedim(3, 1)
        return torch.sigmoid(F.pixel_shuffle(picture.float().contiguous(), 2))
