"""Precisions: what is refused where, how weights are converted and shared, and how what ran is told."""

from typing import NamedTuple

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from engines.backends import arithmetic, quantised
from engines.backends.prepared import PRECISIONS
from engines.contract import NotApplicable
from tests.engines.backends.networks import example, filled

CPU = torch.device("cpu")


class Two(NamedTuple):
    number: torch.Tensor
    index: torch.Tensor


@pytest.mark.parametrize("precision", ["tf32", "fp16", "fp8"])
def test_a_cpu_is_refused_what_only_gpus_have_with_a_remedy(precision):
    with pytest.raises(NotApplicable, match=f"precision={precision}: needs a GPU; use fp32, bf16 or int8"):
        arithmetic.refuse(precision, CPU)


@pytest.mark.parametrize(
    ("capability", "missing"),
    [((7, 5), {"tf32", "bf16", "fp8"}), ((8, 6), {"fp8"}), ((8, 9), set()), ((9, 0), set())],
)
def test_a_gpu_is_refused_what_its_generation_lacks(monkeypatch, capability, missing):
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda _: capability)
    refused = set()
    for precision in PRECISIONS:
        try:
            arithmetic.refuse(precision, torch.device("cuda"))
        except NotApplicable as reason:
            assert "this GPU has {}.{}".format(*capability) in str(reason)
            refused.add(precision)
    assert refused == missing


def test_only_weights_of_products_are_converted_and_the_rest_is_shared():
    module = filled("appearance_extractor")
    copy = arithmetic.converted(module, "bf16", CPU)
    for (name, old), new in zip(module.named_parameters(), copy.parameters(), strict=True):
        if ".norm" in name:
            assert new is old
        else:
            assert new.dtype is torch.bfloat16
            assert torch.equal(new, old.bfloat16())
    assert [b.data_ptr() for b in copy.buffers()] == [b.data_ptr() for b in module.buffers()]


def test_the_projections_of_attention_count_as_products_and_rotary_angles_do_not():
    copy = arithmetic.converted(filled("lmdm"), "bf16", CPU)
    assert copy.cond_encoder[0].self_attn.in_proj_weight.dtype is torch.bfloat16
    assert copy.rotary.freqs.dtype is torch.float32
    assert copy.null_cond_embed.dtype is torch.float32


@pytest.mark.slow  # a CPU without instructions for bf16 takes fifteen seconds for each call
def test_autocast_over_converted_weights_gives_the_bits_of_plain_autocast():
    module, inputs = filled("warp_network"), example("warp_network").inputs.values()
    copy = arithmetic.converted(module, "bf16", CPU)
    with torch.autocast("cpu", torch.bfloat16):
        expected = module(*inputs)
    with arithmetic.computing("bf16", CPU):
        assert torch.equal(copy(*inputs), expected)


def test_a_network_that_casts_itself_is_converted_whole_and_runs_without_autocast():
    module = nn.Sequential(nn.Linear(4, 4), nn.BatchNorm1d(4)).eval()
    module.casts_itself = True
    copy = arithmetic.converted(module, "bf16", CPU)
    assert {entry.dtype for entry in copy.parameters()} == {torch.bfloat16}
    assert copy[1].running_mean.dtype is torch.bfloat16
    assert module[0].weight.dtype is torch.float32
    with arithmetic.computing("bf16", CPU, casts_itself=True):
        assert not torch.is_autocast_enabled("cpu")
    with pytest.raises(NotApplicable, match=r"precision=int8: this network is rewritten"):
        arithmetic.converted(module, "int8", CPU)


def test_tf32_is_on_inside_only_also_when_something_is_raised():
    arithmetic.mean_float32()
    with pytest.raises(KeyError), arithmetic.computing("tf32", CPU):
        assert arithmetic.tf32_is_on()
        raise KeyError
    assert not torch.backends.cudnn.allow_tf32
    assert not torch.backends.cuda.matmul.allow_tf32


def test_a_call_takes_no_part_of_inference_mode_or_gradients():
    with torch.inference_mode(), arithmetic.computing("fp32", CPU):
        assert not torch.is_inference_mode_enabled()
        assert not torch.is_grad_enabled()


@pytest.mark.parametrize(
    ("dtypes", "fact", "precision"),
    [
        ({"float32"}, "float32", "fp32"),
        ({"tf32"}, "tf32", "tf32"),
        ({"float16"}, "float16", "fp16"),
        ({"bfloat16"}, "bfloat16", "bf16"),
        ({"float32", "float16"}, "float16+float32", ""),
        ({"int8", "float16"}, "int8 weights, float16 arithmetic", "int8"),
        ({"float8_e4m3fn", "float16"}, "float8_e4m3fn products, float16 others", "fp8"),
    ],
)
def test_what_ran_has_a_name_that_leads_back_to_the_precision(dtypes, fact, precision):
    assert arithmetic.described(dtypes) == fact
    assert arithmetic.precision_of(fact) == precision


def test_a_layer_left_in_float32_shows():
    module = nn.Sequential(nn.Linear(4, 4).bfloat16(), nn.Linear(4, 4)).requires_grad_(False)
    result, dtype = arithmetic.observed(
        module, lambda: module[1](module[0](torch.ones(1, 4).bfloat16()).float())
    )
    assert dtype == "bfloat16+float32"
    assert result.shape == (1, 4)


def test_what_a_network_computes_by_functions_shows_like_its_layers():
    weight = torch.ones(3, 3, 1, 1)

    def call():
        half = F.conv2d(torch.ones(1, 3, 4, 4).bfloat16(), weight.bfloat16())
        return half.float() @ torch.ones(1, 3, 4, 4)  # a batch of products, as of attention, is no layer

    result, dtype = arithmetic.observed(nn.Identity(), call)
    assert (result.dtype, dtype) == (torch.float32, "bfloat16")


def test_results_become_float32_inside_their_tuple_and_indices_stay():
    found = arithmetic.in_float32(Two(torch.ones(2).half(), torch.ones(2, dtype=torch.int64)))
    assert isinstance(found, Two)
    assert found.number.dtype is torch.float32
    assert found.index.dtype is torch.int64


def test_int8_keeps_the_largest_of_each_output_and_rounds_ties_to_even():
    numbers, scale = quantised.to_int8(
        torch.tensor([[127.0, 0.5, -1.5], [0.0, 0.0, 0.0], [-254.0, 2.0, 3.0]])
    )
    assert numbers.tolist() == [[127, 0, -2], [0, 0, 0], [-127, 1, 2]]
    assert scale.tolist() == [[1.0], [1.0], [2.0]]


def test_fp8_has_four_significant_bits_and_its_largest_number_is_448():
    values = torch.linspace(-3, 3, 1001)
    numbers, scale = quantised.to_fp8(values)
    assert float(scale) == pytest.approx(3 / 448)
    assert float(numbers.float().max()) == 448
    large = values.abs() > 3 * 2**-14  # above its smallest normal number, 2^-6
    error = (numbers.float() * scale - values).abs() / values.abs()
    assert 2**-6 < error[large].max() <= 2**-4


def test_an_fp8_layer_multiplies_what_its_rounded_parts_multiply_to():
    generator = torch.Generator().manual_seed(0)
    weight, x = (torch.randn(shape, generator=generator) for shape in ((48, 32), (2, 5, 32)))
    bias = torch.arange(48.0)
    (a, scale_a), (b, scale_b) = quantised.to_fp8(x), quantised.to_fp8(weight)
    expected = (a.double() * scale_a) @ (b.double() * scale_b).T + bias
    found = quantised.Fp8Linear(weight, bias)(x)
    assert found.dtype is torch.float16
    assert (found - expected).abs().max() <= 2**-10 * expected.abs().max()


def test_fp8_is_refused_where_most_of_the_network_is_convolutions():
    with pytest.raises(NotApplicable, match=r"precision=fp8: 0% of the parameters .* no fp8 convolution"):
        quantised.fp8(filled("decoder"))


def test_layers_of_odd_widths_stay_out_of_fp8():
    module = quantised.fp8(nn.Sequential(nn.Linear(32, 64), nn.Linear(64, 65, bias=False), nn.Linear(64, 64)))
    assert [quantised.stored(layer) for layer in module] == ["float8_e4m3fn", "", "float8_e4m3fn"]


def test_the_transposed_linear_layers_of_gpt2_are_stored_in_int8_too():
    conv1d = pytest.importorskip("transformers.pytorch_utils").Conv1D
    layer = conv1d(6, 4).requires_grad_(False)
    layer.weight.copy_(torch.arange(24.0).view(4, 6) / 7)
    layer.bias.copy_(torch.arange(6.0))
    x = torch.ones(3, 4)
    found = quantised.int8(nn.Sequential(layer))(x)
    # four weights, each off by half a step of its output's largest weight / 127
    assert (found - (x @ layer.weight + layer.bias)).abs().max() <= 4 * 0.5 * 23 / 7 / 127
