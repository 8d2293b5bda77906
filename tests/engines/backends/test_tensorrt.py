"""TensorRT engines: every network builds for the L4 without a GPU; what cannot run says why."""

from __future__ import annotations

import sys
import types
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

pytest.importorskip("onnx")

from engines.backends import onnx_file, tensorrt
from engines.backends.cache import Cache
from engines.contract import NotApplicable
from tests.engines.backends.exports import QUICK, SLOW, case, networks, on_paper, tiny_file

L4 = "sm_89"


@pytest.fixture
def rtx() -> types.ModuleType:
    """The package whose builder needs no GPU."""
    return pytest.importorskip("tensorrt_rtx")


@pytest.mark.parametrize("network", networks())
def test_a_network_parses_and_builds_for_an_l4(network: str, files: Path, rtx) -> None:
    path = tiny_file(network, files)
    weights = sum(part.numel() for part in case(network)[0].state_dict().values())
    built = tensorrt.build(path, L4)
    assert len(built.plan) > weights  # bytes; they are in it
    assert (built.weights, "TF32" in built.flags) == ("float32", False)


def test_a_build_notes_what_the_builder_was_told(files: Path, rtx) -> None:
    assert "TF32" in tensorrt.build(tiny_file("stitch_network", files), L4, tf32=True).flags


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["fp16", "bf16", "int8"])
@pytest.mark.parametrize("network", [*QUICK, *SLOW])
def test_and_in_every_precision(network: str, precision: str, tmp_path: Path, rtx) -> None:
    path = tmp_path / "network.onnx"
    onnx_file.export(*case(network), precision, path)
    built = tensorrt.build(path, L4)
    assert len(built.plan) > path.stat().st_size / 2
    assert built.weights == {"fp16": "float16", "bf16": "bfloat16", "int8": "int8"}[precision]


@pytest.mark.slow
@pytest.mark.parametrize("precision", ["fp32", "fp16"])
@pytest.mark.parametrize("network", [*QUICK, *SLOW])
def test_at_full_size_too(network: str, precision: str, tmp_path: Path, rtx) -> None:
    path = tmp_path / "network.onnx"
    onnx_file.export(*case(network, "full"), precision, path)
    assert len(tensorrt.build(path, L4).plan) > path.stat().st_size / 2


def test_a_card_that_the_package_does_not_know_is_named(files: Path, rtx) -> None:
    with pytest.raises(NotApplicable, match=r"tensorrt_rtx cannot build for sm_90; it knows SM120, .*SM89"):
        tensorrt.build(tiny_file("stitch_network", files), "sm_90")


def test_a_file_that_is_no_network_is_refused_in_the_parsers_words(tmp_path: Path, rtx) -> None:
    path = tmp_path / "decoder" / "key" / "network.onnx"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"not a model")
    with pytest.raises(NotApplicable, match=r"tensorrt_rtx cannot parse decoder: .*(parse|onnx|ONNX)"):
        tensorrt.build(path, L4)


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_an_engine_for_this_machines_gpu_needs_one(files: Path, rtx) -> None:
    with pytest.raises(NotApplicable, match=r"tensorrt_rtx cannot build stitch_network: .*[Cc][Uu][Dd][Aa]"):
        tensorrt.build(tiny_file("stitch_network", files))


def test_on_a_cpu_there_is_no_tensorrt(tmp_path: Path) -> None:
    with pytest.raises(NotApplicable, match="engines run on NVIDIA GPUs only; use backend=onnxruntime"):
        tensorrt.prepare(*case("stitch_network"), "fp32", Cache(tmp_path))
    assert not list(tmp_path.iterdir())


def test_without_a_package_the_commands_that_install_one_are_given(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in tensorrt.PACKAGES:
        monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(NotApplicable, match=r"pip install tensorrt, or .* pip install tensorrt-rtx"):
        tensorrt.load_package()


@pytest.mark.parametrize("error", [ImportError, OSError])
def test_a_package_without_its_libraries_is_no_result_in_its_words(
    monkeypatch: pytest.MonkeyPatch, error: type[Exception]
) -> None:
    def load(name: str) -> None:
        raise error(f"lib{name}.so.10: cannot open shared object file")

    monkeypatch.setattr(tensorrt.importlib, "import_module", load)
    with pytest.raises(NotApplicable, match=r"installed \(tensorrt: libtensorrt.so.10: cannot open .*; pip"):
        tensorrt.load_package()


def package(version: str, *flags: str) -> types.ModuleType:
    made = types.ModuleType("tensorrt")
    vars(made).update(
        __version__=version,
        NetworkDefinitionCreationFlag=types.SimpleNamespace(**dict.fromkeys(flags, 0)),
    )
    return made


def test_tensorrt_is_taken_before_tensorrt_rtx(monkeypatch: pytest.MonkeyPatch, rtx) -> None:
    full = package("10.9", "STRONGLY_TYPED")
    monkeypatch.setitem(sys.modules, "tensorrt", full)
    assert tensorrt.load_package() is full
    monkeypatch.setitem(sys.modules, "tensorrt", None)
    assert tensorrt.load_package() is rtx


def test_a_tensorrt_too_old_for_typed_networks_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorrt", package("8.6", "EXPLICIT_BATCH"))
    with pytest.raises(NotApplicable, match=r"tensorrt 8.6 has no strongly typed networks; .*tensorrt>=10"):
        tensorrt.load_package()


@pytest.fixture
def built(gpu, monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """The ONNX files of the engines that were built; what `prepare` gives is an engine's folder."""
    record: list[Path] = []

    def build(path: Path, *, tf32: bool) -> tensorrt.Built:
        record.append(path)
        return tensorrt.Built(b"engine", "float32" if tf32 else "float16", ["TF32"] if tf32 else [])

    monkeypatch.setattr(tensorrt, "build", build)
    monkeypatch.setattr(tensorrt, "Engine", lambda package, folder, kind, example: folder)
    monkeypatch.setattr(tensorrt, "load_package", lambda: package("10.13", "STRONGLY_TYPED"))
    return record


def engine(root: Path, precision: str = "fp16", **change: Any) -> Path:
    module, example = case("stitch_network", **change)
    return tensorrt.prepare(module, on_paper(example), precision, Cache(root))


def test_an_engine_is_found_again_where_nothing_changed(built: list[Path], tmp_path: Path) -> None:
    assert engine(tmp_path) == engine(tmp_path)
    assert len(built) == 1


@pytest.mark.parametrize("change", [{"seed": 4}, {"batch": 2}, {"precision": "bf16"}], ids=str)
def test_an_engine_of_another_network_or_call_is_stale(
    built: list[Path], tmp_path: Path, change: dict
) -> None:
    assert engine(tmp_path) != engine(tmp_path, **change)
    assert len(built) == 2


def test_an_engine_of_other_software_or_another_gpu_is_stale(
    built: list[Path], gpu, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folders = [engine(tmp_path)]
    changes = [
        (tensorrt, "load_package", lambda: package("10.14", "STRONGLY_TYPED")),
        *((gpu, "capability", (9, 0)), (gpu, "name", "NVIDIA L40S"), (tensorrt, "__file__", __file__)),
    ]
    for changed, name, value in changes:
        with monkeypatch.context() as patch:
            patch.setattr(changed, name, value)
            folders.append(engine(tmp_path))
    assert len(set(folders)) == len(built) == 5
    assert engine(tmp_path) == folders[0]


def test_tf32_and_fp32_are_two_engines_of_one_file_and_say_what_they_are(
    built: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folders = [engine(tmp_path, precision) for precision in ("tf32", "fp16", "fp32")]
    assert built[0] == built[2] != built[1]
    assert len(set(folders)) == 3
    assert [tensorrt.dtype_of(folder) for folder in folders[:2]] == ["tf32", "float16"]


@pytest.mark.gpu
@pytest.mark.parametrize(("precision", "tolerance"), [("fp32", 1e-4), ("tf32", 1e-2), ("fp16", 1e-2)])
@pytest.mark.parametrize("network", [*QUICK, *SLOW])
def test_on_a_gpu_the_numbers_are_eagers(
    network: str, precision: str, tolerance: float, tmp_path: Path
) -> None:
    module, example = case(network)
    expected = module(*example.inputs.values())
    there = replace(example, inputs={name: given.cuda() for name, given in example.inputs.items()})
    try:
        run = tensorrt.prepare(module.cuda(), there, precision, Cache(tmp_path))
    except NotApplicable as refusal:
        pytest.skip(str(refusal))
    for _ in range(3):
        found = run(*there.inputs.values())
    found = [found] if isinstance(expected, torch.Tensor) else found
    expected = [expected] if isinstance(expected, torch.Tensor) else expected
    for one, two in zip(found, expected, strict=True):
        assert (one.cpu() - two).abs().max() <= tolerance * two.abs().max()
