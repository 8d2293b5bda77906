"""Networks in onnxruntime: eager's numbers, on the provider that was asked for or not at all."""

from __future__ import annotations

import gc
import sys
import types
import weakref
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

from torch.multiprocessing.reductions import StorageWeakRef

from engines.backends import onnxruntime as backend
from engines.backends.cache import Cache
from engines.contract import NotApplicable
from engines.ditto.networks.motion import MotionInfo
from tests.engines.backends.exports import QUICK, SLOW, case, networks, on_paper, tiny_file

# Of an output's largest element, for other float32 arithmetic: as the reference cases have it.
TOLERANCE = {"warp_network": 4.5e-5, "decoder": 2e-5}


def prepared(network: str, files: Path, precision: str = "fp32", **options: Any) -> Any:
    return backend.prepare(*case(network), precision, Cache(files), **options)


def all_close(found: Any, expected: Any, tolerance: float) -> bool:
    if isinstance(expected, torch.Tensor):
        found, expected = [found], [expected]
    pairs = list(zip(found, expected, strict=True))
    return all((one - two).abs().max() <= tolerance * two.abs().max() for one, two in pairs)


@pytest.mark.parametrize("network", networks())
def test_a_network_gives_what_eager_gives(network: str, files: Path) -> None:
    tiny_file(network, files)
    module, example = case(network)
    inputs = [*example.inputs.values()]
    found = prepared(network, files)(*inputs)
    assert all_close(found, module(*inputs), TOLERANCE.get(network, 1e-5))


@pytest.mark.slow
@pytest.mark.parametrize("network", [*QUICK, *SLOW])
def test_at_full_size_too(network: str, tmp_path: Path) -> None:
    module, example = case(network, "full")
    inputs = [*example.inputs.values()]
    with torch.no_grad():
        expected = module(*inputs)
    found = backend.prepare(module, example, "fp32", Cache(tmp_path))(*inputs)
    assert all_close(found, expected, TOLERANCE.get(network, 1e-5))


@pytest.mark.slow
def test_several_results_come_back_under_their_names(files: Path) -> None:
    _, example = case("motion_extractor")
    found = prepared("motion_extractor", files)(*example.inputs.values())
    assert isinstance(found, MotionInfo)
    assert found.pitch.shape == (1, 66)


def test_int8_is_the_network_with_rounded_weights_in_float32(files: Path) -> None:
    module, example = case("stitch_network")
    inputs = [*example.inputs.values()]
    found = prepared("stitch_network", files, "int8")
    for layer in module.mlp:
        if isinstance(layer, torch.nn.Linear) and layer.weight.numel() >= 1024:
            scale = layer.weight.abs().amax(1, keepdim=True) / 127
            layer.weight.data = (layer.weight / scale).round() * scale
    assert all_close(found(*inputs), module(*inputs), 1e-5)
    assert found.facts["dtype"] == "int8 weights, float32 arithmetic"


def test_the_facts_are_those_of_the_session(files: Path) -> None:
    facts = dict(prepared("stitch_network", files).facts)
    assert facts.pop("engine") == tiny_file("stitch_network", files).parent.name
    assert facts.pop("threads") == str(torch.get_num_threads())
    assert facts == {
        "backend": "onnxruntime",
        "dtype": "float32",
        "device": "cpu",
        "provider": "CPUExecutionProvider",
    }


def test_threads_share_a_session_and_keep_their_results(files: Path) -> None:
    module, example = case("stitch_network")
    run = prepared("stitch_network", files)
    calls = [[tensor + i for tensor in example.inputs.values()] for i in range(8)]
    with ThreadPoolExecutor(4) as pool:
        results = list(pool.map(lambda inputs: run(*inputs), calls))
    assert all(all_close(found, module(*inputs), 1e-5) for found, inputs in zip(results, calls, strict=True))


@pytest.mark.parametrize(
    "network",
    ["stitch_network", *(pytest.param(name, marks=pytest.mark.slow) for name in ("warp_network", *SLOW))],
)
def test_the_network_and_its_inputs_are_not_kept_beside_the_session(network: str, tmp_path: Path) -> None:
    module, example = case(network)
    shapes = [(tensor.shape, tensor.dtype) for tensor in example.inputs.values()]
    run = backend.prepare(module, example, "fp32", Cache(tmp_path))
    tensors = [*module.named_parameters(), *module.named_buffers(), *example.inputs.items()]
    memory = {name: StorageWeakRef(tensor.untyped_storage()) for name, tensor in tensors}
    network = weakref.ref(module)
    del module, example, tensors
    gc.collect()
    assert network() is None
    assert [name for name, storage in memory.items() if not storage.expired()] == []
    run(*(torch.zeros(shape, dtype=dtype) for shape, dtype in shapes))


def test_another_shape_is_refused(files: Path) -> None:
    run = prepared("stitch_network", files)
    with pytest.raises(ValueError, match="stitch_network"):
        run(torch.zeros(2, 21, 3), torch.zeros(2, 21, 3))


def test_cuda_asked_of_a_package_without_it_is_no_result(
    files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import onnxruntime

    if "CUDAExecutionProvider" in onnxruntime.get_available_providers():
        pytest.skip("this onnxruntime has it")
    monkeypatch.setattr(backend, "_refuse", lambda *given: None)
    with pytest.raises(NotApplicable, match=r"CUDAExecutionProvider asked for, onnxruntime has .*CPU"):
        prepared("stitch_network", files, provider="cuda")


def test_a_provider_for_another_device_is_no_result(files: Path) -> None:
    with pytest.raises(NotApplicable, match=r"onnx_provider=cuda: stitch_network has its inputs on cpu"):
        prepared("stitch_network", files, provider="cuda")


def test_a_misspelt_provider_is_refused_with_the_known_ones(files: Path) -> None:
    with pytest.raises(ValueError, match=r"onnx_provider=gpu: .* cpu, cuda, tensorrt"):
        prepared("stitch_network", files, provider="gpu")


@pytest.mark.parametrize("precision", ["fp16", "bf16", "tf32", "fp8"])
def test_a_cpu_pretends_no_precision_that_it_lacks(files: Path, precision: str) -> None:
    with pytest.raises(NotApplicable, match=f"precision={precision}: .*; use "):
        prepared("stitch_network", files, precision)


class Runtime(types.ModuleType):
    """Stands in for an onnxruntime with CUDA; `taken`: the providers that its sessions end up with."""

    def __init__(self, taken: list[str]) -> None:
        super().__init__("onnxruntime")
        self.asked: dict[str, Any] = {}
        runtime = self

        class SessionOptions:
            def add_session_config_entry(self, key: str, value: str) -> None:
                runtime.asked[key] = value

        class InferenceSession:
            def __init__(self, path: str, options: Any, **given: Any) -> None:
                runtime.asked |= given

            def get_providers(self) -> list[str]:
                return taken

            def disable_fallback(self) -> None:
                runtime.asked["disable_fallback"] = True

        self.SessionOptions, self.InferenceSession = SessionOptions, InferenceSession


def test_a_session_that_took_another_provider_is_no_result() -> None:
    runtime = Runtime(["CPUExecutionProvider"])
    with pytest.raises(NotApplicable, match=r"onnx_provider=cuda: .* onnxruntime has CPUExecutionProvider"):
        backend.open_session(runtime, Path("a/b/c.onnx"), "cuda", {})


@pytest.mark.parametrize("provider", ["cuda", "tensorrt"])
def test_on_a_gpu_no_node_may_fall_back(provider: str) -> None:
    runtime = Runtime([backend.PROVIDERS[provider], "CPUExecutionProvider"])
    backend.open_session(runtime, Path("a/b/c.onnx"), provider, {"use_tf32": "0"})
    assert runtime.asked == {
        "session.disable_cpu_ep_fallback": "1",
        "providers": [(backend.PROVIDERS[provider], {"use_tf32": "0"})],
        "enable_fallback": 0,
        "disable_fallback": True,
    }


class Gpu(types.ModuleType):
    """Stands in for an onnxruntime with TensorRT, which writes an engine where it is told to."""

    __version__ = "1.31.0"
    tensorrt = 101300

    def __init__(self) -> None:
        super().__init__("onnxruntime")
        runtime = self
        self.built: list[str] = []

        class SessionOptions:
            intra_op_num_threads = 1

            def add_session_config_entry(self, key: str, value: str) -> None:
                pass

        class InferenceSession:
            def __init__(self, path: str, options: Any, providers: list, enable_fallback: int) -> None:
                self.asked = dict(providers[0][1])
                kept = Path(self.asked["trt_engine_cache_path"]) / "network.engine"
                if not kept.exists():
                    kept.write_bytes(b"engine")
                    runtime.built.append(str(kept))

            def get_providers(self) -> list[str]:
                return ["TensorrtExecutionProvider"]

            def get_provider_options(self) -> dict[str, dict[str, str]]:
                return {"TensorrtExecutionProvider": self.asked}

            def get_session_options(self) -> SessionOptions:
                return SessionOptions()

            def get_outputs(self) -> list:
                return []

            def disable_fallback(self) -> None:
                pass

        self.SessionOptions, self.InferenceSession = SessionOptions, InferenceSession


class Call:
    """In place of DeviceCall: nothing runs."""

    stream = types.SimpleNamespace(cuda_stream=7)

    def __init__(self, device: torch.device) -> None:
        pass

    def __call__(self, *given: Any) -> list[torch.Tensor]:
        return [torch.zeros(1)]


@pytest.fixture
def trt(gpu, monkeypatch: pytest.MonkeyPatch) -> Gpu:
    runtime = Gpu()
    monkeypatch.setattr(backend, "_runtime", lambda provider: runtime)
    monkeypatch.setattr(backend, "tensorrt_version", lambda given: given.tensorrt)
    monkeypatch.setattr(backend, "DeviceCall", Call)
    return runtime


def engine(root: Path, precision: str = "fp16", **change: Any) -> Path:
    """The folder of the engine that `prepare` runs, as its facts name it."""
    module, example = case("stitch_network", **change)
    run = backend.prepare(module, on_paper(example), precision, Cache(root), provider="tensorrt")
    return root / "stitch_network" / run.facts["engine"]


def test_the_fact_engine_is_tensorrts_engine_and_not_its_onnx_file(trt: Gpu, tmp_path: Path) -> None:
    folder = engine(tmp_path)
    assert (folder / "network.engine").read_bytes() == b"engine"
    assert not list(folder.glob("*.onnx"))


def test_an_engine_is_found_again_where_nothing_changed(trt: Gpu, tmp_path: Path) -> None:
    assert engine(tmp_path) == engine(tmp_path)
    assert len(trt.built) == 1


@pytest.mark.parametrize("change", [{"seed": 4}, {"batch": 2}, {"precision": "bf16"}], ids=str)
def test_an_engine_of_another_network_or_call_is_stale(trt: Gpu, tmp_path: Path, change: dict) -> None:
    assert engine(tmp_path) != engine(tmp_path, **change)
    assert len(trt.built) == 2


def test_an_engine_of_other_software_or_another_gpu_is_stale(
    trt: Gpu, gpu, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folders = [engine(tmp_path)]
    changes = [
        *((trt, "__version__", "1.31.1"), (trt, "tensorrt", 101301)),
        *((gpu, "capability", (9, 0)), (gpu, "name", "NVIDIA L40S"), (backend, "__file__", __file__)),
    ]
    for changed, name, value in changes:
        with monkeypatch.context() as patch:
            patch.setattr(changed, name, value)
            folders.append(engine(tmp_path))
    assert len(set(folders)) == len(trt.built) == 6
    assert engine(tmp_path) == folders[0]


def provider_library(root: Path, content: bytes) -> types.SimpleNamespace:
    """An onnxruntime whose TensorRT provider has this content."""
    path = root / "onnxruntime" / "capi" / "libonnxruntime_providers_tensorrt.so"
    path.parent.mkdir(parents=True)
    path.write_bytes(content)
    return types.SimpleNamespace(__file__=str(root / "onnxruntime" / "__init__.py"))


def test_tensorrts_version_is_asked_of_the_library_that_the_provider_links_to(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    runtime = provider_library(tmp_path, b"\0libnvinfer_plugin.so.9\0libnvinfer.so.10\0libcudart.so.12\0")
    monkeypatch.setattr(backend, "library_version", {"libnvinfer.so.10": 101300}.__getitem__)
    assert backend.tensorrt_version(runtime) == 101300


@pytest.mark.parametrize("content", [b"\0libnvinfer.so.99\0", b""])
def test_a_tensorrt_of_unknown_version_is_no_result(tmp_path: Path, content: bytes) -> None:
    runtime = provider_library(tmp_path, content)
    with pytest.raises(
        NotApplicable, match=r"version of TensorRT is unknown \(libnvinfer.so.*LD_LIBRARY_PATH"
    ):
        backend.tensorrt_version(runtime)


def test_a_library_says_its_version_as_a_number() -> None:
    version = pytest.importorskip("tensorrt_rtx").__version__
    major, minor, patch = (int(number) for number in version.split(".")[:3])
    library = next(Path(sys.modules["tensorrt_rtx_libs"].__file__).parent.glob("libtensorrt_rtx.so*"))
    assert backend.library_version(str(library)) == major * 10000 + minor * 100 + patch


def test_a_file_that_onnxruntime_refuses_is_no_result_in_its_words(tmp_path: Path) -> None:
    import onnxruntime

    path = tmp_path / "decoder" / "key" / "network.onnx"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"not a model")
    with pytest.raises(NotApplicable, match=r"onnx_provider=cpu: onnxruntime refuses decoder: .*[Pp]rotobuf"):
        backend.open_session(onnxruntime, path, "cpu", {})


def test_without_the_package_its_name_is_given(files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "onnxruntime", None)
    with pytest.raises(NotApplicable, match="pip install onnxruntime"):
        prepared("stitch_network", files)


@pytest.mark.gpu
@pytest.mark.parametrize(("precision", "tolerance"), [("fp32", 1e-4), ("tf32", 1e-2), ("fp16", 1e-2)])
@pytest.mark.parametrize("network", [*QUICK, *SLOW])
def test_on_cuda_the_numbers_are_eagers(
    network: str, precision: str, tolerance: float, tmp_path: Path
) -> None:
    module, example = case(network)
    inputs = [*example.inputs.values()]
    expected = module(*inputs)
    there = type(example)(network, {k: v.cuda() for k, v in example.inputs.items()}, example.outputs)
    try:
        run = backend.prepare(module.cuda(), there, precision, Cache(tmp_path))
    except NotApplicable as refusal:
        pytest.skip(str(refusal))
    assert run.facts["provider"] == "CUDAExecutionProvider"
    moved = [tensor.cuda() for tensor in inputs]
    for _ in range(3):
        found = run(*moved)
    found = [found] if isinstance(expected, torch.Tensor) else found
    expected = [expected] if isinstance(expected, torch.Tensor) else expected
    assert all_close([tensor.cpu() for tensor in found], expected, tolerance)
