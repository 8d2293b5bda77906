"""What the stages of one job share: the source, the sound, the models, and their base class."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from engines.contract import DeviceTimer, Job, Piece
from engines.ditto.compose import PutBack
from engines.ditto.compose_gpu import DevicePutBack
from engines.ditto.conditioning import mirror_index
from engines.ditto.encoders import Encoder
from engines.ditto.fusion import Info

if TYPE_CHECKING:
    from engines.ditto.models import Models


@dataclass(frozen=True)
class Source:
    """A portrait or a source video as the networks see it: n source frames, 1 for a portrait.

    size      (width, height) of the video, px
    keypoints (63,) canonical ones of the first frame, before any smoothing
    infos     n of x_s_info with kp, smoothed over time where it is a video
    features  n of f_s, on the device
    eye_open  (n, 2);  eye_ball (n, 6)
    put_back  what puts a face back into source frame k; made when first asked for, a few are kept
    """

    size: tuple[int, int]
    is_image: bool
    keypoints: NDArray[np.float32]
    infos: tuple[Info, ...]
    features: tuple[Tensor, ...]
    eye_open: NDArray[np.float32]
    eye_ball: NDArray[np.float32]
    put_back: Callable[[int], PutBack | DevicePutBack]

    def at(self, frame: int) -> int:
        """Number of the source frame that frame `frame` of the clip shows: to the end and back again."""
        return mirror_index(frame, len(self.infos))


@dataclass
class Clip:
    """One job on its way through the stages.

    sound         audio pieces so far, as they came, at `rate` samples per second
    frames        of the video, None while sound may still come
    first_motion  (265,) to which all motion is relative, where it is not that of the first frame
    ran           the component's own record: settings as the stages of its jobs have really held them
    """

    job: Job
    models: Models
    find_source: Callable[[Job], Source]
    encoder: Encoder
    ran: dict[str, Any]
    timer: DeviceTimer | None = None
    sound: list[NDArray[np.float32]] = field(default_factory=list)
    rate: int = 0
    frames: int | None = None
    first_motion: NDArray[np.float32] | None = None
    _source: Source | None = field(default=None, init=False)

    @property
    def source(self) -> Source:
        if self._source is None:
            self._source = self.find_source(self.job)
        return self._source


class ClipStage:
    """A stage of one job that has nothing left at the end."""

    name = ""
    on_device = True

    def __init__(self, clip: Clip) -> None:
        self.clip = clip
        self.timer = clip.timer if self.on_device else None

    def feed(self, piece: Piece) -> Iterator[Piece]:
        raise NotImplementedError

    def flush(self) -> Iterator[Piece]:
        return iter(())
