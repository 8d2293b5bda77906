"""The cache of engines: built once, never loaded for another key, never loaded when damaged."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from engines.backends.cache import MANIFEST, Cache, digest, kernel_folders, weights_digest

KEY = {"network": "decoder", "weights": "ab12", "shape": [1, 256], "precision": "fp16", "torch": "2.13"}
CONTENT = b"an engine"


class Builder:
    """Writes CONTENT and counts how often."""

    def __init__(self) -> None:
        self.times = 0

    def __call__(self, folder: Path) -> None:
        assert not list(folder.iterdir())
        self.times += 1
        (folder / "engine.bin").write_bytes(CONTENT)


@pytest.fixture
def cache(tmp_path: Path) -> Cache:
    return Cache(tmp_path / "cache")


def test_an_entry_is_built_once_and_then_loaded(cache: Cache) -> None:
    build = Builder()
    first, second = (cache.entry(KEY, build, "decoder") for _ in range(2))
    assert first == second
    assert (first / "engine.bin").read_bytes() == CONTENT
    assert build.times == 1


def test_the_order_of_the_keys_does_not_matter() -> None:
    assert digest(KEY) == digest(dict(reversed(KEY.items())))


@pytest.mark.parametrize(
    "change",
    [
        {"weights": "ab13"},
        {"precision": "bf16"},
        {"shape": [2, 256]},
        {"torch": "2.13.1"},
        {"network": "warp"},
        {"target": None},
    ],
)
def test_whatever_differs_in_the_key_makes_another_entry(cache: Cache, change: dict) -> None:
    build = Builder()
    first = cache.entry(KEY, build, "decoder")
    assert cache.entry({**KEY, **change}, build, "decoder") != first
    assert build.times == 2


def truncated(folder: Path) -> None:
    (folder / "engine.bin").write_bytes(CONTENT[:-1])


def altered(folder: Path) -> None:
    (folder / "engine.bin").write_bytes(b"AN engine")


def removed(folder: Path) -> None:
    (folder / "engine.bin").unlink()


def without_manifest(folder: Path) -> None:
    (folder / MANIFEST).unlink()


def half_a_manifest(folder: Path) -> None:
    (folder / MANIFEST).write_text((folder / MANIFEST).read_text()[:40])


def of_another_key(folder: Path) -> None:
    manifest = json.loads((folder / MANIFEST).read_text())
    manifest["key"]["weights"] = "other"
    (folder / MANIFEST).write_text(json.dumps(manifest))


def listing_nothing(folder: Path) -> None:
    (folder / MANIFEST).write_text(json.dumps({"key": KEY, "files": {}}))


DAMAGE = [truncated, altered, removed, without_manifest, half_a_manifest, of_another_key, listing_nothing]


@pytest.mark.parametrize("damage", DAMAGE)
def test_a_damaged_entry_is_built_again(cache: Cache, damage) -> None:
    build = Builder()
    damage(cache.entry(KEY, build, "decoder"))
    assert (cache.entry(KEY, build, "decoder") / "engine.bin").read_bytes() == CONTENT
    assert build.times == 2


def test_a_builder_that_raises_leaves_nothing(cache: Cache) -> None:
    def fail(folder: Path) -> None:
        (folder / "engine.bin").write_bytes(b"half")
        raise RuntimeError("out of memory")

    with pytest.raises(RuntimeError, match="out of memory"):
        cache.entry(KEY, fail, "decoder")
    assert [path.suffix for path in cache.root.rglob("*") if path.is_file()] == [".lock"]
    cache.entry(KEY, build := Builder(), "decoder")
    assert build.times == 1


def test_a_builder_that_makes_no_file_is_refused(cache: Cache) -> None:
    with pytest.raises(ValueError, match=r"^decoder: building it made no file"):
        cache.entry(KEY, lambda folder: None, "decoder")


def test_the_manifest_says_what_the_entry_is(cache: Cache) -> None:
    manifest = json.loads((cache.entry(KEY, Builder(), "decoder") / MANIFEST).read_text())
    assert manifest["key"] == KEY
    # printf 'an engine' | sha256sum
    sha256 = "48189993a28ac7ea2c871d7c7c3ba80052d50958868ff560d01913094889afc8"
    assert manifest["files"] == {"engine.bin": {"size": 9, "sha256": sha256}}


def test_a_root_that_cannot_be_written_is_named_with_a_remedy(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ValueError, match=r"^cache=.*file: .*; use a folder that can be written$"):
        Cache(tmp_path / "file").entry(KEY, Builder(), "decoder")


def test_a_full_disk_is_named_with_a_remedy_and_nothing_is_kept(cache: Cache) -> None:
    def fill(folder: Path) -> None:
        (folder / "engine.bin").symlink_to("/dev/full")  # every write to it finds the disk full
        (folder / "engine.bin").write_bytes(CONTENT)

    said = rf"^cache={cache.root}: building decoder: No space left .*; free space or choose another folder$"
    with pytest.raises(ValueError, match=said):
        cache.entry(KEY, fill, "decoder")
    assert not list(cache.root.rglob("engine.bin"))


def test_other_errors_of_a_builder_keep_their_words(cache: Cache) -> None:
    def fail(folder: Path) -> None:
        raise FileNotFoundError(errno.ENOENT, "no such compiler", "g++")

    with pytest.raises(FileNotFoundError, match="no such compiler"):
        cache.entry(KEY, fail, "decoder")


def is_held(path: Path) -> bool:
    """Whether another open file holds the lock, as another process would find it."""
    with path.open() as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
        return False


def test_one_is_alone_until_it_is_done_or_fails(cache: Cache) -> None:
    lock = cache.root / "locks" / "compile.lock"
    with pytest.raises(KeyError), cache.alone("compile"):
        assert is_held(lock)
        raise KeyError
    assert not is_held(lock)


def test_a_process_forked_in_between_does_not_keep_the_lock(cache: Cache) -> None:
    with cache.alone("compile"):
        pid = os.fork()
        if pid == 0:
            time.sleep(20)
            os._exit(0)
    try:
        assert not is_held(cache.root / "locks" / "compile.lock")
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


def test_compilers_are_pointed_below_the_root_and_back(tmp_path: Path, monkeypatch) -> None:
    monkeypatch.delenv("TORCHINDUCTOR_CACHE_DIR", raising=False)
    monkeypatch.setenv("TRITON_CACHE_DIR", "elsewhere")
    with pytest.raises(KeyError), kernel_folders(tmp_path):
        assert os.environ["TORCHINDUCTOR_CACHE_DIR"] == str(tmp_path / "inductor")
        assert os.environ["TRITON_CACHE_DIR"] == str(tmp_path / "triton")
        raise KeyError
    assert "TORCHINDUCTOR_CACHE_DIR" not in os.environ
    assert os.environ["TRITON_CACHE_DIR"] == "elsewhere"


CHILD = """
import sys, time
from pathlib import Path
from engines.backends.cache import Cache
def build(folder):
    with open(sys.argv[2], "a") as log:
        log.write("built\\n")
    (folder / "engine.bin").write_bytes(b"half an ")
    time.sleep(float(sys.argv[3]))
    (folder / "engine.bin").write_bytes(b"an engine")
Cache(Path(sys.argv[1])).entry({"network": "x"}, build, "x")
"""


def child(cache: Cache, log: Path, seconds: float) -> subprocess.Popen:
    return subprocess.Popen([sys.executable, "-c", CHILD, str(cache.root), str(log), str(seconds)])


def wait_for(condition, what: str) -> None:
    deadline = time.monotonic() + 20
    while not condition():
        assert time.monotonic() < deadline, what
        time.sleep(0.01)


def test_of_two_processes_one_builds_and_the_other_waits(cache: Cache, tmp_path: Path) -> None:
    log = tmp_path / "log"
    children = [child(cache, log, 0.3) for _ in range(2)]
    assert [process.wait(30) for process in children] == [0, 0]
    assert log.read_text() == "built\n"


def test_what_a_killed_builder_left_does_not_count(cache: Cache, tmp_path: Path) -> None:
    log = tmp_path / "log"
    process = child(cache, log, 30)
    wait_for(lambda: list(cache.root.rglob("engine.bin")), "the child began no file")
    process.send_signal(signal.SIGKILL)
    process.wait()
    folder = cache.entry({"network": "x"}, build := Builder(), "x")
    assert build.times == 1
    assert (folder / "engine.bin").read_bytes() == CONTENT
    assert not list(cache.root.rglob("*.part"))


def module(**change):
    torch = pytest.importorskip("torch")
    made = torch.nn.Linear(2, 2)
    made.weight.data = torch.arange(4.0).reshape(2, 2)
    made.bias.data = torch.zeros(2)
    made.register_buffer("table", torch.ones(1), persistent=False)
    for name, value in change.items():
        getattr(made, name).data = value
    return made


def test_equal_weights_have_one_digest_and_every_difference_another() -> None:
    import torch

    same = {weights_digest(module()) for _ in range(2)}
    bit = torch.arange(4.0).reshape(2, 2)
    bit[1, 1] += 2**-20
    others = {
        weights_digest(module(weight=bit)),
        weights_digest(module(weight=torch.arange(4.0).reshape(4, 1))),
        weights_digest(module(weight=torch.arange(4.0).reshape(2, 2).half())),
        weights_digest(module(table=torch.zeros(1))),
        weights_digest(torch.nn.Sequential(module())),
    }
    assert len(same) == 1
    assert len(others | same) == 6


def test_weights_in_bfloat16_and_scalars_have_a_digest_too() -> None:
    import torch

    assert weights_digest(module(bias=torch.zeros(2).bfloat16())) != weights_digest(module())
    assert weights_digest(torch.nn.BatchNorm1d(2)) == weights_digest(torch.nn.BatchNorm1d(2))
