"""HuBERT stand-in: transformers' architecture, from 6480 samples of speech to 20 feature vectors."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize
from transformers import HubertConfig, HubertModel

FEATURES = 1024


@dataclass(frozen=True)
class HubertSize:
    """Dimensions; the default is HuBERT-Large, 315.4 M parameters. A vector per 320 samples, always."""

    width: int = 1024
    layers: int = 24
    heads: int = 16
    feedforward: int = 4096
    conv_width: int = 512
    position_kernel: int = 128
    position_groups: int = 16


class Hubert(nn.Module):
    """Speech features for the motion network. The released file is ONNX, so no checkpoint loads into this.

    `model` is transformers' HubertModel; forward calls its parts itself, because HubertModel.forward draws
    from the global random generator once per layer, also in eval mode (transformers 5.17).
    """

    def __init__(self, size: HubertSize) -> None:
        super().__init__()
        config = HubertConfig(
            hidden_size=size.width,
            num_hidden_layers=size.layers,
            num_attention_heads=size.heads,
            intermediate_size=size.feedforward,
            conv_dim=(size.conv_width,) * 7,
            num_conv_pos_embeddings=size.position_kernel,
            num_conv_pos_embedding_groups=size.position_groups,
            feat_extract_norm="layer",
            conv_bias=True,
            do_stable_layer_norm=True,
            attn_implementation="sdpa",
        )
        with torch.random.fork_rng(devices=[]):  # its constructor draws too, whatever becomes of the weights
            self.model = HubertModel(config)
        # weight norm would be recomputed at every call; the weights are random anyway
        parametrize.remove_parametrizations(self.model.encoder.pos_conv_embed.conv, "weight")
        self.to_features = nn.Identity() if size.width == FEATURES else nn.Linear(size.width, FEATURES)

    def forward(self, samples: Tensor) -> Tensor:
        """(B, 6480) float32 at 16 kHz in [-1, 1] -> (B, 20, 1024), 50 vectors per second."""
        model = self.model
        x = model.feature_projection(model.feature_extractor(samples).transpose(1, 2))
        x = x + model.encoder.pos_conv_embed(x)
        for layer in model.encoder.layers:
            x = layer(x)
        return self.to_features(model.encoder.layer_norm(x))
