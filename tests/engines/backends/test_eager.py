"""Backend eager on a CPU: every network in fp32, bf16 and int8 against the plain network."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import torch
from torch import nn

from engines.backends import eager
from engines.backends.cache import Cache
from tests.engines.backends.networks import SHAPES, example, filled, relative_rms, same

BF16_ROUNDOFF = 2**-8  # 8 significant bits
LARGE = (
    "warp_network",
    "decoder",
)  # a CPU without instructions for bf16 takes ten seconds and more for a call


@pytest.fixture
def cache(tmp_path):
    return Cache(tmp_path)


def products(module):
    return [layer for layer in module.modules() if isinstance(layer, (nn.Linear, nn.modules.conv._ConvNd))]


@torch.no_grad()
def rounded_to_int8(module):
    """The network with every weight as numpy rounds it: 255 steps per output, ties to even."""
    for layer in products(module):
        weight = layer.weight.numpy()
        largest = np.abs(weight).reshape(len(weight), -1).max(axis=1).reshape(-1, *[1] * (weight.ndim - 1))
        scale = (largest / np.float32(127)).astype(np.float32)
        layer.weight.copy_(torch.from_numpy(np.rint(weight / scale) * scale))
    return module


@pytest.mark.parametrize("network", SHAPES)
def test_fp32_is_the_network_itself_bit_by_bit(network, cache):
    module, given = filled(network), example(network, batch=2)
    prepared = eager.prepare(module, given, "fp32", cache)
    assert same(prepared(*given.inputs.values()), module(*given.inputs.values()))
    assert prepared.facts == {"backend": "eager", "dtype": "float32", "device": "cpu"}


@pytest.mark.parametrize(
    "network", [pytest.param(name, marks=pytest.mark.slow if name in LARGE else ()) for name in SHAPES]
)
def test_bf16_is_off_by_the_roundings_of_its_layers_and_gives_float32(network, cache):
    module, given = filled(network), example(network)
    prepared = eager.prepare(module, given, "bf16", cache)
    found, expected = prepared(*given.inputs.values()), module(*given.inputs.values())
    # each layer rounds its input, its weight and its output; independent errors add by their squares
    theory = BF16_ROUNDOFF * (3 * len(products(module))) ** 0.5
    assert BF16_ROUNDOFF / 10 < relative_rms(found, expected) < theory
    assert all(part.dtype is torch.float32 for part in ([found] if torch.is_tensor(found) else found))
    assert prepared.facts["dtype"] == "bfloat16"


@pytest.mark.parametrize("network", SHAPES)
def test_int8_is_the_network_with_rounded_weights(network, cache):
    module, given = filled(network), example(network)
    prepared = eager.prepare(module, given, "int8", cache)
    found = prepared(*given.inputs.values())
    assert relative_rms(found, module(*given.inputs.values())) > 1e-3
    expected = rounded_to_int8(filled(network))(*given.inputs.values())
    assert relative_rms(found, expected) < 1e-5
    assert prepared.facts["dtype"] == "int8 weights, float32 arithmetic"


def test_the_original_stays_as_it_was(cache):
    module, given = filled("decoder"), example("decoder")
    before = {key: value.clone() for key, value in module.state_dict().items()}
    for precision in ("bf16", "int8"):
        eager.prepare(module, given, precision, cache)
    assert all(torch.equal(value, before[key]) for key, value in module.state_dict().items())


@pytest.mark.slow  # a CPU without instructions for bf16 takes ten seconds for each call
def test_threads_get_the_same_bits(cache):
    module, given = filled("warp_network"), example("warp_network")
    prepared = eager.prepare(module, given, "bf16", cache)
    alone = prepared(*given.inputs.values())
    with ThreadPoolExecutor(3) as pool:
        together = list(pool.map(lambda _: prepared(*given.inputs.values()), range(6)))
    assert all(same(one, alone) for one in together)


def test_another_batch_is_taken_too(cache):
    module = filled("stitch_network")
    prepared = eager.prepare(module, example("stitch_network"), "fp32", cache)
    assert prepared(*example("stitch_network", batch=3).inputs.values()).shape == (3, 21, 3)
