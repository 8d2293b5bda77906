"""GPUs: none is no error, and one has to be fit for what runs on it. NVML is a stand-in that says what a
driver would.
"""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from harness import gpu
from harness.doctor import gpus, install
from harness.doctor.gpus import built_for, has_card
from harness.doctor.line import MISSING, NONE, NOTE, OK, Line
from harness.doctor.packages import version
from tests.harness.doctor.machines import l4, looked_at
from tests.harness.points import ROOT

TORCH = Path(gpus.importlib.util.find_spec("torch").origin)


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder that comes first where Python looks for modules."""
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    return tmp_path


def test_none_is_no_error() -> None:
    if gpu.handles() or has_card():
        pytest.skip("there is a GPU")
    assert looked_at("GPU") == [Line("GPU", NONE, "none; device=cpu is taken")]
    assert [looked_at(name) for name in ("torch", "NVENC", "onnxruntime")] == [[], [], []]


def test_one_that_is_free_has_one_line(machine: Path) -> None:
    l4(machine)
    found = "NVIDIA L4, 22.1 of 22.5 GiB free, driver 580.95.05 (CUDA 13.0)"  # 22634 and 23034 / 1024
    assert looked_at("GPU") == [Line("GPU 0", OK, found)]


def test_one_whose_memory_is_not_told_is_described_all_the_same(machine: Path) -> None:
    driver = l4(machine) / "pynvml.py"
    driver.write_text(f"{driver.read_text()}\ndel nvmlDeviceGetMemoryInfo\n")
    [line] = looked_at("GPU")
    assert line == Line("GPU 0", OK, "NVIDIA L4, memory not told, driver 580.95.05 (CUDA 13.0)")
    describe = "from harness import gpu; print([one['memory_mib'] for one in gpu.describe()])"
    modules = os.pathsep.join([str(machine), str(ROOT)])
    said = subprocess.run(
        [sys.executable, "-c", describe],
        env={**os.environ, "PYTHONPATH": modules}, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert said.stdout == "[None]\n"


def test_what_stands_in_the_way_is_a_line_each(machine: Path) -> None:
    l4(machine, used_mib=20400, persistence=0, compute_mode=3)
    lines = looked_at("GPU")
    assert [line.status for line in lines] == [OK, NOTE, NOTE, NOTE, NOTE]
    exclusive, persistence, full, foreign = lines[1:]
    assert exclusive.mend.endswith("sudo nvidia-smi -i 0 -c DEFAULT")
    assert persistence.mend.endswith("sudo nvidia-smi -i 0 -pm 1")
    assert full.found == "2.6 of 22.5 GiB free; a worker at full size took 5.6 GiB"
    assert foreign.found == "process 4711 has 20,000 MiB, limit 64 MiB: a measurement would be marked"


def test_a_prohibited_one_is_missing(machine: Path) -> None:
    l4(machine, compute_mode=2)
    assert MISSING in [line.status for line in looked_at("GPU")]


def test_a_torch_for_cpus_beside_a_gpu_is_missing(machine: Path) -> None:
    if built_for(TORCH.with_name("version.py")):
        pytest.skip("torch is a CUDA build here")
    l4(machine)
    [line] = looked_at("torch")
    assert line.status == MISSING
    assert line.found == (
        f"torch {version('torch')} is a build without CUDA, though a GPU is there, so device=cuda fails"
    )
    assert line.mend == f"python -m pip uninstall -y torch && {install.command()}"


def torch_like(folder: Path, cuda: str, program: str) -> None:
    """A package torch that says what it was built for and does as the program does."""
    (folder / "torch").mkdir()
    (folder / "torch" / "version.py").write_text(f"cuda: Optional[str] = {cuda}\n")
    (folder / "torch" / "__init__.py").write_text(program)


def test_a_torch_for_a_newer_driver_is_missing_and_not_tried(machine: Path) -> None:
    l4(machine, cuda_driver=12040)
    torch_like(machine, "'13.0'", "raise SystemExit('imported')")
    [line] = looked_at("torch")
    assert line.status == MISSING
    assert line.found.endswith("is built for CUDA 13.0, the driver takes up to CUDA 12.4")


def test_a_torch_that_fails_there_says_why(machine: Path) -> None:
    l4(machine)
    torch_like(machine, "'12.8'", "raise RuntimeError('no kernel image is available')")
    [line] = looked_at("torch")
    assert line.status == MISSING
    assert line.found.endswith("does not compute there: RuntimeError: no kernel image is available")


def test_an_nvenc_that_does_not_open_says_why_and_what_is_taken_instead(machine: Path) -> None:
    if gpu.handles():
        pytest.skip("there is a GPU")
    l4(machine)
    [line] = looked_at("NVENC")
    assert line.status == NOTE
    assert line.found.startswith("h264_nvenc does not open, so avatar.encoder=auto takes x264 (")


def test_the_build_of_torch_is_read_without_importing_it(tmp_path: Path) -> None:
    file = tmp_path / "version.py"
    for text, cuda in (
        ("__version__ = '2.13.0+cpu'\ncuda: Optional[str] = None\nhip: Optional[str] = None\n", None),
        ("__version__ = '2.13.0'\ndebug = False\ncuda: Optional[str] = '13.0'\n", "13.0"),
    ):
        file.write_text(text)
        assert built_for(file) == cuda


def test_a_card_without_a_driver_is_seen_on_the_bus(tmp_path: Path) -> None:
    for name, vendor, kind in (("0", "0x8086", "0x030000"), ("1", "0x10de", "0x040300")):
        (tmp_path / name).mkdir()
        (tmp_path / name / "vendor").write_text(f"{vendor}\n")
        (tmp_path / name / "class").write_text(f"{kind}\n")
    assert not has_card(tmp_path)  # another maker's display, and NVIDIA's sound
    (tmp_path / "1" / "class").write_text("0x030200\n")
    assert has_card(tmp_path)
