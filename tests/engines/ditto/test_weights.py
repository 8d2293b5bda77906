"""Random weights are the same everywhere and harmless; a checkpoint is the released one or is refused."""

import json
import math
import os
import pickle
import re
from pathlib import Path

import pytest
import torch

from engines.checkpoint import sha256
from engines.ditto.checkpoint_layout import CHECKPOINT_FILES, LEAST_BYTES, SIGNS
from engines.ditto.networks import NETWORKS, build
from engines.ditto.weights import load_checkpoint, random_weights
from tests import recipe

CASES = json.loads((Path(__file__).parents[2] / "data" / "golden.json").read_text())["cases"]
CHECKSUMS = {
    case["network"]: case["weights_crc32"]
    for case in CASES
    if case.get("config") == "tiny" and "network" in case
}
TOP_LEVEL = {"lmdm": "model_state_dict", "stitch_network": "retarget_shoulder"}


def state(network):
    return recipe.fill(build(network, "tiny"), f"0/tiny/{network}").state_dict()


def written(tmp_path, network, entries):
    """A file in the layout of the released one."""
    path = tmp_path / CHECKPOINT_FILES[network]
    torch.save({TOP_LEVEL[network]: entries} if network in TOP_LEVEL else entries, path)
    return path


def refusal(network, path):
    """The error of loading the file, after making sure that it names it and that nothing was loaded."""
    module = build(network, "tiny")
    with pytest.raises(ValueError) as caught:
        load_checkpoint(module, path, network)
    assert str(caught.value).startswith(f"{path}: ")
    assert not any(value.any() for key, value in module.state_dict().items() if not key.endswith("freqs"))
    return str(caught.value)


@pytest.mark.parametrize("network", CHECKPOINT_FILES)
@pytest.mark.parametrize("prefix", ["", "module."])
def test_a_file_in_the_released_layout_loads_bit_for_bit(tmp_path, network, prefix):
    path = written(tmp_path, network, {prefix + key: value for key, value in state(network).items()})
    module = load_checkpoint(build(network, "tiny"), path, network)
    assert recipe.weights_crc32(module.state_dict()) == CHECKSUMS[network]


def test_a_renamed_key_is_named_with_the_shape_it_should_have(tmp_path):
    entries = state("decoder")
    entries["up_0.conv_0.weight"] = entries.pop("up_0.conv_0.weight_orig")
    message = refusal("decoder", written(tmp_path, "decoder", entries))
    assert "up_0.conv_0.weight_orig: expected shape (32, 64, 3, 3), found no such key" in message


def test_a_key_too_many_is_named_with_its_shape(tmp_path):
    entries = {**state("stitch_network"), "mlp.9.bias": torch.zeros(7)}
    assert "mlp.9.bias: expected no such key, found shape (7)" in refusal(
        "stitch_network", written(tmp_path, "stitch_network", entries)
    )


def test_a_wrong_shape_is_named_with_both_shapes(tmp_path):
    entries = state("lmdm")
    entries["cond_projection.weight"] = torch.zeros(32, 1059)
    message = refusal("lmdm", written(tmp_path, "lmdm", entries))
    assert "cond_projection.weight: expected shape (32, 1103), found shape (32, 1059)" in message


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
@pytest.mark.parametrize("dtype", [torch.float16, torch.float32])
def test_weights_that_are_no_finite_numbers_are_refused(tmp_path, value, dtype):
    entries = {key: entry.to(dtype) for key, entry in state("stitch_network").items()}
    entries["mlp.2.bias"][-1] = value
    message = refusal("stitch_network", written(tmp_path, "stitch_network", entries))
    assert "mlp.2.bias: expected finite numbers, found others; stitch_network needs" in message


def test_numbers_that_only_a_wider_type_holds_are_refused(tmp_path):
    entries = {key: entry.double() * 1e300 for key, entry in state("stitch_network").items()}
    message = refusal("stitch_network", written(tmp_path, "stitch_network", entries))
    assert f"expected finite numbers, found others (and {len(entries) - 1} keys more)" in message


def test_a_key_with_and_without_its_prefix_is_refused(tmp_path):
    entries = state("stitch_network")
    entries["module.mlp.2.bias"] = torch.zeros_like(entries["mlp.2.bias"])
    message = refusal("stitch_network", written(tmp_path, "stitch_network", entries))
    assert "'mlp.2.bias': expected once, found twice" in message


@pytest.mark.parametrize("network", TOP_LEVEL)
def test_a_bare_state_dict_is_refused_where_the_released_file_has_a_top_level_key(tmp_path, network):
    path = tmp_path / "bare.pth"
    torch.save(state(network), path)
    assert f"{TOP_LEVEL[network]}: expected this top-level key" in refusal(network, path)


@pytest.mark.parametrize("content", [[1, 2], {"first.conv.weight": "text"}, {3: torch.zeros(1)}])
def test_what_is_no_state_dict_is_refused(tmp_path, content):
    path = tmp_path / "other.pth"
    torch.save(content, path)
    assert "expected a" in refusal("appearance_extractor", path)


@pytest.mark.parametrize(
    ("share", "complaint"),
    [(0.0, "is an empty file"), (0.1, "is truncated"), (0.5, "is truncated"), (0.99, "is truncated")],
)
def test_a_truncated_file_is_refused(tmp_path, share, complaint):
    path = written(tmp_path, "warp_network", state("warp_network"))
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    assert complaint in refusal("warp_network", path)


def test_a_truncated_file_of_the_old_format_is_refused(tmp_path):
    path = tmp_path / "decoder.pth"
    torch.save(state("decoder"), path, _use_new_zipfile_serialization=False)
    path.write_bytes(path.read_bytes()[:-1000])
    assert "is not a readable checkpoint" in refusal("decoder", path)


def test_a_missing_file_and_a_folder_are_refused(tmp_path):
    assert "cannot be read (No such file" in refusal("decoder", tmp_path / "decoder.pth")
    assert "cannot be read (Is a directory)" in refusal("decoder", tmp_path)


@pytest.mark.parametrize("taken", [name for name in CHECKPOINT_FILES if name != "stitch_network"])
def test_a_file_that_was_swapped_for_another_is_recognised(tmp_path, taken):
    entries = {f"module.{key}": value for key, value in state(taken).items()}
    message = refusal("stitch_network", written(tmp_path, taken, entries))
    assert f"it looks like {CHECKPOINT_FILES[taken]}; stitch_network needs" in message


@pytest.mark.parametrize("network", ["decoder", "lmdm"])
def test_the_stitching_file_is_recognised_in_place_of_another(tmp_path, network):
    message = refusal(network, written(tmp_path, "stitch_network", state("stitch_network")))
    assert f"it looks like stitch_network.pth; {network} needs" in message


def test_every_network_has_the_parameters_and_the_sign_that_its_file_is_known_by():
    with torch.device("meta"):
        networks = {name: build(name, "full") for name in CHECKPOINT_FILES}
    keys = {name: set(module.state_dict()) for name, module in networks.items()}
    for name, module in networks.items():
        assert 2 * sum(entry.numel() for entry in module.parameters()) == LEAST_BYTES[name]
        assert [other for other in networks if SIGNS[name] in keys[other]] == [name]


def test_the_state_of_an_optimiser_beside_the_weights_does_no_harm(tmp_path):
    path = tmp_path / "training.pth"
    torch.save({"model_state_dict": state("lmdm"), "optimizer": {"step": 3, "lr": [1e-4]}}, path)
    module = load_checkpoint(build("lmdm", "tiny"), path, "lmdm")
    assert recipe.weights_crc32(module.state_dict()) == CHECKSUMS["lmdm"]


def test_a_sparse_tensor_of_the_right_shape_is_refused(tmp_path):
    entries = state("stitch_network")
    entries["mlp.0.weight"] = entries["mlp.0.weight"].to_sparse()
    assert "mlp.0.weight: expected shape" in refusal(
        "stitch_network", written(tmp_path, "stitch_network", entries)
    )


class _Touches:
    """Pickles into a call of os.mkdir."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return os.mkdir, (self.path,)


@pytest.mark.parametrize("save", [torch.save, lambda value, path: path.write_bytes(pickle.dumps(value))])
def test_a_hostile_pickle_is_refused_and_not_run(tmp_path, save):
    path, trace = tmp_path / "decoder.pth", tmp_path / "trace"
    save({"fc.weight": _Touches(str(trace))}, path)
    assert re.search(r"\((it wants to call posix.mkdir|Unsupported operand \d+)\)", refusal("decoder", path))
    assert not trace.exists()


def test_the_digest_of_a_file_is_its_sha_256(tmp_path):
    file = tmp_path / "abc"
    file.write_bytes(b"abc")
    # the first test vector of FIPS 180
    assert sha256(file) == "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad"


@pytest.mark.parametrize("network", NETWORKS)
def test_random_weights_follow_the_seed_alone(network):
    first, again, other = (
        random_weights(build(network, "tiny"), seed, network, "tiny").state_dict() for seed in (0, 0, 1)
    )
    assert all(torch.equal(first[key], again[key]) for key in first)
    drawn = [key for key in first if not key.endswith(("freqs", "num_batches_tracked"))]
    assert not any(torch.equal(first[key], other[key]) for key in drawn)


@pytest.mark.parametrize("network", NETWORKS)
def test_random_weights_hold_no_number_that_slows_arithmetic_down(network):
    for key, value in random_weights(build(network, "tiny"), 0, network, "tiny").state_dict().items():
        if value.is_floating_point():
            assert torch.isfinite(value).all(), key
            assert not ((value != 0) & (value.abs() < torch.finfo(torch.float32).tiny)).any(), key


def test_spectral_vectors_fit_their_weight():
    entries = random_weights(build("decoder", "tiny"), 0, "decoder", "tiny").state_dict()
    for key in [key for key in entries if key.endswith("weight_u")]:
        prefix = key.removesuffix("weight_u")
        matrix, u, v = entries[prefix + "weight_orig"].flatten(1), entries[key], entries[prefix + "weight_v"]
        assert u.norm().item() == pytest.approx(1, abs=1e-6)
        torch.testing.assert_close(matrix.T @ u, v * torch.dot(u, matrix @ v))


def test_activations_stay_of_the_order_of_one_through_the_whole_chain():
    def network(name):
        return random_weights(build(name, "tiny"), 11, name, "tiny")

    image = torch.rand((1, 3, 64, 64), generator=torch.Generator().manual_seed(0))
    f_s, info = network("appearance_extractor")(image), network("motion_extractor")(image)
    kp = info.kp.unflatten(1, (21, 3))
    f_3d = network("warp_network")(f_s, kp, network("stitch_network")(kp, kp))
    rgb = network("decoder")(f_3d)
    assert all(0.01 < x.std() < 10 for x in (f_s, kp, f_3d))
    assert 0.05 < rgb.std() < 0.5
