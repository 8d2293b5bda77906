"""Text from anywhere, made fit for a cell, for Markdown, or for any format at all."""

from __future__ import annotations

import re
import unicodedata

_MOST_IN_CELL = 400  # characters; the rest stands in results.csv and, for reasons, in the incident's excerpt


def plain(text: str) -> str:
    """Text that every format can hold: lone surrogates and controls but tab and newline become U+FFFD."""
    return "".join("\ufffd" if _unprintable(character) else character for character in text)


def _unprintable(character: str) -> bool:
    return unicodedata.category(character) in ("Cc", "Cs") and character not in "\t\n"


def clip(text: str, longest: int = _MOST_IN_CELL) -> str:
    return text if len(text) <= longest else f"{text[: longest - 1]}…"


def escaped(text: str) -> str:
    """Text that Markdown shows as it is, on one line: no markup, no HTML, no mention of people or issues."""
    flat = " ".join(plain(text).split())
    flat = flat.replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    flat = flat.replace("#", "&#35;").replace("@", "&#64;")
    return re.sub(r"([\\`*_{}\[\]|~$])", r"\\\1", flat)
