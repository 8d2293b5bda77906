"""One clip's way from features to motion: windows sampled and joined, of a whole clip or online."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from numpy.typing import NDArray

from engines.ditto.conditioning import Conditions
from engines.ditto.fusion import Fusion, OnlineWindows, windows
from engines.ditto.settings import Settings

if TYPE_CHECKING:
    from engines.ditto.models import Models

Array = NDArray[np.float32]


class Sampler:
    """Samples windows of one clip's motion and joins them.

    Noise comes from a generator of the job's own seed, so the order of jobs changes nothing.
    source  (265,) the motion of the face that conditions the first window
    """

    def __init__(self, models: Models, conditions: Conditions, source: Array, seed: int) -> None:
        self._models = models
        self._conditions = conditions
        self._fusion = _fusion(models.settings, source)
        self._generator = torch.Generator().manual_seed(seed)
        self._noise = self._models.noise(self._generator)

    def whole(self, features: Array) -> Array:
        """Motion (n, 265) of all features (n, 1024) of a clip."""
        rows = self._conditions.rows(features)
        for window in windows(rows, self._fusion.seq_frames, self._fusion.overlap):
            self._fusion.add(self._move(window))
        return self._fusion.finish(len(rows))

    def online(self, silence: Array) -> OnlineWindows:
        """The same while features come; silence (overlap, 1024) lies before the first."""

        def predict(features: Array, first: int) -> Array:
            return self._move(self._conditions.rows(features, first))

        return OnlineWindows(silence, self._fusion, predict)

    @property
    def ran(self) -> dict[str, Any]:
        """Settings as the fusion holds them."""
        fusion = self._fusion
        return {"overlap": fusion.overlap, "smo_k_d": fusion.smo_k_d, "fix_kp_cond": fusion.fix_kp_cond}

    def _move(self, window: Array) -> Array:
        return self._models.move(window, self._fusion.kp_cond, self._noise, self._generator)


def _fusion(settings: Settings, source: Array) -> Fusion:
    kept = settings.fix_kp_cond_dim
    return Fusion(
        source,
        settings.seq_frames,
        settings.overlap,
        online=settings.mode == "online",
        fix_kp_cond=settings.fix_kp_cond,
        fix_kp_cond_dim=None if kept is None else (kept[0], kept[1]),
        smo_k_d=settings.smo_k_d,
    )
