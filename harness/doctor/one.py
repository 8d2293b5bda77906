"""`python -m harness.doctor.one MODULE:FUNCTION [ARGUMENT]`: one check, its lines printed as JSON.

A process of its own, since what is looked at can hang in a driver or crash. Standard library only.
"""

from __future__ import annotations

import importlib
import json
import os
import sys
from dataclasses import asdict


def main() -> None:
    where, *given = sys.argv[1:]
    module, _, function = where.partition(":")
    with os.fdopen(os.dup(1), "w") as answer:
        os.dup2(2, 1)  # what a library prints is no answer
        check = getattr(importlib.import_module(module, "harness.doctor"), function)
        json.dump([asdict(line) for line in check(*given)], answer)


if __name__ == "__main__":
    main()
