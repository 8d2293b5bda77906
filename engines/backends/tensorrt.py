"""Backend tensorrt: the exported network as an engine of NVIDIA's tensorrt, or else of tensorrt_rtx."""

from __future__ import annotations

import importlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from engines.backends import onnx_file
from engines.backends.arithmetic import refuse
from engines.backends.cache import Cache, file_digest
from engines.backends.cudagraph import require_shapes
from engines.backends.device_call import DeviceCall
from engines.backends.prepared import Example, outline
from engines.contract import NotApplicable

PACKAGES = ("tensorrt", "tensorrt_rtx")
FILE = "network.engine"
SAID = "engine.json"
_DTYPES = {
    "FLOAT": torch.float32,
    "HALF": torch.float16,
    "BF16": torch.bfloat16,
    "INT64": torch.int64,
    "INT32": torch.int32,
    "BOOL": torch.bool,
}


def prepare(module: nn.Module, example: Example, precision: str, cache: Cache) -> Engine:
    """See engines.backends.prepared.Prepare.

    Every layer computes in the type that the file gives it (strongly typed): fp16 and bf16 keep coordinates
    and statistics in float32, int8 stores weights only. The engine comes from the cache or is built now.
    Raises NotApplicable without the package or a GPU that it supports, in the package's own words.
    """
    device = next(iter(example.inputs.values())).device
    if device.type != "cuda":
        raise NotApplicable(
            "backend=tensorrt: engines run on NVIDIA GPUs only; use backend=onnxruntime on a CPU"
        )
    if precision == "fp8":
        raise NotApplicable(
            "precision=fp8: TensorRT needs calibrated scales of all activations; use precision=fp16"
        )
    refuse(precision, device)
    package = load_package()
    stored = "fp32" if precision == "tf32" else precision
    path = onnx_file.exported(module, example, stored, cache)
    key = _key(package, path, example, precision, device)

    def make(folder: Path) -> None:
        made = build(path, tf32=precision == "tf32")
        (folder / FILE).write_bytes(made.plan)
        (folder / SAID).write_text(json.dumps({"weights": made.weights, "flags": made.flags}))

    with torch.cuda.device(device):
        return Engine(package, cache.entry(key, make, example.name), onnx_file.returned(module), example)


def load_package() -> Any:
    """`tensorrt`, else `tensorrt_rtx`, which has the same interface and no kernels for Hopper (sm_90)."""
    faults = ""
    for name in PACKAGES:
        try:
            package = importlib.import_module(name)
        except ModuleNotFoundError:
            continue
        except (ImportError, OSError) as error:  # OSError: a library of the package's that is not there
            faults += f" ({name}: {error})"
            continue
        _typed(package)
        return package
    raise NotApplicable(
        f"backend=tensorrt: neither tensorrt nor tensorrt_rtx is installed{faults}; pip install tensorrt, "
        "or on GeForce, RTX and L4 cards pip install tensorrt-rtx"
    )


def _typed(package: Any) -> int:
    """The flags of a strongly typed network. Raises NotApplicable before TensorRT 10, which had none."""
    kind = getattr(package.NetworkDefinitionCreationFlag, "STRONGLY_TYPED", None)
    if kind is not None:
        return 1 << int(kind)
    if int(package.__version__.partition(".")[0]) > 10:  # networks may have become typed without a flag
        return 0
    raise NotApplicable(
        f"backend=tensorrt: {package.__name__} {package.__version__} has no strongly typed networks; "
        "pip install 'tensorrt>=10'"
    )


def _key(package: Any, path: Path, example: Example, precision: str, device: torch.device) -> dict[str, Any]:
    return {
        "what": "TensorRT engine",
        "network": example.name,
        "onnx": file_digest(path),
        "precision": precision,
        "inputs": onnx_file.signature(example),
        "package": [package.__name__, package.__version__],
        "capability": list(torch.cuda.get_device_capability(device)),
        "gpu": torch.cuda.get_device_name(device),
        "code": file_digest(Path(__file__)),
    }


class Built(NamedTuple):
    """An engine.

    plan     what tensorrt loads
    weights  how the ONNX file stores them, in the words of onnx_file.stored_type: layers compute so
    flags    of the builder that were on, TF32 among them or not
    """

    plan: bytes
    weights: str
    flags: list[str]


def build(path: Path, target: str | None = None, *, tf32: bool = False) -> Built:
    """The engine for an ONNX file. Needs no GPU where a target is given.

    target  compute capability as sm_89, which tensorrt_rtx can build for; None: this machine's GPU
    tf32    let float32 products be rounded to TF32; otherwise fp32 means it
    Raises NotApplicable with what the package said when it refuses the network or the target.
    """
    package = load_package()
    log = _log(package)
    builder = package.Builder(log)
    network = builder.create_network(_typed(package))
    parser = package.OnnxParser(network, log)
    if not parser.parse_from_file(str(path)):
        faults = [parser.get_error(i).desc() for i in range(parser.num_errors)]
        raise NotApplicable(_words(package, "cannot parse", path, faults))
    config = builder.create_builder_config()
    (config.set_flag if tf32 else config.clear_flag)(package.BuilderFlag.TF32)
    _aim(package, config, target)
    plan = builder.build_serialized_network(network, config)
    if plan is None:
        raise NotApplicable(_words(package, "cannot build", path, log.faults))
    flags = [name for name, flag in package.BuilderFlag.__members__.items() if config.get_flag(flag)]
    return Built(bytes(plan), onnx_file.stored_type(path), flags)


def _aim(package: Any, config: Any, target: str | None) -> None:
    """Choose the compute capability. tensorrt builds for the GPU at hand and nothing else."""
    known = getattr(package, "ComputeCapability", None)
    if known is None:
        if target is not None:
            raise NotApplicable(f"backend=tensorrt: {package.__name__} builds for this machine's GPU only")
        return
    name = "CURRENT" if target is None else target.replace("_", "").upper()
    if not hasattr(known, name):
        has = ", ".join(sorted(n for n in dir(known) if n.startswith("SM")))
        raise NotApplicable(f"backend=tensorrt: {package.__name__} cannot build for {target}; it knows {has}")
    config.num_compute_capabilities = 1
    config.set_compute_capability(getattr(known, name), 0)


def _log(package: Any) -> Any:
    """A logger that keeps errors, where the package would print them."""

    class Log(package.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            package.ILogger.__init__(self)
            self.faults: list[str] = []

        def log(self, severity: Any, message: str) -> None:
            if severity in (package.ILogger.ERROR, package.ILogger.INTERNAL_ERROR):
                self.faults.append(message)

    return Log()


def _words(package: Any, what: str, path: Path, faults: list[str]) -> str:
    said = " ".join("; ".join(faults).split())[:400] or "it does not say why"
    return f"backend=tensorrt: {package.__name__} {what} {path.parent.parent.name}: {said}"


def dtype_of(folder: Path) -> str:
    """The fact `dtype` of the engine in a folder, from what its build noted beside it."""
    said = json.loads((folder / SAID).read_bytes())
    return onnx_file.attest_dtype(said["weights"], "TF32" in said["flags"])


class Engine:
    """An engine on the GPU; threads wait for their turn."""

    def __init__(self, package: Any, folder: Path, kind: type[Any] | None, example: Example) -> None:
        """The network itself is not kept.

        folder  with the engine; raises NotApplicable where this GPU cannot run it
        kind    of several results, see onnx_file.returned
        """
        self._kind, self._example = kind, outline(example)
        self._call = DeviceCall(next(iter(example.inputs.values())).device)
        log = _log(package)
        self._runtime = package.Runtime(log)  # must outlive the engine
        self._engine = self._runtime.deserialize_cuda_engine((folder / FILE).read_bytes())
        self._context = self._engine and self._engine.create_execution_context()
        if self._context is None:
            raise NotApplicable(_words(package, "cannot load", folder / FILE, log.faults))
        self._log = log
        names = self._names(package)
        self._outputs = {
            name: (tuple(self._engine.get_tensor_shape(name)), self._dtype(name)) for name in names
        }
        self.facts: Mapping[str, str] = {
            "backend": "tensorrt",
            "dtype": dtype_of(folder),
            "device": str(self._call.device),
            "provider": f"{package.__name__} {package.__version__}",
            "engine": folder.name,
        }
        self(*example.inputs.values())  # tensorrt_rtx compiles its kernels now: part of the build

    def _names(self, package: Any) -> list[str]:
        """The outputs in the network's order, which the engine does not promise to keep."""
        names = [self._engine.get_tensor_name(i) for i in range(self._engine.num_io_tensors)]
        made = {n for n in names if self._engine.get_tensor_mode(n) == package.TensorIOMode.OUTPUT}
        if made != set(self._example.outputs):
            raise ValueError(f"{self._example.name}: the engine gives {sorted(made)}, not its outputs")
        return list(self._example.outputs)

    def _dtype(self, name: str) -> torch.dtype:
        return _DTYPES[self._engine.get_tensor_dtype(name).name]

    def __call__(self, *inputs: Tensor) -> Any:
        require_shapes(self._example, inputs)
        given = dict(zip(self._example.inputs, inputs, strict=True))
        return onnx_file.restored(self._kind, self._call(self._run, given, self._outputs))

    def _run(self, inputs: Mapping[str, Tensor], outputs: Mapping[str, Tensor]) -> None:
        for name, tensor in (*inputs.items(), *outputs.items()):
            self._context.set_tensor_address(name, tensor.data_ptr())
        if not self._context.execute_async_v3(self._call.stream.cuda_stream):
            said = "; ".join(self._log.faults[-2:])
            raise RuntimeError(f"backend=tensorrt: {self._example.name}: the engine did not start: {said}")
