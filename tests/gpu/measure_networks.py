"""Speed and error of Ditto's networks on a GPU: `python -m tests.gpu.measure_networks OUT.csv`.

Every variant in one process on one GPU, random weights, full size. Device time by CUDA events around whole
calls; median and quartiles of `--calls` calls. Floors: work of the network as written, over the rates that
this run measured itself (a half-precision matrix product, a copy). Errors against the plain networks in
float32 without TF32, on the same inputs. With a checkout of upstream its own classes run too, each with its
round trip through numpy as in its pipeline, by the clock.

    python -m tests.gpu.measure_networks OUT.csv [--upstream CHECKOUT] [--calls 30]
"""

from __future__ import annotations

import argparse
import csv
import importlib
import math
import statistics
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from engines.backends.cache import Cache
from engines.backends.prepared import Example
from engines.ditto.checkpoint_layout import CHECKPOINT_FILES
from engines.ditto.diffusion import step_table
from engines.ditto.fused import fused
from engines.ditto.networks import build
from engines.ditto.networks.lmdm import ContextEncoder, GuidedStep
from engines.ditto.weights import random_weights
from engines.ditto.window import Window

STEPS = 50
# GFLOP a frame of the network as written (warp_network, decoder), and of a window of 50 guided steps.
GFLOP = {"warp": 342.1, "decode": 891.6, "motion": 2 * STEPS * 4.4}
# (backend, precision, fused, batch)
RENDERING = [
    ("eager", "fp32", False, 1),
    ("eager", "fp16", False, 1),
    ("cudagraph", "fp16", False, 1),
    ("cudagraph", "fp16", False, 4),
    ("cudagraph", "tf32", False, 4),
    ("cudagraph", "fp16", True, 1),
    ("cudagraph", "fp16", True, 2),
    ("cudagraph", "fp16", True, 4),
    ("cudagraph", "fp16", True, 8),
    ("cudagraph", "bf16", True, 4),
    ("compile", "fp16", False, 4),
]
MOTION = [
    ("eager", "fp32", False, 1),
    ("cudagraph", "fp32", True, 1),
    ("cudagraph", "tf32", True, 1),
    ("cudagraph", "fp16", True, 1),
    ("compile", "fp32", True, 1),
    ("compile", "fp16", True, 1),
]


def device_times(call: Callable[[], Any], calls: int) -> list[float]:
    """Milliseconds of each call on the device, after three that are not counted."""
    found = []
    for number in range(calls + 3):
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        call()
        end.record()
        end.synchronize()
        if number >= 3:
            found.append(begin.elapsed_time(end))
    return found


def clock_times(call: Callable[[], Any], calls: int) -> list[float]:
    """The same by the clock, for calls that end on the host."""
    found = []
    for number in range(calls + 3):
        began = time.perf_counter()
        call()
        if number >= 3:
            found.append((time.perf_counter() - began) * 1000)
    return found


def rates() -> tuple[float, float]:
    """TFLOP/s of a product of 8192 x 8192 halves, TB/s of a copy of 1 GiB (read and write)."""
    a, b = (torch.randn(8192, 8192, device="cuda", dtype=torch.half) for _ in range(2))
    product_ms = statistics.median(device_times(lambda: a @ b, 20))
    source = torch.empty(2**30, dtype=torch.uint8, device="cuda")
    target = torch.empty_like(source)
    copy_ms = statistics.median(device_times(lambda: target.copy_(source), 20))
    return 2 * 8192**3 / product_ms / 1e9, 2 * 2**30 / copy_ms / 1e9


def network(name: str) -> nn.Module:
    return random_weights(build(name, "full"), 0, name, "full").cuda()


def rendering_inputs(batch: int) -> dict[str, Tensor]:
    torch.manual_seed(0)
    feature = torch.randn(1, 32, 16, 64, 64, device="cuda")
    source = torch.rand(1, 21, 3, device="cuda") * 1.6 - 0.8
    driving = source + torch.randn(8, 21, 3, device="cuda")[:batch] * 0.1
    return {
        "feature_3d": feature.expand(batch, -1, -1, -1, -1).contiguous(),
        "kp_source": source.expand(batch, -1, -1).contiguous(),
        "kp_driving": driving.contiguous(),
    }


def motion_inputs() -> dict[str, Tensor]:
    torch.manual_seed(0)
    shapes = {"start": (1, 80, 265), "row": (1, 265), "conditions": (1, 80, 1103)}
    made = {name: torch.randn(shape, device="cuda") for name, shape in shapes.items()}
    return {**made, "noise": torch.randn(STEPS - 1, 1, 80, 265, device="cuda")}


class PlainWindow(nn.Module):
    """A window as the loop over steps that upstream's sampler is."""

    def __init__(self, lmdm: nn.Module) -> None:
        super().__init__()
        self.encoder, self.step, self.table = ContextEncoder(lmdm), GuidedStep(lmdm), step_table(STEPS)

    def forward(self, start: Tensor, row: Tensor, conditions: Tensor, noise: Tensor) -> Tensor:
        from engines.ditto.diffusion import sample

        tokens, hidden = self.encoder(conditions)
        return sample(lambda x, time: self.step(x, row, tokens, hidden, time), start, noise, self.table)


def prepared(module: nn.Module, name: str, inputs: dict[str, Tensor], backend: str, precision: str) -> Any:
    prepare = importlib.import_module(f"engines.backends.{backend}").prepare
    return prepare(module, Example(name, inputs), precision, Cache(Path("runs/.cache")))


def one_after_the_other(first: Any, second: Any, inputs: dict[str, Tensor]) -> Tensor:
    return second(first(*inputs.values()))


def psnr_db(found: Tensor, expected: Tensor) -> float:
    return -10 * math.log10(max((found - expected).double().square().mean().item(), 1e-12))


def rms(found: Tensor, expected: Tensor) -> float:
    return ((found - expected).square().mean().sqrt() / expected.square().mean().sqrt()).item()


def rendering_rows(calls: int) -> Iterator[dict[str, Any]]:
    warp, decoder = network("warp_network"), network("decoder").fold()
    exact_volume = torch.cat(
        [warp(*(part[k : k + 1] for part in rendering_inputs(8).values())) for k in range(8)]
    )
    exact = torch.cat([decoder(exact_volume[k : k + 1]) for k in range(8)])
    rewritten = {"warp_network": fused("warp_network", warp), "decoder": fused("decoder", decoder)}
    for backend, precision, is_fused, batch in RENDERING:
        told = {"backend": backend, "precision": precision, "fused": is_fused, "batch": batch}
        began = time.perf_counter()
        inputs = rendering_inputs(batch)
        first = prepared(
            rewritten["warp_network"] if is_fused else warp, "warp_network", inputs, backend, precision
        )
        volume = first(*inputs.values())
        second = prepared(
            rewritten["decoder"] if is_fused else decoder, "decoder", {"feature": volume}, backend, precision
        )
        built_s = time.perf_counter() - began
        picture = second(volume)
        times = device_times(partial(first, *inputs.values()), calls)
        yield row("warp", told, times, batch, rms=rms(volume, exact_volume[:batch]), built_s=built_s)
        quality = {"rms": rms(picture, exact[:batch]), "psnr_db": psnr_db(picture, exact[:batch])}
        yield row("decode", told, device_times(partial(second, volume), calls), batch, **quality)
        both = device_times(partial(one_after_the_other, first, second, inputs), calls)
        yield row("warp+decode", told, both, batch, **quality)
        first = second = None  # its graphs' memory
        torch.cuda.empty_cache()


def motion_rows(calls: int) -> Iterator[dict[str, Any]]:
    lmdm = network("lmdm")
    inputs = motion_inputs()
    exact = PlainWindow(lmdm)(*inputs.values())
    for backend, precision, is_fused, batch in MOTION:
        told = {"backend": backend, "precision": precision, "fused": is_fused, "batch": batch}
        began = time.perf_counter()
        module = Window(lmdm, step_table(STEPS)) if is_fused else PlainWindow(lmdm)
        call = prepared(module, "lmdm window", inputs, backend, precision)
        built_s = time.perf_counter() - began
        found = call(*inputs.values())
        times = device_times(partial(call, *inputs.values()), max(5, calls // 4))
        yield row("motion", told, times, 1, rms=rms(found, exact), built_s=built_s)


def upstream_rows(checkout: Path, calls: int) -> Iterator[dict[str, Any]]:
    """Upstream's wrappers as its pipeline calls them: numpy in, numpy out, batch 1, its own precision."""
    sys.path.insert(0, str(checkout))
    with tempfile.TemporaryDirectory() as folder:
        paths = {}
        for name in ("warp_network", "decoder", "lmdm"):
            state = random_weights(build(name, "full"), 0, name, "full").state_dict()
            paths[name] = str(Path(folder) / CHECKPOINT_FILES[name])
            torch.save({"model_state_dict": state} if name == "lmdm" else state, paths[name])
        models = {
            "warp": importlib.import_module("core.models.warp_network").WarpNetwork(paths["warp_network"]),
            "decode": importlib.import_module("core.models.decoder").Decoder(paths["decoder"]),
        }
        lmdm = importlib.import_module("core.models.lmdm").LMDM(
            paths["lmdm"], motion_feat_dim=265, audio_feat_dim=1103, seq_frames=80
        )
    told = {"backend": "upstream", "precision": "fp16", "fused": False, "batch": 1}
    inputs = [part.cpu().numpy() for part in rendering_inputs(1).values()]
    volume = models["warp"](*inputs)
    yield row("warp", told, clock_times(lambda: models["warp"](*inputs), calls), 1)
    yield row("decode", told, clock_times(lambda: models["decode"](volume), calls), 1)
    both = clock_times(lambda: models["decode"](models["warp"](*inputs)), calls)
    yield row("warp+decode", told, both, 1)
    lmdm.setup(STEPS)
    given = motion_inputs()
    frame, conditions = given["row"].cpu().numpy(), given["conditions"].cpu().numpy()
    times = clock_times(lambda: lmdm(frame, conditions, STEPS), max(5, calls // 4))
    yield row("motion", {**told, "precision": "fp32"}, times, 1)


def row(what: str, told: dict[str, Any], times: Sequence[float], batch: int, **more: float) -> dict[str, Any]:
    low, median, high = (value / batch for value in statistics.quantiles(times, n=4))
    made = {"what": what, **told, "ms": median, "ms_q25": low, "ms_q75": high, "n": len(times), **more}
    print(
        {key: round(value, 4) if isinstance(value, float) else value for key, value in made.items()},
        flush=True,
    )
    return made


def with_floors(rows: list[dict[str, Any]], tflops: float) -> list[dict[str, Any]]:
    """floor_ms: the arithmetic at the rate of half-precision products measured in this run."""
    work = {**GFLOP, "warp+decode": GFLOP["warp"] + GFLOP["decode"]}
    return [{**one, "floor_ms": work[one["what"]] / tflops, "product_tflops": tflops} for one in rows]


@torch.inference_mode()
def main(arguments: Sequence[str]) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--upstream", type=Path, help="a checkout of ditto-talkinghead, measured beside ours")
    parser.add_argument("--calls", type=int, default=30, help="per variant")
    given = parser.parse_args(arguments)
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    tflops, copy_tb = rates()
    print(
        f"{torch.cuda.get_device_name()}, torch {torch.__version__}: {tflops:.0f} TFLOP/s, {copy_tb:.2f} TB/s"
    )
    rows = [] if given.upstream is None else list(upstream_rows(given.upstream, given.calls))
    rows += [*motion_rows(given.calls), *rendering_rows(given.calls)]
    rows = [
        {"gpu": torch.cuda.get_device_name(), "weights": "random", **one} for one in with_floors(rows, tflops)
    ]
    with given.out.open("w", newline="") as file:
        writer = csv.DictWriter(file, sorted({key for one in rows for key in one}))
        writer.writeheader()
        writer.writerows(rows)


if __name__ == "__main__":
    main(sys.argv[1:])
