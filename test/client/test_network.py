# SPDX-License-Identifier: Apache-2.0
"""tenon.Network: networks made in Python compute what numpy says, go on from models, hold control flow, and tell mistakes."""
from pathlib import Path

import numpy as np
import pytest

import tenon

DIGITS = Path(__file__).resolve().parents[2] / "examples" / "digits" / "digits.onnx"
CPU = {"device": "cpu", "threads": 1, "timing": False}


def random(*shape, seed=0):
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


def test_perceptron_with_a_dynamic_batch():
    w1, b1, w2, x = random(64, 32, seed=1) * 0.2, random(32, seed=2), random(32, 10, seed=3), random(5, 64, seed=4)
    net = tenon.Network(name="mlp")
    v = net.input("x", np.float32, ("batch", 64))
    assert v.shape == ("batch", 64) and v.dtype == np.float32 and repr(v) == "<x: f32['batch', 64]>"
    h = net.Relu(v @ w1 + b1, name="hidden")
    assert h.name == "hidden" and h.shape == ("batch", 32)
    y = net.output(net.Softmax(h @ w2, axis=1), "y")
    assert y.info().is_output and not y.info().is_constant
    engine = tenon.build(net, profiles=[{"x": ((1, 64), (4, 64), (8, 64))}], **CPU)
    scores = np.maximum(x @ w1 + b1, 0) @ w2
    want = np.exp(scores - scores.max(1, keepdims=True))
    want /= want.sum(1, keepdims=True)
    np.testing.assert_allclose(engine.run({"x": x})["y"], want, atol=1e-5)
    np.testing.assert_allclose(tenon.reference(net, {"x": x})["y"], want, atol=1e-5)
    assert "y: f32[batch,10]" in net.text()


def test_operators_of_values():
    x = random(3, 4)
    net = tenon.Network()
    v = net.input("x", np.float32, (3, 4))
    for name, made in {"a": 2 * v - 1, "b": 1 - v / 4, "c": -v ** 2 + x, "d": x * v}.items():
        net.output(made, name)
    y = tenon.build(net, **CPU).run({"x": x})
    for name, want in {"a": 2 * x - 1, "b": 1 - x / 4, "c": -x ** 2 + x, "d": x * x}.items():
        np.testing.assert_allclose(y[name], want, atol=1e-6)


def test_attributes_of_every_kind():
    net = tenon.Network()
    x = net.input("x", np.float32, (1, 2, 6, 6))
    y = net.Conv(x, random(4, 1, 3, 3), group=2, pads=[1, 1, 1, 1], auto_pad="NOTSET")
    y = net.LeakyRelu(y, alpha=0.1)
    y = net.Cast(y, to=np.float16)
    y = net.Cast(y, to=np.dtype("float32"))
    first, second = net.Split(y, np.array([1, 3]), axis=1, outputs=["first", None])
    assert first.name == "first" and second.shape == (1, 3, 6, 6)
    best, none = net.TopK(first, np.array([2]), axis=-1, outputs=["best", ""])
    assert none is None
    scaled = net.node("Constant", value=random(2), outputs=["k"])[0] * best
    net.output(scaled, "y")
    net.output(net.ConstantOfShape(np.array([2, 3]), value=np.array([7], np.int64)), "sevens")
    out = tenon.build(net, **CPU).run({"x": random(1, 2, 6, 6, seed=9)})
    assert out["y"].shape == (1, 1, 6, 2) and (out["sevens"] == 7).all()


def test_control_flow():
    net = tenon.Network()
    x = net.input("x", np.float32, (4,))
    flag = net.input("flag", bool, ())
    yes, no = net.body("yes"), net.body("no")
    yes.output(yes.node("Mul", x, np.array([3], np.float32)))
    no.output(no.node("Neg", x))
    chosen = net.If(flag, then_branch=yes, else_branch=no)
    loop = net.body("loop")
    loop.input("turn", np.int64, ())
    go, total = loop.input("go", bool, ()), loop.input("total", np.float32, (4,))
    more = loop.node("Add", total, x)
    for value in (go, more, more):
        loop.output(value)
    last, parts = net.Loop(np.array(3), np.array(True), chosen, body=loop, outputs=2)
    net.output(last, "last")
    net.output(parts, "parts")
    data = np.array([1, 2, 3, 4], np.float32)
    for on in (True, False):
        start = 3 * data if on else -data
        for out in (tenon.build(net, **CPU).run({"x": data, "flag": np.array(on)}),
                    tenon.reference(net, {"x": data, "flag": np.array(on)})):
            np.testing.assert_allclose(out["last"], start + 3 * data)
            np.testing.assert_allclose(out["parts"], [start + data, start + 2 * data, start + 3 * data])


@pytest.mark.parametrize("form", ["path", "bytes"])
def test_a_model_gets_another_head(form):
    net = tenon.Network(DIGITS if form == "path" else DIGITS.read_bytes())
    scores = net.find("y")
    net.output(net.ArgMax(scores, axis=1, keepdims=0), "digit")
    net.remove_output(scores)
    assert any(n.op == "arg_max" and n.outputs[0].name == "digit" for n in net.nodes())
    x = random(2, 1, 8, 8)
    engine = tenon.build(net, profiles=[{"x": ((1, 1, 8, 8), (2, 1, 8, 8), (2, 1, 8, 8))}], **CPU)
    assert list(engine.run({"x": x})) == ["digit"]
    np.testing.assert_array_equal(engine.run({"x": x})["digit"], tenon.reference(DIGITS, {"x": x})["y"].argmax(1))


def test_refit_by_the_name_of_a_constant():
    net = tenon.Network()
    x = net.input("x", np.float32, (2, 8))
    net.output(x @ net.constant(random(8, 8), "w"), "y")
    engine, new, data = tenon.build(net, refit=True, **CPU), random(8, 8, seed=5), random(2, 8, seed=6)
    engine.refit({"w": new})
    np.testing.assert_allclose(engine.run({"x": data})["y"], data @ new, atol=1e-5)


def test_mistakes_are_told_and_change_nothing():
    net, other = tenon.Network(), tenon.Network()
    x, foreign = net.input("x", np.float32, (2, 3)), other.input("x", np.float32, (2, 3))
    for error, part, call in (
            (tenon.UnsupportedError, "the nearest is 'Softmax'", lambda: net.Sotfmax(x)),
            (tenon.UnsupportedError, "attribute 'axes' has no counterpart", lambda: net.Softmax(x, axes=1)),
            (tenon.InvalidError, "node 'n' \\(MatMul\\)", lambda: net.MatMul(x, x, name="n")),
            (tenon.InvalidError, "input 0 is no value of this network", lambda: net.Relu(foreign)),
            (tenon.InvalidError, "another value has this name", lambda: net.input("x", np.float32, ())),
            (tenon.InvalidError, "has no value 'z'", lambda: net.find("z")),
            (tenon.InvalidError, "has no output", lambda: tenon.build(net, **CPU)),
            (tenon.InvalidError, "opset 3", lambda: tenon.Network(opset=3)),
            (TypeError, "a list of integers", lambda: net.Transpose(x, perm=[0, "a"])),
            (TypeError, "attribute 'perm'", lambda: net.Transpose(x, perm={})),
            (TypeError, "model: a path", lambda: tenon.Network(7)),
            (AttributeError, "no attribute 'relu'", lambda: net.relu(x))):
        with pytest.raises(error, match=part):
            call()
    assert net.nodes() == []
    assert net.Relu(x, name="n").name == "n"


def test_opset_and_texts():
    net = tenon.Network(opset=11)
    x = net.input("x", np.float32, (1, None, 1))
    assert x.shape == (1, "x_1", 1) and net.Squeeze(x, axes=[0, 2]).shape == ("x_1",)
    words = tenon.Network().constant(np.array(["a", "bc"]), "words")
    assert words.info().is_constant and words.shape == (2,)
