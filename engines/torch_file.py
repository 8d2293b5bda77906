"""Reads a .pth file that nobody vouches for: tensors and plain data, no code; the file stays as it is."""

from __future__ import annotations

import pickle
import re
import struct
import threading
import warnings
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

_ZIP = b"PK"
# The list of names that torch lets through belongs to the whole process.
_NAMES_LOCK = threading.Lock()
_BROKEN = (
    *(OSError, EOFError, RuntimeError, LookupError, ValueError, TypeError, AttributeError, AssertionError),
    *(ArithmeticError, MemoryError, struct.error, pickle.UnpicklingError),
)


class Forgotten:
    """Stands in for a class that a file names and nobody needs here: takes its state and keeps nothing."""

    def __new__(cls, *_: Any) -> Forgotten:
        return super().__new__(cls)

    def __setstate__(self, _: Any) -> None:
        return


def load(path: Path, forgotten: Sequence[str] = ()) -> Any:
    """The file's content, tensors on the CPU, mapped from the file where its format allows.

    forgotten  names like "package.module.Class" whose objects come as Forgotten
    Raises ValueError that says what is wrong with the file, without its name. Ask
    checkpoint_file.pth_complaint first: reading a mapped file beyond its end would kill the process.
    """
    with path.open("rb") as file:
        is_zip = file.read(len(_ZIP)) == _ZIP
    allowed = [(type(name.rpartition(".")[2], (Forgotten,), {}), name) for name in forgotten]
    with _NAMES_LOCK, torch.serialization.safe_globals(allowed), warnings.catch_warnings():
        # a foreign pickle protocol is warned about, then refused; the refusal says enough
        warnings.simplefilter("ignore", UserWarning)
        try:
            return torch.load(path, map_location="cpu", weights_only=True, mmap=is_zip)
        except _BROKEN as error:
            raise ValueError(f"is not a readable checkpoint ({_reason(error)})") from error


def _reason(error: Exception) -> str:
    """What torch has against the file, without its advice of many lines to trust it all the same."""
    named = re.search(r"GLOBAL (\S+)", str(error))
    if named:
        return f"it wants to call {ascii(named[1])[1:-1][:100]}"
    lines = str(error).rpartition("WeightsUnpickler error: ")[2].strip().splitlines()
    return lines[0][:200] if lines else type(error).__name__


def mismatch(expected: Mapping[str, Tensor], found: Mapping[str, Tensor]) -> str:
    """The first key whose shape differs, with both shapes and how many more; "" where all agree."""
    wrong = []
    for key in [*expected, *(key for key in found if key not in expected)]:
        wanted, given = (_shape(entries.get(key)) for entries in (expected, found))
        if wanted != given:
            wrong.append(f"{key}: expected {wanted}, found {given}")
    more = f" (and {len(wrong) - 1} keys more)" if len(wrong) > 1 else ""
    return wrong[0] + more if wrong else ""


def not_finite(found: Mapping[str, Tensor]) -> str:
    """The first key with a value that float32 has no finite number for, and how many more; "" for none.

    One pass: a value that is infinite or no number shows in the least or in the most.
    """
    wrong = [key for key, value in found.items() if value.is_floating_point() and not _is_finite(value)]
    more = f" (and {len(wrong) - 1} keys more)" if len(wrong) > 1 else ""
    return f"{wrong[0]}: expected finite numbers, found others{more}" if wrong else ""


def _is_finite(tensor: Tensor) -> bool:
    if not tensor.numel():
        return True
    return all(bool(end.isfinite()) for end in torch.aminmax(tensor.detach().to(torch.float32)))


def _shape(tensor: Tensor | None) -> str:
    if tensor is None:
        return "no such key"
    if tensor.layout is not torch.strided or tensor.is_quantized or tensor.is_meta:
        return "a sparse, quantised or empty tensor"
    kind = "" if tensor.is_floating_point() else " of whole numbers"
    return f"shape ({', '.join(str(n) for n in tensor.shape)}){kind}"
