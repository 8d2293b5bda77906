"""Speed of XTTS's GPT on a GPU: products of one row by several kernels, then tokens and first sounds.

    python -m tests.gpu.measure_xtts [--tokens 200] [--products] [--decoders]

Full size, random weights. Device time by CUDA events around a captured graph of 30 layers' products, so that
launches do not count; decoders by the clock around whole texts. Bytes are those of the weights.
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F

try:
    import triton
    import triton.language as tl
except ImportError:  # it comes with torch for GPUs
    triton = None

from tests.gpu.test_xtts_fast import JOB, built, flow, speed

LAYERS = 30
SHAPES = {"attend": (3072, 1024), "join": (1024, 1024), "grow": (4096, 1024), "shrink": (1024, 4096)}
DECODERS = [
    ("eager", "fp32"),
    ("cudagraph", "fp32"),
    ("cudagraph", "fp16"),
    ("cudagraph", "bf16"),
    ("compile", "fp32"),
    ("compile", "fp16"),
    ("compile", "int8"),
    ("compile", "fp8"),
]
Product = Callable[[Tensor, Tensor, Tensor], Tensor]
"""x (1, inputs), weight (outputs, inputs), bias (outputs,) -> (1, outputs)."""


def summed(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    return ((weight.float() * x.float()).sum(dim=-1) + bias.float()).to(x.dtype)[None]


def products() -> Iterator[tuple[str, Product]]:
    """What could multiply one row."""
    yield "linear", lambda x, weight, bias: F.linear(x, weight, bias)
    yield "addmv", lambda x, weight, bias: torch.addmv(bias, weight, x[0])[None]
    yield "linear, weights (inputs, outputs)", lambda x, weight, bias: torch.addmm(bias, x, weight)
    tuned = {"coordinate_descent_tuning": True, "max_autotune": True}
    yield "compiled sum", torch.compile(summed, fullgraph=True, dynamic=False, options=tuned)
    if triton is not None:
        for rows, step in ((1, 1024), (2, 512), (4, 512)):
            yield f"triton, {rows} x {step}", _triton(rows, step)


def _rows_kernel(x, weight, bias, out, inputs, rows: tl.constexpr, step: tl.constexpr):  # type: ignore[no-untyped-def]
    """Each program has some outputs, and walks over the inputs."""
    row = tl.program_id(0) * rows + tl.arange(0, rows)
    total = tl.zeros((rows, step), dtype=tl.float32)
    for start in range(0, inputs, step):
        column = start + tl.arange(0, step)
        part = tl.load(weight + row[:, None] * inputs + column[None, :]).to(tl.float32)
        total += part * tl.load(x + column)[None, :].to(tl.float32)
    result = tl.sum(total, axis=1) + tl.load(bias + row).to(tl.float32)
    tl.store(out + row, result.to(out.dtype.element_ty))


def _triton(rows: int, step: int) -> Product:
    kernel = triton.jit(_rows_kernel)

    def product(x: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        outputs, inputs = weight.shape
        out = torch.empty((1, outputs), dtype=x.dtype, device=x.device)
        kernel[(outputs // rows,)](x, weight, bias, out, inputs, rows=rows, step=step, num_warps=4)
        return out

    return product


def captured_ms(call: Callable[[], Any], replays: int = 20) -> float:
    """Median device time of a captured call."""
    stream = torch.cuda.Stream()
    stream.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(stream):
        for _ in range(3):
            call()
    torch.cuda.synchronize()
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph, stream=stream):
        call()
    found = []
    for _ in range(replays + 3):
        begin, end = (torch.cuda.Event(enable_timing=True) for _ in range(2))
        begin.record()
        graph.replay()
        end.record()
        torch.cuda.synchronize()
        found.append(begin.elapsed_time(end))
    return statistics.median(found[3:])


@torch.no_grad()
def measure_products() -> None:
    for dtype in (torch.float32, torch.float16):
        for name, (outputs, inputs) in SHAPES.items():
            weights = torch.randn((LAYERS, outputs, inputs), device="cuda").to(dtype)
            bias = torch.randn(outputs, device="cuda").to(dtype)
            x = torch.randn((1, inputs), device="cuda").to(dtype)
            for kind, product in products():
                line = f"{str(dtype)[6:]:9} {name:7} {kind:34}"
                _say(f"{line} {_measured(product, x, weights, bias, '(inputs, outputs)' in kind)}")


def _measured(product: Product, x: Tensor, weights: Tensor, bias: Tensor, is_turned: bool) -> str:
    """Time and rate of the products of all layers, and how wrong one is."""
    expected = F.linear(x.double(), weights[0].double(), bias.double())
    own = weights.transpose(1, 2).contiguous() if is_turned else weights
    wrong = (product(x, own[0], bias).double() - expected).abs().max().item()
    took = captured_ms(lambda: [product(x, layer, bias) for layer in own])
    rate = weights.numel() * weights.element_size() / took * 1e-9
    return f"{took:7.3f} ms {rate:5.2f} TB/s, wrong by {wrong:.1e}"


def measure_decoders(count: int) -> None:
    expected = None
    with tempfile.TemporaryDirectory() as folder:
        cache = Path(folder)
        for backend, precision in DECODERS:
            begin = time.perf_counter()
            keys: dict[str, Any] = {"stage_backend": {"gpt": backend}, "stage_precision": {"gpt": precision}}
            component = built("full", cache, mode="stream", stream_vocoder="window", **keys)
            build_s = time.perf_counter() - begin
            rate, latents = speed(component, count)
            expected = latents if expected is None else expected
            differ = ((latents - expected).abs().amax(dim=-1)[0] > 0.5).nonzero()
            alike = int(differ[0]) if len(differ) else count
            _say(
                f"{backend:9} {precision:4} {1e3 / rate:6.3f} ms a token, {rate:6.0f} tokens/s; "
                f"the first {alike} of {count} latents are eager's; load and build {build_s:.0f} s"
            )
            measure_first(component)
            del component
            torch.cuda.empty_cache()


def measure_first(component: Any) -> None:
    found = []
    for _ in range(6):
        torch.cuda.synchronize()
        begin = time.perf_counter()
        pieces = flow(component, replace(JOB, num_tokens=60))
        next(pieces)
        found.append(1e3 * (time.perf_counter() - begin))
        list(pieces)
    _say(f"  first sound after {statistics.median(found[1:]):.1f} ms (first time {found[0]:.1f} ms)")


def _say(line: str) -> None:
    print(line, flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--tokens", type=int, default=200)
    parser.add_argument("--products", action="store_true", help="only the products")
    parser.add_argument("--decoders", action="store_true", help="only the decoders")
    given = parser.parse_args()
    if given.products or not given.decoders:
        measure_products()
    if given.decoders or not given.products:
        measure_decoders(given.tokens)


if __name__ == "__main__":
    main()
