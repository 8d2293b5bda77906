"""What the stages of one job share beside the pieces that flow: the source, the sound, the models."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from engines.contract import DeviceTimer, Job
from engines.ditto.compose import PutBack
from engines.ditto.conditioning import mirror_index
from engines.ditto.fusion import Info
from engines.ditto.models import Models


@dataclass(frozen=True)
class Source:
    """A portrait or a source video as the networks see it: n source frames, 1 for a portrait.

    size      (width, height) of the video, px
    infos     n of x_s_info with kp, smoothed over time where it is a video
    features  n of f_s, on the device
    eye_open  (n, 2);  eye_ball (n, 6)
    put_backs n, each with its own background and matrix
    """

    size: tuple[int, int]
    is_image: bool
    infos: tuple[Info, ...]
    features: tuple[Tensor, ...]
    eye_open: NDArray[np.float32]
    eye_ball: NDArray[np.float32]
    put_backs: tuple[PutBack, ...]

    def at(self, frame: int) -> int:
        """Number of the source frame that frame `frame` of the clip shows: to the end and back again."""
        return mirror_index(frame, len(self.infos))


@dataclass
class Clip:
    """One job on its way through the stages.

    sound  audio pieces so far, as they came, at `rate` samples per second
    """

    job: Job
    models: Models
    find_source: Callable[[Job], Source]
    timer: DeviceTimer | None = None
    sound: list[NDArray[np.float32]] = field(default_factory=list)
    rate: int = 0
    _source: Source | None = field(default=None, init=False)

    @property
    def source(self) -> Source:
        if self._source is None:
            self._source = self.find_source(self.job)
        return self._source
