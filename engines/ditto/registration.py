"""A portrait or source video through the networks that run once per source frame."""

from __future__ import annotations

from collections.abc import Iterable
from functools import lru_cache, partial

import numpy as np

from engines.ditto.clip import Source
from engines.ditto.compose import PutBack, feather_mask
from engines.ditto.compose_gpu import DevicePutBack
from engines.ditto.fusion import Info
from engines.ditto.models import Models
from engines.ditto.source import Portrait

# Put-back objects hold several times their frame; a source video is walked to the end and back again.
_KEPT_PUT_BACKS = 4


def register(portraits: Iterable[Portrait], is_image: bool, models: Models) -> tuple[Source, int | None]:
    """(the source, faces that a detector saw in its first frame or None).

    portraits  at least one, all of one size; taken one by one, so a video's crops are not kept
    """
    settings = models.settings
    mask = feather_mask(settings.crop_px, settings.crop_px)
    infos, features, eyes, places, found = [], [], [], [], []
    for portrait in portraits:
        info, feature = models.source(portrait.network_input(settings.input_px))
        infos.append(info)
        features.append(feature)
        eyes.append((portrait.eye_open, portrait.eye_ball))
        places.append((portrait.frame, portrait.m_c2o))
        found.append(portrait.found)
    kind = partial(DevicePutBack, device=models.device) if settings.putback == "gpu" else PutBack

    @lru_cache(maxsize=_KEPT_PUT_BACKS)
    def put_back(frame: int) -> PutBack | DevicePutBack:
        return kind(*places[frame], mask)

    put_back(0)
    height, width = places[0][0].shape[:2]
    source = Source(
        size=(width, height),
        is_image=is_image,
        keypoints=infos[0]["kp"].reshape(-1),
        infos=tuple(smooth(infos, settings.smo_k_s)),
        features=tuple(features),
        eye_open=np.concatenate([opened for opened, _ in eyes]),
        eye_ball=np.concatenate([ball for _, ball in eyes]),
        put_back=put_back,
    )
    return source, found[0]


def smooth(infos: list[Info], frames: int) -> list[Info]:
    """Each value as its mean over `frames` frames around it, fewer at the ends."""
    if len(infos) == 1 or frames == 1:
        return infos
    reach = frames // 2
    series = {name: np.stack([info[name] for info in infos]) for name in infos[0]}
    return [
        {name: values[max(0, i - reach) : i + reach + 1].mean(axis=0) for name, values in series.items()}
        for i in range(len(infos))
    ]
