# SPDX-License-Identifier: Apache-2.0
"""Control flow, sequences and sizes known only at run time against onnxruntime: built, saved, loaded, run with several
lengths."""
import numpy as np
import onnx
import onnxruntime
import pytest
from onnx import TensorProto, helper

import tenon

F32, I64, BOOL = TensorProto.FLOAT, TensorProto.INT64, TensorProto.BOOL
node, tensor = helper.make_node, helper.make_tensor_value_info


def model_of(nodes, inputs, outputs, constants=()):
    graph = helper.make_graph(nodes, "control", inputs, outputs, [helper.make_tensor(*c) for c in constants])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 8
    onnx.checker.check_model(model)
    return model


def growing_loop():
    """What is carried grows by a row each turn, a scan output is stacked, turns end by a condition on the data."""
    body = helper.make_graph(
        [node("Cast", ["i"], ["k"], to=F32), node("Add", ["x", "k"], ["row"]), node("Concat", ["sofar", "row"], ["more"], axis=0),
         node("ReduceSum", ["more"], ["sum"], keepdims=0), node("Less", ["sum", "limit"], ["on"])],
        "body", [tensor("i", I64, []), tensor("go", BOOL, []), tensor("sofar", F32, ["rows", 4])],
        [tensor("on", BOOL, []), tensor("more", F32, ["rows2", 4]), tensor("sum", F32, [])])
    return model_of([node("Loop", ["n", "", "x"], ["all", "sums"], body=body), node("MatMul", ["all", "w"], ["y"])],
                    [tensor("x", F32, [1, 4]), tensor("n", I64, []), tensor("limit", F32, [])],
                    [tensor("y", F32, ["r", 2]), tensor("sums", F32, ["turns"])], [("w", F32, [4, 2], np.linspace(-1, 1, 8))])


def sequence_loop():
    """A sequence grows inside a loop; its items, of different lengths, are joined after it."""
    list_type = helper.make_sequence_type_proto(helper.make_tensor_type_proto(F32, None))
    body = helper.make_graph(
        [node("Identity", ["go"], ["on"]), node("Add", ["i", "one"], ["next"]), node("Reshape", ["next", "vector"], ["end"]),
         node("Slice", ["x", "start", "end"], ["piece"]), node("SequenceInsert", ["list", "piece"], ["longer"])],
        "body", [tensor("i", I64, []), tensor("go", BOOL, []), helper.make_value_info("list", list_type)],
        [tensor("on", BOOL, []), helper.make_value_info("longer", list_type)])
    return model_of([node("SequenceEmpty", [], ["none"], dtype=F32), node("Loop", ["n", "yes", "none"], ["made"], body=body),
                     node("ConcatFromSequence", ["made"], ["joined"], axis=0), node("SequenceLength", ["made"], ["count"]),
                     node("Exp", ["joined"], ["y"])],
                    [tensor("x", F32, [6]), tensor("n", I64, [])], [tensor("y", F32, ["k"]), tensor("count", I64, [])],
                    [("yes", BOOL, [], [True]), ("one", I64, [], [1]), ("vector", I64, [1], [1]), ("start", I64, [1], [0])])


def branches():
    """The condition is data; each branch captures what was computed before."""
    yes = helper.make_graph([node("MatMul", ["h", "w"], ["a"])], "yes", [], [tensor("a", F32, [3, 4])])
    no = helper.make_graph([node("Neg", ["h"], ["b"])], "no", [], [tensor("b", F32, [3, 4])])
    return model_of([node("Relu", ["x"], ["h"]), node("ReduceSum", ["h"], ["s"], keepdims=0),
                     node("Greater", ["s", "limit"], ["c"]),
                     node("If", ["c"], ["z"], then_branch=yes, else_branch=no), node("Softmax", ["z"], ["y"], axis=1)],
                    [tensor("x", F32, [3, 4]), tensor("limit", F32, [])], [tensor("y", F32, [3, 4]), tensor("z", F32, [3, 4])],
                    [("w", F32, [4, 4], np.linspace(-1, 1, 16))])


def found():
    """How many elements pass depends on the data; later shapes follow from that."""
    return model_of([node("Greater", ["x", "limit"], ["yes"]), node("NonZero", ["yes"], ["where"]),
                     node("Transpose", ["where"], ["places"]),
                     node("GatherND", ["x", "places"], ["values"]), node("Sqrt", ["values"], ["y"]),
                     node("Shape", ["y"], ["count"]),
                     node("Expand", ["limit", "count"], ["filled"])],
                    [tensor("x", F32, ["rows", 5]), tensor("limit", F32, [1])],
                    [tensor("y", F32, ["k"]), tensor("count", I64, [1]), tensor("filled", F32, ["k2"])])


def x_of(*shape):
    return np.random.default_rng(3).standard_normal(shape).astype(np.float32)


CASES = {
    "growing loop": (growing_loop, {}, [{"x": x_of(1, 4), "n": np.array(n), "limit": np.array(limit, np.float32)}
                                        for n, limit in [(4, 1e9), (1, 1e9), (9, 12), (3, 1e9)]]),
    "sequence in a loop": (sequence_loop, {}, [{"x": x_of(6), "n": np.array(n)} for n in (3, 6, 1)]),
    "branches": (branches, {}, [{"x": x_of(3, 4), "limit": np.array(limit, np.float32)} for limit in (-1, 1e9, 0)]),
    "found": (found, {"x": ((1, 5), (4, 5), (8, 5)), "limit": ((1,), (1,), (1,))},
              [{"x": x_of(rows, 5), "limit": np.array([limit], np.float32)}
               for rows, limit in [(4, 0), (8, 0.5), (1, 99), (2, 0)]]),
}


@pytest.mark.parametrize("name", CASES)
def test_control(name, tmp_path):
    make, profile, rounds = CASES[name]
    model = make()
    tenon.build(model, profiles=[profile] if profile else [], device="cpu", timing=False).save(tmp_path / "m.engine")
    engine = tenon.load(tmp_path / "m.engine")
    peer = onnxruntime.InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    for inputs in rounds:
        want = dict(zip([o.name for o in peer.get_outputs()], peer.run(None, inputs)))
        got = engine.run(inputs)
        assert got.keys() == want.keys()
        for key, value in want.items():
            assert got[key].shape == value.shape and got[key].dtype == value.dtype, key
            np.testing.assert_allclose(got[key], value, rtol=1e-5, atol=1e-6, err_msg=key)
