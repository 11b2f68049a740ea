# SPDX-License-Identifier: Apache-2.0
"""Random networks that are valid by construction: 20 to 60 nodes of convolutions, products, pointwise operators with broadcasts, norms,
reductions and movements, with branches and a dynamic batch, drawn from a seed. What the engine gives must be as near to an evaluation
in float64 (onnx.reference) as onnxruntime's answer is, within a factor.

    TENON_RANDOM_GRAPHS=1000 TENON_RANDOM_SEED=0 build/venv/bin/python -m pytest test/client/test_random_graphs.py
    build/venv/bin/python test/client/test_random_graphs.py SEED [model.onnx]      one of them: where does it go wrong? write it
Values are kept near 1, and nothing jumps (no rounding, no argmax), so an error of rounding stays one.
"""
import math
import os
import sys

import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper
from onnx.reference import ReferenceEvaluator

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path.insert(0, os.path.join(TOP, "python"))
import tenon  # noqa: E402

COUNT = int(os.environ.get("TENON_RANDOM_GRAPHS", "40"))
FIRST = int(os.environ.get("TENON_RANDOM_SEED", "1"))
BATCHES, MOST_ELEMENTS = (3, 5), 6000         # 1..5 is the profile; elements of a value at batch 1
EPSILON = float(np.finfo(np.float32).eps)


class Value:
    """A tensor of the graph. dims: at batch 1; batch: the axis that is multiplied by n, or None."""

    def __init__(self, name, dims, batch):
        self.name, self.dims, self.batch, self.used = name, list(dims), batch, 0

    @property
    def rank(self):
        return len(self.dims)

    def count(self):
        return math.prod(self.dims)


class Graph:
    def __init__(self, seed):
        self.random = np.random.default_rng(seed)
        self.nodes, self.consts, self.values, self.inputs = [], [], [], []

    def draw(self, low, high):
        """An integer of low..high."""
        return int(self.random.integers(low, high + 1))

    def chance(self, p):
        return self.random.random() < p

    def pick(self, items):
        return items[int(self.random.integers(len(items)))] if len(items) else None

    def const(self, array, dtype=np.float32):
        name = f"c{len(self.consts)}"
        self.consts.append(numpy_helper.from_array(np.asarray(array, dtype), name))
        return name

    def weight(self, *shape, scale=1.0):
        return self.const(self.random.standard_normal(shape) * scale)

    def ints(self, *numbers):
        return self.const(numbers, np.int64)

    def node(self, op, sources, count=1, **attributes):
        """Adds a node; gives the names of its results."""
        names = [f"v{len(self.nodes)}" if count == 1 else f"v{len(self.nodes)}_{i}" for i in range(count)]
        text = [s.name if isinstance(s, Value) else s for s in sources]
        for s in sources:
            if isinstance(s, Value):
                s.used += 1
        self.nodes.append(helper.make_node(op, text, names, f"{op}_{len(self.nodes)}", **attributes))
        return names[0] if count == 1 else names

    def keep(self, name, dims, batch):
        self.values.append(Value(name, dims, batch))

    def like(self, name, x):
        self.keep(name, x.dims, x.batch)

    def source(self, want=lambda v: True):
        """A value, rather a late or unused one."""
        found = [v for v in self.values if want(v)]
        if not found:
            return None
        fresh = [v for v in found if not v.used]
        return self.pick(fresh if fresh and self.chance(0.6) else found[-8:] if self.chance(0.7) else found)

    def free_axis(self, x, want=lambda d: True):
        """An axis that is not the batch."""
        return self.pick([i for i, d in enumerate(x.dims) if i != x.batch and want(d)])


# --- the table: each row adds what it is named for, or gives False where no value fits ---

UNARY = ("Relu", "Sigmoid", "Tanh", "Erf", "Neg", "Abs", "Softplus", "Elu", "LeakyRelu", "HardSwish", "HardSigmoid", "Identity", "Mish",
         "Softsign", "Cos", "Sin", "Gelu", "Celu", "Selu", "ThresholdedRelu0")


def unary(g):
    x, op = g.source(), g.pick(UNARY)
    if op == "ThresholdedRelu0":
        g.like(g.node("Clip", [x, g.const(-0.7), g.const(0.9)]), x)
    else:
        g.like(g.node(op, [x], **({"approximate": "tanh"} if op == "Gelu" and g.chance(0.5) else {})), x)


def spelled(g):
    """What exporters write out: passes recognise it."""
    x = g.source(lambda v: v.rank > 0)
    kind = g.draw(0, 5)
    if kind == 0:
        y = g.node("Mul", [x, g.node("Sigmoid", [x])])
    elif kind == 1:
        e = g.node("Add", [g.node("Erf", [g.node("Div", [x, g.const(math.sqrt(2))])]), g.const(1)])
        y = g.node("Mul", [g.node("Mul", [x, e]), g.const(0.5)])
    elif kind == 2:
        d = g.node("Sub", [x, g.node("ReduceMean", [x, g.ints(-1)])])
        v = g.node("ReduceMean", [g.node("Mul", [d, d]), g.ints(-1)])
        y = g.node("Div", [d, g.node("Sqrt", [g.node("Add", [v, g.const(1e-2)])])])
    elif kind == 3:
        m = g.node("ReduceMean", [g.node("Pow", [x, g.const(2)]), g.ints(-1)])
        y = g.node("Mul", [x, g.node("Reciprocal", [g.node("Sqrt", [g.node("Add", [m, g.const(1e-2)])])])])
    elif kind == 4:
        y = g.node("Div", [g.node("Exp", [g.node("Tanh", [x])]), g.const(1.5)])
    else:
        y = g.node("Sqrt", [g.node("Add", [g.node("Abs", [x]), g.const(0.25)])])
    g.like(y, x)


def binary(g):
    x = g.source()
    op = g.pick(("Add", "Sub", "Mul", "Max", "Min", "Div", "Where"))
    others = [v for v in g.values if v is not x and v.batch in (None, x.batch) and v.rank == x.rank and
              all(d in (1, e) for d, e in zip(v.dims, x.dims)) and (v.batch == x.batch or v.rank == 0 or x.batch is None or
                                                                    v.dims[x.batch] == 1)]
    if others and g.chance(0.7):
        y = g.pick(others)
    else:
        y = g.weight(*[d if i != x.batch and g.chance(0.6) else 1 for i, d in enumerate(x.dims)][g.draw(0, x.rank):])
    if op == "Div":
        y = g.node("Add", [g.node("Abs", [y]), g.const(1)])
    if op == "Where":                        # continuous where it switches
        positive = g.node("Greater", [x, g.const(0.25)])
        z = g.node("Where", [positive, g.node("Sub", [x, g.const(0.25)]), g.const(0)])
        g.like(g.node("Add", [z, y]), x)
    else:
        pair = [x, y] if g.chance(0.6) or op == "Div" else [y, x]
        g.like(g.node(op, pair), x)
        if op == "Mul" and g.chance(0.5):
            last = g.values.pop()
            g.like(g.node("Tanh", [last]), x)


def image(v):
    return v.rank == 4 and v.batch == 0 and min(v.dims[2:]) >= 3


def window(size, kernel, stride, begin, end, dilation=1):
    return (size + begin + end - dilation * (kernel - 1) - 1) // stride + 1


def conv(g):
    x = g.source(image)
    if not x:
        return False
    c, sizes = x.dims[1], x.dims[2:]
    group = g.pick([k for k in (1, 1, 1, 2, c) if c % k == 0])
    out = group * g.draw(1, 3) if group > 1 else g.draw(1, 20)
    kernel = [g.pick((1, 3, 3, 2)) for _ in sizes] if g.chance(0.4) else [g.pick((1, 3, 3, 5))] * 2
    dilation = g.draw(1, 2) if g.chance(0.2) else 1
    stride = [g.draw(1, 2)] * 2 if g.chance(0.7) else [g.draw(1, 2), g.draw(1, 3)]
    pads = [g.draw(0, k // 2) for k in kernel] + [g.draw(0, k // 2) for k in kernel]
    dims = [window(s, k, t, b, e, dilation) for s, k, t, b, e in zip(sizes, kernel, stride, pads[:2], pads[2:])]
    if min(dims) < 1:
        return False
    w = g.weight(out, c // group, *kernel, scale=1 / math.sqrt(c // group * math.prod(kernel)))
    y = g.node("Conv", [x, w] + ([g.weight(out)] if g.chance(0.6) else []), group=group, kernel_shape=kernel, strides=stride, pads=pads,
               dilations=[dilation] * 2)
    if g.chance(0.4):
        y = g.node("BatchNormalization", [y, g.weight(out), g.weight(out), g.weight(out), g.const(0.5 + g.random.random(out))])
    if g.chance(0.5):
        y = g.node(g.pick(("Relu", "Sigmoid", "HardSwish")), [y])
    g.keep(y, [1, out, *dims], 0)


def conv_transpose(g):
    x = g.source(image)
    if not x or x.count() > 1500:
        return False
    c, out, k, s = x.dims[1], g.draw(1, 6), g.draw(1, 3), g.draw(1, 2)
    y = g.node("ConvTranspose", [x, g.weight(c, out, k, k, scale=1 / math.sqrt(c * k)), g.weight(out)], strides=[s, s])
    g.keep(y, [1, out, *((d - 1) * s + k for d in x.dims[2:])], 0)


def pool(g):
    x = g.source(image)
    if not x:
        return False
    if g.chance(0.3):
        g.keep(g.node(g.pick(("GlobalAveragePool", "GlobalMaxPool")), [x]), [1, x.dims[1], 1, 1], 0)
        return True
    k, s, p = g.draw(2, 3), g.draw(1, 2), g.draw(0, 1)
    more = {"count_include_pad": g.draw(0, 1)} if g.chance(0.5) else None
    y = g.node("AveragePool" if more else "MaxPool", [x], kernel_shape=[k, k], strides=[s, s], pads=[p] * 4, **(more or {}))
    g.keep(y, [1, x.dims[1], *(window(d, k, s, p, p) for d in x.dims[2:])], 0)


def matmul(g):
    x = g.source(lambda v: v.rank >= 2 and v.batch != v.rank - 1)
    if not x:
        return False
    k, n = x.dims[-1], g.pick((1, 3, 8, 16, 17, 33))
    scale = 1 / math.sqrt(k)
    if x.rank == 2 and g.chance(0.4):
        turned = g.chance(0.5)
        y = g.node("Gemm", [x, g.weight(*((n, k) if turned else (k, n)), scale=scale), g.weight(n)], transB=int(turned), alpha=0.75, beta=0.5)
    else:
        y = g.node("MatMul", [x, g.weight(k, n, scale=scale)])
        if g.chance(0.6):
            y = g.node("Add", [y, g.weight(n)])
        if g.chance(0.3):
            y = g.node("Gelu", [y])
    g.keep(y, x.dims[:-1] + [n], x.batch)


def product(g):
    """Both operands are values: x times its own transpose, softmax over it, times x."""
    x = g.source(lambda v: v.rank >= 3 and v.batch is not None and v.batch < v.rank - 2 and v.dims[-2] <= 40)
    if not x:
        return False
    perm = [*range(x.rank - 2), x.rank - 1, x.rank - 2]
    y = g.node("Mul", [g.node("MatMul", [x, g.node("Transpose", [x], perm=perm)]), g.const(1 / math.sqrt(x.dims[-1]) / 2)])
    if g.chance(0.5):
        y = g.node("Add", [y, g.weight(*([x.dims[-2]] * 2))])
    y = g.node("Softmax", [y], axis=-1)
    if g.chance(0.3):
        g.keep(y, x.dims[:-1] + [x.dims[-2]], x.batch)
    else:
        g.like(g.node("MatMul", [y, x]), x)


def attention(g):
    """Queries, keys and values of one product, heads and all, as exporters write it."""
    x = g.source(lambda v: v.rank == 3 and v.batch == 0 and v.dims[1] <= 40 and v.dims[2] % 2 == 0)
    if not x:
        return False
    t, c = x.dims[1:]
    heads = g.pick([h for h in (1, 2, 4) if c % h == 0])
    d = c // heads
    parts = []
    together = g.node("Split", [g.node("MatMul", [x, g.weight(c, 3 * c, scale=1 / math.sqrt(c))])], 3, axis=-1, num_outputs=3) \
        if g.chance(0.5) else None
    for i in range(3):
        y = together[i] if together else g.node("Add", [g.node("MatMul", [x, g.weight(c, c, scale=1 / math.sqrt(c))]), g.weight(c)])
        y = g.node("Reshape", [y, g.ints(0, 0, heads, d)])
        parts.append(g.node("Transpose", [y], perm=[0, 2, 3, 1] if i == 1 else [0, 2, 1, 3]))
    s = g.node("Mul", [g.node("MatMul", [parts[0], parts[1]]), g.const(1 / math.sqrt(d))])
    y = g.node("MatMul", [g.node("Softmax", [s], axis=-1), parts[2]])
    y = g.node("Reshape", [g.node("Transpose", [y], perm=[0, 2, 1, 3]), g.ints(0, 0, c)])
    g.like(g.node("Add", [y, x]) if g.chance(0.7) else y, x)


def norm(g):
    x = g.source(lambda v: v.rank >= 2 and v.dims[-1] > 1 and v.batch != v.rank - 1)
    if not x:
        return False
    c = x.dims[-1]
    kind = g.draw(0, 2)
    if kind == 0:
        y = g.node("LayerNormalization", [x, g.weight(c)] + ([g.weight(c)] if g.chance(0.7) else []), axis=-1, epsilon=1e-2)
    elif kind == 1 or not image(x):
        axis = g.free_axis(x)
        y = g.node(g.pick(("Softmax", "LogSoftmax")), [x], axis=axis - x.rank if g.chance(0.5) else axis)
    else:
        y = g.node("InstanceNormalization", [x, g.weight(x.dims[1]), g.weight(x.dims[1])], epsilon=1e-2)
    g.like(y, x)


def reduce(g):
    x = g.source(lambda v: v.rank >= 2)
    if not x:
        return False
    axes = [i for i in range(x.rank) if i != x.batch and g.chance(0.4)] or [g.free_axis(x)]
    keep = g.draw(0, 1)
    y = g.node(g.pick(("ReduceMean", "ReduceMax", "ReduceMin", "ReduceL2", "ReduceMean")), [x, g.ints(*(a - x.rank if g.chance(0.5) else a for a in axes))],
               keepdims=keep)
    dims = [1 if i in axes else d for i, d in enumerate(x.dims)]
    batch = x.batch
    if not keep:
        batch = None if batch is None else batch - sum(a < batch for a in axes)
        dims = [d for i, d in enumerate(x.dims) if i not in axes]
    g.keep(y, dims, batch)


def reshape(g):
    """One axis is split in two, two neighbours become one, or all behind the batch does."""
    x = g.source(lambda v: 2 <= v.rank <= 5)
    if not x:
        return False
    dims, batch = list(x.dims), x.batch
    i = g.free_axis(x, lambda d: d > 1)
    if g.chance(0.5) and i is not None and x.rank < 5:
        k = g.pick([k for k in range(1, dims[i] + 1) if dims[i] % k == 0])
        dims[i:i + 1] = [k, dims[i] // k]
        batch = batch + 1 if batch is not None and batch > i else batch
    else:
        i = g.draw(0, x.rank - 2)
        dims[i:i + 2] = [dims[i] * dims[i + 1]]
        batch = batch if batch is None or batch <= i else batch - 1
    text = list(dims)
    if batch is not None:
        text[batch] = -1
        if dims[batch] == 1 and batch == x.batch == 0 and g.chance(0.4):        # the way exporters write a dynamic batch
            n = g.node("Gather", [g.node("Shape", [x]), g.const(0, np.int64)], axis=0)
            shape = g.node("Concat", [g.node("Unsqueeze", [n, g.ints(0)]), g.ints(*dims[1:])], axis=0)
            g.keep(g.node("Reshape", [x, shape]), dims, batch)
            return True
    g.keep(g.node("Reshape", [x, g.ints(*text)]), dims, batch)


def transpose(g):
    x = g.source(lambda v: v.rank >= 2)
    if not x:
        return False
    perm = [int(i) for i in g.random.permutation(x.rank)]
    if x.batch == 0 and g.chance(0.7):
        perm = [0] + [i for i in perm if i]
    g.keep(g.node("Transpose", [x], perm=perm), [x.dims[i] for i in perm], None if x.batch is None else perm.index(x.batch))


def concat(g):
    x = g.source(lambda v: v.rank >= 1)
    axis = g.free_axis(x) if x else None
    if axis is None:
        return False
    same = [v for v in g.values if v.rank == x.rank and v.batch == x.batch and all(i == axis or d == e for i, (d, e) in enumerate(zip(v.dims, x.dims)))]
    parts = [x] + [g.pick(same) for _ in range(g.draw(1, 2))]
    if x.batch is None and g.chance(0.3):
        parts.append(g.weight(*(2 if i == axis else d for i, d in enumerate(x.dims))))
    dims = list(x.dims)
    dims[axis] = sum(p.dims[axis] if isinstance(p, Value) else 2 for p in parts)
    g.keep(g.node("Concat", parts, axis=axis - x.rank if g.chance(0.3) else axis), dims, x.batch)


def split(g):
    x = g.source(lambda v: g.free_axis(v, lambda d: d > 1) is not None)
    if not x:
        return False
    axis = g.free_axis(x, lambda d: d > 1)
    first = g.draw(1, x.dims[axis] - 1)
    sizes = [first, x.dims[axis] - first]
    for name, size in zip(g.node("Split", [x, g.ints(*sizes)], 2, axis=axis), sizes):
        g.keep(name, [size if i == axis else d for i, d in enumerate(x.dims)], x.batch)


def cut(g):
    """Slice, Gather or Pad on an axis."""
    x = g.source(lambda v: g.free_axis(v, lambda d: d > 1) is not None)
    if not x:
        return False
    axis = g.free_axis(x, lambda d: d > 1)
    size, kind = x.dims[axis], g.draw(0, 3)
    dims = list(x.dims)
    if kind <= 1:
        step = g.pick((1, 1, 2, -1))
        begin = g.draw(0, size - 2)
        picked = range(size)[begin::step] if step > 0 else range(size)[::step]
        y = g.node("Slice", [x, g.ints(begin if step > 0 else size), g.ints(2**31 if step > 0 else -2**31), g.ints(axis), g.ints(step)])
        dims[axis] = len(picked)
    elif kind == 2:
        picked = [g.draw(-size, size - 1) for _ in range(g.draw(1, 4))]
        y = g.node("Gather", [x, g.ints(*picked)], axis=axis)
        dims[axis] = len(picked)
    else:
        mode = g.pick(("constant", "edge", "reflect"))
        pads = [0] * (2 * x.rank)
        pads[axis], pads[x.rank + axis] = g.draw(0, 1), g.draw(0, 1)
        y = g.node("Pad", [x, g.ints(*pads)] + ([g.const(0.5)] if mode == "constant" and g.chance(0.5) else []), mode=mode)
        dims[axis] += pads[axis] + pads[x.rank + axis]
    g.keep(y, dims, x.batch)


def grow(g):
    """Unsqueeze, Squeeze, Tile, Expand, Resize, DepthToSpace."""
    x = g.source(lambda v: 1 <= v.rank <= 4)
    if not x:
        return False
    dims, kind = list(x.dims), g.draw(0, 5)
    if kind == 0:
        axis = g.draw(0, x.rank)
        batch = x.batch + 1 if x.batch is not None and axis <= x.batch else x.batch
        g.keep(g.node("Unsqueeze", [x, g.ints(axis)]), dims[:axis] + [1] + dims[axis:], batch)
    elif kind == 1:
        axis = g.free_axis(x, lambda d: d == 1)
        if axis is None or x.rank < 2:
            return False
        batch = x.batch - 1 if x.batch is not None and axis < x.batch else x.batch
        g.keep(g.node("Squeeze", [x, g.ints(axis)]), dims[:axis] + dims[axis + 1:], batch)
    elif kind == 2:
        times = [1 if i == x.batch else g.draw(1, 2) for i in range(x.rank)]
        g.keep(g.node("Tile", [x, g.ints(*times)]), [d * t for d, t in zip(dims, times)], x.batch)
    elif kind == 3:
        want = [g.draw(2, 3) if d == 1 and i != x.batch else 1 for i, d in enumerate(dims)]
        g.keep(g.node("Expand", [x, g.ints(*want)]), [max(d, w) for d, w in zip(dims, want)], x.batch)
    elif kind == 4 and image(x):
        mode = g.pick(("nearest", "linear"))
        more = {"coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"} if mode == "nearest" else {}
        g.keep(g.node("Resize", [x, "", g.const([1, 1, 2, 2])], mode=mode, **more), [1, dims[1], 2 * dims[2], 2 * dims[3]], 0)
    elif kind == 5 and image(x) and dims[1] % 4 == 0:
        g.keep(g.node("DepthToSpace", [x], blocksize=2, mode=g.pick(("DCR", "CRD"))), [1, dims[1] // 4, 2 * dims[2], 2 * dims[3]], 0)
    else:
        return False
    return True


TABLE = ((unary, 5), (spelled, 4), (binary, 8), (conv, 8), (conv_transpose, 1), (pool, 2), (matmul, 5), (product, 2), (attention, 2), (norm, 3),
         (reduce, 2), (reshape, 3), (transpose, 3), (concat, 3), (split, 2), (cut, 3), (grow, 3))


def make(seed):
    """The model of a seed, checked by onnx."""
    g = Graph(seed)
    for i, dims in enumerate(([1, g.draw(1, 9), g.draw(4, 12), g.draw(4, 12)], [1, g.draw(2, 12), 2 * g.draw(2, 10)], [1, g.draw(2, 24)])):
        if i == 0 or g.chance(0.6):
            g.inputs.append(Value(f"x{i}", dims, 0))
    g.values += g.inputs
    rows = [row for row, weight in TABLE for _ in range(weight)]
    want = g.draw(20, 60)
    while len(g.nodes) < want:
        before = len(g.values)
        if g.pick(rows)(g) is not False:
            g.values[before:] = [v for v in g.values[before:] if v.count() <= MOST_ELEMENTS and v.rank <= 6]
    outputs = [v for v in g.values if v not in g.inputs and (not v.used or g.chance(0.1))]
    info = [helper.make_tensor_value_info(v.name, TensorProto.FLOAT, ["n" if i == v.batch else d for i, d in enumerate(v.dims)])
            for v in g.inputs]
    made = [helper.make_tensor_value_info(v.name, TensorProto.FLOAT, None) for v in outputs]
    graph = helper.make_graph(g.nodes, f"seed{seed}", info, made, g.consts)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 22)], ir_version=10)
    model = onnx.shape_inference.infer_shapes(model, strict_mode=True)
    onnx.checker.check_model(model)
    return model, g.inputs


def in_double(model):
    """The same network in float64."""
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    for t in copy.graph.initializer:
        if t.data_type == TensorProto.FLOAT:
            t.CopyFrom(numpy_helper.from_array(numpy_helper.to_array(t).astype(np.float64), t.name))
    for v in (*copy.graph.input, *copy.graph.output):
        v.type.tensor_type.elem_type = TensorProto.DOUBLE
    del copy.graph.value_info[:]
    return copy


def inputs_of(seed, inputs, batch):
    random = np.random.default_rng((seed, batch))
    return {x.name: random.standard_normal([batch, *x.dims[1:]]).astype(np.float32) for x in inputs}


def compare(seed, model, inputs, level=3):
    """A list of what differs."""
    profile = {x.name: tuple(tuple([n, *x.dims[1:]]) for n in (1, 2, 5)) for x in inputs}
    engine = tenon.build(model.SerializeToString(), profiles=[profile], timing=False, level=level, device="cpu")
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4
    options.intra_op_num_threads = 1
    session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    exact = ReferenceEvaluator(in_double(model))
    wrong = []
    for batch in BATCHES:
        x = inputs_of(seed, inputs, batch)
        ours = engine.run(x)
        theirs = session.run(None, x)
        true = exact.run(None, {k: v.astype(np.float64) for k, v in x.items()})
        for out, b, c in zip(session.get_outputs(), theirs, true):
            a = ours[out.name]
            if a.shape != b.shape:
                wrong.append(f"{out.name}: shape {a.shape}, onnxruntime has {b.shape}")
                continue
            scale = float(np.max(np.abs(c), initial=1))
            allowed = 8 * float(np.max(np.abs(b - c), initial=0)) + 64 * EPSILON * scale
            error = float(np.max(np.abs(a - c), initial=0))
            if not error <= allowed:
                wrong.append(f"{out.name}, batch {batch}: off by {error:.3g}, allowed {allowed:.3g} (values up to {scale:.3g})")
    return wrong


@pytest.mark.parametrize("seed", range(FIRST, FIRST + COUNT))
def test_random_graph(seed):
    model, inputs = make(seed)
    assert not compare(seed, model, inputs), f"REPRO: build/venv/bin/python test/client/test_random_graphs.py {seed}"


def first_wrong(seed, model, inputs):
    """Every value is an output, then the model ends behind one node after another: the first node that is wrong either way."""
    for node in model.graph.node:
        cut_short = onnx.ModelProto()
        cut_short.CopyFrom(model)
        types = {v.name: v.type.tensor_type.elem_type for v in model.graph.value_info}
        name = node.output[0]
        if types.get(name, TensorProto.FLOAT) != TensorProto.FLOAT:
            continue
        del cut_short.graph.output[:]
        cut_short.graph.output.append(helper.make_tensor_value_info(name, TensorProto.FLOAT, None))
        wrong = compare(seed, cut_short, inputs)
        if wrong:
            return node, cut_short, wrong
    return None, model, []


def main():
    seed = int(sys.argv[1])
    model, inputs = make(seed)
    for line in compare(seed, model, inputs):
        print(line)
    node, model, wrong = first_wrong(seed, model, inputs)
    if node:
        print(f"up to this node alone it is wrong too: {wrong}\n{node}")
    if len(sys.argv) > 2:
        onnx.save(model, sys.argv[2])


if __name__ == "__main__":
    main()
