"""Which checkpoint ran: a hash over its bytes."""

from __future__ import annotations

import hashlib
from functools import cache
from pathlib import Path


@cache
def sha256(path: Path) -> str:
    """Hex digest of a file, read once per process: attestation asks at the start and at the end."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(2**20):
            digest.update(block)
    return digest.hexdigest()
