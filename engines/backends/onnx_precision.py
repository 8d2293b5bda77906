"""The precision of an ONNX graph: products in half precision, the rest as exact as it needs; int8 weights."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import GraphProto, ModelProto, NodeProto, TensorProto, helper, numpy_helper

from engines.contract import NotApplicable

HALVES = {"fp16": TensorProto.FLOAT16, "bf16": TensorProto.BFLOAT16}
# As autocast: these compute in half precision,
_PRODUCTS = frozenset({"Conv", "ConvTranspose", "Gemm", "MatMul"})
# these in whatever their inputs have, float32 where they differ,
_FOLLOW = frozenset(
    {"Add", "Sub", "Mul", "Neg", "Relu", "LeakyRelu", "Sigmoid", "Tanh", "Gelu", "Clip", "Where"}
    | {"Concat", "Split", "Slice", "Gather", "Reshape", "Transpose", "Squeeze", "Unsqueeze", "Expand"}
    | {"Flatten", "Pad", "Resize", "AveragePool", "MaxPool", "DepthToSpace", "Identity"}
)
# these in float32, with a result in half precision for a half input: statistics over many values, whose
# results products take; all others (Softmax, Exp, sums, powers, divisions, angles) take and give float32.
_INSIDE = frozenset({"InstanceNormalization", "BatchNormalization", "LayerNormalization"})
# inputs that stay float32 whatever the rest is: scales are positions
_FIXED_INPUTS = {"Resize": frozenset({1, 2})}
_LEAST_WEIGHTS = 1024  # fewer are not worth a scale
_OUTPUT_AXIS = {"Conv": 0, "ConvTranspose": 1, "MatMul": -1}
_INT8_LARGEST = 127


def halve(model: ModelProto, half: int, exact: Collection[str]) -> None:
    """Rewrite a float32 graph to half precision, in place; its inputs and outputs stay float32.

    half   a value of HALVES
    exact  names of nodes that stay float32 although their kind would not: coordinates
    Raises NotApplicable for a graph with branches or loops inside.
    """
    graph = _Halved(model.graph, half, exact)
    for node in list(model.graph.node):
        graph.rewrite(node)
    graph.finish()


class _Halved:
    """A graph while it is rewritten, node by node: the type that each tensor has by now, and its twins."""

    def __init__(self, graph: GraphProto, half: int, exact: Collection[str]) -> None:
        self._graph = graph
        self._half, self._exact = half, exact
        self._weights = {weight.name: weight for weight in self._graph.initializer}
        self._types = _types(self._graph)
        self._twins: dict[tuple[str, int], str] = {}
        self._nodes: list[NodeProto] = []

    def rewrite(self, node: NodeProto) -> None:
        """Give the node's float inputs the type that it computes in, and note that of its outputs."""
        if any(attribute.HasField("g") for attribute in node.attribute):
            raise NotApplicable(f"precision: {node.op_type} in the exported network; use precision=fp32")
        if node.op_type == "Cast":  # what the network itself asks for
            self._nodes.append(node)
            return
        wanted = self._type_for(node)
        was_half = self._types.get(node.input[0]) == self._half if node.input else False
        fixed = _FIXED_INPUTS.get(node.op_type, frozenset())
        for i, name in enumerate(node.input):
            if self._is_float(name):
                node.input[i] = self._as(name, TensorProto.FLOAT if i in fixed else wanted)
        self._nodes.append(node)
        for name in node.output:
            if self._is_float(name):
                self._types[name] = wanted
        if node.op_type in _INSIDE and was_half:
            self._give_half(node)

    def _type_for(self, node: NodeProto) -> int:
        if node.name in self._exact:
            return TensorProto.FLOAT
        if node.op_type in _PRODUCTS:
            return self._half
        varying = (name for name in node.input if name not in self._weights and self._is_float(name))
        given = {self._types[name] for name in varying}
        return self._half if node.op_type in _FOLLOW and given == {self._half} else TensorProto.FLOAT

    def _is_float(self, name: str) -> bool:
        return self._types.get(name) in (TensorProto.FLOAT, self._half)

    def _as(self, name: str, wanted: int) -> str:
        """The tensor in this type: itself, a converted constant, or what a new Cast gives."""
        if self._types[name] == wanted:
            return name
        key = (name, wanted)
        if key not in self._twins:
            self._twins[key] = twin = f"{name}_as_{_name(wanted)}"
            self._types[twin] = wanted
            if name in self._weights:
                values = numpy_helper.to_array(self._weights[name])
                converted = numpy_helper.from_array(
                    values.astype(helper.tensor_dtype_to_np_dtype(wanted)), twin
                )
                self._weights[twin] = converted
            else:
                self._nodes.append(helper.make_node("Cast", [name], [twin], f"{twin}_cast", to=wanted))
        return self._twins[key]

    def _give_half(self, node: NodeProto) -> None:
        name = node.output[0]
        node.output[0] = f"{name}_exact"
        self._nodes.append(helper.make_node("Cast", [node.output[0]], [name], f"{name}_cast", to=self._half))
        self._types[name] = self._half

    def finish(self) -> None:
        """Put the nodes and the constants that they use into the graph."""
        for output in self._graph.output:
            if self._types[output.name] == self._half:
                self._give_float(output.name)
        used = {name for node in self._nodes for name in node.input}
        _replace(self._graph.node, self._nodes)
        _replace(self._graph.initializer, [self._weights[name] for name in self._weights if name in used])
        _replace(self._graph.value_info, [])  # types have changed; runtimes infer them

    def _give_float(self, name: str) -> None:
        inner = f"{name}_half"
        for node in self._nodes:
            for names in (node.input, node.output):
                for i, other in enumerate(names):
                    if other == name:
                        names[i] = inner
        self._nodes.append(helper.make_node("Cast", [inner], [name], f"{name}_cast", to=TensorProto.FLOAT))


def _types(graph: GraphProto) -> dict[str, int]:
    """Element type by tensor name. Raises ValueError where the file leaves one open."""
    known = {weight.name: weight.data_type for weight in graph.initializer}
    for info in (*graph.input, *graph.value_info, *graph.output):
        known[info.name] = info.type.tensor_type.elem_type
    unknown = [name for node in graph.node for name in node.output if name and not known.get(name)]
    if unknown:
        raise ValueError(f"precision: the exported network leaves the type of {unknown[0]} open")
    return known


def _name(element_type: int) -> str:
    return str(TensorProto.DataType.Name(element_type)).lower()


def _replace(field: Any, items: list[Any]) -> None:
    del field[:]
    field.extend(items)


def quantise(model: ModelProto, exact: Collection[str]) -> None:
    """Store the weights of products in int8, in place, with a float32 scale per output channel.

    They are multiplied out before each use: it saves memory, and the arithmetic stays float32.
    Raises NotApplicable where these weights are less than half of all.
    """
    weights = {weight.name: weight for weight in model.graph.initializer}
    total = sum(_count(weight) for weight in weights.values())
    whole: dict[tuple[str, int], str] = {}
    added: list[NodeProto] = []
    for node in model.graph.node:
        axis = _channel_axis(node)
        name = node.input[1] if axis is not None else ""
        weight = weights.get(name)
        if axis is None or weight is None or node.name in exact or _count(weight) < _LEAST_WEIGHTS:
            continue
        axis %= len(weight.dims)
        if (name, axis) not in whole:
            whole[name, axis], parts, restore = _stored(weight, axis)
            weights.update(parts)
            added.append(restore)
        node.input[1] = whole[name, axis]
    _require_share(sum(_count(weights[name]) for name in {name for name, _ in whole}), total)
    used = {name for node in (*model.graph.node, *added) for name in node.input}
    _replace(model.graph.node, [*added, *model.graph.node])
    _replace(model.graph.initializer, [weights[name] for name in weights if name in used])


def _require_share(stored: int, total: int) -> None:
    if 2 * stored < total:
        raise NotApplicable(
            f"precision=int8: only {stored} of {total} weights are in products of at least {_LEAST_WEIGHTS}; "
            "use precision=fp32"
        )


def _channel_axis(node: NodeProto) -> int | None:
    """The axis of the weight along which results differ, None for what is no product."""
    if node.op_type == "Gemm":
        transposed = any(attribute.name == "transB" and attribute.i for attribute in node.attribute)
        return 0 if transposed else 1
    return _OUTPUT_AXIS.get(node.op_type)


def _stored(weight: TensorProto, axis: int) -> tuple[str, dict[str, TensorProto], NodeProto]:
    """The name of the restored weight, its int8 values and scales, and the node that multiplies them."""
    name = weight.name
    values, scale = to_int8(numpy_helper.to_array(weight), axis)
    parts = {f"{name}_int8_{axis}": values, f"{name}_scale_{axis}": scale}
    restored = f"{name}_restored_{axis}"
    node = helper.make_node("DequantizeLinear", list(parts), [restored], f"{restored}_node", axis=axis)
    return restored, {key: numpy_helper.from_array(part, key) for key, part in parts.items()}, node


def to_int8(weight: NDArray[np.float32], axis: int) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """Float weights -> int8 of the same shape and a scale per index of `axis`; the largest becomes 127."""
    others = tuple(i for i in range(weight.ndim) if i != axis)
    largest = np.abs(weight).max(axis=others, keepdims=True)
    scale = np.where(largest > 0, largest, 1).astype(np.float32) / np.float32(_INT8_LARGEST)
    return np.rint(weight / scale).astype(np.int8), scale.reshape(-1)


def _count(weight: TensorProto) -> int:
    return int(np.prod(weight.dims, dtype=np.int64)) if _is_weight(weight) else 0


def _is_weight(weight: TensorProto) -> bool:
    return weight.data_type in (TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16)


def stored_type(model: onnx.ModelProto) -> str:
    """What most bytes of the weights are: float32, float16, bfloat16 or int8."""
    held: dict[str, int] = {}
    for weight in model.graph.initializer:
        kind = _name(weight.data_type)
        held[kind] = held.get(kind, 0) + int(np.prod(weight.dims, dtype=np.int64))
    words = {"float": "float32"}
    kinds = {words.get(kind, kind): count for kind, count in held.items() if kind not in ("int64", "bool")}
    return max(kinds, key=lambda kind: kinds[kind]) if kinds else "float32"
