"""The timeline: every span where and as long as it was, with the counters and the incident beside them."""

from __future__ import annotations

import gzip
import json
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest

from harness import timeline
from harness.recorder import RAISED
from harness.result import Measurement, Outcome, Sample
from tests.harness.traced import MS, ONE_JOB, PIPELINE, US, events, measurement, places, span, titles


def written(of: Measurement, folder: Path) -> dict[str, Any]:
    timeline.write(of, folder / "timeline.json.gz")
    trace: dict[str, Any] = json.loads(gzip.decompress((folder / "timeline.json.gz").read_bytes()))
    return trace


def test_the_file_is_what_both_viewers_read(tmp_path: Path) -> None:
    trace = written(measurement(*ONE_JOB), tmp_path)
    assert trace["displayTimeUnit"] == "ms"
    assert trace["otherData"]["point"] == "0123456789ab repeat 0"
    assert trace["otherData"]["outcome"] == "ok"
    assert trace["traceEvents"] == list(timeline.events(measurement(*ONE_JOB)))
    assert [path.name for path in tmp_path.iterdir()] == ["timeline.json.gz"]


def test_slices_are_where_the_spans_were_in_microseconds_since_the_start() -> None:
    assert places(events(measurement(*ONE_JOB))) == [
        ("shutdown", 5000.0, 1000.0),
        ("load avatar", 200.0, 500.0),
        ("job 0", 1000.0, 4000.0),
        ("avatar.warp", 1500.0, 1000.0),
        ("wait for tts", 2500.0, 500.0),
        ("avatar.decode", 3000.0, 1250.0),
    ]


def test_device_time_is_told_as_a_length_and_not_as_a_place(tmp_path: Path) -> None:
    warp, decode = (event for event in events(measurement(*ONE_JOB)) if event["cat"] == "stage")
    assert warp["args"] == {"worker": 0, "job": 0, "count": 25, "device_us": 900.0}
    assert "device_us" not in decode["args"]
    told = written(measurement(*ONE_JOB), tmp_path)["otherData"]["device_us"]
    assert told == "how long the GPU worked for a slice; when it did is not known"


def test_times_are_rounded_to_what_binary_and_decimal_fractions_both_hold() -> None:
    inner = span("stage", 1_000_130, 1_999_990, "warp")
    job, stage = events(measurement(span("job", 1_000_001, 2_000_002), inner))
    assert (job["ts"], job["dur"]) == (1000.0, 1000.0)
    assert (stage["ts"], stage["dur"]) == (1000.125, 999.75)


def test_arrows_follow_a_job_from_track_to_track() -> None:
    tracks = titles(measurement(*PIPELINE))
    arrows = defaultdict(list)
    for event in events(measurement(*PIPELINE), "s") + events(measurement(*PIPELINE), "f"):
        title = tracks[event["pid"], event["tid"]].split(",")[0].removeprefix("worker 0: ")
        arrows[event["id"]].append((event["name"], title, event["ts"]))
    assert list(arrows.values()) == [
        [("job 0", "jobs", 1000.0), ("job 0", "tts", 1000.0)],
        [("job 0", "tts", 1000.0), ("job 0", "avatar", 2000.0)],
        [("job 1", "jobs", 2000.0), ("job 1", "tts", 2000.0)],
        [("job 1", "tts", 2000.0), ("job 1", "queue", 3000.0)],
        [("job 1", "queue", 3000.0), ("job 1", "avatar", 6000.0)],
    ]
    assert not events(measurement(*ONE_JOB), "s")


def test_counters_hold_what_was_sampled_and_cores_from_the_sample_before() -> None:
    samples = [
        Sample(0.25, "tree", "cpu_s", 1.0),
        Sample(0.25, "gpu 1", "power_w", 70.0),
        Sample(0.5, "tree", "cpu_s", 1.5),
        Sample(0.5, "process 50", "vram_mib", 3000.0),
        Sample(0.5, "gpu 1", "throttle", 4.0),
        Sample(1.0, "tree", "cpu_s", 1.6),
    ]
    found = events(measurement(samples=samples), "C")
    assert [(event["name"], event["ts"], event["args"]) for event in found] == [
        ("gpu 1 power", 250_000.0, {"W": 70.0}),
        ("tree CPU", 250_000.0, {"cores": 2.0}),
        ("process 50 GPU memory", 500_000.0, {"MiB": 3000.0}),
        ("tree CPU", 500_000.0, {"cores": pytest.approx(0.2)}),
    ]


def test_what_never_ended_lasts_to_the_end_of_the_point_and_says_so() -> None:
    hung = measurement(span("job", 1 * MS, 0), span("stage", 2 * MS, 0, "warp"))
    assert places(events(hung)) == [
        ("job 0 (not ended)", 1000.0, 9000.0),
        ("avatar.warp (not ended)", 2000.0, 8000.0),
    ]
    assert {event["args"]["end"] for event in events(hung)} == {"not ended"}
    [raised] = events(measurement(span("stage", 2 * MS, 0, "warp", count=RAISED)))
    assert raised["args"]["end"] == "an exception passed through"


def test_an_incident_stands_where_the_limit_ran_out() -> None:
    place = {"phase": "stage", "component": "avatar", "stage": "warp", "worker": 0, "job": 0}
    told: dict[str, Any] = {"outcome": Outcome.HUNG, "reason": "too long", **place}
    # The point ends at 10 ms, 4 ms after the limit ran out.
    hung = measurement(span("stage", 2 * MS, 0, "warp"), **told, evidence={"ended_after_s": 0.004})
    [incident] = events(hung, "i")
    assert (incident["name"], incident["s"], incident["ts"]) == ("hung: too long", "g", 6000.0)
    assert incident["args"] == place


def test_an_incident_without_a_limit_stands_at_the_end_and_without_incident_there_is_none() -> None:
    [incident] = events(measurement(outcome=Outcome.FAILED, reason="ValueError: no"), "i")
    assert (incident["name"], incident["ts"]) == ("failed: ValueError: no", 10_000.0)
    assert events(measurement(*ONE_JOB), "i") == []


@pytest.mark.slow
def test_a_hundred_thousand_spans_take_seconds(tmp_path: Path) -> None:
    job, step = 500, 20 * US
    stages = [
        span("stage", at * step, at * step + 15 * US, f"stage {at % 6}", job=at // job)
        for at in range(100_000)
    ]
    firsts = range(0, 100_000, job)
    jobs = [span("job", first * step, (first + job) * step, job=first // job) for first in firsts]
    long = measurement(*sorted([*jobs, *stages], key=lambda item: (item.start_ns, -item.end_ns)))
    begun_s = time.process_time()
    timeline.write(long, tmp_path / "timeline.json.gz")
    assert time.process_time() - begun_s < 8
    assert (tmp_path / "timeline.json.gz").stat().st_size < 3_000_000
