"""SPADE decoder: warped features become an RGB image of eight times their height and width."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

_SPADE_HIDDEN = 128
_NUM_MIDDLE = 6


@dataclass(frozen=True)
class DecoderSize:
    """Channel counts: of the input, of the middle blocks and of the two blocks that double the size."""

    inputs: int = 256
    middle: int = 512
    up_0: int = 256
    up_1: int = 64


class SpectralConv2d(nn.Module):
    """Convolution whose weight is divided by its largest singular value, stored the way torch once did.

    Keys bias, weight_orig, weight_u, weight_v. No power iteration: u and v are those of the checkpoint.
    """

    def __init__(self, inputs: int, outputs: int, kernel: int, *, bias: bool = True) -> None:
        super().__init__()
        self.bias = nn.Parameter(torch.zeros(outputs)) if bias else None
        self.weight_orig = nn.Parameter(torch.zeros(outputs, inputs, kernel, kernel))
        self.register_buffer("weight_u", torch.zeros(outputs))
        self.register_buffer("weight_v", torch.zeros(inputs * kernel * kernel))

    def weight(self) -> Tensor:
        """(outputs, inputs, kernel, kernel): weight_orig / (u . (W v))."""
        sigma = torch.dot(self.weight_u, torch.mv(self.weight_orig.flatten(1), self.weight_v))
        return self.weight_orig / sigma

    def forward(self, x: Tensor) -> Tensor:
        """(B, inputs, H, W) -> (B, outputs, H, W)."""
        return F.conv2d(x, self.weight(), self.bias, padding=self.weight_orig.shape[-1] // 2)

    @torch.no_grad()
    def plain(self) -> nn.Conv2d:
        """The same convolution with the division done, bit for bit."""
        outputs, inputs, kernel, _ = self.weight_orig.shape
        bias = self.bias is not None
        conv = nn.Conv2d(inputs, outputs, kernel, padding=kernel // 2, bias=bias, device="meta")
        conv.weight = nn.Parameter(self.weight(), requires_grad=False)
        if self.bias is not None:
            conv.bias = nn.Parameter(self.bias.detach().clone(), requires_grad=False)
        return conv.train(self.training)


class Spade(nn.Module):
    """Instance norm whose scale and shift are computed at every pixel from the network's own input."""

    def __init__(self, channels: int, guide: int) -> None:
        super().__init__()
        self.mlp_shared = nn.Sequential(nn.Conv2d(guide, _SPADE_HIDDEN, 3, padding=1), nn.ReLU())
        self.mlp_gamma = nn.Conv2d(_SPADE_HIDDEN, channels, 3, padding=1)
        self.mlp_beta = nn.Conv2d(_SPADE_HIDDEN, channels, 3, padding=1)

    def forward(self, x: Tensor, guide: Tensor) -> Tensor:
        """(B, channels, H, W), (B, guide, H, W) -> (B, channels, H, W)."""
        hidden = self.mlp_shared(guide)
        return F.instance_norm(x, eps=1e-5) * (1 + self.mlp_gamma(hidden)) + self.mlp_beta(hidden)


class SpadeBlock(nn.Module):
    """Two normalised convolutions plus a shortcut, which is convolved where the channel count changes."""

    def __init__(self, inputs: int, outputs: int, guide: int) -> None:
        super().__init__()
        middle = min(inputs, outputs)
        self.conv_0 = SpectralConv2d(inputs, middle, 3)
        self.conv_1 = SpectralConv2d(middle, outputs, 3)
        self._learned = inputs != outputs
        if self._learned:
            self.conv_s = SpectralConv2d(inputs, outputs, 1, bias=False)
        self.norm_0 = Spade(inputs, guide)
        self.norm_1 = Spade(middle, guide)
        if self._learned:
            self.norm_s = Spade(inputs, guide)

    def forward(self, x: Tensor, guide: Tensor) -> Tensor:
        """(B, inputs, H, W), (B, guide, h, w) -> (B, outputs, H, W); the guide is resized to x, nearest."""
        guide = F.interpolate(guide, size=x.shape[2:], mode="nearest")
        shortcut = self.conv_s(self.norm_s(x, guide)) if self._learned else x
        x = self.conv_0(F.leaky_relu(self.norm_0(x, guide), 0.2))
        return shortcut + self.conv_1(F.leaky_relu(self.norm_1(x, guide), 0.2))


class SpadeDecoder(nn.Module):
    """state_dict of the released decoder.pth, until `fold` is called.

    Source: LivePortrait 1986663, by its facts.
    """

    def __init__(self, size: DecoderSize) -> None:
        super().__init__()
        self.fc = nn.Conv2d(size.inputs, size.middle, 3, padding=1)
        for i in range(_NUM_MIDDLE):
            self.add_module(f"G_middle_{i}", SpadeBlock(size.middle, size.middle, size.inputs))
        self.up_0 = SpadeBlock(size.middle, size.up_0, size.inputs)
        self.up_1 = SpadeBlock(size.up_0, size.up_1, size.inputs)
        self.conv_img = nn.Sequential(nn.Conv2d(size.up_1, 12, 3, padding=1), nn.PixelShuffle(2))

    def forward(self, feature: Tensor) -> Tensor:
        """(B, 256, h, w) -> (B, 3, 8h, 8w) in [0, 1]."""
        x = self.fc(feature)
        for i in range(_NUM_MIDDLE):
            x = self.get_submodule(f"G_middle_{i}")(x, feature)
        x = self.up_0(F.interpolate(x, scale_factor=2), feature)
        x = self.up_1(F.interpolate(x, scale_factor=2), feature)
        return torch.sigmoid(self.conv_img(F.leaky_relu(x, 0.2)))

    def fold(self) -> SpadeDecoder:
        """Divide every spectrally normed weight once, in place: same numbers, 36 matrix products a call less.

        Afterwards the keys are those of plain convolutions, so load a checkpoint before. Idempotent.
        """
        for block in self.children():
            for name, child in list(block.named_children()):
                if isinstance(child, SpectralConv2d):
                    setattr(block, name, child.plain())
        return self
