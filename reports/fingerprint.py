"""Fingerprint: what must be alike for two figures to be compared, and what differs. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence


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
