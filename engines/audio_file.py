"""Reads WAV and FLAC files that may be broken or hostile: bounded, and no header is believed unchecked."""

from __future__ import annotations

import io
import os
import stat
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

Samples = npt.NDArray[np.float32]

MOST_BYTES = 128 * 2**20  # of a file; 10 minutes of 16-bit stereo at 48 kHz are 110 MiB
MOST_VALUES = 2**26  # samples x channels in memory, 256 MiB
RATES_HZ = (8_000, 192_000)
MOST_CHANNELS = 8
QUIETEST = 1e-4  # of full scale, -80 dB
LOUDEST = 4.0  # a float file may peak above 1; one in the scale of integers reaches thousands

_MOST_CHUNKS = 1000  # a real file has a handful; empty ones could fill a file
_PCM, _FLOAT, _EXTENSIBLE = 1, 3, 0xFFFE
_WRITE_AGAIN = "write the file again, for example with ffmpeg"


def read(path: str, least_s: float, most_s: float) -> tuple[Samples, int]:
    """Samples (n,), channels averaged, their rate in Hz. Raises ValueError: what is wrong, and a remedy."""
    return decode(content(path), least_s, most_s)


def complaint(path: Path, rule: Mapping[str, Any]) -> str:
    """What a rule of conf/ with `min_s` and `max_s` has against a file, "" for nothing."""
    try:
        read(str(path), rule["min_s"], rule["max_s"])
    except ValueError as error:
        return str(error)
    return ""


def content(path: str) -> bytes:
    """A regular file's bytes, at most MOST_BYTES of them. Raises ValueError, also for a pipe or a device."""
    try:
        with open(path, "rb", opener=_without_waiting) as file:
            if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
                raise ValueError("is not a file; give a WAV or FLAC file")
            data = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise ValueError(f"{error.strerror}; give a WAV or FLAC file") from error
    if len(data) > MOST_BYTES:
        raise ValueError(f"more than {MOST_BYTES >> 20} MiB; cut it")
    return data


def _without_waiting(path: str, flags: int) -> int:
    """Opening a pipe would wait for its other end."""
    return os.open(path, flags | os.O_NONBLOCK)


def decode(data: bytes, least_s: float, most_s: float) -> tuple[Samples, int]:
    """As read, from a file's bytes."""
    if data[:4] == b"RIFF" and data[8:12] == b"WAVE":
        samples, rate = _wav(data, least_s, most_s)
    elif data[:4] == b"fLaC":
        samples, rate = _flac(data, least_s, most_s)
    else:
        raise ValueError("not readable audio; give a WAV or FLAC file")
    peak = float(np.abs(samples).max())
    if not np.isfinite(peak):
        raise ValueError(f"holds samples that are no finite numbers; {_WRITE_AGAIN}")
    if peak > LOUDEST:
        raise ValueError(f"its samples reach {peak:.0f} where full scale is 1; {_WRITE_AGAIN}")
    mono: Samples = samples.mean(axis=1, dtype=np.float32)
    if np.abs(mono).max() < QUIETEST:
        raise ValueError("is silent; give a clip with speech")
    return mono, rate


def _check_header(num_frames: int, rate: int, channels: int, least_s: float, most_s: float) -> None:
    low, high = RATES_HZ
    if not low <= rate <= high:
        raise ValueError(f"{rate} samples/s; {low} to {high} can be read; resample it")
    if not 1 <= channels <= MOST_CHANNELS:
        raise ValueError(f"{channels} channels; 1 to {MOST_CHANNELS} can be read; mix it down")
    seconds = num_frames / rate
    if seconds < least_s or not num_frames:
        raise ValueError(f"{seconds:.2f} s; at least {least_s} s")
    if seconds > most_s:
        raise ValueError(f"{seconds:.0f} s; at most {most_s:g} s; cut it")
    if num_frames * channels > MOST_VALUES:
        raise ValueError(f"{num_frames * channels} samples; at most {MOST_VALUES} can be read; mix it down")


def _chunks(data: bytes) -> Iterator[tuple[bytes, int, int]]:
    """Name, offset and promised size of each chunk of a RIFF file."""
    at = 12
    for _ in range(_MOST_CHUNKS):
        if at + 8 > len(data):
            return
        name, size = struct.unpack_from("<4sI", data, at)
        yield name, at + 8, size
        at += 8 + size + size % 2


def _wav(data: bytes, least_s: float, most_s: float) -> tuple[Samples, int]:
    """Samples (n, channels) in [-1, 1] and rate. Uncompressed WAV needs no package but numpy."""
    chunks = {name: (at, size) for name, at, size in _chunks(data)}
    if b"fmt " not in chunks or b"data" not in chunks:
        raise ValueError(f"a WAV file without its format or its sound; {_WRITE_AGAIN}")
    tag, channels, rate, align, bits = _format(data, *chunks[b"fmt "])
    at, size = chunks[b"data"]
    if size > len(data) - at:
        raise ValueError(f"its header promises {size} bytes and {len(data) - at} follow; {_WRITE_AGAIN}")
    if (tag, bits) not in {(_PCM, 8), (_PCM, 16), (_PCM, 24), (_PCM, 32), (_FLOAT, 32), (_FLOAT, 64)}:
        raise ValueError(f"a WAV file of kind {tag} with {bits} bits; save it as 16-bit PCM or as FLAC")
    if align != channels * bits // 8:
        raise ValueError(f"its header says {channels} x {bits} bits are {align} bytes; {_WRITE_AGAIN}")
    _check_header(size // max(align, 1), rate, channels, least_s, most_s)
    values = _values(data[at : at + size // align * align], tag, bits)
    return values.reshape(-1, channels), rate


def _format(data: bytes, at: int, size: int) -> tuple[int, int, int, int, int]:
    """Kind, channels, rate in Hz, bytes per frame, bits per sample."""
    if size < 16 or at + 16 > len(data):
        raise ValueError(f"a WAV file with a broken header; {_WRITE_AGAIN}")
    tag, channels, rate, _, align, bits = struct.unpack_from("<HHIIHH", data, at)
    if tag == _EXTENSIBLE and size >= 26 and at + 26 <= len(data):
        (tag,) = struct.unpack_from("<H", data, at + 24)  # the kind opens the long format's GUID
    return tag, channels, rate, align, bits


def _values(raw: bytes, tag: int, bits: int) -> Samples:
    if tag == _FLOAT:
        with np.errstate(over="ignore"):  # what is too large for float32 becomes inf, and is refused
            return np.frombuffer(raw, f"<f{bits // 8}").astype(np.float32)
    if bits == 8:
        return np.frombuffer(raw, np.uint8).astype(np.float32) / np.float32(128) - np.float32(1)
    if bits == 24:  # as the upper three bytes of four
        wide = np.zeros((len(raw) // 3, 4), np.uint8)
        wide[:, 1:] = np.frombuffer(raw, np.uint8).reshape(-1, 3)
        raw, bits = wide.tobytes(), 32
    whole: Samples = np.frombuffer(raw, f"<i{bits // 8}").astype(np.float32)
    return whole / np.float32(2 ** (bits - 1))


def _flac(data: bytes, least_s: float, most_s: float) -> tuple[Samples, int]:
    try:
        import soundfile  # type: ignore[import-untyped]  # here, so that WAV files can be read in an interpreter without it
    except (ImportError, OSError) as error:
        raise ValueError("FLAC needs the package soundfile; install it, or give a WAV file") from error
    try:
        with soundfile.SoundFile(io.BytesIO(data)) as file:
            _check_header(file.frames, file.samplerate, file.channels, least_s, most_s)
            samples: Samples = file.read(dtype="float32", always_2d=True)
            promised, rate = file.frames, file.samplerate
    except soundfile.LibsndfileError as error:
        raise ValueError("not readable audio; give a WAV or FLAC file") from error
    if len(samples) != promised:
        raise ValueError(f"its header promises {promised} samples and {len(samples)} follow; {_WRITE_AGAIN}")
    return samples, rate
