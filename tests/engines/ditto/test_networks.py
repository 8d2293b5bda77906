"""Ditto's networks: keys and shapes of the released checkpoints, and what every forward pass promises."""

import json
from pathlib import Path

import pytest
import torch

from engines.ditto.networks import NETWORKS, build
from engines.ditto.networks.lmdm import ContextEncoder, GuidedStep
from engines.ditto.weights import random_weights

MANIFEST = json.loads((Path(__file__).parents[2] / "data" / "manifest.json").read_text())["configs"]
RELEASED = [(size, name) for size in MANIFEST for name in MANIFEST[size] if name in NETWORKS]
TINY_SHAPES = {
    "appearance_extractor": [(3, 64, 64)],
    "motion_extractor": [(3, 64, 64)],
    "warp_network": [(4, 8, 16, 16), (21, 3), (21, 3)],
    "decoder": [(32, 16, 16)],
    "stitch_network": [(21, 3), (21, 3)],
    "lmdm": [(20, 265), (265,), (20, 1103)],
    "hubert": [(6480,)],
}


def filled(network, seed=3):
    return random_weights(build(network, "tiny"), seed, network, "tiny")


def inputs(network, batch, seed=5):
    generator = torch.Generator().manual_seed(seed)
    arrays = [torch.rand((batch, *shape), generator=generator) - 0.5 for shape in TINY_SHAPES[network]]
    times = torch.randint(0, 1000, (batch,), generator=generator)
    return [*arrays, times] if network == "lmdm" else arrays


def close(found, expected):
    """Equal up to float32 rounding, by the largest element, as the reference cases are judged."""
    assert found.shape == expected.shape
    assert (found - expected).abs().max() <= 1e-5 * expected.abs().max()


@pytest.mark.parametrize(("size", "network"), RELEASED)
def test_keys_their_order_and_shapes_are_those_of_the_released_checkpoint(size, network):
    module = build(network, size, device="meta")
    entries = module.state_dict().items()
    found = [[key, list(entry.shape), str(entry.dtype).removeprefix("torch.")] for key, entry in entries]
    assert found == MANIFEST[size][network]["state_dict"]
    assert sum(p.numel() for p in module.parameters()) == MANIFEST[size][network]["params"]


def test_full_hubert_has_the_parameters_of_hubert_large():
    parameters = sum(p.numel() for p in build("hubert", "full", device="meta").parameters())
    assert round(parameters / 1e6, 1) == 315.4


@pytest.mark.parametrize("network", NETWORKS)
def test_a_state_dict_goes_into_another_instance_and_back(network):
    source, target = filled(network), build(network, "tiny")
    target.load_state_dict(source.state_dict(), strict=True)
    assert list(target.state_dict()) == list(source.state_dict())
    assert all(torch.equal(target.state_dict()[key], value) for key, value in source.state_dict().items())
    first, second = (module(*inputs(network, 1)) for module in (source, target))
    assert all(map(torch.equal, first, second))


@pytest.mark.parametrize("network", NETWORKS)
def test_a_batch_gives_what_its_members_give_alone(network):
    module, batch = filled(network), inputs(network, 3)
    together = module(*batch)
    singles = [module(*(part[i : i + 1] for part in batch)) for i in range(3)]
    if isinstance(together, torch.Tensor):
        close(together, torch.cat(singles))
    else:
        for head in together._fields:
            close(getattr(together, head), torch.cat([getattr(single, head) for single in singles]))


def test_height_and_width_may_differ():
    f_s = filled("appearance_extractor")(torch.rand(1, 3, 64, 96))
    assert f_s.shape == (1, 4, 8, 16, 24)
    f_3d = filled("warp_network")(f_s, *inputs("warp_network", 1)[1:])
    assert f_3d.shape == (1, 32, 16, 24)
    assert filled("decoder")(f_3d).shape == (1, 3, 128, 192)
    assert filled("motion_extractor")(torch.rand(1, 3, 64, 96)).pitch.shape == (1, 66)


def test_folding_the_decoder_changes_no_bit_of_its_output():
    decoder, feature = filled("decoder"), inputs("decoder", 2)[0]
    before = decoder(feature)
    assert torch.equal(decoder.fold()(feature), before)
    assert not [key for key in decoder.state_dict() if "weight_u" in key or "weight_orig" in key]
    assert torch.equal(decoder.fold()(feature), before)


def test_the_guided_step_is_both_branches_apart():
    network = filled("lmdm")
    x, frame, cond, time = inputs("lmdm", 2)
    unconditional = network.denoise(x, frame, network.null_context(2), time)
    expected = unconditional + 2 * (network(x, frame, cond, time) - unconditional)
    close(GuidedStep(network)(x, frame, *ContextEncoder(network)(cond), time), expected)


def test_identical_key_points_move_nothing_but_by_the_grid_mismatch():
    motion = filled("warp_network").dense_motion_network
    feature, kp, _ = inputs("warp_network", 1)
    result = motion(feature, kp, kp)
    axis = torch.linspace(-1, 1, 16)
    torch.testing.assert_close(result.deformation[0, 0, 0, :, 0], axis)
    torch.testing.assert_close(result.mask.sum(dim=1), torch.ones(1, 8, 16, 16))


def test_hubert_computes_what_transformers_computes_without_touching_the_global_generator():
    hubert, (samples,) = filled("hubert"), inputs("hubert", 2)
    expected = hubert.to_features(hubert.model(samples).last_hidden_state)
    state = torch.random.get_rng_state()
    found = hubert(samples)
    assert found.shape == (2, 20, 1024)
    assert torch.equal(found, expected)
    assert torch.equal(torch.random.get_rng_state(), state)


def test_building_draws_no_random_numbers():
    state = torch.random.get_rng_state()
    for network in NETWORKS:
        filled(network)
    assert torch.equal(torch.random.get_rng_state(), state)


def test_coordinates_stay_in_single_precision_when_the_weights_are_not():
    motion = filled("warp_network").dense_motion_network
    feature, source, driving = inputs("warp_network", 1)
    expected = motion(feature, source, driving).deformation
    found = motion.bfloat16()(feature.bfloat16(), source, driving).deformation
    assert found.dtype == torch.float32
    # a mask off by bfloat16's 2^-8 moves a voxel by no more than that share of the widest motion, about 2
    assert (found - expected).abs().mean() < 2 * 2**-8


@pytest.mark.parametrize(
    "network",
    [pytest.param(name, marks=pytest.mark.slow) if name == "decoder" else name for name in NETWORKS],
)
def test_a_forward_pass_can_be_exported_without_python_control_flow(network):
    module, given = filled(network), tuple(inputs(network, 1))
    exported = torch.export.export(module, given).module()
    first = exported(*given)
    expected = module(*given)
    if isinstance(expected, torch.Tensor):
        first, expected = [first], [expected]
    for found, reference in zip(first, expected, strict=True):
        close(found, reference)


@pytest.mark.parametrize(("network", "size"), [("vocoder", "tiny"), ("decoder", "small")])
def test_an_unknown_name_is_refused_with_the_known_ones(network, size):
    with pytest.raises(ValueError, match=r"(vocoder|small): unknown; use one of (.*decoder|full, tiny)"):
        build(network, size)
