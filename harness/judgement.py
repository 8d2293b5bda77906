"""Judgement: the metrics of what outputs are worth, as pure functions Measurement -> number or None."""

from __future__ import annotations

from harness.result import Measurement, Outcome

Number = float | None


def valid(m: Measurement) -> Number:
    """True where every clip passed its checks and what was asked ran; None where it did not finish."""
    if m.result.outcome is Outcome.OK:
        return bool(m.result.jobs) and all(job.valid for job in m.result.jobs)
    return False if m.result.outcome is Outcome.INVALID else None


def psnr_db(m: Measurement) -> Number:
    """PSNR of the sample's frames against those of eager fp32, over all frames; 120 where they are equal."""
    return m.result.quality.get("psnr_db")


def ssim(m: Measurement) -> Number:
    """Mean structural similarity of the same frames' luma, windows of 7 x 7 px; 1 where they are equal."""
    return m.result.quality.get("ssim")


def lsd_db(m: Measurement) -> Number:
    """Log-spectral distance of the sample's sound to that of eager fp32, mean over 40 ms windows."""
    return m.result.quality.get("lsd_db")
