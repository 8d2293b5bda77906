"""Reading sound: the samples are libsndfile's, and what is broken or hostile is refused in one line."""

from __future__ import annotations

import io
import os
import struct
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from engines import audio_file

soundfile = pytest.importorskip("soundfile")
ROOT = Path(__file__).parents[2]
RATE = 16_000


def tone(seconds: float = 0.5, channels: int = 1, rate: int = RATE) -> np.ndarray:
    """(n, channels) of different loudness, so that averaging them shows."""
    wave = 0.5 * np.sin(2 * np.pi * 440 * np.arange(round(seconds * rate)) / rate)
    return wave[:, None] * np.linspace(1, 0.3, channels)


def encoded(samples: np.ndarray, rate: int = RATE, kind: str = "WAV", subtype: str = "PCM_16") -> bytes:
    file = io.BytesIO()
    soundfile.write(file, samples, rate, format=kind, subtype=subtype)
    return file.getvalue()


def wav(sound: bytes, *, promised: int | None = None, tag: int = 1, bits: int = 16, **header: int) -> bytes:
    """A WAV file written by hand, whose header may say anything."""
    rate, channels = header.get("rate", RATE), header.get("channels", 1)
    align = header.get("align", channels * bits // 8)
    layout = struct.pack("<4sIHHIIHH", b"fmt ", 16, tag, channels, rate, rate * align % 2**32, align, bits)
    data = struct.pack("<4sI", b"data", len(sound) if promised is None else promised) + sound
    return b"RIFF" + struct.pack("<I", len(layout + data) + 4) + b"WAVE" + layout + data


def floats(*values: float) -> bytes:
    return wav(np.array([0.5] * RATE + list(values), "<f4").tobytes(), tag=3, bits=32)


SILENCE = wav(bytes(2 * RATE))


@pytest.mark.parametrize("rate", [8_000, 22_050, 192_000])
@pytest.mark.parametrize("channels", [1, 2])
@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE"])
@pytest.mark.parametrize("kind", ["WAV", "WAVEX"])
def test_a_wav_file_has_the_samples_that_libsndfile_reads(
    kind: str, subtype: str, channels: int, rate: int
) -> None:
    data = encoded(tone(0.1, channels, rate), rate, kind, subtype)
    expected, _ = soundfile.read(io.BytesIO(data), dtype="float32", always_2d=True)
    samples, found_rate = audio_file.decode(data, 0.05, 1.0)
    assert found_rate == rate
    assert samples.dtype == np.float32
    assert samples == pytest.approx(expected.mean(axis=1), abs=1e-7)


def test_a_flac_file_has_the_samples_that_libsndfile_reads() -> None:
    path = ROOT / "media/voice_25s.flac"
    expected, rate = soundfile.read(path, dtype="float32")
    samples, found_rate = audio_file.read(str(path), 1.0, 60.0)
    assert found_rate == rate
    assert np.array_equal(samples, expected)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "not readable audio; give a WAV or FLAC file"),
        (b"<html>not found</html>", "not readable audio"),
        (b"RIFF\0\0\0\0WAVE", "a WAV file without its format or its sound"),
        (b"RIFF\0\0\0\0WAVEfmt \x10\0\0\0\1\0", "a WAV file without its format or its sound"),
        (wav(bytes(100), promised=96_000), "its header promises 96000 bytes and 100 follow; write"),
        (wav(tone().tobytes(), promised=0xFFFFFFFF), "its header promises 4294967295 bytes"),
        (wav(tone().tobytes(), promised=0), "0.00 s; at least 0.1 s"),
        (wav(b""), "0.00 s; at least 0.1 s"),
        (wav(b"\1\2"), "0.00 s; at least 0.1 s"),
        (wav(bytes(100), rate=0), "0 samples/s; 8000 to 192000 can be read; resample it"),
        (wav(bytes(100), rate=4_000_000_000), "4000000000 samples/s"),
        (wav(bytes(100), channels=0), "0 channels; 1 to 8 can be read; mix it down"),
        (wav(bytes(100), channels=1000), "1000 channels"),
        (wav(bytes(100), align=0), "its header says 1 x 16 bits are 0 bytes"),
        (wav(bytes(100), align=4), "its header says 1 x 16 bits are 4 bytes"),
        (wav(bytes(100), tag=7, bits=8), "a WAV file of kind 7 with 8 bits; save it as 16-bit PCM"),
        (wav(tone(9).astype("<f4").tobytes(), tag=3, bits=32), "9 s; at most 5 s; cut it"),
        (SILENCE, "is silent; give a clip with speech"),
        (floats(float("nan")), "holds samples that are no finite numbers"),
        (floats(float("inf")), "holds samples that are no finite numbers"),
        (wav(np.full(RATE, 1e300).tobytes(), tag=3, bits=64), "holds samples that are no finite numbers"),
        (floats(20_000), "its samples reach 20000 where full scale is 1"),
        (encoded(tone(), kind="FLAC")[:60], "not readable audio"),
        (encoded(tone(), kind="OGG", subtype="VORBIS"), "not readable audio; give a WAV or FLAC file"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_a_file_is_told(data: bytes, words: str) -> None:
    with pytest.raises(ValueError) as caught:
        audio_file.decode(data, 0.1, 5.0)
    assert str(caught.value).startswith(words)
    assert "\n" not in str(caught.value)


def test_a_flac_file_with_a_lying_header_is_refused() -> None:
    honest = encoded(tone(0.5), kind="FLAC")
    lying = bytearray(honest)
    # STREAMINFO: 36 bits of total samples end 26 bytes into the file (RFC 9639, 8.2)
    assert int.from_bytes(honest[22:26], "big") == 8_000
    lying[22:26] = (16_000).to_bytes(4, "big")
    with pytest.raises(
        ValueError, match=r"its header promises 16000 samples and 8000 follow|not readable audio"
    ):
        audio_file.decode(bytes(lying), 0.1, 5.0)
    lying[22:26] = (2**32 - 1).to_bytes(4, "big")
    with pytest.raises(ValueError, match=r"268435 s; at most 5 s"):
        audio_file.decode(bytes(lying), 0.1, 5.0)


def test_a_flac_bomb_is_refused_before_it_is_decoded(monkeypatch: pytest.MonkeyPatch) -> None:
    hour = encoded(np.zeros((3600 * 8_000, 1), np.int16), 8_000, "FLAC")
    assert len(hour) < 2**20  # 0.5 MB that would be 115 MB of samples
    monkeypatch.setattr(soundfile.SoundFile, "read", lambda *_, **__: pytest.fail("it was decoded"))
    with pytest.raises(ValueError, match="3600 s; at most 600 s; cut it"):
        audio_file.decode(hour, 0.1, 600.0)


def test_every_cut_of_a_wav_file_and_every_changed_byte_is_read_or_refused() -> None:
    honest = encoded(tone(0.2, 2), kind="WAVEX", subtype="PCM_24")
    header = honest.index(b"data") + 8
    broken = [honest[:length] for length in range(header + 8)]
    broken += [
        honest[:at] + bytes([value]) + honest[at + 1 :] for at in range(header) for value in (0, 1, 255)
    ]
    refused = 0
    for data in broken:
        try:
            samples, _ = audio_file.decode(data, 0.1, 5.0)
        except ValueError:
            refused += 1
        else:
            assert np.abs(samples).max() <= 1
    assert refused > len(broken) / 2


def test_a_file_is_read_up_to_a_bound(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audio_file, "MOST_BYTES", 2**20)
    (tmp_path / "large.wav").write_bytes(bytes(2**20 + 1))
    with pytest.raises(ValueError, match="more than 1 MiB; cut it"):
        audio_file.content(str(tmp_path / "large.wav"))


def test_what_never_ends_or_never_begins_is_no_file(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe.wav")
    for path in ("/dev/zero", str(tmp_path / "pipe.wav")):
        with pytest.raises(ValueError, match="is not a file; give a WAV or FLAC file"):
            audio_file.content(path)


@pytest.mark.parametrize("name", ["missing.wav", "", "loop.wav", "/proc/self/mem"])
def test_what_cannot_be_read_says_why(name: str, tmp_path: Path) -> None:
    (tmp_path / "loop.wav").symlink_to(tmp_path / "loop.wav")
    with pytest.raises(ValueError, match="; give a WAV or FLAC file"):
        audio_file.content(str(tmp_path / name))


def test_without_soundfile_wav_files_are_read_and_flac_files_named() -> None:
    code = (
        "import sys; sys.modules['soundfile'] = None\n"
        "from engines import audio_file\n"
        "print(len(audio_file.read('media/voice_3s.wav', 0.1, 9.0)[0]))\n"
        "try: audio_file.read('media/voice_25s.flac', 0.1, 60.0)\n"
        "except ValueError as error: print(error)\n"
    )
    said = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert said.stdout.splitlines() == [
        "72000",  # media/make_voice.py: 3 s at 24 kHz
        "FLAC needs the package soundfile; install it, or give a WAV file",
    ]
