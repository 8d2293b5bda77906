"""An ONNX file through onnxruntime, on the device that was asked for or not at all."""

from __future__ import annotations

import importlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from engines.contract import NotApplicable

PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}
# What a file that is no model makes onnxruntime raise; not Fail, which is also CUDA out of memory.
_UNREADABLE = ("InvalidArgument", "InvalidGraph", "InvalidProtobuf", "NoSuchFile", "NotImplemented")


def _unreadable() -> tuple[type[Exception], ...]:
    """onnxruntime's exceptions share no base class of their own; looked up only when one is under way."""
    module = importlib.import_module("onnxruntime.capi.onnxruntime_pybind11_state")
    return tuple(getattr(module, name) for name in _UNREADABLE)


class OnnxSession:
    """A loaded file; calls keep no state, so threads may share one.

    setting  the key and its value as on the command line, which every error begins with
    instead  what else the user can do: `use avatar.hubert=random`
    Raises NotApplicable without onnxruntime, or when it would not run on `device`: left alone it falls back
    to the CPU without a word. Raises ValueError for a file that is no model.
    """

    def __init__(self, path: Path, device: str, threads: int, *, setting: str, instead: str) -> None:
        self.path, self._setting, self._instead = path, setting, instead
        try:
            runtime = importlib.import_module("onnxruntime")
        except ImportError as error:
            raise NotApplicable(
                f"{setting}: onnxruntime is not installed; install onnxruntime-gpu, or {instead}"
            ) from error
        wanted = PROVIDERS[device]
        if wanted not in runtime.get_available_providers():
            raise NotApplicable(self._missing(wanted, runtime.get_available_providers()))
        self._session = self._open(runtime, wanted, threads)
        # The first provider is the one that runs; it differs when the wanted one failed to start.
        if self._session.get_providers()[0] != wanted:
            raise NotApplicable(self._missing(wanted, self._session.get_providers()))
        self.version = str(runtime.__version__)

    def _open(self, runtime: Any, provider: str, threads: int) -> Any:
        options = runtime.SessionOptions()
        options.intra_op_num_threads = threads
        # CUDA's provider computes in TF32 unless told not to; the precision that is attested is fp32.
        settings = {"use_tf32": "0"} if provider == PROVIDERS["cuda"] else {}
        try:
            return runtime.InferenceSession(str(self.path), options, providers=[(provider, settings)])
        except _unreadable() as error:
            reason = str(error).splitlines()[0][:200]
            raise ValueError(
                f"{self._setting}: onnxruntime cannot read {self.path.name}: {reason}; "
                f"take the released file, or {self._instead}"
            ) from error

    def _missing(self, wanted: str, found: Sequence[str]) -> str:
        return (
            f"{self._setting}: {wanted} asked for, onnxruntime has {', '.join(found)}; "
            f"install onnxruntime-gpu with its CUDA libraries, or {self._instead}"
        )

    @property
    def provider(self) -> str:
        return str(self._session.get_providers()[0])

    @property
    def device(self) -> str:
        return next(device for device, provider in PROVIDERS.items() if provider == self.provider)

    def expect(self, shape: Sequence[int], outputs: Sequence[int], name: str | None = None) -> None:
        """Raises ValueError for another file under this name, as far as its declared tensors tell.

        shape    of the only input; a file may leave sides open
        outputs  numbers of outputs that are known
        name     of the input, where it is fixed
        """
        inputs = self._session.get_inputs()
        found = list(inputs[0].shape) if len(inputs) == 1 else []
        fits = len(found) == len(shape) and all(
            not isinstance(side, int) or side == wanted for side, wanted in zip(found, shape, strict=True)
        )
        named = name is None or (inputs and inputs[0].name == name)
        count = len(self._session.get_outputs())
        if not fits or not named or count not in outputs:
            has = ", ".join(f"{entry.name} {entry.shape}" for entry in inputs)
            raise ValueError(
                f"{self._setting}: {self.path.name} has the input {has} and {count} outputs, expected are "
                f"{name or 'one of any name'} {list(shape)} and {' or '.join(map(str, outputs))}; "
                f"take the released file, or {self._instead}"
            )

    def run(self, data: NDArray[np.float32]) -> list[NDArray[np.float32]]:
        """All outputs, in the file's order, for its only input."""
        return list(self._session.run(None, {self._session.get_inputs()[0].name: data}))

    def run_named(self, output: str, inputs: Mapping[str, NDArray[np.float32]]) -> NDArray[np.float32]:
        """One output by its name."""
        return np.asarray(self._session.run([output], dict(inputs))[0], np.float32)

    def rows(self, output: NDArray[np.float32], count: int, width: int) -> NDArray[np.float32]:
        """An output as (count, width). Raises ValueError for another number of values."""
        if output.size != count * width:
            raise ValueError(
                f"{self._setting}: {self.path.name} gave {list(output.shape)}, {count} x {width} values are "
                f"expected; take the released file, or {self._instead}"
            )
        return np.asarray(output, np.float32).reshape(count, width)
