# SPDX-License-Identifier: Apache-2.0
"""Networks made in Python, node by node, or a model that was read and is gone on with."""
from __future__ import annotations

import functools
import os
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple, Union

import numpy as np

from . import dtypes
from .errors import InvalidError
from .library import Session, shared

ffi, c = shared.ffi, shared.c

Dim = Union[int, str, None]


class ValueInfo(NamedTuple):
    """What is known of a value. shape: numbers, names or expressions of sizes that vary; None: not even the rank is known."""
    name: str
    dtype: int                      # a tenon_dtype
    shape: tuple[int | str, ...] | None
    is_input: bool
    is_output: bool
    is_constant: bool


class Value:
    """A tensor of a network: an input, a constant or a node's result. +, -, *, /, @, ** and - take other values, arrays and
    numbers."""

    __array_ufunc__ = None          # numpy leaves array + value to us

    def __init__(self, network: Network, handle: Any) -> None:
        self.network, self._handle = network, handle

    def info(self) -> ValueInfo:
        out = ffi.new("tenon_value_info *")
        with shared.session() as session:
            session.check(c.tenon_network_value_info(session.cx, self.network._network, self._handle, out))
            shape = None if out.rank < 0 else tuple(
                int(out.dim[i]) if out.dim[i] >= 0 else shared.text(out.dim_name[i]) for i in range(out.rank))
            return ValueInfo(shared.text(out.name), int(out.dtype), shape, bool(out.is_input), bool(out.is_output),
                             bool(out.is_constant))

    @property
    def name(self) -> str:
        return self.info().name

    @property
    def shape(self) -> tuple[int | str, ...] | None:
        return self.info().shape

    @property
    def dtype(self) -> np.dtype:
        info = self.info()
        return dtypes.to_numpy(info.dtype, f"value '{info.name}'")

    def __repr__(self) -> str:
        info = self.info()
        kind = shared.text(c.tenon_dtype_name(info.dtype))
        return f"<{info.name}: {kind}{'[*]' if info.shape is None else list(info.shape)}>"

    def _with(self, op: str, other: Any, turned: bool = False) -> Value:
        other = self._like(other)
        return self.network.node(op, *((other, self) if turned else (self, other)))

    def _like(self, other: Any) -> Any:
        return other if isinstance(other, Value) else np.asarray(other, self.dtype)

    def __add__(self, other: Any) -> Value:
        return self._with("Add", other)

    def __radd__(self, other: Any) -> Value:
        return self._with("Add", other, True)

    def __sub__(self, other: Any) -> Value:
        return self._with("Sub", other)

    def __rsub__(self, other: Any) -> Value:
        return self._with("Sub", other, True)

    def __mul__(self, other: Any) -> Value:
        return self._with("Mul", other)

    def __rmul__(self, other: Any) -> Value:
        return self._with("Mul", other, True)

    def __truediv__(self, other: Any) -> Value:
        return self._with("Div", other)

    def __rtruediv__(self, other: Any) -> Value:
        return self._with("Div", other, True)

    def __pow__(self, other: Any) -> Value:
        return self._with("Pow", other)

    def __matmul__(self, other: Any) -> Value:
        return self._with("MatMul", other)

    def __rmatmul__(self, other: Any) -> Value:
        return self._with("MatMul", other, True)

    def __neg__(self) -> Value:
        return self.network.node("Neg", self)


class NodeInfo(NamedTuple):
    """A canonical node: what a node of ONNX became, perhaps with others."""
    op: str
    name: str
    inputs: tuple[Value | None, ...]
    outputs: tuple[Value | None, ...]


def _tensor(array: np.ndarray, name: str | None, keep: list[Any]) -> Any:
    """A tenon_host_tensor of an array; `keep` holds what it points to."""
    if array.dtype.kind in "USO":
        texts = [ffi.new("char[]", str(item).encode()) for item in array.ravel()]
        data: Any = ffi.new("char *[]", texts) if texts else ffi.NULL
        keep += [texts, data]
        dtype = c.TENON_STRING
    else:
        array = np.ascontiguousarray(array).reshape(array.shape)
        data, dtype = array.ctypes.data, dtypes.from_numpy(array.dtype, f"constant '{name or ''}'")
    if array.ndim > c.TENON_MAX_RANK:
        raise InvalidError(f"constant '{name or ''}': rank {array.ndim}, at most {c.TENON_MAX_RANK}")
    chars = ffi.new("char[]", name.encode()) if name else ffi.NULL
    tensor = ffi.new("tenon_host_tensor *")
    tensor.name, tensor.dtype, tensor.rank, tensor.data = chars, dtype, array.ndim, ffi.cast("void *", data)
    tensor.dim[0:array.ndim] = array.shape
    keep += [array, chars, tensor]
    return tensor


def _attribute(slot: Any, name: str, value: Any, keep: list[Any]) -> None:
    """A tenon_attribute by the value's Python type."""
    chars = ffi.new("char[]", name.encode())
    keep.append(chars)
    slot.name = chars
    if isinstance(value, Network):
        slot.kind, slot.body = c.TENON_ATTRIBUTE_BODY, value._network
    elif isinstance(value, np.ndarray):
        slot.kind, slot.tensor = c.TENON_ATTRIBUTE_TENSOR, _tensor(value, None, keep)
    elif isinstance(value, np.dtype) or (isinstance(value, type) and issubclass(value, (np.generic, bool, int, float))):
        slot.kind, slot.i = c.TENON_ATTRIBUTE_DTYPE, dtypes.from_numpy(np.dtype(value), f"attribute '{name}'")
    elif isinstance(value, (bool, int, np.integer, np.bool_)):
        slot.kind, slot.i = c.TENON_ATTRIBUTE_INT, int(value)
    elif isinstance(value, (float, np.floating)):
        slot.kind, slot.f = c.TENON_ATTRIBUTE_FLOAT, float(value)
    elif isinstance(value, (str, bytes)):
        text = ffi.new("char[]", value.encode() if isinstance(value, str) else value)
        keep.append(text)
        slot.kind, slot.text = c.TENON_ATTRIBUTE_TEXT, text
    elif isinstance(value, Sequence):
        _list_attribute(slot, name, list(value), keep)
    else:
        raise TypeError(f"attribute '{name}': a number, text, element type, array, body or a list, not {type(value).__name__}")


def _list_attribute(slot: Any, name: str, items: list[Any], keep: list[Any]) -> None:
    slot.count = len(items)
    if all(isinstance(i, (int, np.integer)) for i in items):
        array = ffi.new("int64_t[]", [int(i) for i in items])
        slot.kind, slot.ints = c.TENON_ATTRIBUTE_INTS, array
    elif all(isinstance(i, (int, float, np.integer, np.floating)) for i in items):
        array = ffi.new("double[]", [float(i) for i in items])
        slot.kind, slot.floats = c.TENON_ATTRIBUTE_FLOATS, array
    elif all(isinstance(i, str) for i in items):
        texts = [ffi.new("char[]", i.encode()) for i in items]
        array = ffi.new("char *[]", texts)
        keep.append(texts)
        slot.kind, slot.texts = c.TENON_ATTRIBUTE_TEXTS, array
    else:
        raise TypeError(f"attribute '{name}': a list of integers, of floats or of texts")
    keep.append(array)


class Network:
    """Inputs, constants and nodes, added one by one; tenon.build and tenon.reference take it in place of a model.

        net = tenon.Network()
        x = net.input("x", np.float32, ("batch", 64))
        h = net.Relu(x @ w1 + b1)                       # arrays become constants
        net.output(net.Softmax(h @ w2, axis=1), "y")
        engine = tenon.build(net, profiles=[{"x": ((1, 64), (8, 64), (32, 64))}])

    What does not fit raises InvalidError or UnsupportedError with the node's name, and leaves the network as it was. A network
    belongs to one thread at a time.
    """

    def __init__(self, model: Any = None, *, name: str = "", opset: int = 0) -> None:
        """Empty, or a model (path, bytes, onnx.ModelProto) to go on with. opset: of ONNX's operators; 0: the newest."""
        out = ffi.new("tenon_network **")
        self._kept: Any = None          # bytes that the network borrows
        self._outer: Network | None = None
        with shared.session() as session:
            if model is None:
                chars = ffi.new("char[]", name.encode())
                options = ffi.new("tenon_network_options *", {"name": chars, "opset": opset})
                session.check(c.tenon_network_create(session.cx, options, out))
            else:
                self._read(session, model, out)
        self._network = ffi.gc(out[0], lambda p: c.tenon_network_destroy(ffi.new("tenon_network **", p)))

    def _read(self, session: Session, model: Any, out: Any) -> None:
        if hasattr(model, "SerializeToString"):
            model = model.SerializeToString()
        if isinstance(model, (str, os.PathLike)):
            session.check(c.tenon_network_read_file(session.cx, os.fsencode(model), ffi.NULL, out))
        elif isinstance(model, (bytes, bytearray, memoryview)):
            self._kept = ffi.from_buffer(model)
            session.check(c.tenon_network_read(session.cx, self._kept, len(self._kept), ffi.NULL, out))
        else:
            raise TypeError(f"model: a path, bytes or an onnx.ModelProto, not {type(model).__name__}")

    def body(self, name: str = "") -> Network:
        """The body of a control-flow node of this network: filled with input, node and output in ONNX's order, then given to
        node() as an attribute. Its nodes may take values of this network."""
        out = ffi.new("tenon_network **")
        with shared.session() as session:
            session.check(c.tenon_network_create_body(session.cx, self._network, name.encode(), out))
        made = Network.__new__(Network)
        made._kept, made._outer, made._network = None, self, out[0]
        return made

    def input(self, name: str, dtype: Any, shape: Sequence[Dim]) -> Value:
        """shape: a number; a name, or an expression of names, of a size that varies; None for one that varies by itself."""
        keep = [ffi.new("char[]", d.encode()) if isinstance(d, str) else ffi.NULL for d in shape]
        dims = [-1 if d is None or isinstance(d, str) else int(d) for d in shape]
        out = ffi.new("tenon_value **")
        ours = dtypes.from_numpy(np.dtype(dtype), f"input '{name}'")
        with shared.session() as session:
            session.check(c.tenon_network_add_input(session.cx, self._network, name.encode(), ours, len(dims), dims,
                                                    ffi.new("char *[]", keep), out))
        return Value(self, out[0])

    def constant(self, value: Any, name: str | None = None) -> Value:
        """A copy of an array. With a name it can be replaced in engines built with refit=True."""
        keep: list[Any] = []
        out = ffi.new("tenon_value **")
        with shared.session() as session:
            tensor = _tensor(np.asarray(value), name, keep)
            session.check(c.tenon_network_add_constant(session.cx, self._network, tensor, c.TENON_COPY, out))
        return Value(self, out[0])

    def node(self, op: str, *inputs: Value | np.ndarray | None, name: str | None = None,
             outputs: int | Sequence[str | None] = 1, **attributes: Any) -> Any:
        """Adds a node and gives its result, or a tuple of them where `outputs` is not 1.

        op          of ONNX ("Conv", "com.microsoft.Gelu") or of Tenon (tenon.list("ops"))
        inputs      values; arrays become constants; None is left out
        outputs     how many, or their names: None is made up, "" is not wanted
        attributes  by ONNX's names: numbers, texts, lists, element types (numpy's), arrays, bodies
        """
        keep: list[Any] = []
        names = [None] * outputs if isinstance(outputs, int) else list(outputs)
        values = [i if i is None or isinstance(i, Value) else self.constant(i) for i in inputs]
        chars = [ffi.NULL if n is None else ffi.new("char[]", n.encode()) for n in names]
        rows = ffi.new("tenon_attribute[]", max(len(attributes), 1))
        for slot, (key, value) in zip(rows, attributes.items()):
            _attribute(slot, key, value, keep)
        desc = ffi.new("tenon_node_desc *")
        keep += [ffi.new("char[]", op.encode()), ffi.new("char[]", (name or "").encode()), ffi.new("char *[]", chars),
                 ffi.new("tenon_value *[]", [ffi.NULL if v is None else v._handle for v in values] or [ffi.NULL])]
        desc.op, desc.name, desc.output_name, desc.input = keep[-4:]
        desc.input_count, desc.output_count = len(values), len(names)
        desc.attribute, desc.attribute_count = rows, len(attributes)
        out = ffi.new("tenon_value *[]", max(len(names), 1))
        with shared.session() as session:
            session.check(c.tenon_network_add_node(session.cx, self._network, desc, out))
        made = tuple(Value(self, handle) if handle else None for handle in out)
        return made[0] if outputs == 1 else made

    def __getattr__(self, op: str) -> Callable[..., Any]:
        """net.Conv(x, w, strides=[2, 2]) is net.node("Conv", x, w, strides=[2, 2])."""
        if not op[:1].isupper():
            raise AttributeError(f"{type(self).__name__} has no attribute '{op}'")
        return functools.partial(self.node, op)

    def output(self, value: Value, name: str | None = None) -> Value:
        """The next output; the value given is the one that is it."""
        out = ffi.new("tenon_value **")
        with shared.session() as session:
            chars = ffi.NULL if name is None else name.encode()
            session.check(c.tenon_network_mark_output(session.cx, self._network, value._handle, chars, out))
        return Value(self, out[0])

    def remove_output(self, value: Value) -> None:
        """It is no output any more."""
        with shared.session() as session:
            session.check(c.tenon_network_unmark_output(session.cx, self._network, value._handle))

    def find(self, name: str) -> Value:
        """The value of that name; InvalidError if there is none."""
        out = ffi.new("tenon_value **")
        with shared.session() as session:
            session.check(c.tenon_network_find_value(session.cx, self._network, name.encode(), out))
        return Value(self, out[0])

    def nodes(self) -> list[NodeInfo]:
        """The canonical nodes, in order."""
        row, made = ffi.new("tenon_node_info *"), []
        with shared.session() as session:
            for index in range(c.tenon_network_node_count(self._network)):
                session.check(c.tenon_network_node_info(session.cx, self._network, index, row))
                sides = [tuple(Value(self, side[i]) if side[i] else None for i in range(count))
                         for side, count in ((row.input, row.input_count), (row.output, row.output_count))]
                made.append(NodeInfo(shared.text(row.op), shared.text(row.name), sides[0], sides[1]))
        return made

    def text(self, optimized: bool = False) -> str:
        """The network as Tenon's text; optimized: after the rewriting passes."""
        out = ffi.new("char **")
        with shared.session() as session:
            session.check(c.tenon_network_text(session.cx, self._network, optimized, out))
            return shared.take_text(session, out)
