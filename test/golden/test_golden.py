# SPDX-License-Identifier: Apache-2.0
"""Golden plans: what the planner makes of small networks that each hold one question, and of ResNet-50. Nothing is timed, so a
plan that changes was changed by the code. NAME.plan has one line a step: flags, tactic, problem. TENON_GOLDEN_WRITE=1 writes
them anew (./dev golden); the difference is then reviewed like code."""
import os
import sys

import numpy as np
import pytest
from onnx import TensorProto, helper, numpy_helper

os.environ["TENON_ISA"] = "avx512"  # before the library looks at the processor
HERE = os.path.dirname(os.path.abspath(__file__))
TOP = os.path.dirname(os.path.dirname(HERE))
sys.path[:0] = [os.path.join(TOP, "python"), os.path.join(TOP, "bench")]

import tenon  # noqa: E402

F32 = TensorProto.FLOAT


def lacks_avx512():
    with open("/proc/cpuinfo", encoding="ascii", errors="replace") as f:
        flags = set(next((line for line in f if line.startswith("flags")), "").split())
    return not {"avx512f", "avx512bw", "avx512vl", "avx512dq"} <= flags


class Net:
    """A graph that is written from its input on: each method adds a node and returns the name of its result."""

    def __init__(self, *shape):
        self.nodes, self.weights, self.random, self.outputs = [], [], np.random.default_rng(1), []
        self.input = helper.make_tensor_value_info("x", F32, shape)

    def constant(self, value, dtype=np.float32):
        self.weights.append(numpy_helper.from_array(np.asarray(value, dtype), f"w{len(self.weights)}"))
        return self.weights[-1].name

    def weight(self, *shape):
        return self.constant(self.random.standard_normal(shape) * 0.1)

    def op(self, kind, *sources, results=1, **attributes):
        names = [f"{kind.lower()}{len(self.nodes)}" + (f"_{i}" if i else "") for i in range(results)]
        self.nodes.append(helper.make_node(kind, sources, names, **attributes))
        return names[0] if results == 1 else names

    def conv(self, x, c, k, size=3, stride=1, bias=True, **more):
        pad = more.pop("pad", size // 2)
        sources = [x, self.weight(k, c // more.get("group", 1), size, size)] + ([self.weight(k)] if bias else [])
        return self.op("Conv", *sources, kernel_shape=[size] * 2, strides=[stride] * 2, pads=[pad] * 4, **more)

    def norm(self, x, c):
        return self.op("BatchNormalization", x, self.weight(c), self.weight(c), self.weight(c),
                       self.constant(self.random.random(c) + 0.5))

    def linear(self, x, rows, columns):
        return self.op("Add", self.op("MatMul", x, self.weight(rows, columns)), self.weight(columns))

    def model(self, *outputs, opset=17):
        infos = [helper.make_tensor_value_info(o, F32, None) for o in outputs]
        graph = helper.make_graph(self.nodes, "golden", [self.input], infos, self.weights)
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)])
        model.ir_version = 8
        return model


def conv_silu():
    n = Net(1, 32, 28, 28)
    c = n.conv("x", 32, 64)
    return n.model(n.op("Mul", c, n.op("Sigmoid", c)))


def conv_norm_relu():
    """With Identity, a Cast that changes nothing and Dropout between."""
    n = Net(1, 32, 28, 28)
    h = n.op("Identity", n.conv("x", 32, 64, bias=False))
    h = n.op("Cast", n.norm(h, 64), to=F32)
    return n.model(n.op("Relu", n.op("Dropout", h)))


def pad_conv():
    n = Net(1, 32, 28, 28)
    p = n.op("Pad", "x", n.constant([0, 0, 1, 1, 0, 0, 1, 1], np.int64), n.constant(0.0))
    return n.model(n.op("Relu", n.conv(p, 32, 64, pad=0)))


def constant_map():
    """A constant as large as the map it is added to lies as the map does."""
    n = Net(1, 32, 28, 28)
    h = n.op("Add", n.conv("x", 32, 64, 1), n.weight(1, 64, 28, 28))
    return n.model(n.conv(n.op("Mul", h, n.op("Sigmoid", h)), 64, 32))


def concat_convs():
    """At batch 8: the convolutions write into the concat's buffer, so no step copies."""
    n = Net(8, 32, 28, 28)
    parts = [n.op("Relu", n.conv("x", 32, k, size)) for k, size in ((64, 1), (32, 3), (16, 3))]
    return n.model(n.op("Relu", n.conv(n.op("Concat", *parts, axis=1), 112, 64, 1)))


def residual_block():
    n = Net(1, 64, 28, 28)
    x = n.op("Relu", n.norm(n.conv("x", 64, 64, 1, bias=False), 64))
    h = n.op("Relu", n.norm(n.conv(x, 64, 64, bias=False), 64))
    h = n.norm(n.conv(h, 64, 64, bias=False), 64)
    return n.model(n.op("Relu", n.op("Add", h, x)))


def squeeze_excite():
    n = Net(1, 96, 14, 14)
    x = n.op("HardSwish", n.conv("x", 96, 96, 5, group=96))
    s = n.op("GlobalAveragePool", x)
    s = n.op("Relu", n.conv(s, 96, 24, 1))
    s = n.op("HardSigmoid", n.conv(s, 24, 96, 1), alpha=1 / 6)
    return n.model(n.conv(n.op("Mul", x, s), 96, 40, 1))


def attention_block():
    """Twelve heads of 64 over 197 tokens, as exporters write it, with LayerNorm before and a residual add after."""
    n = Net(1, 197, 768)
    h = n.op("LayerNormalization", "x", n.weight(768), n.weight(768), axis=-1, epsilon=1e-6)
    split = n.constant([0, 0, 12, 64], np.int64)
    q, k, v = (n.op("Reshape", n.linear(h, 768, 768), split) for _ in range(3))
    q, v = (n.op("Transpose", t, perm=[0, 2, 1, 3]) for t in (q, v))
    scores = n.op("Mul", n.op("MatMul", q, n.op("Transpose", k, perm=[0, 2, 3, 1])), n.constant(0.125))
    o = n.op("MatMul", n.op("Softmax", scores, axis=-1), v)
    o = n.op("Reshape", n.op("Transpose", o, perm=[0, 2, 1, 3]), n.constant([0, 0, 768], np.int64))
    return n.model(n.op("Add", n.linear(o, 768, 768), "x"))


def mlp(tokens, width, hidden):
    n = Net(1, tokens, width)
    h = n.linear(n.op("LayerNormalization", "x", n.weight(width), n.weight(width), axis=-1, epsilon=1e-6), width, hidden)
    e = n.op("Add", n.op("Erf", n.op("Div", h, n.constant(2 ** 0.5))), n.constant(1.0))
    g = n.op("Mul", n.op("Mul", h, e), n.constant(0.5))
    return n.model(n.op("Add", n.linear(g, hidden, width), "x"))


def mlp_gelu():
    """The weights are too large to be read again for every block of rows: two products."""
    return mlp(197, 768, 3072)


def mlp_narrow():
    """Many rows, small weights: both products are one step, the hidden value stays in the cache."""
    return mlp(3136, 96, 384)


def resnet50():
    from resnet50 import build
    return build(batch=1)


PLANS = [conv_silu, conv_norm_relu, pad_conv, constant_map, concat_convs, residual_block, squeeze_excite, attention_block, mlp_gelu, mlp_narrow,
         resnet50]


def plan_of(model):
    engine = tenon.build(model, threads=2, device="cpu", timing=False)
    lines = []
    for step in engine.inspect()["profiles"][0]["steps"]:
        flags = [name for name in ("conversion", "reference") if step[name]]
        lines.append(f"{'+'.join(flags) or 'step'} {step['tactic']} {step['problem']}\n")
    return "".join(lines)


@pytest.mark.skipif(lacks_avx512(), reason="the processor lacks AVX-512")
@pytest.mark.parametrize("make", PLANS, ids=lambda f: f.__name__)
def test_plan(make):
    path = os.path.join(HERE, make.__name__ + ".plan")
    plan = plan_of(make())
    assert "reference" not in [line.split()[0] for line in plan.splitlines()]
    if os.environ.get("TENON_GOLDEN_WRITE"):
        with open(path, "w", encoding="ascii") as f:
            f.write(plan)
    with open(path, encoding="ascii") as f:
        assert plan == f.read()


# What the plans are there to show, whatever else changes in them.
STEPS = {"conv_silu": 1, "conv_norm_relu": 1, "pad_conv": 1, "constant_map": 2, "residual_block": 3, "squeeze_excite": 3,
         "attention_block": 4, "mlp_gelu": 3, "mlp_narrow": 2, "resnet50": 57}


@pytest.mark.parametrize("name", STEPS)
def test_steps(name):
    with open(os.path.join(HERE, name + ".plan"), encoding="ascii") as f:
        lines = [line for line in f if not line.startswith("conversion")]
    assert 0 < len(lines) <= STEPS[name]


def test_concat_is_no_copy():
    with open(os.path.join(HERE, "concat_convs.plan"), encoding="ascii") as f:
        between = f.read().splitlines()
    anchors = [i for i, line in enumerate(between) if " conv:" in line]
    assert len(anchors) == 4 and not [line for line in between[anchors[0]:anchors[-1]] if " copy:" in line or " concat:" in line]
