"""What tests of exported networks share: one folder of files, and a GPU that is on paper only."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import pytest


@pytest.fixture(scope="session")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Root of the cache in which the tiny networks are exported once."""
    return tmp_path_factory.mktemp("exported")


class Gpu:
    """What torch.cuda is asked for the key of an engine."""

    capability = (8, 9)
    name = "NVIDIA L4"


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> Gpu:
    """A GPU that answers torch's questions. ONNX files are stand-ins that hold the weights' bytes."""
    torch = pytest.importorskip("torch")
    from engines.backends import onnx_file

    made = Gpu()
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: made.capability)
    monkeypatch.setattr(torch.cuda, "get_device_name", lambda device: made.name)
    monkeypatch.setattr(torch.cuda, "current_device", lambda: 0)
    monkeypatch.setattr(torch.cuda, "device", lambda device: contextlib.nullcontext())

    def export(module: Any, example: Any, precision: str, path: Path) -> None:
        path.write_bytes(b"".join(weight.numpy().tobytes() for weight in module.parameters()))

    monkeypatch.setattr(onnx_file, "export", export)
    monkeypatch.setattr(onnx_file, "stored_type", lambda path: "float16")
    return made
