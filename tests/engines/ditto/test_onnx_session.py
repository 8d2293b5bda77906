"""What an ONNX session asks of onnxruntime: the device, the arithmetic and the number of threads."""

from __future__ import annotations

import sys
import types
from pathlib import Path
from typing import Any

import pytest

from engines.ditto.onnx_session import OnnxSession


@pytest.fixture
def asked(monkeypatch: pytest.MonkeyPatch) -> list[Any]:
    """[path, threads, providers] of every session: a stand-in for an onnxruntime with both devices."""
    record: list[Any] = []

    class Session:
        def __init__(self, path: str, options: Any, providers: list[tuple[str, dict[str, str]]]) -> None:
            record.extend([path, options.intra_op_num_threads, providers])

        def get_providers(self) -> list[str]:
            return [record[2][0][0], "CPUExecutionProvider"]

    runtime = types.ModuleType("onnxruntime")
    both = ["CUDAExecutionProvider", "CPUExecutionProvider"]
    vars(runtime).update(
        __version__="1.30",
        get_available_providers=lambda: both,
        SessionOptions=types.SimpleNamespace,
        InferenceSession=Session,
    )
    monkeypatch.setitem(sys.modules, "onnxruntime", runtime)
    return record


def session(device: str, threads: int) -> OnnxSession:
    return OnnxSession(Path("a.onnx"), device, threads, setting="avatar.hubert=a.onnx", instead="none")


def test_on_a_gpu_fp32_is_not_rounded_to_tf32(asked: list[Any]) -> None:
    assert session("cuda", 1).device == "cuda"
    assert asked == ["a.onnx", 1, [("CUDAExecutionProvider", {"use_tf32": "0"})]]


@pytest.mark.parametrize("threads", [1, 3])
def test_on_a_cpu_as_many_threads_run_as_were_asked_for(asked: list[Any], threads: int) -> None:
    assert session("cpu", threads).device == "cpu"
    assert asked == ["a.onnx", threads, [("CPUExecutionProvider", {})]]
