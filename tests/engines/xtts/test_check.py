"""What XTTS cannot speak is told before anything is loaded, in one line with a remedy."""

from __future__ import annotations

import importlib.util
from typing import Any

import pytest

from engines.xtts import check as xtts_check


def configuration(*texts: str, language: Any = "en", rate: float = 1.4, **tts: Any) -> dict[str, Any]:
    workload = {"texts": list(texts), "language": language, "tokens_per_char": rate}
    return {"workload": workload, "tts": {"weights": "random", "max_characters": None} | tts}


def test_what_fits_has_no_complaint() -> None:
    assert xtts_check.check(configuration("a" * 430, "Hola", language=["en", "es"])) == ""
    assert xtts_check.check(configuration("a" * 250, weights="/somewhere")) == ""
    assert xtts_check.check(configuration("a" * 300, weights="/somewhere", max_characters=300)) == ""
    assert xtts_check.check(configuration("  a \n " + "b" * 427)) == ""  # read as one space between words


SPLIT = "split it, 120 characters are a good size (workload=chunk120)"
NO_SUCH_LANGUAGE = "XTTS speaks en, es, fr, de, it, pt, pl, tr, ru, nl, cs, ar, zh-cn, hu, ko, ja, hi"


@pytest.mark.parametrize(
    ("given", "words"),
    [
        (
            configuration("ok", "a" * 10_000),
            "workload.texts, text 1: 10000 characters, with workload.tokens_per_char=1.4 14000 tokens of "
            f"sound; XTTS speaks 602 (28 s) at most; {SPLIT}",
        ),
        (
            configuration("a" * 431),
            "workload.texts, text 0: 431 characters, with workload.tokens_per_char=1.4 603 tokens of sound; "
            f"XTTS speaks 602 (28 s) at most; {SPLIT}",
        ),
        (
            configuration("a" * 10_000, rate=0.01),
            f"workload.texts, text 0: 10000 characters; XTTS speaks 802 at most in en; {SPLIT}",
        ),
        (
            configuration("a" * 251, weights="/x"),
            f"workload.texts, text 0: 251 characters; XTTS speaks 250 at most in en; {SPLIT}, or raise "
            "tts.max_characters",
        ),
        (
            configuration("a", "a" * 83, language=["en", "zh-cn"], weights="/x"),
            f"workload.texts, text 1: 83 characters; XTTS speaks 82 at most in zh-cn; {SPLIT}, or raise "
            "tts.max_characters",
        ),
        (
            configuration("a" * 11, max_characters=10),
            f"workload.texts, text 0: 11 characters; XTTS speaks 10 at most in en; {SPLIT}, or raise "
            "tts.max_characters",
        ),
        (configuration("a", language="sv"), f"workload.language=sv: {NO_SUCH_LANGUAGE}"),
        (configuration("a", "b", language=["en", "zh"]), f"workload.language=zh: {NO_SUCH_LANGUAGE}"),
    ],
)
def test_what_does_not_fit_is_told_in_one_line(given: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError) as caught:
        xtts_check.check(given)
    assert str(caught.value) == words


def test_a_language_without_its_package_skips_the_point(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    said = xtts_check.check(configuration("早", "Hi", language=["zh-cn", "en"]))
    assert said == "workload.language=zh-cn: needs the package pypinyin; run pip install pypinyin"
    assert xtts_check.check(configuration("Hi")) == ""
