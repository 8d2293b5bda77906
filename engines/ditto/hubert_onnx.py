"""The released streaming HuBERT through onnxruntime, on the device that was asked for or not at all."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from engines.ditto.onnx_session import OnnxSession


class OnnxHubert:
    """(6480,) samples at 16 kHz -> (20, 1024). Raises as OnnxSession does."""

    def __init__(self, path: Path, device: str, threads: int) -> None:
        self._session = OnnxSession(
            path, device, threads, setting=f"avatar.hubert={path}", instead="use avatar.hubert=random"
        )
        self.version = self._session.version

    @property
    def provider(self) -> str:
        return self._session.provider

    @property
    def device(self) -> str:
        return self._session.device

    def __call__(self, samples: NDArray[np.float32]) -> NDArray[np.float32]:
        rows = self._session.run_named("encoding_out", {"input_values": samples.reshape(1, -1)})
        return self._session.rows(rows, 20, 1024)
