"""How evenly frames came: what a player at 25 frames a second would have seen of each job. Pure.

The times are those of the marks that the executor sets as pieces come: a frame counts once it is drawn,
before it is encoded (with avatar=ditto_upstream, whose writer is its own, once it was handed to that).
Runs stored before every frame was marked have too few, and give None.
"""

from __future__ import annotations

from collections import defaultdict
from itertools import pairwise
from statistics import fmean, median

from harness.result import Measurement

FPS = 25
ON_TIME_S = 1e-6  # rounding of the times


def times_s(m: Measurement, kind: str) -> dict[int, list[float]]:
    """Job -> when each of its frames (or samples' pieces, for audio) came, in seconds from the job's start.

    A mark of several frames stands for each of them; one of audio for one piece.
    """
    starts = {span.job: span.start_ns for span in m.spans if span.phase == "job" and span.end_ns}
    found: dict[int, list[float]] = defaultdict(list)
    for mark in m.spans:
        if mark.phase == "mark" and mark.stage == kind and mark.job in starts:
            pieces = mark.count if kind == "frame" else 1
            found[mark.job] += [(mark.start_ns - starts[mark.job]) / 1e9] * pieces
    return {job: sorted(times) for job, times in found.items()}


def frames_s(m: Measurement) -> dict[int, list[float]]:
    """Job -> when its frames came, for the jobs all of whose frames were marked."""
    marked = times_s(m, "frame")
    return {
        job.job: marked[job.job]
        for job in m.result.jobs
        if job.frames and len(marked.get(job.job, ())) == job.frames
    }


def stalls_s(times: list[float]) -> list[float]:
    """How long a player waits, each time it runs dry; it starts at the first frame and never skips one.

    After a wait it goes on at once and all later frames are due that much later.
    """
    waits, late = [], 0.0
    for number, time in enumerate(times):
        wait = time - (times[0] + number / FPS + late)
        if wait > ON_TIME_S:
            waits.append(wait)
            late += wait
    return waits


def gap_max_s(m: Measurement) -> float | None:
    """Longest time between two frames of a job, median over jobs. A player needs one each 0.04 s."""
    gaps = [max((b - a for a, b in pairwise(times)), default=0.0) for times in frames_s(m).values()]
    return median(gaps) if gaps else None


def underruns(m: Measurement) -> float | None:
    """How often per clip a player that starts at the first frame runs dry; mean over jobs.

    It waits for the late frame and goes on at once, so a pipeline slower than 25 frames/s stops at each.
    """
    counts = [len(stalls_s(times)) for times in frames_s(m).values()]
    return fmean(counts) if counts else None


def stalled_s(m: Measurement) -> float | None:
    """How long a player that starts at the first frame stands still per clip; median over jobs."""
    waited = [sum(stalls_s(times)) for times in frames_s(m).values()]
    return median(waited) if waited else None


def smooth_start_s(m: Measurement) -> float | None:
    """Least wait from the job's start after which playing never stops; median over jobs.

    Of each job its time to first frame and what a player that starts there stands still.
    """
    starts = [max(time - number / FPS for number, time in enumerate(times)) for times in frames_s(m).values()]
    return median(starts) if starts else None


def first_frame_lead_s(m: Measurement) -> float | None:
    """Time from a job's first frame to its last piece of audio, median over jobs.

    More than 0 where frames came while the job was still speaking: TTS and avatar both streamed.
    """
    frames, audio = frames_s(m), times_s(m, "audio")
    leads = [audio[job][-1] - times[0] for job, times in frames.items() if job in audio]
    return median(leads) if leads else None
