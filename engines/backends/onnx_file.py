"""A network as an ONNX file: exported once, in its precision, without operators that a runtime may lack."""

from __future__ import annotations

import contextlib
import hashlib
import inspect
import json
import logging
import threading
import typing
import warnings
from collections.abc import Iterator, Mapping, Sequence
from functools import cache
from importlib import metadata
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from engines.backends.arithmetic import casts_itself, share
from engines.backends.cache import Cache, file_digest, weights_digest
from engines.backends.prepared import Example
from engines.contract import NotApplicable

OPSET = 20
FILE = "network.onnx"
_LARGEST = 2**31 - 2**24  # bytes of weights: a protobuf message ends at 2 GiB
_PACKAGES = ("onnx", "onnxscript")
_SCOPES = "pkg.torch.onnx.name_scopes"
_LOGGERS = ("torch.onnx", "torch.onnx._internal.exporter._registration", "onnxscript")
_EXPORTING = threading.Lock()  # the exporter patches torch while it traces
_PLAIN = (bool, int, float, str, tuple, type(None))


def exported(module: nn.Module, example: Example, precision: str, cache: Cache) -> Path:
    """The network's ONNX file, from the cache or exported now.

    precision  fp32 (also for tf32, which is the runtime's business), fp16, bf16 or int8 (weights only)
    Raises NotApplicable for what has no ONNX form and without the packages that export.
    """
    _require(module, example, precision)
    key = {
        "what": "onnx",
        "network": example.name,
        "precision": precision,
        "opset": OPSET,
        "weights": weights_digest(module),
        "code": code_digest(module),
        "inputs": signature(example),
        "outputs": list(example.outputs),
        "versions": versions("torch", *_PACKAGES),
    }

    def build(folder: Path) -> None:
        export(module, example, precision, folder / FILE)

    return cache.entry(key, build, example.name) / FILE


def signature(example: Example) -> dict[str, list[Any]]:
    """Shape and dtype of every input, as plain data."""
    return {name: [list(given.shape), str(given.dtype)] for name, given in example.inputs.items()}


def versions(*packages: str) -> dict[str, str]:
    """Installed versions, "" for what is not installed."""
    return {name: _version(name) for name in packages}


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return ""


def _require(module: nn.Module, example: Example, precision: str) -> None:
    if precision not in ("fp32", "fp16", "bf16", "int8"):
        raise NotApplicable(f"precision={precision}: there is no such ONNX export; use fp32, fp16 or int8")
    if casts_itself(module):
        raise NotApplicable(
            f"{example.name}: its kernels are written for PyTorch and have no ONNX form; use fused=false"
        )
    missing = [name for name in _PACKAGES if not _version(name)]
    if missing:
        raise NotApplicable(
            f"{example.name}: exporting needs {' and '.join(missing)}; pip install {' '.join(missing)}"
        )
    size = sum(tensor.numel() * tensor.element_size() for tensor in module.parameters())
    if size > _LARGEST:
        raise NotApplicable(
            f"{example.name}: {size / 2**30:.2f} GiB of weights, an ONNX file holds 2 GiB; "
            "use backend=compile or cudagraph"
        )


def export(module: nn.Module, example: Example, precision: str, path: Path) -> None:
    """Write the file; see `exported`."""
    import onnx

    from engines.backends import onnx_precision

    network = exportable(module)
    model = _traced(network, example)
    if precision in onnx_precision.HALVES:
        exact = _exact_nodes(model, network, example.name)
        onnx_precision.halve(model, onnx_precision.HALVES[precision], exact)
    elif precision == "int8":
        onnx_precision.quantise(model, _exact_nodes(model, network, example.name))
    _strip(model)
    onnx.save(model, str(path))


def exportable(module: nn.Module) -> nn.Module:
    """A copy that shares its weights, with every part replaced that knows a form for export.

    Such a part has a method `native() -> nn.Module`, or `fold()`, which is called on the copy.
    """
    copy = share(module).eval()
    for part in list(copy.modules()):
        for name, child in list(part.named_children()):
            if hasattr(child, "native"):
                setattr(part, name, child.native())
    for part in copy.modules():
        if hasattr(part, "fold"):
            part.fold()
    return copy


def _traced(network: nn.Module, example: Example) -> Any:
    """The ONNX model in float32. Nothing is computed: the exporter follows shapes only."""
    lent = _lent(network)
    with _EXPORTING, torch.inference_mode(False), torch.no_grad(), _silent():
        program = torch.onnx.export(
            share(network, lent),
            # the example's own tensors may belong to inference mode, which the exporter refuses
            tuple(torch.zeros(g.shape, dtype=g.dtype, device=g.device) for g in example.inputs.values()),
            input_names=list(example.inputs),
            output_names=list(example.outputs),
            opset_version=OPSET,
            dynamo=True,
            external_data=False,
            verbose=False,
        )
    if program is None:
        raise RuntimeError(f"{example.name}: torch.onnx.export gave nothing")
    made = program.model_proto
    # onnxscript's rewriting rules hold the graphs they saw for ever, and these the weights
    for weight in program.model.graph.initializers.values():
        weight.const_value = None
    for tensor in lent.values():
        tensor.data = tensor.new_empty(0)
    return made


def _lent(network: nn.Module) -> dict[int, Tensor]:
    """By id: a parameter or buffer for each of the network's, of the same memory, which can be taken back."""
    lent: dict[int, Tensor] = {}
    for tensor in (*network.parameters(), *network.buffers()):
        own = tensor.detach()
        lent[id(tensor)] = nn.Parameter(own, False) if isinstance(tensor, nn.Parameter) else own
    return lent


@contextlib.contextmanager
def _silent() -> Iterator[None]:
    """The exporter warns of its own deprecated calls and of torchvision, which nothing here needs."""
    loggers = [logging.getLogger(name) for name in _LOGGERS]
    levels = [logger.level for logger in loggers]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        for logger in loggers:
            logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            for logger, level in zip(loggers, levels, strict=True):
                logger.setLevel(level)


def _exact_nodes(model: Any, network: nn.Module, name: str) -> set[str]:
    """Nodes that came from parts with `exact = True`, by the module scopes that the exporter notes.

    Raises RuntimeError where there are such parts and no node of theirs: their coordinates would be rounded.
    """
    parts = {scope for scope, part in network.named_modules() if getattr(part, "exact", False)}
    found = {node.name for node in model.graph.node if parts & set(_scopes(node))}
    if parts and not found:
        raise RuntimeError(
            f"{name}: torch {torch.__version__} notes no node of {', '.join(sorted(parts))}, which must "
            "stay in float32; use precision=fp32, or backend=compile or cudagraph"
        )
    return found


def _scopes(node: Any) -> list[str]:
    for entry in node.metadata_props:
        if entry.key == _SCOPES:
            return [part.strip(" '\"[]") for part in entry.value.split(",")]
    return []


def _strip(model: Any) -> None:
    """Drop what says where and when the file was made: traces with paths, names of the exporter."""
    for part in (model, model.graph, *model.graph.node, *model.graph.initializer, *model.graph.value_info):
        del part.metadata_props[:]
        part.doc_string = ""
    for value in (*model.graph.input, *model.graph.output):
        del value.metadata_props[:]


def code_digest(module: nn.Module) -> str:
    """Of what makes the graph beside the weights: classes, their plain attributes, and their source files.

    Counts all files of ours beside those that define a part, and the version of every package that does.
    """
    state = hashlib.blake2b(digest_size=16)
    here = Path(__file__)
    sources = {here, here.with_name("onnx_precision.py")}
    packages: set[str] = set()
    for name, part in module.named_modules():
        kind = type(part)
        plain = {key: value for key, value in vars(part).items() if isinstance(value, _PLAIN)}
        said = json.dumps(plain, default=repr, sort_keys=True)
        state.update(f"{name} {kind.__module__}.{kind.__qualname__} {said};".encode())
        top = kind.__module__.partition(".")[0]
        if top == "engines":
            sources.update(Path(inspect.getfile(kind)).parent.glob("*.py"))
        else:
            packages.add(top)
    for path in sorted(sources):
        state.update(f"{path.name} {file_digest(path)};".encode())
    state.update(json.dumps(versions(*sorted(_distributions(packages)))).encode())
    return state.hexdigest()


def _distributions(modules: set[str]) -> Iterator[str]:
    known = _packages()
    for name in modules:
        yield from known.get(name, [])


@cache
def _packages() -> Mapping[str, list[str]]:
    return metadata.packages_distributions()


def returned(module: nn.Module) -> type[Any] | None:
    """The named tuple that `forward` says it returns, None where it returns something else."""
    kind = typing.get_type_hints(type(module).forward).get("return")
    return kind if hasattr(kind, "_fields") else None


def restored(kind: type[Any] | None, outputs: Sequence[Tensor]) -> Any:
    """Outputs in the file's order as `forward` would return them: a tensor, a tuple or its named tuple.

    kind  as `returned` found it
    """
    if len(outputs) == 1:
        return outputs[0]
    return tuple(outputs) if kind is None else kind(*outputs)


def stored_type(path: Path) -> str:
    """What the file's weights are, as read from it: float32, float16, bfloat16 or int8."""
    import onnx

    from engines.backends import onnx_precision

    return onnx_precision.stored_type(onnx.load(str(path)))


def attest_dtype(stored: str, tf32: bool) -> str:
    """The fact `dtype` in the words of engines.backends.arithmetic.described."""
    if stored == "int8":
        return f"int8 weights, {'tf32' if tf32 else 'float32'} arithmetic"
    return "tf32" if tf32 and stored == "float32" else stored
