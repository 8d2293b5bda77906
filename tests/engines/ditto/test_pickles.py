"""Plain data comes out of every kind of pickle; anything else is refused without being run or built."""

from __future__ import annotations

import os
import pickle
import random
import struct
import time
from collections import OrderedDict
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from engines.ditto import pickles

PLAIN = {
    "numbers": [1, -3, 2**40, 2.5, True, None],
    "nested": ("text", {"more": [1.0, "ünïcode"], 7: ()}),
    "scalars": {"single": np.float32(0.5), "whole": np.int64(3), "truth": np.bool_(True)},
}
ARRAYS = {
    "rows": np.arange(12, dtype=np.float32).reshape(3, 4),
    "columns first": np.asfortranarray(np.arange(6.0).reshape(2, 3)),
    "big-endian": np.arange(4, dtype=">i4"),
    "none": np.zeros((0, 3), np.float16),
    "one": np.array(3.0),
    "bits": np.array([True, False]),
}


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_plain_data_and_arrays_come_back_as_they_were(protocol: int) -> None:
    back = pickles.loads(pickle.dumps({"plain": PLAIN, "arrays": ARRAYS}, protocol))
    assert back["plain"] == PLAIN
    assert [type(value) for value in back["plain"]["scalars"].values()] == [float, int, bool]
    for name, array in ARRAYS.items():
        assert back["arrays"][name].dtype == array.dtype
        np.testing.assert_array_equal(back["arrays"][name], array)


@pytest.mark.parametrize("core", [b"numpy.core.multiarray", b"numpy._core.multiarray"])
def test_the_names_of_numpy_1_and_2_are_known(core: bytes) -> None:
    written = pickle.dumps(ARRAYS["rows"], 2)
    name = next(old for old in (b"numpy._core.multiarray", b"numpy.core.multiarray") if old in written)
    np.testing.assert_array_equal(pickles.loads(written.replace(name, core)), ARRAYS["rows"])


def refusal(data: bytes) -> str:
    """Why the data is refused, after making sure that this takes no time."""
    start = time.perf_counter()
    with pytest.raises(pickles.Refused) as caught:
        pickles.loads(data)
    assert time.perf_counter() - start < 5
    return str(caught.value)


class _Calls:
    def __init__(self, function: Any, *arguments: Any) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> Any:
        return self.call


@pytest.mark.parametrize("protocol", range(pickle.HIGHEST_PROTOCOL + 1))
def test_a_call_is_refused_by_its_name_and_not_made(protocol: int, tmp_path: Path) -> None:
    data = pickle.dumps({"a": [_Calls(os.mkdir, str(tmp_path / "trace"))]}, protocol)
    assert refusal(data) == "it names posix.mkdir, which is no plain data"
    assert not (tmp_path / "trace").exists()


@pytest.mark.parametrize(
    ("value", "found"),
    [
        (OrderedDict(a=1), "it names collections.OrderedDict"),
        ({1, 2}, "EMPTY_SET"),
        (Path("x"), "it names pathlib"),
        (np.array(["text"]), "the call dtype"),
        (np.array([print], dtype=object), "the call dtype"),
        (np.array([1j]), "the call dtype"),
        (np.zeros(2, [("a", "f4")]), "the call dtype"),
        (_Calls(np.dtype, "f4"), "a value of type Dtype"),
        ([np.ndarray], "a value of type Word"),
        (b"bytes", "a value of type bytes"),
        (2**64, "a whole number of more than 64 bits"),
        ({(1, 2): 3}, "a key of type tuple"),
        ({2.5: 3}, "a key of type float"),
    ],
)
def test_other_things_are_refused(value: Any, found: str) -> None:
    assert found in refusal(pickle.dumps(value, 4))


def test_a_control_character_in_a_name_does_not_reach_the_terminal() -> None:
    assert refusal(b"c\x1b[2Jos\nsystem\n.") == r"it names \x1b[2Jos.system, which is no plain data"


def laughs(depth: int) -> Any:
    """2**depth leaves in `depth` lists."""
    value: Any = "ha"
    for _ in range(depth):
        value = [value, value]
    return value


def itself() -> list[Any]:
    value: list[Any] = []
    value.append(value)
    return value


@pytest.mark.parametrize("value", [laughs(15), laughs(200), itself()])
def test_data_that_grows_when_it_is_walked_through_is_refused(value: Any) -> None:
    assert refusal(pickle.dumps([value] * 20)) == "data that refers to itself or is nested without end"


def test_an_array_in_many_places_is_counted_in_each() -> None:
    array = np.zeros(2**20, np.int8)
    taken = pickles.loads(pickle.dumps([array] * 64))
    assert sum(entry.nbytes for entry in taken) == 64 * 2**20
    found = "arrays that take more room in the result than a file can hold"
    assert refusal(pickle.dumps([array] * 65)) == found


def bomb_of_encoded_text() -> bytes:
    """One text of 1 MB in the file, made into bytes 10,000 times."""
    text = b"X" + struct.pack("<I", 10**6) + b"a" * 10**6
    once = b"c_codecs\nencode\nh\x00h\x01\x86R"
    return text + b"q\x00" + b"X\x06\x00\x00\x00latin1q\x01" + once * 10_000 + b"."


def bomb_of_hashes() -> bytes:
    """A dict key of 60 tuples, each of which holds the one before it twice: its hash takes 2**60 steps."""
    return b"}K\x01" + b"q\x00h\x00\x86" * 60 + b"K\x01s."


@pytest.mark.parametrize(
    ("data", "found"),
    [
        (b"", "a broken pickle"),
        (b"PK\x03\x04", "a broken pickle"),
        (b"<html>", "a broken pickle"),
        (pickle.dumps(PLAIN)[:-5], "a broken pickle"),
        (b"\x80\x04N", "a broken pickle"),
        (b"\x80\x04.", "a broken pickle"),
        (b"\x80\x04\x8d" + struct.pack("<Q", 2**62) + b"a.", "a broken pickle"),  # BINUNICODE8
        (b"\x80\x04\x8e" + struct.pack("<Q", 2**62) + b"a.", "a broken pickle"),  # BINBYTES8
        (b"\x80\x05\x96" + struct.pack("<Q", 2**62) + b"a.", "a broken pickle"),  # BYTEARRAY8
        (b"\x80\x02\x8b" + struct.pack("<i", 2**31 - 1) + b"a.", "a broken pickle"),  # LONG4
        (b"\x80\x02Nr" + struct.pack("<I", 2**32 - 1) + b"0N.", "the opcode POP"),  # LONG_BINPUT
        (b"I" + b"9" * 10**6 + b"\n.", "a broken pickle"),
        (b"\x80\x02]" + b"K\x01a" * 10**6 + b".", "more than 200000 steps"),
        (bomb_of_encoded_text(), "more data than the file can hold"),
        (bomb_of_hashes(), "a key of type tuple"),
        (b"\x80\x02P1\n.", "the opcode PERSID"),
        (b"\x80\x02\x82\x01.", "the opcode EXT1"),
        (b"(i__main__\nX\n.", "the opcode INST"),
    ],
    ids=map(str, range(18)),
)
def test_a_broken_or_bloated_pickle_ends_at_once_in_one_line(data: bytes, found: str) -> None:
    assert found in refusal(data)


def array_of(shape: Any, content: Any = b"\0" * 8, code: Any = "f4") -> bytes:
    """A pickle of an array whose parts do not fit."""
    array = np.arange(2, dtype=np.float32)
    rebuild, start, _ = array.__reduce__()

    class Lies:
        def __reduce__(self) -> Any:
            return rebuild, start, (1, shape, np.dtype(code), False, content)

    return pickle.dumps(Lies(), 3)


@pytest.mark.parametrize(
    ("data", "found"),
    [
        (array_of((3,)), "an array whose bytes do not fill its shape"),
        (array_of((-2, -1)), "an array with a shape that no file can hold"),
        (array_of((2**40, 0), b""), "an array with a shape that no file can hold"),
        (array_of(2), "an array of something else than numbers"),
        (array_of((2,), [1, 2]), "an array of something else than numbers"),
        (array_of((2.0,)), "an array with a shape that no file can hold"),
    ],
)
def test_an_array_that_lies_about_itself_is_refused(data: bytes, found: str) -> None:
    assert array_of((2,)) != data  # which is fine
    np.testing.assert_array_equal(pickles.loads(array_of((2,))), np.zeros(2, np.float32))
    assert found in refusal(data)


def test_whatever_happens_to_the_bytes_nothing_but_refused_is_raised() -> None:
    chance, taken = random.Random(0), 0
    whole = [pickle.dumps({"plain": PLAIN, "arrays": ARRAYS}, protocol) for protocol in range(6)]
    for turn in range(3000):
        data = bytearray(whole[turn % 6])
        for _ in range(chance.randint(1, 4)):
            data[chance.randrange(len(data))] = chance.randrange(256)
        try:
            pickles.loads(bytes(data))
            taken += 1
        except pickles.Refused:
            continue
    assert 0 < taken < 3000
