"""Sample: what a component has shown on a short input, read back and held against that of its reference."""

from __future__ import annotations

import math
import struct
import tokenize
import zipfile
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from harness import likeness

THRESHOLDS = ("psnr_db", "ssim", "lsd_db")
_MOST_BYTES = 2**30  # of a sample when it is unpacked: 10 frames of 7680 x 4320 px have 0.93 GiB
# What numpy, zipfile and zlib raise for files that are cut short or altered.
_DAMAGED = (
    OSError, ValueError, EOFError, AttributeError, TypeError, KeyError, SyntaxError, MemoryError,
    RuntimeError, ArithmeticError, struct.error, tokenize.TokenError, zipfile.BadZipFile, zlib.error,
)  # fmt: skip

Arrays = Mapping[str, NDArray[Any]]


class NoSample(ValueError):
    """A sample that is not there, cannot be read, or is no judge of the other; in words."""


def path_of(folder: Path, name: str) -> Path:
    return folder / "sample" / f"{name}.npz"


def figures(names: Iterable[str], folder: Path, base: Path) -> tuple[dict[str, Any], list[str]]:
    """What the samples of these components give, and what makes them incomparable, in words.

    folder, base  of the measurement and of its reference. Raises NoSample.
    """
    found: dict[str, Any] = {}
    complaints = []
    for name in names:
        ours, theirs = _read(folder, name), _read(base, name)
        try:
            found |= _of_frames(ours, theirs) if "frames" in theirs else _of_sound(ours, theirs)
        except NoSample as error:
            raise NoSample(f"{name} {error}") from error
        except ValueError as error:
            complaints.append(f"{name} {error}")
    if not all(math.isfinite(value) for value in found.values()):
        raise NoSample("the samples give figures that are no finite numbers")
    return found, complaints


def _read(folder: Path, name: str) -> Arrays:
    """Arrays of a sample that the measured process has stored, as sampling makes them. Raises NoSample."""
    path = path_of(folder, name)
    try:
        with np.load(path, allow_pickle=False) as file:
            if sum(part.file_size for part in file.zip.infolist()) > _MOST_BYTES:
                raise NoSample(f"{path}: more than {_MOST_BYTES >> 20} MiB")
            arrays = dict(file)
    except FileNotFoundError as error:
        raise NoSample(
            f"{name} left no sample in {folder.parent.name}; force=true measures it anew"
        ) from error
    except NoSample:
        raise
    except _DAMAGED as error:
        raise NoSample(f"{path}: cannot be read ({error})") from error
    if not (_are_frames(arrays) or _is_sound(arrays)):
        raise NoSample(f"{path}: holds neither frames nor sound; force=true measures it anew")
    return arrays


def _are_frames(arrays: Arrays) -> bool:
    if not {"frames", "index"} <= arrays.keys():
        return False
    frames, index = arrays["frames"], arrays["index"]
    pictures = frames.dtype == np.uint8 and frames.ndim == 4 and frames.shape[3] == 3 and frames.size > 0
    numbered = index.dtype.kind in "iu" and index.shape == frames.shape[:1]
    return bool(pictures and numbered and (np.diff(index.astype(np.int64)) > 0).all())


def _is_sound(arrays: Arrays) -> bool:
    if not {"audio", "rate"} <= arrays.keys():
        return False
    audio, rate = arrays["audio"], arrays["rate"]
    named = rate.dtype.kind in "iu" and rate.shape == () and 1_000 <= int(rate) <= 384_000
    return bool(named and audio.dtype == np.float32 and audio.ndim == 1 and audio.size > 0)


def _of_frames(ours: Arrays, theirs: Arrays) -> dict[str, Any]:
    """Raises ValueError for frames that cannot be compared."""
    if "frames" not in ours:
        raise NoSample("left sound where the reference left frames")
    if ours["frames"].shape[1:] != theirs["frames"].shape[1:]:
        sizes = ["x".join(map(str, each["frames"].shape[2:0:-1])) for each in (ours, theirs)]
        raise ValueError(f"frames are of another size: {' instead of '.join(sizes)}")
    _, mine, other = np.intersect1d(ours["index"], theirs["index"], return_indices=True)
    if len(mine) < len(theirs["index"]):
        raise ValueError(f"drew only {len(mine)} of the {len(theirs['index'])} frames that are compared")
    pairs = [(ours["frames"][one], theirs["frames"][two]) for one, two in zip(mine, other, strict=True)]
    errors = [likeness.square_error(*pair) for pair in pairs]
    similar = [likeness.ssim(*pair) for pair in pairs]
    return {
        "psnr_db": round(likeness.psnr_of(float(np.mean(errors))), 2),
        "least_psnr_db": round(likeness.psnr_of(max(errors)), 2),
        "ssim": round(float(np.mean(similar)), 5),
        "least_ssim": round(min(similar), 5),
        "frames": len(pairs),
    }


def _of_sound(ours: Arrays, theirs: Arrays) -> dict[str, Any]:
    """Raises ValueError for sound that cannot be compared."""
    if "audio" not in ours:
        raise NoSample("left frames where the reference left sound")
    if not np.isfinite(theirs["audio"]).all():
        raise NoSample("speaks samples that are no finite numbers in the reference")
    if not np.isfinite(ours["audio"]).all():
        raise ValueError("speaks samples that are no finite numbers")
    rate = int(theirs["rate"])
    if int(ours["rate"]) != rate:
        raise ValueError("speaks at another sampling rate")
    mean, worst = likeness.lsd_db(ours["audio"], theirs["audio"], rate)
    return {"lsd_db": round(mean, 4), "worst_lsd_db": round(worst, 4)}


def shortfalls(found: Mapping[str, Any], limits: Mapping[str, Any]) -> Iterator[str]:
    """A sentence for each threshold that is missed; null is none. The worst frame and stretch count."""
    least, similar = found.get("least_psnr_db"), found.get("least_ssim")
    apart = found.get("worst_lsd_db", found.get("lsd_db"))  # older results have no worst
    worst = f"the worst of {found.get('frames')} frames has"
    if least is not None and limits["psnr_db"] is not None and least < limits["psnr_db"]:
        yield f"{worst} {least:g} dB PSNR, at least {limits['psnr_db']:g} (quality.psnr_db)"
    if similar is not None and limits["ssim"] is not None and similar < limits["ssim"]:
        yield f"{worst} an SSIM of {similar:.4f}, at least {limits['ssim']:g} (quality.ssim)"
    if apart is not None and limits["lsd_db"] is not None and apart > limits["lsd_db"]:
        yield (
            f"the worst 0.25 s of the sound is {apart:.2f} dB off in spectrum, at most {limits['lsd_db']:g} "
            "(quality.lsd_db)"
        )


def words(found: Mapping[str, Any]) -> str:
    parts: Sequence[tuple[str, str]] = (
        ("psnr_db", "PSNR {psnr_db:.1f} dB (worst frame {least_psnr_db:.1f})"),
        ("ssim", "SSIM {ssim:.4f} (worst {least_ssim:.4f})"),
        ("worst_lsd_db", "log-spectral distance {lsd_db:.2f} dB (worst 0.25 s {worst_lsd_db:.2f})"),
    )
    return ", ".join(form.format(**found) for name, form in parts if name in found)
