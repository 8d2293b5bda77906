"""Backend onnxruntime: the exported network on the CPU, CUDA or TensorRT provider, or not at all."""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from engines.backends import onnx_file
from engines.backends.arithmetic import refuse
from engines.backends.cache import Cache, file_digest
from engines.backends.cudagraph import require_shapes
from engines.backends.device_call import DeviceCall
from engines.backends.prepared import Example, outline
from engines.contract import NotApplicable

PROVIDERS = {
    "cpu": "CPUExecutionProvider",
    "cuda": "CUDAExecutionProvider",
    "tensorrt": "TensorrtExecutionProvider",
}
_DTYPES = {
    "tensor(float)": torch.float32,
    "tensor(int64)": torch.int64,
    "tensor(int32)": torch.int32,
    "tensor(bool)": torch.bool,
}
_NUMPY = {torch.float32: np.float32, torch.int64: np.int64, torch.int32: np.int32, torch.bool: np.bool_}
_LIBRARY = "capi/libonnxruntime_providers_tensorrt.so"  # in the package; loaded with the first session
# What onnxruntime raises for a graph that the provider does not take, or takes in part only.
_REFUSALS = (
    *("EPFail", "Fail", "RuntimeException", "NotImplemented"),
    *("InvalidArgument", "InvalidGraph", "InvalidProtobuf"),
)


def prepare(
    module: nn.Module, example: Example, precision: str, cache: Cache, *, provider: str = "auto"
) -> Session:
    """See engines.backends.prepared.Prepare.

    provider  cpu, cuda or tensorrt; auto: that of the example's device
    fp16, bf16 and int8 are those of the exported file (int8: weights only); tf32 is CUDA's. The file comes
    from the cache, for TensorRT its engine too. Raises NotApplicable for every provider, precision or
    operator that would run anywhere else than asked.
    """
    device = next(iter(example.inputs.values())).device
    provider = _provider(provider, device)
    _refuse(precision, provider, device, example.name)
    runtime = _runtime(provider)
    stored = "fp32" if precision == "tf32" else precision
    path = onnx_file.exported(module, example, stored, cache)
    options = _options(provider, precision, device)
    if provider == "tensorrt":
        options["trt_engine_cache_enable"] = "1"
        options["trt_engine_cache_path"] = str(_engine(runtime, path, options, example, precision, cache))
    return Session(runtime, path, provider, options, onnx_file.returned(module), example)


def _provider(asked: str, device: torch.device) -> str:
    if asked == "auto":
        return "cuda" if device.type == "cuda" else "cpu"
    if asked not in PROVIDERS:
        raise ValueError(f"onnx_provider={asked}: no such provider; use auto, {', '.join(PROVIDERS)}")
    return asked


def _refuse(precision: str, provider: str, device: torch.device, name: str) -> None:
    if provider == "cpu" and precision in ("fp16", "bf16", "tf32"):
        raise NotApplicable(
            f"precision={precision}: onnxruntime computes in float32 on a CPU; use precision=fp32 or int8"
        )
    if precision == "fp8":
        raise NotApplicable("precision=fp8: onnxruntime has no fp8 products; use fp16, or backend=compile")
    if provider == "tensorrt" and precision == "fp32":
        raise NotApplicable(
            "precision=fp32: onnxruntime's TensorRT provider cannot switch TF32 off; "
            "use precision=tf32, or onnx_provider=cuda"
        )
    if (provider == "cpu") != (device.type == "cpu"):
        raise NotApplicable(
            f"onnx_provider={provider}: {name} has its inputs on {device.type}; use onnx_provider=auto"
        )
    if device.type == "cuda":
        refuse(precision, device)


def _runtime(provider: str) -> Any:
    """The package, if it has the provider at all."""
    try:
        runtime = importlib.import_module("onnxruntime")
    except ImportError as error:
        package = "onnxruntime" if provider == "cpu" else "onnxruntime-gpu"
        raise NotApplicable(f"backend=onnxruntime: not installed; pip install {package}") from error
    found = runtime.get_available_providers()
    if PROVIDERS[provider] not in found:
        raise NotApplicable(_missing(provider, found))
    return runtime


def _missing(provider: str, found: Sequence[str]) -> str:
    return (
        f"onnx_provider={provider}: {PROVIDERS[provider]} asked for, onnxruntime has {', '.join(found)}; "
        "install onnxruntime-gpu with its CUDA libraries (and TensorRT), or use onnx_provider=auto"
    )


def _options(provider: str, precision: str, device: torch.device) -> dict[str, str]:
    """The provider's options. CUDA computes in TF32 unless told not to."""
    if provider == "cpu":
        return {}
    index = str(torch.cuda.current_device() if device.index is None else device.index)
    if provider == "cuda":
        return {"device_id": index, "use_tf32": "1" if precision == "tf32" else "0"}
    # It takes these as permissions for every layer, also for those that the file keeps in float32.
    asked = {f"trt_{name}_enable": str(int(name == precision)) for name in ("fp16", "bf16", "int8")}
    return {"device_id": index, **asked}


def _engine(
    runtime: Any, path: Path, options: Mapping[str, str], example: Example, precision: str, cache: Cache
) -> Path:
    """The folder with the engine that the TensorRT provider makes when it opens the file.

    Raises NotApplicable where TensorRT's version is unknown, since an engine must not outlive it.
    """
    index = int(options["device_id"])
    key = {
        "what": "engine of onnxruntime's TensorRT provider",
        "network": example.name,
        "onnx": file_digest(path),
        "precision": precision,
        "inputs": onnx_file.signature(example),
        "options": {name: value for name, value in options.items() if name != "device_id"},
        "capability": list(torch.cuda.get_device_capability(index)),
        "gpu": torch.cuda.get_device_name(index),
        "versions": {"onnxruntime": runtime.__version__, "tensorrt": tensorrt_version(runtime)},
        "code": file_digest(Path(__file__)),
    }

    def build(folder: Path) -> None:
        kept = {"trt_engine_cache_enable": "1", "trt_engine_cache_path": str(folder)}
        open_session(runtime, path, "tensorrt", {**options, **kept})

    return cache.entry(key, build, example.name)


def tensorrt_version(runtime: Any) -> int:
    """What the TensorRT library that the provider links to says of itself: 101300 is 10.13.0.

    However it was installed: pip has several packages of it, others bring it with the system.
    Raises NotApplicable where there is none.
    """
    with contextlib.suppress(ImportError, OSError):
        importlib.import_module("tensorrt")  # loads pip's libraries, which the linker does not find by itself
    provider = Path(runtime.__file__).parent / _LIBRARY
    try:
        linked = re.search(rb"libnvinfer\.so[.0-9]*", provider.read_bytes())
        return library_version(linked.group().decode() if linked else "libnvinfer.so")
    except (OSError, AttributeError) as error:
        raise NotApplicable(
            f"onnx_provider=tensorrt: the version of TensorRT is unknown ({error}); install the TensorRT "
            "that onnxruntime asks for, with its folder in LD_LIBRARY_PATH, or use onnx_provider=cuda"
        ) from error


def library_version(name: str) -> int:
    """What a library of TensorRT's core says. Raises OSError without it, AttributeError for another one."""
    return int(ctypes.CDLL(name).getInferLibVersion())


def open_session(runtime: Any, path: Path, provider: str, options: Mapping[str, str]) -> Any:
    """A session all of whose nodes run on the provider. Raises NotApplicable with onnxruntime's words."""
    settings = runtime.SessionOptions()
    settings.intra_op_num_threads = torch.get_num_threads()
    settings.log_severity_level = 3  # errors; its warnings are about the placement that is checked here
    if provider != "cpu":
        settings.add_session_config_entry("session.disable_cpu_ep_fallback", "1")
    wanted = PROVIDERS[provider]
    try:
        session = runtime.InferenceSession(
            str(path), settings, providers=[(wanted, dict(options))], enable_fallback=0
        )
    except _refusals() as error:
        said, network = " ".join(str(error).split())[:300], path.parent.parent.name
        raise NotApplicable(f"onnx_provider={provider}: onnxruntime refuses {network}: {said}") from error
    if session.get_providers()[0] != wanted:
        raise NotApplicable(_missing(provider, session.get_providers()))
    session.disable_fallback()  # a failing call raises, instead of another session with other providers
    return session


def _refusals() -> tuple[type[Exception], ...]:
    """onnxruntime's exceptions share no base class; looked up only when one is under way."""
    state = importlib.import_module("onnxruntime.capi.onnxruntime_pybind11_state")
    return tuple(getattr(state, name) for name in _REFUSALS if hasattr(state, name))


class Session:
    """A network in onnxruntime. On the CPU threads run side by side, on a GPU one after the other."""

    def __init__(
        self,
        runtime: Any,
        path: Path,
        provider: str,
        options: Mapping[str, str],
        kind: type[Any] | None,
        example: Example,
    ) -> None:
        """kind  of several results, see onnx_file.returned; the network itself is not kept."""
        self._runtime, self._kind, self._example = runtime, kind, outline(example)
        device = next(iter(example.inputs.values())).device
        self._call: DeviceCall | None = None
        options = dict(options)
        if provider != "cpu":
            self._call = DeviceCall(device)
            options["user_compute_stream"] = str(self._call.stream.cuda_stream)
        self._session = open_session(runtime, path, provider, options)
        self._outputs = {out.name: (out.shape, _DTYPES[out.type]) for out in self._session.get_outputs()}
        self.facts: Mapping[str, str] = self._facts(path, provider)
        self(*example.inputs.values())  # CUDA chooses its algorithms at the first call: part of the build

    def _facts(self, path: Path, provider: str) -> dict[str, str]:
        """Read back from the session and its file."""
        running = self._session.get_providers()[0]
        given = self._session.get_provider_options().get(running, {})
        engine = Path(given["trt_engine_cache_path"]) if provider == "tensorrt" else path.parent
        tf32 = provider == "tensorrt" or given.get("use_tf32") == "1"
        device = f"cuda:{given.get('device_id', '0')}" if provider != "cpu" else "cpu"
        return {
            "backend": "onnxruntime",
            "dtype": onnx_file.attest_dtype(onnx_file.stored_type(path), tf32),
            "device": device,
            "provider": str(running),
            "engine": engine.name,
            "threads": str(self._session.get_session_options().intra_op_num_threads),
        }

    def __call__(self, *inputs: Tensor) -> Any:
        require_shapes(self._example, inputs)
        given = dict(zip(self._example.inputs, inputs, strict=True))
        outputs = self._on_cpu(given) if self._call is None else self._call(self._bound, given, self._outputs)
        return onnx_file.restored(self._kind, outputs)

    def _on_cpu(self, inputs: Mapping[str, Tensor]) -> list[Tensor]:
        arrays = {name: tensor.detach().contiguous().numpy() for name, tensor in inputs.items()}
        return [torch.from_numpy(result) for result in self._session.run(None, arrays)]

    def _bound(self, inputs: Mapping[str, Tensor], outputs: Mapping[str, Tensor]) -> None:
        """Queue a run on the tensors' own memory, without waiting for it."""
        binding = self._session.io_binding()
        for bind, tensors in ((binding.bind_input, inputs), (binding.bind_output, outputs)):
            for name, tensor in tensors.items():
                bind(
                    name=name,
                    device_type="cuda",
                    device_id=tensor.device.index,
                    element_type=_NUMPY[tensor.dtype],
                    shape=tuple(tensor.shape),
                    buffer_ptr=tensor.data_ptr(),
                )
        run = self._runtime.RunOptions()
        run.add_run_config_entry("disable_synchronize_execution_providers", "1")
        self._session.run_with_iobinding(binding, run)
