"""The XTTS-v2 networks with seeded random weights, and written in the layout of a checkpoint folder."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from math import log2
from pathlib import Path
from string import ascii_lowercase
from typing import Any

import torch
from tokenizers import Tokenizer
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import Whitespace
from torch.nn.functional import normalize
from torch.nn.utils.parametrize import ParametrizationList, is_parametrized
from torch.overrides import TorchFunctionMode

from engines.xtts.files import START, STOP, TINY


@contextmanager
def _absent(package: str) -> Iterator[None]:
    """Let imports in this block find `package` missing, unless it is loaded already."""
    if package in sys.modules:
        yield
        return
    sys.modules[package] = None  # type: ignore[assignment]  # documented: the import system takes None as absent
    try:
        yield
    finally:
        del sys.modules[package]


# transformers imports scikit-learn (and with it pandas and scipy.stats) wherever it is installed, for
# assisted decoding, which XTTS does not use; librosa brings it along. 0.85 s of 4.75 s of import, per worker.
with _absent("sklearn"):
    from TTS.encoder.models.resnet import ResNetSpeakerEncoder
    from TTS.tts.configs.xtts_config import XttsArgs, XttsConfig
    from TTS.tts.layers.xtts.hifigan_decoder import HifiDecoder
    from TTS.tts.layers.xtts.tokenizer import VoiceBpeTokenizer
    from TTS.tts.models.xtts import Xtts as Network

NUM_TEXT_TOKENS = 6681  # of the released vocab.json
LARGE = 2**16  # values in a weight from which on it is filled in bulk
# XttsArgs() describes XTTS-v1; these four make it v2 (coqui-tts, recipes/ljspeech/xtts_v2)
V2 = {
    "gpt_num_audio_tokens": 1026,
    "gpt_start_audio_token": 1024,
    "gpt_stop_audio_token": 1025,
    "gpt_use_perceiver_resampler": True,
}
# second names of weights, made for inference
SHARED = ("gpt.gpt_inference.", "gpt.gpt.wte.")
SPECIAL = {"[STOP]": 0, "[UNK]": 1, "[SPACE]": 2, "[en]": 259, "[de]": 260, "[START]": 261, "[fr]": 262}
OTHER_LANGUAGES = ("es", "it", "pt", "pl", "tr", "ru", "nl", "cs", "ar", "zh-cn", "hu", "ko", "ja", "hi")
# printable ASCII, Latin with accents, Cyrillic, Arabic, Devanagari: everything else reads as [UNK]
ALPHABET = ((33, 127), (0xA1, 0x180), (0x430, 0x460), (0x621, 0x64B), (0x900, 0x980))


class TinyNetwork(Network):
    """XTTS whose decoder and speaker encoder are small too: the package gives their widths no setting."""

    def init_models(self) -> None:
        super().init_models()
        audio = self.hifigan_decoder.speaker_encoder_audio_config
        decoder = HifiDecoder(
            decoder_input_dim=self.args.decoder_input_dim,
            d_vector_dim=self.args.d_vector_dim,
            upsample_initial_channel_decoder=16,
        )
        decoder.speaker_encoder = ResNetSpeakerEncoder(
            input_dim=64,
            proj_dim=self.args.d_vector_dim,
            layers=[1, 1, 1, 1],
            num_filters=[8, 8, 8, 8],
            log_input=True,
            use_torch_spec=True,
            audio_config=audio,
        )
        self.hifigan_decoder = decoder


class PrivateRandom(TorchFunctionMode):
    """Draw initial values from one generator, as models may load in several threads; large ones not at all.

    The package initialises most weights two or three times; `_fill_large` writes the large ones once.
    """

    IN_PLACE = frozenset({"normal_", "uniform_", "kaiming_uniform_", "kaiming_normal_"})
    FACTORIES = frozenset({"randn", "rand"})

    def __init__(self, generator: torch.Generator) -> None:
        super().__init__()
        self.generator = generator

    def __torch_function__(
        self, func: Callable[..., Any], types: Any, args: tuple[Any, ...] = (), kwargs: Any = None
    ) -> Any:
        kwargs = dict(kwargs or {})
        name = getattr(func, "__name__", "")
        if name in self.IN_PLACE:
            tensor = args[0] if args else kwargs["tensor"]
            if tensor.numel() >= LARGE:
                return tensor
        if name in self.IN_PLACE or name in self.FACTORIES:
            kwargs["generator"] = self.generator
        return func(*args, **kwargs)


@torch.no_grad()
def _fill_large(network: torch.nn.Module, generator: torch.Generator) -> None:
    """Give every weight of LARGE or more values the variance of PyTorch's default, 1 / (3 * fan-in).

    The values are stretches of one random block, so that loading costs little more than touching the memory.
    """
    block = torch.empty(2**20 + 7, device=generator.device).normal_(generator=generator)

    def noise(shape: torch.Size) -> torch.Tensor:
        start = int(torch.randint(len(block), (), generator=generator, device=generator.device))
        stretch = block.repeat((start + shape.numel()) // len(block) + 1)[start : start + shape.numel()]
        return stretch.view(shape).mul_((3 * shape.numel() / shape[0]) ** -0.5)

    for module in network.modules():
        if is_parametrized(module, "weight") and module.weight.numel() >= LARGE:
            module.weight = noise(module.weight.shape)  # weight norm splits it into length and direction
        elif not isinstance(module, ParametrizationList):
            for parameter in module.parameters(recurse=False):
                if parameter.numel() >= LARGE:
                    parameter.copy_(noise(parameter.shape))


@torch.no_grad()
def _make_audible(decoder: torch.nn.Module, channels: int, generator: torch.Generator) -> None:
    """Let latents of so many `channels` come out as sound of RMS about 0.1, without an offset.

    As initialised, biases and speaker drown the latents and the level is 1e-4: all texts sound the same.
    """
    waveform = decoder.waveform_decoder
    for name, parameter in waveform.named_parameters():
        if name.endswith("bias"):
            parameter.zero_()

    def noise(*shape: int) -> torch.Tensor:
        return torch.randn(shape, generator=generator, device=generator.device)

    for up in waveform.ups:
        # keep the variance: leaky ReLU halves it, and taps / stride values of each input meet in an output
        num_inputs, _, taps = up.weight.shape
        up.weight = noise(*up.weight.shape) * (2 * up.stride[0] / (num_inputs * taps)) ** 0.5
    last = waveform.conv_post.weight
    last.sub_(last.mean(-1, keepdim=True))
    speaker = normalize(noise(1, waveform.cond_layer.in_channels, 1), dim=1)
    level = float(decoder(noise(1, 4, channels), g=speaker).std())
    last.mul_(2.0 ** round(log2(0.1 / level)))  # a power of two, so that rounding errors change no weight


def synthetic_tokenizer() -> Tokenizer:
    """A text tokenizer with the released vocabulary's size and special ids.

    Its merges are all pairs of Latin letters, so English yields about as many ids per word as the real one.
    """
    ids = dict(SPECIAL)
    ids.update({f"[{language}]": 263 + i for i, language in enumerate(OTHER_LANGUAGES)})
    free = iter(sorted(set(range(NUM_TEXT_TOKENS)) - set(ids.values())))
    specials = list(ids)
    pairs = [(a, b) for a in ascii_lowercase for b in ascii_lowercase]
    characters = [chr(code) for low, high in ALPHABET for code in range(low, high)]
    for token in characters + [a + b for a, b in pairs]:
        ids[token] = next(free)
    ids.update({f"<{i}>": i for i in free})
    tokenizer = Tokenizer(BPE(vocab=ids, merges=pairs, unk_token="[UNK]"))
    tokenizer.pre_tokenizer = Whitespace()
    tokenizer.add_special_tokens(specials)
    return tokenizer


def configuration(size: str) -> XttsConfig:
    """XTTS-v2 (size=full, 466.87 M parameters) or the same with small dimensions (size=tiny)."""
    shape = TINY if size == "tiny" else {}
    tokens = {
        "gpt_number_text_tokens": NUM_TEXT_TOKENS,
        "gpt_start_text_token": SPECIAL[START],
        "gpt_stop_text_token": SPECIAL[STOP],
    }
    return XttsConfig(model_args=XttsArgs(**V2, **shape, **tokens))


def random_network(size: str, seed: int, device: str) -> Network:
    """A network for inference; the package initialises all but the large weights and the vocoder's.

    Same seed and device: same weights, whatever else draws random numbers meanwhile.
    """
    generator = torch.Generator(device).manual_seed(seed)
    with torch.device(device), PrivateRandom(generator):
        network = network_class(size)(configuration(size))
    _fill_large(network, generator)
    network.tokenizer = VoiceBpeTokenizer()
    network.tokenizer.tokenizer = synthetic_tokenizer()
    network.speaker_manager = None
    network.eval()
    network.to(device)  # torch.FloatTensor(), of which the package makes a filter, knows no default device
    _make_audible(network.hifigan_decoder, network.args.decoder_input_dim, generator)
    return network


def network_class(size: str) -> type[Network]:
    return TinyNetwork if size == "tiny" else Network


def save(network: Network, folder: Path) -> None:
    """Write `network` in the layout of the released checkpoints: config.json, model.pth, vocab.json."""
    state = {k: v for k, v in network.state_dict().items() if not k.startswith(SHARED)}
    folder.mkdir(parents=True, exist_ok=True)
    network.config.save_json(str(folder / "config.json"))
    network.tokenizer.tokenizer.save(str(folder / "vocab.json"))
    torch.save({"model": state}, folder / "model.pth")
