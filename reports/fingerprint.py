"""Fingerprint: what must be alike for two figures to be compared, and what differs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from harness.result import PointResult
from reports.points import PointRows
from reports.tables import attested


def fingerprint(point: PointRows) -> dict[str, str]:
    """What decides a figure beside the code: the machine, its packages, and what was read back as having run.

    Not the host's name, kernel and memory: runners come and go, and a new epoch for each would know nothing.
    """
    result = point.first.result
    environment = result.environment
    gpus = environment.get("gpus") or []
    found = {
        "gpu": ", ".join(str(gpu.get("name")) for gpu in gpus) or "none",
        "driver": ", ".join(dict.fromkeys(str(gpu.get("driver")) for gpu in gpus)),
        "clocks": ", ".join(_clocks(gpu) for gpu in gpus),
        **{name: str(environment.get(name, "")) for name in ("cpu", "cores_usable", "python")},
        **{str(name): str(version) for name, version in environment.get("packages", {}).items()},
        **{name: attested(point.first, name) for name in ("weights", "device", "size")},
        **{f"content of {path}": sha256[:12] for path, sha256 in result.inputs.items()},
    }
    for parts in result.attestation.values():
        for component, part in parts.items():
            found |= {f"{component}.{stage}": _ran(how) for stage, how in part.get("stages", {}).items()}
    return {name: value for name, value in found.items() if value}


def _clocks(gpu: Mapping[str, Any]) -> str:
    """The policy: power limit and highest clock; what they were at the time stands in the samples."""
    return f"{gpu.get('power_limit_w')} W, {gpu.get('sm_mhz_max')} MHz, persistence {gpu.get('persistence')}"


def _ran(how: Mapping[str, Any]) -> str:
    return " ".join(str(how[name]) for name in ("backend", "dtype", "device") if how.get(name))


def commit_of(result: PointResult) -> str:
    """The commit, with the code's own hash where files differed from it; that hash where there is none."""
    commit, code = str(result.environment.get("commit", "")), str(result.environment.get("code", ""))
    changed = result.environment.get("changed_files")
    return f"{commit}+{code}" if commit and changed else commit or code


def unlike(
    base: Mapping[str, str], new: Mapping[str, str], allowed: Sequence[str] = ()
) -> dict[str, tuple[str, str]]:
    """name -> (base, new) of what differs and is not allowed; `workload` allows workload.seed too.

    Only what both sides know counts: a key that one version did not have yet is no difference.
    """
    both = sorted(base.keys() & new.keys())
    differing = {name: (base[name], new[name]) for name in both if base[name] != new[name]}
    return {name: pair for name, pair in differing.items() if not _is_allowed(name, allowed)}


def _is_allowed(name: str, allowed: Sequence[str]) -> bool:
    return any(name == each or name.startswith(f"{each}.") for each in allowed)
