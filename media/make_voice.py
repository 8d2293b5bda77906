"""Writes the reference voices voice_3s.wav and voice_25s.flac: vowels of a synthetic speaker."""

from pathlib import Path

import numpy as np
import soundfile
from scipy.signal import lfilter

RATE = 24000  # Hz
# formant frequencies of a man's vowels in Hz: Peterson and Barney (1952), table II
VOWELS = {
    "i": (270, 2290, 3010),
    "e": (530, 1840, 2480),
    "a": (730, 1090, 2440),
    "o": (570, 840, 2410),
    "u": (300, 870, 2240),
}
BANDWIDTHS = (60, 90, 150)  # Hz


def glottis(pitch: np.ndarray) -> np.ndarray:
    """Flow derivative of Rosenberg pulses at `pitch` Hz, one value per sample.

    40% of a period opening, 16% closing, then shut; after Rosenberg (1971).
    """
    phase = np.cumsum(pitch / RATE) % 1.0
    opening = 0.5 * (1 - np.cos(np.pi * phase / 0.4))
    closing = np.cos(np.pi / 2 * (phase - 0.4) / 0.16)
    flow = np.where(phase < 0.4, opening, np.where(phase < 0.56, closing, 0.0))
    return np.diff(flow, prepend=flow[:1])


def formants(source: np.ndarray, vowel: str) -> np.ndarray:
    """`source` through one two-pole resonator of unit gain at 0 Hz per formant."""
    for frequency, bandwidth in zip(VOWELS[vowel], BANDWIDTHS, strict=True):
        radius = np.exp(-np.pi * bandwidth / RATE)
        poles = [1.0, -2 * radius * np.cos(2 * np.pi * frequency / RATE), radius**2]
        source = lfilter([sum(poles)], poles, source)
    return source


def syllable(rng: np.random.Generator, start_hz: float, seconds: float) -> np.ndarray:
    """One vowel gliding into another, the pitch falling a little, faded in and out."""
    count = round(seconds * RATE)
    along = np.linspace(0, 1, count)
    wobble = np.convolve(rng.normal(0, 0.01, count + 480), np.hanning(480) / 20, "valid")[:count]
    source = glottis(start_hz * (1 - 0.12 * along + wobble))
    first, second = rng.choice(list(VOWELS), 2, replace=False)
    glide = np.clip(1.5 * along - 0.25, 0, 1)
    voiced = (1 - glide) * formants(source, first) + glide * formants(source, second)
    return voiced * np.minimum(1, np.minimum(along, 1 - along) / 0.15)


def speech(seconds: float, seed: int) -> np.ndarray:
    """Phrases of three to six syllables with pauses; float in [-0.5, 0.5], exactly `seconds` long."""
    rng = np.random.default_rng(seed)
    parts: list[np.ndarray] = []
    while sum(map(len, parts)) < seconds * RATE:
        for position in range(rng.integers(3, 7)):
            parts.append(syllable(rng, 130 - 6 * position + rng.normal(0, 4), rng.uniform(0.12, 0.28)))
            parts.append(np.zeros(round(rng.uniform(0.01, 0.05) * RATE)))
        parts.append(np.zeros(round(rng.uniform(0.2, 0.45) * RATE)))
    wave = np.concatenate(parts)[: round(seconds * RATE)]
    wave += rng.normal(0, 1e-4 * np.abs(wave).max(), len(wave))  # a room is never quite silent
    return 0.5 * wave / np.abs(wave).max()


def main() -> None:
    here = Path(__file__).parent
    soundfile.write(here / "voice_3s.wav", speech(3, seed=1), RATE, subtype="PCM_16")
    soundfile.write(here / "voice_25s.flac", speech(25, seed=2), RATE, subtype="PCM_16")


if __name__ == "__main__":
    main()
