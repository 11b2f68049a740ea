# SPDX-License-Identifier: Apache-2.0
"""Operators whose constant inputs are parameters: they stand in the text of a step, of a fixed batch and of a dynamic one, and no step of
them is left to the reference."""
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
    engine = tenon.build(made, profiles=profiles, timing=False)
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
