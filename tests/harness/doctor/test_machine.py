"""The machine: limits of control groups, Python, load."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from harness.doctor import cgroups, machine
from harness.doctor.line import MISSING, NOTE, OK
from tests.harness.doctor.machines import looked_at
from tests.harness.points import ROOT


def written(root: Path, **files: str) -> Path:
    """root with files, whose names have __ for a slash."""
    for name, text in files.items():
        path = root / name.replace("__", "/")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    return root


def test_the_tightest_group_of_version_2_decides(tmp_path: Path) -> None:
    root = written(tmp_path, proc__self__cgroup="0::/pod/main\n")
    written(root / "sys/fs/cgroup/pod/main", **{"cpu.max": "max 100000\n", "memory.max": "max\n"})
    written(root / "sys/fs/cgroup/pod", **{"cpu.max": "150000 100000\n", "memory.max": "4294967296\n"})
    assert cgroups.quota_cores(root) == 1.5
    assert cgroups.memory_bytes(root) == 4 * 2**30


def test_version_1_has_a_hierarchy_for_each_and_a_container_its_own_root(tmp_path: Path) -> None:
    """The path is that of the host; what is mounted is the container's group."""
    root = written(tmp_path, proc__self__cgroup="5:memory:/docker/ab\n4:cpu,cpuacct:/docker/ab\n0::/\n")
    written(root / "sys/fs/cgroup/cpu", **{"cpu.cfs_quota_us": "50000\n", "cpu.cfs_period_us": "100000\n"})
    written(root / "sys/fs/cgroup/memory", **{"memory.limit_in_bytes": "9223372036854771712\n"})
    assert cgroups.quota_cores(root) == 0.5
    assert cgroups.memory_bytes(root) is None


def test_without_groups_nothing_is_limited(tmp_path: Path) -> None:
    root = written(tmp_path, proc__self__cgroup="0::/\n")
    assert (cgroups.quota_cores(root), cgroups.memory_bytes(root)) == (None, None)


def test_the_least_python_is_that_of_the_project_and_of_install_sh() -> None:
    least = ".".join(map(str, machine.LEAST_PYTHON))
    assert f'requires-python = ">={least}"' in (ROOT / "pyproject.toml").read_text()
    assert "sys.version_info < ({}, {})".format(*machine.LEAST_PYTHON) in (ROOT / "install.sh").read_text()


def test_what_a_group_uses_is_not_left_but_for_files_that_can_be_read_again(tmp_path: Path) -> None:
    root = written(tmp_path, proc__self__cgroup="0::/pod/main\n")
    stat = "anon 1000000000\ninactive_file 500000000\nactive_file 3\n"
    written(
        root / "sys/fs/cgroup/pod/main",
        **{"memory.max": "max\n", "memory.current": "1500000000\n", "memory.stat": stat},
    )
    group = root / "sys/fs/cgroup/pod"
    written(group, **{"memory.max": "4000000000\n", "memory.current": "3500000000\n", "memory.stat": stat})
    written(root / "sys/fs/cgroup", **{"memory.stat": stat})  # the root has no limit and no usage
    assert cgroups.memory_left_bytes(root) == 1_000_000_000
    (group / "memory.stat").unlink()
    assert cgroups.memory_left_bytes(root) == 4_000_000_000  # not told: what is granted


def test_version_1_counts_the_files_of_all_groups_below(tmp_path: Path) -> None:
    root = written(tmp_path, proc__self__cgroup="5:memory:/\n")
    stat = "inactive_file 7\ntotal_inactive_file 500000000\n"
    limits = {"memory.limit_in_bytes": "4000000000\n", "memory.usage_in_bytes": "3500000000\n"}
    written(root / "sys/fs/cgroup/memory", **limits, **{"memory.stat": stat})
    assert cgroups.memory_left_bytes(root) == 1_000_000_000


def grants(monkeypatch: pytest.MonkeyPatch, granted_mib: int | None, used_mib: int = 0) -> None:
    left_mib = None if granted_mib is None else granted_mib - used_mib
    monkeypatch.setattr(cgroups, "memory_bytes", lambda: granted_mib and granted_mib * 2**20)
    monkeypatch.setattr(cgroups, "memory_left_bytes", lambda: left_mib and left_mib * 2**20)


@pytest.mark.parametrize(("granted_mib", "status"), [(512, MISSING), (2048, NOTE), (None, OK)])
def test_what_a_container_grants_is_held_against_what_a_worker_took(
    monkeypatch: pytest.MonkeyPatch, granted_mib: int | None, status: str
) -> None:
    if status == OK and psutil.virtual_memory().available < 4 * 2**30:
        pytest.skip("this machine has too little memory itself")
    monkeypatch.setattr(machine, "is_container", lambda: True)
    grants(monkeypatch, granted_mib)
    line, *_ = machine.memory()
    assert line.status == status
    assert ("docker run" in line.mend) == (status != OK)


def test_what_others_in_the_group_have_taken_is_not_there_for_a_worker(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(machine, "is_container", lambda: False)
    grants(monkeypatch, granted_mib=8192, used_mib=7680)
    line, *_ = machine.memory()
    assert line.status == MISSING
    assert ", 0.5 of 8.0 GiB left that its control group grants; a worker" in line.found
    assert line.mend.startswith("raise the limit (systemd's MemoryMax, SLURM's --mem)")


@pytest.mark.parametrize("in_container", [True, False])
def test_a_quota_of_cores_is_lifted_where_it_was_set(
    monkeypatch: pytest.MonkeyPatch, in_container: bool
) -> None:
    monkeypatch.setattr(machine, "is_container", lambda: in_container)
    monkeypatch.setattr(cgroups, "quota_cores", lambda: 0.5)
    line, *_ = machine.cores()
    assert line.status == NOTE
    assert line.mend.startswith("docker run" if in_container else "raise the limit (systemd's CPUQuota")


def test_a_busy_machine_is_told_before_it_disturbs_a_measurement() -> None:
    busy = [subprocess.Popen([sys.executable, "-c", "while True: pass"]) for _ in range(2)]
    try:
        [line] = looked_at("load")
    finally:
        for process in busy:
            process.kill()
            process.wait()
    assert line.status == NOTE
    assert "limit 0.3: a measurement would be marked" in line.found
    assert line.mend in ("end it, or measure later", "measure later")


def test_own_processes_are_found_as_those_of_a_point_are() -> None:
    [line] = looked_at("processes")
    assert line.status in (OK, NOTE)
    assert "found by their token" in line.found
