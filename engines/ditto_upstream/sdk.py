"""Opening a checkout of upstream Ditto, and reading back from its SDK what really runs.

Nothing of the checkout is edited: its modules are imported by name, its configuration is changed by the
keyword arguments that its constructor has for that. The configuration is a pickle which upstream itself loads
without restriction, so it must be one that its user trusts.
"""

from __future__ import annotations

import hashlib
import importlib
import importlib.metadata
import os
import pickle
import platform
import subprocess
import sys
from collections.abc import Iterator, Mapping
from functools import reduce
from pathlib import Path
from typing import Any

from engines import checkpoint

# Networks by stage, as attributes of the SDK.
NETWORKS = {
    "source": (
        "avatar_registrar.source2info.appearance_extractor",
        "avatar_registrar.source2info.motion_extractor",
        "avatar_registrar.source2info.insightface_det",
        "avatar_registrar.source2info.landmark106",
        "avatar_registrar.source2info.landmark203",
        "avatar_registrar.source2info.landmark478",
        "avatar_registrar.source2info.landmark478.blaze_face",
        "avatar_registrar.source2info.landmark478.face_mesh",
    ),
    "features": ("wav2feat.w2f.hubert",),
    "motion": ("audio2motion.lmdm",),
    "stitch": ("motion_stitch.stitch_net",),
    "warp": ("warp_f3d.warp_net",),
    "decode": ("decode_f3d.decoder",),
}
_HALF = (
    "appearance_extractor",
    "motion_extractor",
    "warp_net",
    "decoder",
)  # upstream runs them under autocast
_PACKAGES = (
    "torch", "onnxruntime", "onnxruntime-gpu", "tensorrt", "cuda-python", "numpy", "librosa", "soxr",
    "imageio", "imageio-ffmpeg", "opencv-python", "opencv-python-headless", "mediapipe",
)  # fmt: skip


def open_sdk(root: Path, mode: str, cfg_pkl: Path, data_root: Path, device: str) -> Any:
    """The checkout's StreamSDK, its models on `device`. Raises ImportError, and whatever upstream raises."""
    if str(root) not in sys.path:
        sys.path.insert(0, str(root))
    module = importlib.import_module(f"stream_pipeline_{mode}")
    if Path(str(module.__file__)).resolve().parent != root:
        raise ImportError(f"avatar.root={root}: {module.__name__} was imported from {module.__file__}")
    sdk = module.StreamSDK(str(cfg_pkl), str(data_root), **_on_device(read_cfg(cfg_pkl), device))
    lmdm = sdk.audio2motion.lmdm
    if lmdm.model_type == "pytorch":
        lmdm.model.device = device  # upstream's loader forgets it: the sampler would ask for "cuda"
    return sdk


def read_cfg(path: Path) -> dict[str, Any]:
    """As upstream reads it: unpickling runs what the file says."""
    with path.open("rb") as file:
        found = pickle.load(file)
    if not isinstance(found, dict) or not {"base_cfg", "audio2motion_cfg", "default_kwargs"} <= found.keys():
        raise ValueError(f"avatar.cfg_pkl={path}: not a configuration of Ditto; give a .pkl of ditto_cfg")
    return found


def _on_device(cfg: Mapping[str, Any], device: str) -> dict[str, Any]:
    """Keyword arguments that replace parts of the configuration."""
    base = {name: {**section, "device": device} for name, section in cfg["base_cfg"].items()}
    return {"base_cfg": base, "audio2motion_cfg": {"device": device}}


def model_files(cfg: Mapping[str, Any], data_root: Path) -> list[Path]:
    """The model files that a configuration names and that exist: a path as it is, else in data_root."""
    names = [
        value
        for section in (*cfg["base_cfg"].values(), cfg["audio2motion_cfg"])
        for key, value in section.items()
        if key.endswith("_path") and value
    ]
    paths = (Path(name) if Path(name).is_file() else data_root / name for name in names)
    return sorted({path for path in paths if path.is_file()})


def weights_hash(files: list[Path]) -> str:
    """12 hex digits over the names and bytes of the model files."""
    digest = hashlib.sha256()
    for path in files:
        digest.update(f"{path.name} {checkpoint.sha256(path)}\n".encode())
    return digest.hexdigest()[:12]


def networks(sdk: Any) -> dict[str, dict[str, dict[str, Any]]]:
    """{stage: {network: {backend, dtype, device}}} of those that the SDK has."""
    return {stage: dict(_networks(sdk, paths)) for stage, paths in NETWORKS.items()}


def _networks(sdk: Any, paths: tuple[str, ...]) -> Iterator[tuple[str, dict[str, Any]]]:
    for path in paths:
        network = reduce(lambda found, part: getattr(found, part, None), path.split("."), sdk)
        if network is not None and getattr(network, "model_type", ""):
            name = path.rpartition(".")[2]
            yield name, _what_runs(network.model, network.model_type, name)


def _what_runs(model: Any, kind: str, name: str) -> dict[str, Any]:
    """Read from the loaded object: onnxruntime falls back to the CPU with a line in the log alone."""
    session = getattr(model, "session", model)  # upstream's own wrapper classes ("ori") hold one
    if hasattr(session, "get_providers"):
        providers = list(session.get_providers())
        device = (
            "cuda" if providers[:1] in (["CUDAExecutionProvider"], ["TensorrtExecutionProvider"]) else "cpu"
        )
        dtype = str(session.get_inputs()[0].type)
        return {"backend": f"onnxruntime {providers[0]}", "dtype": dtype, "device": device}
    if kind == "tensorrt":
        return {"backend": "tensorrt", "dtype": "engine's own", "device": "cuda"}
    if kind == "pytorch":
        first = next(model.parameters())
        half = " under autocast float16" if name in _HALF else ""
        dtype = f"{str(first.dtype).removeprefix('torch.')}{half}"
        return {"backend": "pytorch", "dtype": dtype, "device": first.device.type}
    return {"backend": kind, "dtype": "unknown", "device": "unknown"}


def num_parameters(sdk: Any) -> int:
    """Of the networks that run in PyTorch; other backends do not say theirs."""
    lists = (
        getattr(reduce(lambda found, part: getattr(found, part, None), path.split("."), sdk), "model", None)
        for paths in NETWORKS.values()
        for path in paths
    )
    models = [model for model in lists if hasattr(model, "parameters")]
    return sum(parameter.numel() for model in models for parameter in model.parameters())


def versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


def settings() -> dict[str, Any]:
    """What holds for the whole process, whoever in it has set it; tf32 where torch is loaded."""
    pinned = {"omp_num_threads": os.environ.get("OMP_NUM_THREADS")}
    torch = sys.modules.get("torch")
    if torch is None:
        return pinned
    return {**pinned, "cpu_threads": torch.get_num_threads(), "tf32": torch.backends.cudnn.allow_tf32}


def commit(root: Path) -> str:
    """The checkout's commit, with "+ changes" where files differ from it, or why it is not known."""
    if not (root / ".git").exists():
        return "not a git folder"
    try:
        head = _git(root, "rev-parse", "HEAD")
        return f"{head} + changes" if _git(root, "status", "--porcelain", "-uno") else head
    except (OSError, subprocess.SubprocessError) as error:
        return f"unknown: {error}"


def _git(root: Path, *command: str) -> str:
    answer = subprocess.run(
        ["git", "-C", str(root), *command], capture_output=True, text=True, timeout=30, check=True
    )
    return answer.stdout.strip()
