"""What XTTS cannot speak, told before anything is loaded: languages, long texts, missing packages."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from typing import Any

# Characters above which real weights may cut the speech (coqui-tts 0.28.0, VoiceBpeTokenizer.char_limits)
MOST_CHARACTERS = {
    "en": 250, "es": 239, "fr": 273, "de": 253, "it": 213, "pt": 203, "pl": 224, "tr": 226, "ru": 182,
    "nl": 251, "cs": 186, "ar": 166, "zh-cn": 82, "hu": 224, "ko": 95, "ja": 71, "hi": 150,
}  # fmt: skip
MOST_TOKENS = 602  # of sound at once, 28 s: gpt_max_audio_tokens 605 without start, stop and one more
MOST_RANDOM_CHARACTERS = 2 * 401  # 401 text tokens fit, and none of the random network's has three letters
PACKAGES = {"zh-cn": "pypinyin", "ja": "cutlet"}  # that turn a language into Latin letters
_SPLIT = "split it, 120 characters are a good size (workload=chunk120)"


def check(data: Mapping[str, Any]) -> str:
    """Why the texts cannot be spoken here for want of a package, "" if they can. Raises ValueError, one line.

    data  the whole resolved configuration; `tts` has the keys of conf/tts/xtts.yaml
    """
    workload = data["workload"]
    languages = workload["language"]
    languages = [languages] if isinstance(languages, str) else languages
    for index, text in enumerate(workload["texts"]):
        language = languages[index % len(languages)]
        if language not in MOST_CHARACTERS:
            raise ValueError(f"workload.language={language}: XTTS speaks {', '.join(MOST_CHARACTERS)}")
        _check_text(f"workload.texts, text {index}", " ".join(text.split()), language, data)
    for language, package in PACKAGES.items():
        if language in languages and not importlib.util.find_spec(package):
            return f"workload.language={language}: needs the package {package}; run pip install {package}"
    return ""


def _check_text(where: str, text: str, language: str, data: Mapping[str, Any]) -> None:
    tts, tokens_per_char = data["tts"], data["workload"]["tokens_per_char"]
    random = tts["weights"] == "random"
    tokens = round(len(text) * tokens_per_char)
    if random and tokens > MOST_TOKENS:
        raise ValueError(
            f"{where}: {len(text)} characters, with workload.tokens_per_char={tokens_per_char} {tokens} "
            f"tokens of sound; XTTS speaks {MOST_TOKENS} (28 s) at most; {_SPLIT}"
        )
    most = tts["max_characters"] or (MOST_RANDOM_CHARACTERS if random else MOST_CHARACTERS[language])
    if len(text) > most:
        remedy = "" if most == MOST_RANDOM_CHARACTERS else ", or raise tts.max_characters"
        raise ValueError(
            f"{where}: {len(text)} characters; XTTS speaks {most} at most in {language}; {_SPLIT}{remedy}"
        )
