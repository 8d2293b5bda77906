"""Load: what others do on this machine, against the limits that mark a measurement (`comparability`)."""

from __future__ import annotations

import time
from typing import Any

import psutil
from omegaconf import OmegaConf

from harness.doctor.install import ROOT
from harness.doctor.line import NOTE, OK, Line

_LOOK_S = 0.5


def limit(name: str) -> float | None:
    """A limit of conf/config.yaml; None: not looked at."""
    value = OmegaConf.load(ROOT / "conf/config.yaml").comparability[name]
    return None if value is None else float(value)


def processor() -> list[Line]:
    """Cores that others keep busy, over half a second; nothing of ours runs meanwhile."""
    before = {process: _used_s(process) for process in psutil.process_iter(["name"])}
    begun_s, begun = time.monotonic(), psutil.cpu_times()
    time.sleep(_LOOK_S)
    took_s, busy_s = time.monotonic() - begun_s, _busy_s(psutil.cpu_times()) - _busy_s(begun)
    busy, most = busy_s / took_s, limit("foreign_cpu_cores")
    if most is None or busy <= most:
        return [Line("load", OK, f"{busy:.2f} cores are busy" + (f", limit {most:g}" if most else ""))]
    shares = {process: (_used_s(process) - used_s) / took_s for process, used_s in before.items()}
    busiest = max(shares, key=lambda process: shares[process])
    found = f"{busy:.2f} cores are busy with others, limit {most:g}: a measurement would be marked"
    if shares[busiest] < most / 2:
        return [
            Line("load", NOTE, f"{found}; it is no single process that is seen from here", "measure later")
        ]
    name = f"{busiest.info['name']}, process {busiest.pid}, has {shares[busiest]:.2f}"
    return [Line("load", NOTE, f"{found}; {name}", "end it, or measure later")]


def _used_s(process: psutil.Process) -> float:
    try:
        times = process.cpu_times()
    except psutil.Error:  # gone meanwhile, or another user's
        return 0.0
    return float(times.user + times.system)


def _busy_s(times: Any) -> float:
    """Of all cores. Guests are in user and nice already."""
    return float(times.user + times.nice + times.system + times.irq + times.softirq + times.steal)
