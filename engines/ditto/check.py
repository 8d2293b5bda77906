"""What is checked of a Ditto configuration before anything is loaded: files, keys that depend on others."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def check(data: Mapping[str, Any]) -> None:
    """Raises ValueError, one line in the words of the command line.

    data  the whole resolved configuration; `avatar` has the keys of conf/avatar/ditto.yaml
    """
