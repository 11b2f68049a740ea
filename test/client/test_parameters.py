# SPDX-License-Identifier: Apache-2.0
"""Constants that are no weights of an anchor. Those that are parameters stand in the text of a step, of a fixed batch and of a dynamic one,
and no step of them is left to the reference. Those that programs read lie as the map they are added to, also when they are replaced."""
import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper, numpy_helper

import tenon


def model(batch):
    def const(name, value, dtype=np.int64):
        return numpy_helper.from_array(np.array(value, dtype), name)
    node = helper.make_node
    nodes = [
        node("Pad", ["x", "pads", "value"], ["padded"]),
        node("Pad", ["padded", "more"], ["reflected"], mode="reflect"),
        node("Tile", ["reflected", "repeats"], ["tiled"]),
        node("Slice", ["tiled", "starts", "ends", "axes", "steps"], ["sliced"]),
        node("Relu", ["sliced"], ["moved"]),
        node("Shape", ["x"], ["shape"]),
        node("Gather", ["shape", "zero"], ["n"], axis=0),
        node("Unsqueeze", ["n", "first"], ["n1"]),
        node("Concat", ["n1", "seven"], ["target"], axis=0),
        node("ConstantOfShape", ["target"], ["filled"], value=numpy_helper.from_array(np.array([1.5], np.float32))),
        node("Range", ["zero", "n", "one"], ["counted"]),
        node("Cast", ["counted"], ["counted_f32"], to=TensorProto.FLOAT),
        node("Unsqueeze", ["counted_f32", "second"], ["column"]),
        node("Add", ["filled", "column"], ["made"]),
        node("OneHot", ["ids", "depth", "values"], ["hot"], axis=1),
        node("Relu", ["hot"], ["chosen"]),
    ]
    constants = [
        const("pads", [0, 0, 1, 2, 0, 0, 3, 1]), const("value", 0.5, np.float32), const("more", [0, 0, 1, 0, 0, 0, 2, 0]),
        const("repeats", [1, 2, 1, 1]), const("starts", [-1, 8]), const("ends", [-1000, 0]), const("axes", [2, 3]),
        const("steps", [-1, -3]), const("zero", 0), const("one", 1), const("first", [0]), const("second", [1]), const("seven", [7]),
        const("depth", 11), const("values", [0, 2], np.float32),
    ]
    inputs = [helper.make_tensor_value_info("x", TensorProto.FLOAT, [batch, 3, 8, 9]),
              helper.make_tensor_value_info("ids", TensorProto.INT64, [batch, 5])]
    outputs = [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in ("moved", "made", "chosen")]
    made = helper.make_model(helper.make_graph(nodes, "parameters", inputs, outputs, constants),
                             opset_imports=[helper.make_opsetid("", 17)])
    made.ir_version = 8
    return made


@pytest.mark.parametrize("batch, profiles", [
    (2, ()), ("n", [{"x": ((1, 3, 8, 9), (2, 3, 8, 9), (4, 3, 8, 9)), "ids": ((1, 5), (2, 5), (4, 5))}])],
    ids=["fixed", "dynamic"])
def test_parameters(batch, profiles):
    made = model(batch)
    engine = tenon.build(made, profiles=profiles, device="cpu", timing=False)
    steps = [step["tactic"] for profile in engine.inspect()["profiles"] for step in profile["steps"]]
    for name in ("pad", "tile", "slice", "constant_of_shape", "range", "one_hot"):
        if batch == 2 and name in ("constant_of_shape", "range"):
            continue  # folded
        assert f"cpu.{name}" in steps, steps
    assert "cpu.ref" not in steps and "graph" not in steps
    session = onnxruntime.InferenceSession(made.SerializeToString(), providers=["CPUExecutionProvider"])
    source = np.random.default_rng(5)
    for n in (2,) if batch == 2 else (1, 2, 3, 4):
        feed = {"x": source.standard_normal((n, 3, 8, 9), np.float32), "ids": source.integers(-11, 11, (n, 5))}
        got = engine.run(feed)
        for info, want in zip(session.get_outputs(), session.run(None, feed)):
            np.testing.assert_array_equal(got[info.name], want)


@pytest.mark.parametrize("shape", [(1, 96, 7, 9), (96, 7, 9), (1, 96, 7, 1), (96, 1, 1)], ids=str)
def test_constant_map(shape):
    source = np.random.default_rng(7)

    def array(*of):
        return source.standard_normal(of).astype(np.float32)
    weights = {"w": array(96, 8, 1, 1), "b": array(96), "map": array(*shape), "v": array(16, 96, 3, 3)}
    node = helper.make_node
    nodes = [node("Conv", ["x", "w", "b"], ["c"]), node("Add", ["c", "map"], ["d"]), node("Sigmoid", ["d"], ["e"]),
             node("Mul", ["d", "e"], ["f"]), node("Conv", ["f", "v"], ["y"], pads=[1, 1, 1, 1])]

    def made():
        graph = helper.make_graph(nodes, "map", [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["n", 8, 7, 9])],
                                  [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
                                  [numpy_helper.from_array(v, k) for k, v in weights.items()])
        model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
        model.ir_version = 8
        return model

    def check(engine):
        x = array(3, 8, 7, 9)
        want = onnxruntime.InferenceSession(made().SerializeToString(), providers=["CPUExecutionProvider"]).run(None, {"x": x})[0]
        np.testing.assert_allclose(engine.run({"x": x})["y"], want, atol=1e-5 * np.abs(want).max())
    engine = tenon.build(made(), profiles=[{"x": ((1, 8, 7, 9), (2, 8, 7, 9), (4, 8, 7, 9))}], timing=False, refit=True)
    check(engine)
    weights["map"] = array(*shape)
    engine.refit({"map": weights["map"]})
    check(engine)
