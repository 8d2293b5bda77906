"""The released streaming HuBERT through onnxruntime, on the device that was asked for or not at all."""

from __future__ import annotations

import importlib
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from engines.contract import NotApplicable
from engines.ditto.features import FEATURE_DIM

PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}


class OnnxHubert:
    """(6480,) samples at 16 kHz -> (20, 1024).

    Raises NotApplicable without onnxruntime, or when it would not run on `device`: left alone it falls back
    to the CPU without a word.
    """

    def __init__(self, path: Path, device: str, threads: int) -> None:
        try:
            runtime = importlib.import_module("onnxruntime")
        except ImportError as error:
            raise NotApplicable(
                f"avatar.hubert={path}: onnxruntime is not installed; install onnxruntime-gpu, "
                "or use avatar.hubert=random"
            ) from error
        options = runtime.SessionOptions()
        options.intra_op_num_threads = threads
        wanted = PROVIDERS[device]
        if wanted not in runtime.get_available_providers():
            raise NotApplicable(self._missing(path, wanted, runtime.get_available_providers()))
        # CUDA's provider computes in TF32 unless told not to; the precision that is attested is fp32.
        settings = {"use_tf32": "0"} if device == "cuda" else {}
        self.session = runtime.InferenceSession(str(path), options, providers=[(wanted, settings)])
        # The first provider is the one that runs; it differs when the wanted one failed to start.
        if self.session.get_providers()[0] != wanted:
            raise NotApplicable(self._missing(path, wanted, self.session.get_providers()))
        self.version = str(runtime.__version__)

    @staticmethod
    def _missing(path: Path, wanted: str, found: list[str]) -> str:
        return (
            f"avatar.hubert={path}: {wanted} asked for, onnxruntime has {', '.join(found)}; "
            "install onnxruntime-gpu with its CUDA libraries, or use avatar.hubert=random"
        )

    @property
    def provider(self) -> str:
        return str(self.session.get_providers()[0])

    @property
    def device(self) -> str:
        return next(device for device, provider in PROVIDERS.items() if provider == self.provider)

    def __call__(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        (rows,) = self.session.run(["encoding_out"], {"input_values": samples.reshape(1, -1)})
        return np.asarray(rows, np.float32).reshape(-1, FEATURE_DIM)
