"""Ditto's networks loaded on one device, and one call for each thing the pipeline asks of them."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from engines.checkpoint import sha256
from engines.contract import NotApplicable
from engines.ditto.cfg import NO_CFG, read
from engines.ditto.checkpoint_layout import CHECKPOINT_FILES
from engines.ditto.diffusion import draw_noise, sample, step_table
from engines.ditto.fusion import MOTION_DIM, Info
from engines.ditto.hubert_onnx import OnnxHubert
from engines.ditto.networks import build
from engines.ditto.networks.lmdm import ContextEncoder, GuidedStep
from engines.ditto.settings import Settings
from engines.ditto.weights import load_checkpoint, random_weights

Array = NDArray[np.float32]

# Upstream's autocast covers these; motion diffusion, stitching and HuBERT stay in float32.
HALF_NETWORKS = frozenset({"appearance_extractor", "motion_extractor", "warp_network", "decoder"})


class Models:
    """Networks in eval mode. Calls keep no state, so threads may share one object.

    cfg   what the file avatar.cfg holds
    ran   dtype of the last output of each network, as read back from it
    """

    def __init__(self, settings: Settings) -> None:
        if settings.device == "cuda" and not torch.cuda.is_available():
            raise NotApplicable("device=cuda: torch sees no GPU here; use device=cpu")
        self.settings = settings
        self.cfg = NO_CFG if settings.cfg is None else read(settings.cfg)
        self.device = torch.device(settings.device)
        self._set_arithmetic()
        self.networks = {network: self._load(network) for network in CHECKPOINT_FILES}
        self.parameters = sum(entry.numel() for net in self.networks.values() for entry in net.parameters())
        self.networks["decoder"].fold()
        self.hubert = self._load_hubert()
        self._encode_window = ContextEncoder(self.networks["lmdm"])
        self._denoise = GuidedStep(self.networks["lmdm"])
        self._steps = step_table(settings.steps)
        self.ran: dict[str, str] = {}

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

    def _load_hubert(self) -> nn.Module | OnnxHubert:
        path = self.settings.hubert_file
        if path is not None:
            return OnnxHubert(path, self.settings.device, self.settings.cpu_threads)
        size, seed = self.settings.size, self.settings.seed
        module = random_weights(build("hubert", size), seed, "hubert", size).to(self.device)
        self.parameters += sum(entry.numel() for entry in module.parameters())
        return module

    def _run(self, network: str, *inputs: Tensor) -> Any:
        half = self.settings.precision == "fp16" and network in HALF_NETWORKS
        arithmetic = torch.autocast(self.device.type, torch.float16) if half else contextlib.nullcontext()
        with arithmetic:
            result = self.networks[network](*inputs)
        first = result if isinstance(result, Tensor) else result[0]
        self.ran[network] = str(first.dtype).removeprefix("torch.")
        return result

    def _put(self, array: Array) -> Tensor:
        return torch.from_numpy(array).to(self.device)

    @torch.inference_mode()
    def source(self, image: Array) -> tuple[Info, Tensor]:
        """(x_s_info with kp, f_s on the device) of a picture (1, 3, S, S) in [0, 1]."""
        picture = self._put(image)
        heads: Mapping[str, Tensor] = self._run("motion_extractor", picture)._asdict()
        feature = self._run("appearance_extractor", picture).float()
        return {name: head.float().cpu().numpy() for name, head in heads.items()}, feature

    @torch.inference_mode()
    def hear(self, samples: Array) -> Array:
        """(6480,) samples at 16 kHz -> (20, 1024)."""
        if isinstance(self.hubert, OnnxHubert):
            return self.hubert(samples)
        rows = self.hubert(self._put(samples)[None])
        self.ran["hubert"] = str(rows.dtype).removeprefix("torch.")
        return np.asarray(rows[0].float().cpu().numpy())

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
        row = self._put(kp_cond)[None]
        tokens, hidden = self._encode_window(self._put(window)[None])
        motion = sample(
            lambda x, time: self._denoise(x, row, tokens, hidden, time), start, noise, self._steps
        )
        self.ran["lmdm"] = str(motion.dtype).removeprefix("torch.")
        return np.asarray(motion[0].cpu().numpy())

    @torch.inference_mode()
    def stitch(self, x_s: Array, x_d: Array) -> tuple[Tensor, Tensor]:
        """Keypoints (1, 21, 3) -> (x_s, x_d) on the device, x_d stitched unless that is switched off."""
        source, driven = self._put(x_s), self._put(x_d)
        return source, self._run("stitch_network", source, driven) if self.settings.stitching else driven

    @torch.inference_mode()
    def warp(self, feature: Tensor, x_s: Tensor, x_d: Tensor) -> Tensor:
        """f_s and keypoints, all on the device -> f_3d (1, 256, 64, 64) there."""
        return self._run("warp_network", feature, x_s, x_d).float()

    @torch.inference_mode()
    def render(self, feature_3d: Tensor) -> Tensor:
        """f_3d on the device -> picture (3, S, S) float32 in [0, 255] there."""
        return self._run("decoder", feature_3d)[0].float() * 255

    def decode(self, feature_3d: Tensor) -> Array:
        """f_3d on the device -> picture (S, S, 3) float32 in [0, 255] on the host."""
        return np.asarray(self.render(feature_3d).permute(1, 2, 0).contiguous().cpu().numpy())

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
