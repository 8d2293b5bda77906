"""What is checked of a Ditto configuration before anything is loaded: files, keys that depend on others."""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from engines.checkpoint_file import file_complaint, pth_complaint
from engines.contract import NotApplicable
from engines.ditto import plans
from engines.ditto.cfg import NO_CFG, Cfg, disagreements, read
from engines.ditto.checkpoint_layout import CHECKPOINT_FILES, LEAST_BYTES
from engines.ditto.face_files import face_files
from engines.ditto.images import check_image
from engines.ditto.settings import Settings
from engines.ditto.stored_crop import check_portrait

_MOST_WORDS = 2000  # characters that somebody may want to paste
# In place of keys that can make a point not applicable.
_RUNS_ANYWHERE: dict[str, Any] = {
    "device": "cuda",
    "mode": "offline",
    "backend": "eager",
    "precision": "fp32",
    "stage_backend": plans.unset(),
    "stage_precision": plans.unset(),
    "fused": False,
    "x264_threading": "slices",
}
_COPY_AGAIN = "copy it again from the released checkpoints"


def check(data: Mapping[str, Any]) -> str:
    """Why the point cannot be measured here, "" if it can. Raises ValueError, one line in the words of the
    command line.

    data  the whole resolved configuration; `avatar` has the keys of conf/avatar/ditto.yaml
    """
    keys = {key: value for key, value in data["avatar"].items() if key in Settings.__dataclass_fields__}
    not_applicable = ""
    try:
        settings = Settings(**keys)
    except NotApplicable as reason:
        not_applicable = str(reason)
        # what depends on the device says nothing about the files, and the other way round
        settings = Settings(**keys | _RUNS_ANYWHERE)
    executor = data["executor"]
    not_applicable = not_applicable or plans.tf32_obstacle(settings, executor["name"], executor["workers"])
    width, height = map(int, data["workload"]["resolution"].split("x"))
    check_resolution(width, height, settings.max_size)
    _check_weights(settings)
    _check_portrait(settings, str(data["workload"]["portrait"]))
    check_cfg(settings.cfg, keys)
    return not_applicable


def check_resolution(width: int, height: int, max_size: int) -> None:
    """Raises ValueError for a video larger than allowed, in px: shrunk, it would not be the one asked for."""
    longest = max(width, height)
    if longest > max_size:
        raise ValueError(
            f"workload.resolution={width}x{height}: larger than avatar.max_size={max_size}, the longest side "
            f"allowed; use avatar.max_size={longest}, or a smaller resolution"
        )


def check_cfg(path: str | None, keys: Mapping[str, Any]) -> Cfg:
    """The file, read. Raises ValueError where it is no such file, or where the command says otherwise."""
    if path is None:
        return NO_CFG
    cfg = read(path)
    asked = disagreements(cfg, keys)
    if asked and keys["cfg_values"] == "agree":
        words = " ".join(shlex.quote(f"avatar.{key}={_word(value)}") for key, value in asked.items())
        told = f"or add {words}" if len(words) <= _MOST_WORDS else f"it differs in {', '.join(asked)}"
        raise ValueError(
            f"avatar.cfg={path}: it says otherwise than the command; go by the command alone with "
            f"avatar.cfg_values=ignore, {told}"
        )
    if cfg.emo is not None and keys["emo"] != Settings.emo:
        raise ValueError(
            f"avatar.emo={_word(keys['emo'])}: avatar.cfg={path} has emotion rows {cfg.emo.shape}, which are "
            "used; leave avatar.emo out, or use avatar.cfg=null"
        )
    return cfg


def _word(value: Any) -> str:
    """A value as Hydra reads it on the command line."""
    if value is None or isinstance(value, bool):
        return {None: "null", True: "true", False: "false"}[value]
    if isinstance(value, str):
        return value if value.isidentifier() else '"' + value.replace("\\", "\\\\").replace('"', '\\"') + '"'
    if isinstance(value, Mapping):
        return "{" + ",".join(f"{_word(key)}:{_word(entry)}" for key, entry in value.items()) + "}"
    if isinstance(value, list):
        return "[" + ",".join(map(_word, value)) + "]"
    return repr(value)


def _check_weights(settings: Settings) -> None:
    """Every file is there and whole as far as its ends tell; their keys and shapes are told by loading."""
    folder = settings.checkpoint
    if folder is not None:
        for network, name in CHECKPOINT_FILES.items():
            path = folder / "models" / name
            complaint = pth_complaint(path, LEAST_BYTES[network])
            if complaint:
                raise ValueError(f"avatar.weights={folder}: models/{name} {complaint}; {_COPY_AGAIN}")
    if settings.hubert_file is not None:
        complaint = file_complaint(settings.hubert_file)
        if complaint:
            raise ValueError(f"avatar.hubert={settings.hubert_file}: {complaint}; {_COPY_AGAIN}")


def _check_crop_keys(settings: Settings) -> None:
    """A stored crop is used as it is, so these keys would change the point's name and nothing else."""
    for key in ("crop_scale", "crop_vy_ratio", "crop_rotate"):
        value = getattr(settings, key)
        if value != getattr(Settings, key):
            raise ValueError(
                f"avatar.{key}={_word(value)}: a stored crop is used as it is; give avatar.faces=FOLDER, the "
                "aux_models of the released checkpoints, or leave the key out"
            )


def _check_portrait(settings: Settings, portrait: str) -> None:
    """The picture is whole; a detector finds the face in it, or its crop is stored beside it."""
    folder = settings.faces_folder
    if folder is None:
        _check_crop_keys(settings)
        check_portrait(Path(portrait))
        return
    check_image(Path(portrait))
    for path in vars(face_files(folder)).values():
        complaint = file_complaint(path) if path not in (None, folder) else ""
        if complaint:
            raise ValueError(f"avatar.faces={folder}: {path.name} {complaint}; {_COPY_AGAIN}")
