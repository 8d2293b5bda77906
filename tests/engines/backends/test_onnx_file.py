"""Exported networks: standard operators, exact where it matters, found again only if nothing changed."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

onnx = pytest.importorskip("onnx")

from engines.backends import onnx_file, onnx_precision  # noqa: E402 - onnx first, or skip
from engines.backends.cache import Cache  # noqa: E402
from engines.contract import NotApplicable  # noqa: E402
from engines.ditto.networks.lmdm import GuidedStep  # noqa: E402
from engines.ditto.networks.warp import Deform, Sample  # noqa: E402
from tests.engines.backends.exports import case, networks, tiny_file  # noqa: E402

FLOAT, HALF = onnx.TensorProto.FLOAT, onnx.TensorProto.FLOAT16


@pytest.mark.parametrize("network", networks())
def test_every_operator_is_onnxs_own_and_every_shape_is_fixed(network: str, files: Path) -> None:
    model = onnx.load(str(tiny_file(network, files)))
    onnx.checker.check_model(model, full_check=True)
    assert {node.domain for node in model.graph.node} <= {"", "ai.onnx"}
    assert not model.functions
    operators = {node.op_type for node in model.graph.node}
    assert not operators & {"GridSample", "Shape", "Loop", "If", "ScatterND"}
    sides = [side for value in model.graph.input for side in value.type.tensor_type.shape.dim]
    assert not [side for side in sides if not side.HasField("dim_value") and side.dim_param]


@pytest.mark.slow
def test_a_file_says_nothing_of_the_machine_and_is_the_same_every_time(tmp_path: Path) -> None:
    paths = [tmp_path / "a.onnx", tmp_path / "b.onnx"]
    for path in paths:
        onnx_file.export(*case("stitch_network"), "fp32", path)
    first, second = (path.read_bytes() for path in paths)
    assert first == second
    assert str(Path(onnx_file.__file__).parents[2]).encode() not in first


def test_exporting_leaves_the_network_as_it_is_and_copies_no_weights() -> None:
    module, _ = case("warp_network")
    copy = onnx_file.exportable(module)
    assert isinstance(module.sample, Sample)
    assert isinstance(module.dense_motion_network.deform, Deform)
    kinds = {type(part).__name__ for part in copy.modules()}
    assert {"GatherSample", "Translate"} <= kinds
    assert not {"Sample", "Deform"} & kinds
    theirs = {tensor.data_ptr() for tensor in copy.parameters()}
    assert theirs == {tensor.data_ptr() for tensor in module.parameters()}


def test_a_decoder_is_exported_folded_though_it_is_not() -> None:
    module, _ = case("decoder")
    assert not [key for key in onnx_file.exportable(module).state_dict() if "weight_orig" in key]
    assert [key for key in module.state_dict() if "weight_orig" in key]


@pytest.fixture
def built(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of what was exported; the files are stand-ins, the keys are real."""
    record: list[str] = []

    def export(module, example, precision, path) -> None:
        record.append(example.name)
        path.write_bytes(b"onnx")

    monkeypatch.setattr(onnx_file, "export", export)
    return record


def test_nothing_is_exported_twice(built: list[str], tmp_path: Path) -> None:
    first = onnx_file.exported(*case("stitch_network"), "fp32", Cache(tmp_path))
    assert onnx_file.exported(*case("stitch_network"), "fp32", Cache(tmp_path)) == first
    assert built == ["stitch_network"]


def other_weights():
    return *case("stitch_network", seed=4), "fp32"


def other_precision():
    return *case("stitch_network"), "fp16"


def other_shape():
    return *case("stitch_network", batch=2), "fp32"


def other_names():
    module, example = case("stitch_network")
    return module, replace(example, outputs=("moved",)), "fp32"


def other_slope():
    module, example = case("stitch_network")
    module.mlp[1] = torch.nn.LeakyReLU(0.1)
    return module, example, "fp32"


STALE = [other_weights, other_precision, other_shape, other_names, other_slope]


@pytest.mark.parametrize("other", STALE)
def test_a_stale_file_is_not_loaded(built: list[str], tmp_path: Path, other) -> None:
    first = onnx_file.exported(*case("stitch_network"), "fp32", Cache(tmp_path))
    assert onnx_file.exported(*other(), Cache(tmp_path)) != first
    assert len(built) == 2


@pytest.mark.parametrize("package", ["torch", "onnx", "onnxscript"])
def test_another_version_of_what_exports_makes_a_file_stale(
    built, tmp_path: Path, monkeypatch, package
) -> None:
    first = onnx_file.exported(*case("stitch_network"), "fp32", Cache(tmp_path))
    real = onnx_file.versions
    monkeypatch.setattr(
        onnx_file,
        "versions",
        lambda *names: {n: "0.0" if n == package else v for n, v in real(*names).items()},
    )
    assert onnx_file.exported(*case("stitch_network"), "fp32", Cache(tmp_path)) != first


def test_a_constant_in_a_networks_code_is_part_of_what_it_is() -> None:
    lmdm, _ = case("lmdm")
    assert onnx_file.code_digest(GuidedStep(lmdm, 2.0)) != onnx_file.code_digest(GuidedStep(lmdm, 3.0))
    assert onnx_file.code_digest(GuidedStep(lmdm, 2.0)) == onnx_file.code_digest(GuidedStep(lmdm))


@pytest.mark.slow
def test_in_half_precision_convolutions_are_half_and_coordinates_are_not(tmp_path: Path) -> None:
    path = tmp_path / "warp.onnx"
    onnx_file.export(*case("warp_network"), "fp16", path)
    model = onnx.shape_inference.infer_shapes(onnx.load(str(path)), strict_mode=True)
    graph = model.graph
    kinds = {value.name: value.type.tensor_type.elem_type for value in (*graph.value_info, *graph.input)}
    kinds |= {weight.name: weight.data_type for weight in graph.initializer}

    def given(operator: str) -> set[int]:
        return {kinds[name] for node in graph.node if node.op_type == operator for name in node.input}

    assert given("Conv") == {HALF}
    assert given("MatMul") == {FLOAT}  # those of the translations; it has no other
    assert given("Floor") == given("Exp") == given("Softmax") == {FLOAT}
    assert {value.type.tensor_type.elem_type for value in (*graph.input, *graph.output)} == {FLOAT}
    assert onnx_file.stored_type(path) == "float16"


def test_an_exporter_that_does_not_say_where_nodes_come_from_is_an_error() -> None:
    network = onnx_file.exportable(case("warp_network")[0])
    node = onnx.helper.make_node("Floor", ["x"], ["y"], "coordinate")
    model = onnx.helper.make_model(onnx.helper.make_graph([node], "warp", [], []))
    with pytest.raises(RuntimeError, match=r"warp: torch .* no node of .*sample.* use precision=fp32"):
        onnx_file._exact_nodes(model, network, "warp")
    assert onnx_file._exact_nodes(model, torch.nn.Linear(1, 1), "layer") == set()


def test_int8_weights_are_the_nearest_of_255_levels_per_output() -> None:
    weight = np.array([[127.0, -63.4, 0.0], [0.5, 0.25, -1.27], [0.0, 0.0, 0.0]], np.float32)
    values, scale = onnx_precision.to_int8(weight, 0)
    np.testing.assert_allclose(scale, [1.0, 0.01, 1 / 127], rtol=1e-6)
    assert values.tolist() == [[127, -63, 0], [50, 25, -127], [0, 0, 0]]


def test_a_network_of_small_layers_is_not_called_int8() -> None:
    weight = onnx.numpy_helper.from_array(np.ones((8, 8), np.float32), "w")
    node = onnx.helper.make_node("MatMul", ["x", "w"], ["y"], "product")
    model = onnx.helper.make_model(onnx.helper.make_graph([node], "small", [], [], [weight]))
    with pytest.raises(NotApplicable, match="precision=int8: only 0 of 64 weights"):
        onnx_precision.quantise(model, ())


def test_a_network_with_kernels_of_its_own_has_no_onnx_form(tmp_path: Path) -> None:
    module, example = case("stitch_network")
    module.casts_itself = True
    with pytest.raises(NotApplicable, match=r"stitch_network: .* use fused=false"):
        onnx_file.exported(module, example, "fp32", Cache(tmp_path))


def test_missing_packages_are_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(onnx_file, "_version", lambda name: "")
    with pytest.raises(NotApplicable, match="pip install onnx onnxscript"):
        onnx_file.exported(*case("stitch_network"), "fp32", Cache(tmp_path))
