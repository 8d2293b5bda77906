"""Ditto's networks loaded on one device, and one call for each thing the pipeline asks of them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from engines.backends.cache import Cache, kernel_folders
from engines.backends.prepared import Prepared
from engines.checkpoint import sha256
from engines.contract import NotApplicable
from engines.ditto.cfg import NO_CFG, read
from engines.ditto.checkpoint_layout import CHECKPOINT_FILES
from engines.ditto.diffusion import draw_noise, step_table
from engines.ditto.fusion import MOTION_DIM, Info
from engines.ditto.hubert_onnx import OnnxHubert
from engines.ditto.networks import build
from engines.ditto.networks.motion import MotionInfo
from engines.ditto.plans import plans
from engines.ditto.preparing import NETWORKS_OF, Stepwise, call_shapes, example, modules, prepare
from engines.ditto.settings import Settings
from engines.ditto.transfer import upload
from engines.ditto.weights import load_checkpoint, random_weights

Array = NDArray[np.float32]


class Models:
    """Networks in eval mode. Calls keep no state, so threads may share one object.

    cfg      what the file avatar.cfg holds
    ready    the networks as their backends made them, after build
    kinds    the module that defines each of them
    batch    frames per call of warp and decode, windows per call of HuBERT
    """

    def __init__(self, settings: Settings) -> None:
        if settings.device == "cuda" and not torch.cuda.is_available():
            raise NotApplicable("device=cuda: torch sees no GPU here; use device=cpu")
        self.settings = settings
        self.cfg = NO_CFG if settings.cfg is None else read(settings.cfg)
        self.device = torch.device(settings.device)
        self._set_arithmetic()
        self.networks = {network: self._load(network) for network in CHECKPOINT_FILES}
        self.onnx_hubert = self._load_hubert()
        self.parameters = sum(entry.numel() for net in self.networks.values() for entry in net.parameters())
        self.window_frames = self.networks["lmdm"].null_cond_embed.shape[1]
        self.networks["decoder"].fold()
        self._steps = step_table(settings.steps)
        self.ready: dict[str, Prepared] = {}
        self.kinds: dict[str, str] = {}
        self.batch = 0

    @property
    def steps(self) -> int:
        """Diffusion steps of a window."""
        return len(self._steps)

    def _set_arithmetic(self) -> None:
        torch.set_num_threads(self.settings.cpu_threads)
        # fp32 means it; the flags hold for the whole process, so all components must agree on them.
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False

    def _load(self, network: str) -> nn.Module:
        module = build(network, self.settings.size)
        if self.settings.checkpoint is None:
            random_weights(module, self.settings.seed, network, self.settings.size)
        else:
            load_checkpoint(module, self.settings.checkpoint / "models" / CHECKPOINT_FILES[network], network)
        return module.to(self.device)

    def _load_hubert(self) -> OnnxHubert | None:
        """The one of an ONNX file; a network of ours is loaded beside the others."""
        path, size = self.settings.hubert_file, self.settings.size
        if path is not None:
            return OnnxHubert(path, self.settings.device, self.settings.cpu_threads)
        module = random_weights(build("hubert", size), self.settings.seed, "hubert", size)
        self.networks["hubert"] = module.to(self.device)
        return None

    def build(self, cache: Cache) -> None:
        """Make every network ready to run; from then on nothing is compiled, exported or captured.

        Raises NotApplicable for what a backend, a network or this device cannot do.
        """
        shapes = call_shapes(self.settings)
        self.batch = shapes["warp_network"]["feature_3d"][0]
        with kernel_folders(cache.root):
            for name, module in modules(self.networks, self.settings, self._steps):
                given = example(name, shapes[name], self.device)
                self.ready[name] = prepare(name, module, given, self.settings, cache)
                self.kinds[name] = type(getattr(module, "network", module)).__module__
        # What still runs is held by what was made of it.
        self.networks.clear()
        self._move: Callable[..., Tensor] = (
            self.ready["window"]
            if "window" in self.ready
            else Stepwise(self.ready["context"], self.ready["step"], self._steps)
        )

    def facts(self, stage: str) -> dict[str, str]:
        """What really runs in a stage; where its networks differ, the values joined by "+"."""
        if stage == "features" and self.onnx_hubert is not None:
            hubert = self.onnx_hubert
            backend = f"onnxruntime {hubert.provider}"
            return {"backend": backend, "dtype": "float32", "device": hubert.device}
        facts = [self.ready[name].facts for name in NETWORKS_OF[stage] if name in self.ready]
        keys = dict.fromkeys(key for each in facts for key in each)
        return {key: "+".join(dict.fromkeys(each[key] for each in facts if key in each)) for key in keys}

    def _rows(self, frames: int) -> int:
        """Rows of a batch with so many frames: but for eager, networks are ready for one shape only."""
        plan = plans(self.settings)
        eager = all(plan[stage].backend == "eager" for stage in ("stitch", "warp", "decode"))
        return frames if eager else self.batch

    def _put(self, array: Array) -> Tensor:
        return upload(array, self.device)

    @torch.inference_mode()
    def source(self, image: Array) -> tuple[Info, Tensor]:
        """(x_s_info with kp, f_s on the device) of a picture (1, 3, S, S) in [0, 1]."""
        picture = self._put(image)
        heads = MotionInfo(*self.ready["motion_extractor"](picture))._asdict()
        feature: Tensor = self.ready["appearance_extractor"](picture)
        return {name: head.cpu().numpy() for name, head in heads.items()}, feature

    @torch.inference_mode()
    def hear(self, samples: Array) -> Array:
        """(n, 6480) samples at 16 kHz, n up to the batch -> (n, 20, 1024)."""
        if self.onnx_hubert is not None:
            return np.stack([self.onnx_hubert(each) for each in samples])
        count = len(samples)
        if plans(self.settings)["features"].backend != "eager":
            samples = np.pad(samples, ((0, self.batch - count), (0, 0)))
        rows: Tensor = self.ready["hubert"](self._put(samples))
        return np.asarray(rows[:count].cpu().numpy())

    def noise(self, generator: torch.Generator) -> Tensor:
        """What a job draws once, for the steps of all its windows."""
        shape = (1, self.settings.seq_frames, MOTION_DIM)
        return draw_noise(self.settings.steps, shape, generator, self.settings.device)

    @torch.inference_mode()
    def move(self, window: Array, kp_cond: Array, noise: Tensor, generator: torch.Generator) -> Array:
        """Conditions (T, 1103) and the row (265,) before them -> motion (T, 265).

        generator  the job's own, on the CPU: the window's starting point is drawn from it
        """
        start = torch.randn((1, len(window), MOTION_DIM), generator=generator).to(self.device)
        motion = self._move(start, self._put(kp_cond)[None], self._put(window)[None], noise)
        return np.asarray(motion[0].cpu().numpy())

    @torch.inference_mode()
    def stitch(self, x_s: Array, x_d: Array) -> tuple[Tensor, Tensor]:
        """Keypoints (n, 21, 3) -> (x_s, x_d) on the device, x_d stitched unless that is switched off.

        They have as many rows as the networks behind take: those beyond n repeat the last one.
        """
        rows = np.minimum(np.arange(self._rows(len(x_s))), len(x_s) - 1)
        source, driven = self._put(np.stack([x_s[rows], x_d[rows]])).unbind()
        return source, self.ready["stitch_network"](source, driven) if self.settings.stitching else driven

    @torch.inference_mode()
    def warp(self, features: Sequence[Tensor], x_s: Tensor, x_d: Tensor) -> Tensor:
        """f_s of each frame (1, C, D, h, w) and keypoints (rows, 21, 3) -> f_3d (rows, 256, 64, 64).

        All on the device; where there are more rows than frames, the last frame's is repeated.
        """
        every = [*features, *[features[-1]] * (len(x_s) - len(features))]
        return self.ready["warp_network"](torch.cat(every) if len(every) > 1 else every[0], x_s, x_d)

    @torch.inference_mode()
    def decode(self, feature_3d: Tensor) -> Tensor:
        """f_3d on the device -> pictures (rows, 3, S, S) float32 in [0, 255] there."""
        return self.ready["decoder"](feature_3d)

    def weights(self) -> str:
        """ "random" or "checkpoint <hash over the files>", and the same for HuBERT where it is another."""
        folder, hubert = self.settings.checkpoint, self.settings.hubert_file
        networks = [] if folder is None else [folder / "models" / name for name in CHECKPOINT_FILES.values()]
        if hubert is None or folder is None:
            parts = (_origin(networks), _origin([] if hubert is None else [hubert]))
            return parts[0] if parts[0] == parts[1] else f"{parts[0]} + {parts[1]} hubert"
        return _origin([*networks, hubert])


def _origin(files: list[Path]) -> str:
    if not files:
        return "random"
    digests = "".join(sha256(path) for path in files)
    return "checkpoint " + hashlib.sha256(digests.encode()).hexdigest()[:16]
