"""`python -m tests.engines.ditto.fused_kernels DEVICE`: each kernel's largest error against plain torch."""

from __future__ import annotations

import sys
from collections.abc import Iterator

import torch
from torch import Tensor

from engines.ditto.fused import decoder_kernels, ops, warp_kernels

# Float32 sums in another order; half: one rounding of the result.
TOLERANCE = {torch.float32: 2e-6, torch.float16: 2e-3}


def on_cpu(function, *arguments):
    """What plain torch gives, in float32 on the CPU."""

    def plain(value):
        if isinstance(value, Tensor):
            return value.float().cpu()
        return type(value)(plain(item) for item in value) if isinstance(value, (list, tuple)) else value

    return function(*(plain(argument) for argument in arguments))


def decoder_cases(device: str, dtype: torch.dtype) -> Iterator[tuple[str, Tensor, Tensor]]:
    def made(*shape):
        return torch.randn(shape).to(device, dtype)

    x, y = made(2, 12, 8, 24) + 3, made(2, 12, 8, 24)
    total, statistics = decoder_kernels.stats(x, y)
    expected, theirs = on_cpu(ops.add_stats, x, y)
    yield "sum", total, expected
    yield from (
        (name, a, b) for name, a, b in zip(("mean of sum", "rstd of sum"), statistics, theirs, strict=True)
    )
    statistics = decoder_kernels.stats(x, None)[1]
    yield from (
        (name, a, b) for name, a, b in zip(("mean", "rstd"), statistics, on_cpu(ops.stats, x), strict=True)
    )
    for enlarge in (1, 2):
        arguments = (x, statistics, made(2, 12 * enlarge, 8 * enlarge, 48), made(48), 0.2, enlarge)
        yield f"modulate {enlarge}", decoder_kernels.modulate(*arguments), on_cpu(ops.modulate, *arguments)
    for other in (y, None):
        arguments = (x, other, made(24), 0.2)
        found = decoder_kernels.add_leaky(*arguments)
        yield f"add_leaky {other is not None}", found, on_cpu(ops.add_leaky, *arguments)
    for enlarge in (2, 4):
        parts = [made(2, 7, 5, 4 * 48)]
        if enlarge > 2:
            parts += [made(2, 7, 4, 2 * 48), made(2, 6, 5, 2 * 48), made(2, 6, 4, 48)]
        for index in range(3):
            arguments = (parts, made(16), index, 3, enlarge)
            found = decoder_kernels.assemble(*arguments)
            yield f"assemble {enlarge}, {index}", found, on_cpu(ops.assemble, *arguments)


def warp_cases(device: str, dtype: torch.dtype) -> Iterator[tuple[str, Tensor, Tensor]]:
    def made(*shape):
        return torch.randn(shape).to(device, dtype)

    source = torch.rand(2, 21, 3).to(device) * 1.6 - 0.8
    driving = source + torch.randn(2, 21, 3).to(device) * 0.2
    driving[0, 3], driving[1, 4] = 9.0, -7.0  # far outside
    for channels, width in ((2, 72), (4, 112)):
        arguments = (made(2, 4, 8, 6, channels), source, driving, 24, width)
        found = warp_kernels.candidates(*arguments)
        yield f"candidates {channels}", found, on_cpu(ops.candidates, *arguments)
    for halve in (True, False):
        arguments = (made(2, 4, 8, 6, 20), made(20), halve)
        yield f"relu_pool {halve}", warp_kernels.relu_pool(*arguments), on_cpu(ops.relu_pool, *arguments)
    arguments = (made(2, 4, 5, 4, 48), made(12), made(2, 4, 8, 6, 10))
    yield "interleave", warp_kernels.interleave(*arguments), on_cpu(ops.interleave, *arguments)
    arguments = (made(2, 8, 6, 4, 160), made(22), source, source + 0.1, 7)
    places = warp_kernels.deform(*arguments)
    yield "deform", places, on_cpu(ops.deform, *arguments)
    arguments = (made(2, 8, 6, 4, 32), places + torch.randn(places.shape).to(device) * 0.5)
    yield "sample", warp_kernels.sample(*arguments), on_cpu(ops.sample, *arguments)


def main(device: str) -> int:
    torch.manual_seed(0)
    failed = 0
    for dtype in (torch.float32,) if device == "cpu" else (torch.float32, torch.float16):
        for cases in (decoder_cases, warp_cases):
            for name, found, expected in cases(device, dtype):
                error = (found.float().cpu() - expected).abs().max() / expected.abs().max()
                fine = bool(error <= TOLERANCE[dtype])
                failed += not fine
                print(f"{name} {dtype}: {error:.1e} {'ok' if fine else 'FAIL'}")
    return int(failed > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
