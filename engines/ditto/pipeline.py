"""Ditto as a component: audio and a portrait to a talking-head video."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from importlib.metadata import version
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from engines.contract import DeviceTimer, Job, Piece, Stage
from engines.cuda import CudaTimer, peaks_mib
from engines.ditto import features
from engines.ditto.clip import Clip, Source
from engines.ditto.compose import PutBack, feather_mask
from engines.ditto.hubert_onnx import OnnxHubert
from engines.ditto.models import Models
from engines.ditto.settings import Settings
from engines.ditto.source import read_portrait
from engines.ditto.stages import STAGES
from engines.ditto.writer import CRF, PIXELS

WARM_UP_RATE = 24_000
WARM_UP_SAMPLES = WARM_UP_RATE // 5
# The network whose dtype and device speak for a stage.
_NETWORK_OF = {
    "source": "appearance_extractor",
    "features": "hubert",
    "motion": "lmdm",
    "stitch": "stitch_network",
    "warp": "warp_network",
    "decode": "decoder",
}


class Ditto:
    """See engines.contract.Component. Keys: engines.ditto.settings.Settings.

    One object may serve several threads: stages keep what belongs to a job, the rest is constant after load.
    """

    def __init__(self, **keys: Any) -> None:
        self.settings = Settings(**keys)
        self._timer: DeviceTimer | None = CudaTimer() if self.settings.device == "cuda" else None
        self._models: Models | None = None
        self._sources: dict[tuple[str, int, int], Source] = {}

    @property
    def models(self) -> Models:
        if self._models is None:
            raise RuntimeError("load() was not called")
        return self._models

    def load(self) -> None:
        cv2.setNumThreads(self.settings.cpu_threads)
        self._models = Models(self.settings)

    def warm_up(self, job: Job) -> None:
        """Run the job's portrait through all stages on 0.2 s of silence; the video is thrown away."""
        output = Path(job.output).with_suffix(".warm_up.mp4")
        pieces = [Piece("audio", np.zeros(WARM_UP_SAMPLES, np.float32), WARM_UP_SAMPLES, WARM_UP_RATE)]
        for stage in self.stages(dataclasses.replace(job, output=str(output))):
            pieces = [out for piece in pieces for out in stage.feed(piece)] + list(stage.flush())
        output.unlink()

    def stages(self, job: Job) -> Sequence[Stage]:
        clip = Clip(job, self.models, self._source, self._timer)
        return [stage(clip) for stage in STAGES]

    def _source(self, job: Job) -> Source:
        """The job's portrait at its size; kept for the next job unless cache_source is false."""
        if not self.settings.cache_source:
            return self._read_source(job)
        key = (job.portrait, job.width, job.height)
        if key not in self._sources:
            self._sources[key] = self._read_source(job)
        return self._sources[key]

    def _read_source(self, job: Job) -> Source:
        settings = self.settings
        portrait = read_portrait(
            Path(job.portrait), job.width, job.height, settings.max_size, settings.crop_px
        )
        info, feature = self.models.source(portrait.network_input(settings.input_px))
        mask = feather_mask(settings.crop_px, settings.crop_px)
        height, width = portrait.frame.shape[:2]
        return Source(
            size=(width, height),
            is_image=True,
            infos=(info,),
            features=(feature,),
            eye_open=portrait.eye_open,
            eye_ball=portrait.eye_ball,
            put_backs=(PutBack(portrait.frame, portrait.m_c2o, mask),),
        )

    def attest(self) -> Mapping[str, Any]:
        models = self.models
        return {
            "weights": models.weights(),
            "device": models.device.type,
            "size": self.settings.size,
            "stages": self._attest_stages(models),
            "parameters": models.parameters,
            "versions": _versions(models),
            "options": {
                **dataclasses.asdict(self.settings),
                "resampler": features.RESAMPLER,
                "torch_threads": torch.get_num_threads(),
                "opencv_threads": cv2.getNumThreads(),
                "tf32": torch.backends.cudnn.allow_tf32,
            },
        }

    def _attest_stages(self, models: Models) -> dict[str, dict[str, str]]:
        stages = {}
        for stage, network in _NETWORK_OF.items():
            module = models.hubert if network == "hubert" else models.networks[network]
            if isinstance(module, OnnxHubert):
                backend = f"onnxruntime {module.provider}"
                stages[stage] = {"backend": backend, "dtype": "float32", "device": module.device}
                continue
            weight = next(module.parameters())
            dtype = models.ran.get(network, str(weight.dtype).removeprefix("torch."))
            stages[stage] = {"backend": "eager", "dtype": dtype, "device": weight.device.type}
        stages["putback"] = {"backend": "opencv", "dtype": "float32", "device": "cpu"}
        stages["write"] = {"backend": f"libx264 crf {CRF}", "dtype": PIXELS, "device": "cpu"}
        return stages

    def memory(self) -> Mapping[str, float]:
        return peaks_mib(self.settings.device)


def _versions(models: Models) -> dict[str, str]:
    versions = {
        "torch": torch.__version__,
        "numpy": np.__version__,
        "opencv": cv2.__version__,
        "av": version("av"),
        features.RESAMPLER: version(features.RESAMPLER),
    }
    if isinstance(models.hubert, OnnxHubert):
        versions["onnxruntime"] = models.hubert.version
    else:
        versions["transformers"] = version("transformers")
    return versions
