"""Backends of our own on an NVIDIA GPU: every network and precision against plain float32 PyTorch."""

from concurrent.futures import ThreadPoolExecutor

import pytest

torch = pytest.importorskip("torch")

from torch import nn  # noqa: E402 - torch first, or skip

from engines.backends import arithmetic, compile, cudagraph, eager  # noqa: E402
from engines.backends.cache import Cache  # noqa: E402
from engines.contract import NotApplicable  # noqa: E402
from tests.engines.backends.networks import FULL, SHAPES, example, filled, relative_rms, same  # noqa: E402

# torch's compiler uses parts of torch that warn of their age
pytestmark = [pytest.mark.gpu, pytest.mark.filterwarnings("default")]

# Units of rounding: 24, 11, 11, 8 and 4 significant bits; int8 has 127 steps, half a step off at most.
ROUNDOFF = {"fp32": 2**-24, "tf32": 2**-11, "fp16": 2**-11, "bf16": 2**-8, "int8": 0.5 / 127, "fp8": 2**-4}
HALF = {"fp16": "float16", "bf16": "bfloat16"}
WITH_FP8 = ("hubert",)


def plain(module, given):
    """float32 without tf32, straight from the module."""
    arithmetic.mean_float32()
    with torch.no_grad():
        return module(*given.inputs.values())


def tolerance(module, precision):
    """RMS that the independent roundings of input, weight and output of each layer add up to.

    The order of sums alone is worth 64 units: cuDNN's algorithms differ from one another by that.
    """
    layers = [layer for layer in module.modules() if isinstance(layer, (nn.Linear, nn.modules.conv._ConvNd))]
    least = 64 * ROUNDOFF["fp32"]
    return max(least, ROUNDOFF[precision]) * (3 * len(layers)) ** 0.5


def case(network, size="tiny", batch=2):
    return filled(network, size, "cuda"), example(network, size, "cuda", batch)


def agrees(prepared, module, given, precision):
    found = prepared(*given.inputs.values())
    assert relative_rms(found, plain(module, given)) < tolerance(module, precision)
    assert arithmetic.precision_of(prepared.facts["dtype"]) == precision
    assert prepared.facts["device"].startswith("cuda")
    assert same(prepared(*given.inputs.values()), found)


@pytest.mark.parametrize("precision", ["fp32", "tf32", "fp16", "bf16", "int8"])
@pytest.mark.parametrize("network", SHAPES)
@pytest.mark.parametrize("backend", [eager, cudagraph], ids=["eager", "cudagraph"])
def test_every_network_agrees_with_plain_float32(tmp_path, backend, network, precision):
    module, given = case(network)
    agrees(backend.prepare(module, given, precision, Cache(tmp_path)), module, given, precision)


@pytest.mark.parametrize("precision", ["fp32", "fp16"])
@pytest.mark.parametrize("network", SHAPES)
def test_every_compiled_network_agrees_with_plain_float32(tmp_path, network, precision):
    module, given = case(network)
    prepared = compile.prepare(module, given, precision, Cache(tmp_path))
    agrees(prepared, module, given, precision)


@pytest.mark.parametrize("precision", ["tf32", "bf16", "int8"])
def test_the_other_precisions_compile_too(tmp_path, precision):
    module, given = case("decoder")
    prepared = compile.prepare(module, given, precision, Cache(tmp_path))
    agrees(prepared, module, given, precision)


def test_compiling_keeps_what_it_made_under_the_caches_root(tmp_path):
    module, given = case("stitch_network")
    agrees(compile.prepare(module, given, "fp16", Cache(tmp_path)), module, given, "fp16")
    kept = [path for name in ("triton", "inductor") for path in (tmp_path / name).rglob("*")]
    assert any(path.is_file() for path in kept)


@pytest.mark.skipif(
    torch.cuda.is_available() and torch.cuda.get_device_capability() < (8, 9), reason="this GPU has no fp8"
)
@pytest.mark.parametrize("network", WITH_FP8)
@pytest.mark.parametrize("backend", [eager, cudagraph, compile], ids=["eager", "cudagraph", "compile"])
def test_fp8_products_are_off_by_four_significant_bits(tmp_path, backend, network):
    module, given = case(network)
    agrees(backend.prepare(module, given, "fp8", Cache(tmp_path)), module, given, "fp8")


@pytest.mark.parametrize("network", FULL)
@pytest.mark.parametrize("batch", [1, 4])
def test_the_large_networks_in_a_graph_keep_45_db(tmp_path, network, batch):
    module, given = case(network, "full", batch)
    expected = plain(module, given)
    prepared = cudagraph.prepare(module, given, "fp16", Cache(tmp_path))
    found = prepared(*given.inputs.values())
    span = expected.max() - expected.min()
    noise = (found - expected).square().mean().sqrt()
    assert 20 * torch.log10(span / noise) >= 45
    assert prepared.facts["dtype"] == "float16"


@pytest.mark.parametrize("precision", HALF)
def test_a_graph_gives_the_bits_of_the_same_kernels_run_one_by_one(tmp_path, precision):
    module, given = case("lmdm")
    inputs = given.inputs.values()
    expected = eager.prepare(module, given, precision, Cache(tmp_path))(*inputs)
    found = cudagraph.prepare(module, given, precision, Cache(tmp_path))(*inputs)
    # cuBLAS may choose by workspace, which differs inside a capture: then the last bit may
    assert relative_rms(found, expected) < ROUNDOFF[precision]


def test_other_inputs_give_other_results_and_earlier_results_stay(tmp_path):
    module, given = case("decoder", batch=1)
    prepared = cudagraph.prepare(module, given, "fp32", Cache(tmp_path))
    several = [list(example("decoder", device="cuda", seed=i).inputs.values()) for i in range(4)]
    found = [prepared(*inputs) for inputs in several]
    for inputs, one in zip(several, found, strict=True):
        assert relative_rms(one, module(*inputs)) < tolerance(module, "fp32")


def test_threads_with_streams_of_their_own_share_a_graph(tmp_path):
    module, given = case("warp_network")
    prepared = cudagraph.prepare(module, given, "fp16", Cache(tmp_path))
    several = [
        list(example("warp_network", device="cuda", batch=2, seed=i).inputs.values()) for i in range(8)
    ]
    alone = [prepared(*inputs) for inputs in several]
    torch.cuda.synchronize()

    def work(i):
        stream = torch.cuda.Stream()
        with torch.cuda.stream(stream):
            result = [prepared(*several[i % 8]) for _ in range(20)]
        stream.synchronize()
        return all(same(one, alone[i % 8]) for one in result)

    with ThreadPoolExecutor(4) as pool:
        assert all(pool.map(work, range(16)))


def test_a_graph_takes_the_shapes_of_its_example_only(tmp_path):
    module, given = case("stitch_network")
    prepared = cudagraph.prepare(module, given, "fp32", Cache(tmp_path))
    with pytest.raises(ValueError, match=r"stitch_network\(kp_source, kp_driving\): prepared for"):
        prepared(*example("stitch_network", device="cuda", batch=3).inputs.values())


def test_half_precision_adds_half_the_weights_and_no_more(tmp_path):
    module = filled("decoder", "full", "cuda")
    weights = sum(entry.numel() * 4 for entry in module.parameters())
    before = torch.cuda.memory_allocated()
    copy = arithmetic.converted(module, "fp16", torch.device("cuda"))
    assert 0.45 * weights < torch.cuda.memory_allocated() - before < 0.55 * weights
    del copy


def test_convolutions_have_no_fp8(tmp_path):
    module, given = case("decoder")
    with pytest.raises(NotApplicable, match=r"precision=fp8: (needs compute|0% of the parameters)"):
        cudagraph.prepare(module, given, "fp8", Cache(tmp_path))
