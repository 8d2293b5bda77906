"""What must hold of the words that are to be spoken: texts that can be said, a language for each. Pure."""

from __future__ import annotations

import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any

# Unicode's categories. Line breaks and tabs are read as spaces; other control characters are an accident.
_CONTROL, _LONE_SURROGATE, _UNASSIGNED = "Cc", "Cs", "Cn"
_SPACES = "\t\n\r"
_UNHEARD = ("C", "Z", "M")  # control and format characters, spaces, marks without a letter


def texts_complaint(texts: Any, most_characters: int) -> str:
    """What speaks against a list of texts, "" for nothing. Texts count from 0, as jobs do."""
    if not isinstance(texts, Sequence) or isinstance(texts, str):
        return "must be a list, like [one,two]"
    if not texts:
        return "must not be empty"
    for index, text in enumerate(texts):
        if complaint := _text_complaint(text, most_characters):
            return f"text {index} {complaint}"
    return ""


def _text_complaint(text: Any, most_characters: int) -> str:
    if not isinstance(text, str):
        return "is no text; put it in quotes, like ['5']"
    if len(text) > most_characters:
        return f"has {len(text)} characters, {most_characters} at most; split it, 120 are a good size"
    for place, character in enumerate(text):
        category = unicodedata.category(character)
        if category == _LONE_SURROGATE:
            return f"is not valid Unicode at character {place}; save it as UTF-8"
        if category in (_CONTROL, _UNASSIGNED) and character not in _SPACES:
            return f"has U+{ord(character):04X} at character {place}, which nobody can say; remove it"
    if all(unicodedata.category(character).startswith(_UNHEARD) for character in text):
        return "must not be empty; give at least one word"
    return ""


def check(data: Mapping[str, Any]) -> None:
    """What depends on several keys of the workload. Raises ValueError, one line.

    data  the whole resolved configuration, whose single values keep their rules
    """
    languages, num_texts = data["workload"]["language"], len(data["workload"]["texts"])
    if not isinstance(languages, str) and len(languages) != num_texts:
        raise ValueError(
            f"workload.language=[{','.join(languages)}]: {len(languages)} languages for {num_texts} texts; "
            "give one for all, or one for each"
        )
