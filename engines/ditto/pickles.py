"""Plain data and NumPy arrays out of a pickle that nobody vouches for: nothing in it is imported or called.

Not a `pickle.Unpickler` with a strict find_class: that one still reserves what a length field claims, hashes
nested tuples for ever and calls NumPy with arguments of the file's choice. Here a loop of our own walks the
opcodes that `pickletools` reads (which never takes more than is there) and knows a few of them.
"""

from __future__ import annotations

import math
import pickletools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

MAX_BYTES = 64 * 2**20  # of a file; the released ones have about 31 KB
MAX_OPCODES = 200_000  # 0.4 s
MAX_NODES = 200_000  # values met on a walk through the result, shared ones each time; an array is one
MAX_DEPTH = 16
_DTYPES = frozenset({"f2", "f4", "f8", "i1", "i2", "i4", "i8", "u1", "u2", "u4", "u8", "b1"})
# What a pickle of NumPy data names, by NumPy 1 and 2; to us each is a word, not a function.
_WORDS = {
    **{(f"numpy.{core}.multiarray", "_reconstruct"): "array" for core in ("core", "_core")},
    **{(f"numpy.{core}.multiarray", "scalar"): "scalar" for core in ("core", "_core")},
    **{(f"numpy.{core}.numeric", "_frombuffer"): "frombuffer" for core in ("core", "_core")},
    ("numpy", "ndarray"): "ndarray",
    ("numpy", "dtype"): "dtype",
    ("_codecs", "encode"): "encode",
    ("__builtin__", "bytes"): "bytes",
}
_PUSH = frozenset({"INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"}) | {
    *("UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"),
    *("BINBYTES", "SHORT_BINBYTES", "BINBYTES8", "BYTEARRAY8"),
}
_CONSTANTS = {"NONE": None, "NEWTRUE": True, "NEWFALSE": False, "EMPTY_TUPLE": ()}
_FIXED_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_MARK = object()


class Refused(ValueError):
    """What was found that is no plain data, in a few words."""


@dataclass(frozen=True)
class _Word:
    name: str


@dataclass
class _Budget:
    """What a walk through the result may still meet; an array in many places is met in each."""

    nodes: int = MAX_NODES
    bytes: int = MAX_BYTES

    def take(self, size: int) -> None:
        self.nodes -= 1
        self.bytes -= size
        if self.nodes < 0:
            raise Refused("data that refers to itself or is nested without end")
        if self.bytes < 0:
            raise Refused("arrays that take more room in the result than a file can hold")


@dataclass
class _Dtype:
    """numpy.dtype(code) before and after its byte order came."""

    code: str
    order: str = "="


@dataclass
class _Array:
    """What _reconstruct would return: an array whose content BUILD brings."""

    value: NDArray[Any] | None = None


def loads(data: bytes) -> Any:
    """Nested dict (keys str or int), list, tuple, str, int, float, bool, None and arrays of numbers.

    Raises Refused for whatever else there is, and for data that is large to walk through for its size.
    """
    return _plain(_Machine(len(data)).run(data), 0, _Budget())


class _Machine:
    """A stack, a memo, and one step per opcode."""

    def __init__(self, room: int) -> None:
        self.stack: list[Any] = []
        self.memo: dict[int, Any] = {}
        self.room = room  # bytes that may still be made: honest data is no larger than its pickle

    def run(self, data: bytes) -> Any:
        try:
            for count, (opcode, arg, _) in enumerate(pickletools.genops(data)):
                if count >= MAX_OPCODES:
                    raise Refused(f"more than {MAX_OPCODES} steps")
                if opcode.name == "STOP":
                    return self._pop()
                self._step(opcode.name, arg)
        except Refused:
            raise
        except (
            ValueError,
            OverflowError,
            TypeError,
        ) as error:  # told by pickletools or NumPy
            raise Refused(f"a broken pickle, {str(error)[:80]}") from error
        raise Refused("a pickle without an end")

    def _step(self, name: str, arg: Any) -> None:
        if name in _PUSH:
            self.stack.append(_scalar(arg))
        elif name in _CONSTANTS:
            self.stack.append(_CONSTANTS[name])
        elif name in _FIXED_TUPLES:
            self.stack.append(tuple(self._take(_FIXED_TUPLES[name])))
        elif name not in ("PROTO", "FRAME"):
            step: Callable[[Any], None] | None = getattr(self, f"_on_{name.lower()}", None)
            if step is None:
                raise Refused(f"the opcode {name}")
            step(arg)

    def _pop(self, kind: type = object) -> Any:
        value = self._take(1)[0]
        if not isinstance(value, kind) or value is _MARK:
            raise Refused("a broken pickle, values out of order")
        return value

    def _take(self, count: int) -> list[Any]:
        if len(self.stack) < count:
            raise Refused("a broken pickle, values missing")
        values = self.stack[len(self.stack) - count :]
        del self.stack[len(self.stack) - count :]
        return values

    def _to_mark(self) -> list[Any]:
        for depth, value in enumerate(reversed(self.stack)):
            if value is _MARK:
                values = self._take(depth)
                del self.stack[-1]
                return values
        raise Refused("a broken pickle, a mark missing")

    def _on_mark(self, _: Any) -> None:
        self.stack.append(_MARK)

    def _on_empty_list(self, _: Any) -> None:
        self.stack.append([])

    def _on_empty_dict(self, _: Any) -> None:
        self.stack.append({})

    def _on_tuple(self, _: Any) -> None:
        self.stack.append(tuple(self._to_mark()))

    def _on_list(self, _: Any) -> None:
        self.stack.append(self._to_mark())

    def _on_dict(self, _: Any) -> None:
        values = self._to_mark()
        self.stack.append({})
        self._set(values)

    def _on_append(self, _: Any) -> None:
        self._extend([self._pop()])

    def _on_appends(self, _: Any) -> None:
        self._extend(self._to_mark())

    def _extend(self, values: list[Any]) -> None:
        target = self._pop(list)
        target.extend(values)
        self.stack.append(target)

    def _on_setitem(self, _: Any) -> None:
        self._set(self._take(2))

    def _on_setitems(self, _: Any) -> None:
        self._set(self._to_mark())

    def _set(self, values: Sequence[Any]) -> None:
        target = self._pop(dict)
        if len(values) % 2:
            raise Refused("a broken pickle, a key without a value")
        for key, value in zip(values[::2], values[1::2], strict=True):
            if not isinstance(key, (str, int)):  # a tuple's hash may take for ever
                raise Refused(f"a key of type {type(key).__name__}")
            target[key] = value
        self.stack.append(target)

    def _on_memoize(self, _: Any) -> None:
        self._remember(len(self.memo))

    def _remember(self, place: int) -> None:
        value = self._pop()
        self.memo[place] = value
        self.stack.append(value)

    _on_put = _on_binput = _on_long_binput = _remember

    def _recall(self, place: int) -> None:
        if place not in self.memo:
            raise Refused("a broken pickle, a reference to nothing")
        self.stack.append(self.memo[place])

    _on_get = _on_binget = _on_long_binget = _recall

    def _on_global(self, arg: str) -> None:
        module, _, name = arg.partition(" ")
        self._name(module, name)

    def _on_stack_global(self, _: Any) -> None:
        name, module = self._pop(str), self._pop(str)
        self._name(module, name)

    def _name(self, module: str, name: str) -> None:
        if (module, name) not in _WORDS:
            raise Refused(f"it names {ascii(module + '.' + name)[1:-1][:100]}, which is no plain data")
        self.stack.append(_Word(_WORDS[module, name]))

    def _on_reduce(self, _: Any) -> None:
        arguments, word = self._pop(tuple), self._pop(_Word).name
        made: Any
        if word == "array" and len(arguments) == 3:
            made = _Array()
        elif word == "dtype" and arguments and arguments[0] in _DTYPES:
            made = _Dtype(arguments[0])
        elif word == "scalar" and len(arguments) == 2:
            made = _array(arguments[0], arguments[1], ())[()]
        elif word == "frombuffer" and len(arguments) == 4:
            made = _array(arguments[1], arguments[0], arguments[2], fortran=arguments[3] == "F")
        elif word == "encode" and len(arguments) == 2 and isinstance(arguments[0], str):
            made = self._encoded(arguments[0])
        elif word == "bytes" and not arguments:  # none at all, by protocols below 3
            made = b""
        else:
            raise Refused(f"the call {word} with arguments that no plain data needs")
        self.stack.append(made)

    def _encoded(self, text: str) -> bytes:
        """Bytes as pickle protocols below 3 write them."""
        self.room -= len(text)
        if self.room < 0:
            raise Refused("more data than the file can hold")
        return text.encode("latin-1")

    def _on_build(self, _: Any) -> None:
        state = self._pop(tuple)
        target = self.stack[-1] if self.stack else None
        if isinstance(target, _Dtype) and len(state) >= 2 and state[1] in ("<", ">", "=", "|"):
            target.order = state[1]
        elif isinstance(target, _Array) and len(state) == 5:
            _, shape, dtype, fortran, content = state
            target.value = _array(dtype, content, shape, fortran=bool(fortran))
        else:
            raise Refused("a state for what has none")


def _scalar(value: Any) -> Any:
    if isinstance(value, int) and not -(2**63) <= value < 2**64:
        raise Refused("a whole number of more than 64 bits")
    return bytes(value) if isinstance(value, bytearray) else value


def _array(dtype: Any, content: Any, shape: Any, fortran: bool = False) -> NDArray[Any]:
    """A read-only view of `content`, which must have exactly the bytes that the shape asks for."""
    if not isinstance(dtype, _Dtype) or not isinstance(content, bytes) or not isinstance(shape, tuple):
        raise Refused("an array of something else than numbers")
    if len(shape) > 8 or not all(isinstance(side, int) and 0 <= side <= MAX_BYTES for side in shape):
        raise Refused("an array with a shape that no file can hold")
    swap: Any = dtype.order  # one of <, >, = and |
    kind = np.dtype(dtype.code).newbyteorder(swap)
    if math.prod(shape) * kind.itemsize != len(content):
        raise Refused("an array whose bytes do not fill its shape")
    return np.frombuffer(content, kind).reshape(shape, order="F" if fortran else "C")


def _plain(value: Any, depth: int, left: _Budget) -> Any:
    """The same data with its arrays in place; lists that share their entries are walked as often as met."""
    if isinstance(value, _Array) and value.value is not None:
        value = value.value
    left.take(value.nbytes if isinstance(value, np.ndarray) else 0)
    if depth > MAX_DEPTH:
        raise Refused("data that refers to itself or is nested without end")
    if isinstance(value, dict):
        return {key: _plain(entry, depth + 1, left) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return type(value)(_plain(entry, depth + 1, left) for entry in value)
    if isinstance(value, np.generic):
        return value.item()
    if value is None or isinstance(value, (str, int, float, np.ndarray)):
        return value
    raise Refused(f"a value of type {type(value).__name__.lstrip('_')}")
