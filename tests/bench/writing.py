"""What putting the face back and encoding a frame cost, as the tables of docs/writing.md.

`python -m tests.bench.writing putback cpu|cuda`, `python -m tests.bench.writing encode PRESET,.. THREADS,..`
Two faces bound what an encoder sees: a drawn one that sways, with less detail than any photo, and noise.
"""

from __future__ import annotations

import itertools
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from engines.ditto.compose import PutBack, feather_mask

ROOT = Path(__file__).parents[2]
SIDE = 512
SIZES = [(512, 682), (1080, 1920)]
FACES = ["drawn", "noise"]
NUM_FRAMES = 50


def scene(width: int, height: int) -> tuple[Any, Any]:
    """The project's portrait at this size, and the (3, 3) matrix of a crop that spans most of its width."""
    frame = cv2.cvtColor(cv2.imread(str(ROOT / "media" / "portrait.png")), cv2.COLOR_BGR2RGB)
    scale = 0.87 * width / SIDE
    matrix = np.array([[scale, 0, 0.065 * width], [0, scale, 0.4 * height - scale * SIDE / 2], [0, 0, 1]])
    return cv2.resize(frame, (width, height), interpolation=cv2.INTER_AREA), matrix


def renders(face: str, frame: Any, matrix: Any) -> Iterator[Any]:
    """NUM_FRAMES pictures (S, S, 3) float32 of a face."""
    random = np.random.default_rng(0)
    size = (SIDE, SIDE)
    for index in range(NUM_FRAMES):
        if face == "noise":
            yield random.uniform(0, 255, (SIDE, SIDE, 3)).astype(np.float32)
            continue
        sway = cv2.getRotationMatrix2D((256, 300), 2 * np.sin(index / 6), 1 + 0.01 * np.sin(index / 4))
        crop = cv2.warpAffine(frame, matrix[:2], size, flags=cv2.INTER_AREA | cv2.WARP_INVERSE_MAP)
        yield cv2.warpAffine(crop, sway, size, borderMode=cv2.BORDER_REPLICATE).astype(np.float32)


def timed(work: Callable[[], object], times: int) -> tuple[float, float]:
    """Median wall ms and mean CPU ms of one call."""
    work()
    walls, cpu = [], time.process_time()
    for _ in range(times):
        start = time.perf_counter()
        work()
        walls.append(time.perf_counter() - start)
    return 1e3 * statistics.median(walls), 1e3 * (time.process_time() - cpu) / times


def putback(device: str) -> None:
    print("| size | where | wall ms | CPU ms |\n|---|---|---|---|")
    cv2.setNumThreads(1)
    for width, height in SIZES:
        frame, matrix = scene(width, height)
        mask, render = feather_mask(SIDE, SIDE), next(renders("noise", frame, matrix))
        whole = PutBack(frame, matrix, mask)
        wall, cpu = timed(lambda whole=whole, render=render: whole(render), 100)
        print(f"| {width}x{height} | OpenCV, 1 thread | {wall:.2f} | {cpu:.2f} |")
        if device != "cpu":
            _putback_on(device, frame, matrix, mask, render)


def _putback_on(device: str, frame: Any, matrix: Any, mask: Any, render: Any) -> None:
    import torch

    from engines.ditto.compose_gpu import DevicePutBack

    there = torch.from_numpy(render.transpose(2, 0, 1).copy()).to(device)
    rows = torch.from_numpy(render).to(device)
    put_back, size = DevicePutBack(frame, matrix, mask, device), f"{frame.shape[1]}x{frame.shape[0]}"
    for name, work in (
        ("render to the host, for OpenCV", lambda: rows.cpu().numpy()),
        ("device, whole", lambda: put_back(there)),
        ("copy of the portrait, inside both", lambda: frame.copy()),
    ):
        wall, cpu = timed(work, 200)
        print(f"| {size} | {name} | {wall:.2f} | {cpu:.2f} |")
        torch.cuda.synchronize()
    each_ms = _device_ms(put_back, there)
    print(f"| {size} | device's own time, copy included | {each_ms:.3f} | |")


def _device_ms(put_back: Any, there: Any, times: int = 100) -> float:
    import torch

    start, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
    start.record()
    for _ in range(times):
        put_back._blend(there[None]).to("cpu")
    end.record()
    end.synchronize()
    return float(start.elapsed_time(end) / times)


def encode(presets: list[str], threads: list[int]) -> None:
    from engines.ditto.writer import Mp4Writer

    print("| size | face | preset | threads | container | wall ms | CPU ms | Mbit/s |\n" + "|---" * 8 + "|")
    for width, height in SIZES:
        frame, matrix = scene(width, height)
        put_back = PutBack(frame, matrix, feather_mask(SIDE, SIDE))
        for face in FACES:
            pictures = [put_back(render) for render in renders(face, frame, matrix)]
            for preset, count, container in itertools.product(presets, threads, ("mp4", "fragmented")):
                told = _encoded(Mp4Writer, pictures, preset=preset, threads=count, container=container)
                print(
                    f"| {width}x{height} | {face} | {preset} | {count} | {container} | {told} |", flush=True
                )


def _encoded(writer_of: Any, pictures: list[Any], **settings: Any) -> str:
    height, width = pictures[0].shape[:2]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "a.mp4"
        wall, cpu = time.perf_counter(), time.process_time()
        writer = writer_of(path, width, height, **settings)
        writer.add_audio(np.zeros(len(pictures) * 960, np.float32))
        for picture in pictures:
            writer.add(picture)
        writer.finish()
        wall, cpu = time.perf_counter() - wall, time.process_time() - cpu
        rate = path.stat().st_size * 8 * 25 / len(pictures) / 1e6
    return f"{1e3 * wall / len(pictures):.1f} | {1e3 * cpu / len(pictures):.1f} | {rate:.1f}"


if __name__ == "__main__":
    if sys.argv[1] == "putback":
        putback(sys.argv[2])
    else:
        encode(sys.argv[2].split(","), [int(count) for count in sys.argv[3].split(",")])
