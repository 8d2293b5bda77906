"""Ditto as a component: audio and a portrait to a talking-head video."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import torch

from engines.backends.cache import Cache
from engines.contract import DeviceTimer, Job, Piece, Stage
from engines.cuda import CudaTimer, built, lane, peaks_mib
from engines.ditto import facts, features, stored_crop
from engines.ditto.clip import Clip, Source
from engines.ditto.encoders import Encoder, choose
from engines.ditto.faces import Finder
from engines.ditto.images import digest, header
from engines.ditto.models import Models
from engines.ditto.registration import register
from engines.ditto.rendering import rendering_stages
from engines.ditto.settings import Settings
from engines.ditto.source import read_source
from engines.ditto.stages import driving_stages
from engines.ditto.work import work

WARM_UP_RATE = 24_000
WARM_UP_SAMPLES = WARM_UP_RATE // 5


class Ditto:
    """See engines.contract.Component. Keys: engines.ditto.settings.Settings.

    One object may serve several threads: stages keep what belongs to a job, the rest is constant after load.
    """

    def __init__(self, **keys: Any) -> None:
        self.settings = Settings(**keys)
        self.lane = partial(lane, self.settings.device)
        self._timer: DeviceTimer | None = CudaTimer() if self.settings.device == "cuda" else None
        self._models: Models | None = None
        self._finder: Finder | None = None
        self._sources: dict[tuple[str, int, int], Source] = {}
        self._seen: dict[str, dict[str, Any]] = {}
        self._encoder = Encoder()
        self._stages_ran: dict[str, Any] = {}

    @property
    def models(self) -> Models:
        models = self._loaded()
        if not models.ready:
            raise RuntimeError("build() was not called")
        return models

    def _loaded(self) -> Models:
        if self._models is None:
            raise RuntimeError("load() was not called")
        return self._models

    def load(self) -> None:
        cv2.setNumThreads(self.settings.cpu_threads)
        # Before the networks: a missing encoder or detector is told at once.
        self._encoder = choose(self.settings.encoder, self.settings.device)
        self._finder = self._load_finder()
        self._models = Models(self.settings)

    def _load_finder(self) -> Finder | None:
        settings = self.settings
        if settings.faces_folder is None:
            return None
        return Finder(
            settings.faces_folder,
            settings.device,
            settings.cpu_threads,
            settings.crop_scale,
            settings.crop_vy_ratio,
            settings.crop_rotate,
        )

    def build(self) -> None:
        """Compile, export, build engines and record graphs, as the backends of the stages do."""
        self._loaded().build(Cache(Path(self.settings.cache)))
        built(self.settings.device)

    def warm_up(self, job: Job) -> None:
        """Run the job's portrait through all stages on 0.2 s of silence; the video is thrown away."""
        output = Path(job.output).with_suffix(".warm_up.mp4")
        pieces = [Piece("audio", np.zeros(WARM_UP_SAMPLES, np.float32), WARM_UP_SAMPLES, WARM_UP_RATE)]
        for stage in self.stages(dataclasses.replace(job, output=str(output))):
            pieces = [out for piece in pieces for out in stage.feed(piece)] + list(stage.flush())
        output.unlink()

    def stages(self, job: Job) -> Sequence[Stage]:
        clip = Clip(job, self.models, self._source, self._encoder, self._stages_ran, self._timer)
        return [*driving_stages(clip), *rendering_stages(clip)]

    def _source(self, job: Job) -> Source:
        """The job's portrait at its size; kept for jobs with the same file, unless cache_source is false."""
        if not self.settings.cache_source:
            return self._read_source(job)
        key = (digest(Path(job.portrait)), job.width, job.height)
        if key not in self._sources:
            self._sources[key] = self._read_source(job)
        return self._sources[key]

    def _read_source(self, job: Job) -> Source:
        path = Path(job.portrait)
        is_image = not header(path).is_video
        portraits = read_source(path, job.width, job.height, self.settings, self._finder)
        source, found = register(portraits, is_image, self.models)
        self._seen[f"{path.name} {job.width}x{job.height}"] = {
            "sha256": digest(path)[:16],
            "frames": len(source.infos),
            "faces": found,
            "crop": None if self._finder else stored_crop.digest(path)[:16],
        }
        return source

    def attest(self) -> Mapping[str, Any]:
        models = self.models
        return {
            "weights": models.weights(),
            "device": models.device.type,
            "size": self.settings.size,
            "stages": facts.stages(models, self._encoder, self._stages_ran),
            "work": work(self.settings),
            "parameters": models.parameters,
            "versions": _versions(models) | ({} if self._finder is None else self._finder.versions),
            "ran": facts.ran(models, self._stages_ran),
            "faces": self._attest_faces(),
            "cfg": {"sha256": models.cfg.digest, "unknown": list(models.cfg.ignored)},
            "encoder": self._attest_encoder(),
            "options": {
                "resampler": features.RESAMPLER,
                "torch_threads": torch.get_num_threads(),
                "opencv_threads": cv2.getNumThreads(),
                "tf32_by_default": torch.backends.cudnn.allow_tf32,
            },
        }

    def _attest_faces(self) -> dict[str, Any]:
        """What found the faces, and per portrait how many it saw: several mean that the largest was taken."""
        stored = {"stored crop": {"backend": "json"}}
        backends = stored if self._finder is None else self._finder.backends
        return {"backends": dict(backends), "portraits": dict(self._seen)}

    def _attest_encoder(self) -> dict[str, Any]:
        settings = self.settings
        streaming = settings.container == "fragmented"
        x264 = settings.x264_preset, settings.x264_threads, settings.x264_threading
        return self._encoder.attest(*x264, streaming=streaming)

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
    if models.onnx_hubert is None:
        versions["transformers"] = version("transformers")
    else:
        versions["onnxruntime"] = models.onnx_hubert.version
    return versions
