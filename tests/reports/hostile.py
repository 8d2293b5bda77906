"""Texts that break pages, tables and spreadsheets, put wherever a stored result holds text."""

from __future__ import annotations

from dataclasses import replace

from harness.result import Measurement, Outcome
from tests.data.make_runs import broken, measured, point

SCRIPT = "<script>alert(1)</script>"
TEXT = (
    f"=cmd|' {SCRIPT}\"'`**x** |a|\n[l](javascript:alert(1)) &lt; @everyone #1 $y$ 😀 \x00\x1b[31m\udcff"
    + "x" * 10_000
)


def measurements() -> list[Measurement]:
    """A point whose every text is hostile, beside an ok sequential one with a hostile machine and axis."""
    made = point(f"{SCRIPT}\"'", 2, avatar__steps=f'"><img src=x onerror=alert(1)>{SCRIPT}')
    evidence = {"excerpt": f"```\n{TEXT}", "detected_after_s": 1.0, "limit": TEXT, "processes": [TEXT]}
    evidence |= {"mismatches": [TEXT], "states": {TEXT: {TEXT: {"named": TEXT, TEXT: [TEXT]}}}}
    evidence |= {"diagnosis": {"kind": TEXT, "sentence": TEXT, "because": [TEXT]}, "signature": TEXT}
    listed = ("threads", "channels", "hidden", "files", "last", "failed", "moved", "survivors")
    evidence |= {**{key: [TEXT] for key in listed}, "gpus": [{TEXT: TEXT}], "log_tail": TEXT}
    bad = broken(made, Outcome.HUNG, TEXT, phase="stage", component=TEXT, stage=TEXT, evidence=evidence)
    good = measured(point("sequential", 1))
    checks = {"rms_db": TEXT, "equal": False, TEXT: TEXT}
    jobs = tuple(replace(job, problem=TEXT, valid=False, checks=checks) for job in good.result.jobs)
    environment = {"machine": TEXT, TEXT: TEXT}
    attestation = {"worker 0": {"tts": {"weights": TEXT, "device": TEXT, "ran": {TEXT: TEXT}}}}
    odd = {"moved": [TEXT], "left_behind": [TEXT], "shared_memory_left": [TEXT], "vram_leak_mib": TEXT}
    changed = replace(
        good.result,
        evidence=odd,
        jobs=jobs,
        environment=environment,
        attestation=attestation,
        compared=f"differs {TEXT}",
    )
    return [replace(bad, samples=()), replace(good, result=changed)]
