# SPDX-License-Identifier: Apache-2.0
"""ONNX's own cases for each operator, through tenon.onnx_backend. onnx_unsupported.txt lists those that do not pass, each with the
reason; one of them that passes is a failure too.

On a GPU it is also counted in how many cases of plain tensors every step is done by a kernel; onnx_not_on_gpu.txt lists the rest: case,
operators that are left to the host, reason. Without a GPU the same is read from engines planned for one.

TENON_ONNX_DEVICE=cuda runs the cases on a GPU; TENON_ONNX_ONLY=text takes those whose name holds it."""
import os
import re
import warnings

import numpy as np
import onnx
import pytest
from onnx import TensorProto, numpy_helper

from tenon import DeviceError, onnx_backend

HERE = os.path.dirname(os.path.abspath(__file__))
DEVICE = os.environ.get("TENON_ONNX_DEVICE", "cpu").upper()
ONLY = os.environ.get("TENON_ONNX_ONLY", "")

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from onnx.backend.test.loader import load_model_tests
    CASES = {case.name: case for case in load_model_tests(kind="node") if ONLY in case.name}


def read_list(file_name):
    """{case: the rest of its line}"""
    rows = {}
    with open(os.path.join(HERE, file_name), encoding="utf-8") as file:
        for line in file:
            if line.strip() and not line.startswith("#"):
                name, _, reason = line.strip().partition(" ")
                assert reason.strip(), f"{file_name}: {name} has no reason"
                assert name not in rows, f"{file_name}: {name} is there twice"
                rows[name] = reason.strip()
    return rows


LISTED = read_list("onnx_unsupported.txt")
NOT_ON_GPU = read_list("onnx_not_on_gpu.txt")


def array(value):
    return numpy_helper.to_array(value) if isinstance(value, onnx.TensorProto) else np.asarray(value)


def compare(got, want, rtol, atol):
    """As onnx's runner does, and 4-bit integers by their 8-bit values. A GPU's products of float16 round their operands: a step more."""
    name = want.dtype.name
    if DEVICE == "CUDA" and name == "float16":
        rtol = max(rtol, 2e-3)
    if name in ("int4", "uint4"):
        want = want.astype(name.replace("int4", "int8"))
    assert got.dtype == want.dtype, f"type {got.dtype}, wanted {want.dtype}"
    assert got.shape == want.shape, f"shape {got.shape}, wanted {want.shape}"
    if want.dtype.kind in "fV" or name.startswith(("bfloat", "float")):
        np.testing.assert_allclose(got.astype(np.float64), want.astype(np.float64), rtol=rtol, atol=atol)
    else:
        np.testing.assert_array_equal(got, want)


def run_case(case):
    """Operators that the device did not do."""
    rep = onnx_backend.prepare(case.model, DEVICE, timing=False, threads=2 if DEVICE == "CPU" else None, tf32=False)
    for inputs, wanted in case.data_sets:
        results = rep.run([array(value) for value in inputs])
        assert len(results) == len(wanted)
        for got, want in zip(results, wanted):
            compare(got, array(want), case.rtol, case.atol)
    return operators_outside(rep.engine)


# ---- what is left to the host ----
PLAIN = {TensorProto.FLOAT, TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.INT32, TensorProto.INT64, TensorProto.BOOL}


def is_plain(case):
    """Inputs and outputs are tensors of a GPU's types, and nothing has control flow or sequences in it."""
    graph = case.model.graph
    if any(not v.type.HasField("tensor_type") or v.type.tensor_type.elem_type not in PLAIN for v in (*graph.input, *graph.output)):
        return False
    nodes = [n for owner in (graph, *case.model.functions) for n in owner.node]
    return not any("Sequence" in n.op_type or "Optional" in n.op_type or any(a.HasField("g") for a in n.attribute) for n in nodes)


def operators_outside(engine):
    """Of the steps that no tactic of the device does."""
    found = set()
    for profile in engine.inspect()["profiles"]:
        for step in profile["steps"]:
            if step["reference"] or not step["tactic"]:
                text = step["problem"]
                found.update(re.findall(r" = (\w+)\(", text) if text.startswith("graph(") else
                             re.findall(r"(?:^|;)(?:\w+=)?(\w+):", text))
    return sorted(found)


def planned_outside(case):
    """The same without a GPU."""
    rep = onnx_backend.TenonRep(case.model, "cuda:sm_90", timing=False, tf32=False)
    return operators_outside(rep.plan([array(value) for value in case.data_sets[0][0]]))


@pytest.fixture(scope="module")
def counts(request):
    """Passed, and of these with a step that no tactic did."""
    if not onnx_backend.supports_device(DEVICE):
        pytest.skip(f"this machine has no {DEVICE}")
    found = {}                              # {case that passed: operators outside}
    yield found
    tell(request, f"ONNX's node cases on {DEVICE}: {len(found)} of {len(CASES)} pass, in "
                  f"{sum(not outside for outside in found.values())} of them every step ran on the device by a tactic of its own")


def tell(request, text):
    plugins = request.config.pluginmanager
    with plugins.getplugin("capturemanager").global_and_fixture_disabled():
        plugins.getplugin("terminalreporter").write_line("\n" + text)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", sorted(CASES))
def test_case(name, counts):
    try:
        outside = run_case(CASES[name])
    except Exception as error:
        if name not in LISTED:
            raise
        pytest.skip(f"{LISTED[name]} ({type(error).__name__})")
    counts[name] = outside
    assert name not in LISTED, f"passes, but is listed: {LISTED[name]}"


@pytest.mark.filterwarnings("ignore")
def test_steps_on_a_gpu(request, counts):
    """Which cases leave something to the host, and which operators, is what the list says."""
    plain = sorted(name for name, case in CASES.items() if is_plain(case) and name not in LISTED)
    if DEVICE == "CUDA":
        found = {name: counts[name] for name in plain if name in counts}
    else:
        try:
            found = {name: planned_outside(CASES[name]) for name in plain}
        except DeviceError as error:
            pytest.skip(f"nothing can be compiled for a GPU here: {error}")
    outside = {name: ",".join(operators) for name, operators in found.items() if operators}
    tell(request, f"ONNX's node cases of plain tensors on a GPU{'' if DEVICE == 'CUDA' else ', as planned'}: in "
                  f"{len(found) - len(outside)} of {len(found)} every step is done there ({100 - 100 * len(outside) / max(len(found), 1):.1f}%)")
    listed = {name: text.partition(":")[0] for name, text in NOT_ON_GPU.items() if name in found}
    assert outside == listed, "onnx_not_on_gpu.txt says something else"


@pytest.mark.skipif(bool(ONLY), reason="a part of the cases")
def test_lists_name_cases():
    assert not set(LISTED) - set(CASES), "onnx_unsupported.txt names cases that onnx does not have"
    assert not set(NOT_ON_GPU) - set(CASES), "onnx_not_on_gpu.txt names cases that onnx does not have"
    assert not set(NOT_ON_GPU) & set(LISTED), "what is not supported is not on a GPU anyway"


def test_sizes_are_part_of_a_shape():
    """Integers that a Reshape takes for its shape: an engine for each of their values, data for one."""
    value = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph([onnx.helper.make_node("Mul", ["shape", "two"], ["double"]),
                                    onnx.helper.make_node("Reshape", ["x", "double"], ["y"]),
                                    onnx.helper.make_node("Add", ["k", "k"], ["z"])], "g",
                                   [value("x", TensorProto.FLOAT, [24]), value("shape", TensorProto.INT64, [2]),
                                    value("k", TensorProto.INT64, [2])],
                                   [value("y", TensorProto.FLOAT, ["a", "b"]), value("z", TensorProto.INT64, [2])],
                                   [numpy_helper.from_array(np.array([2, 2], np.int64), "two")])
    rep = onnx_backend.prepare(onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8))
    x = np.arange(24, dtype=np.float32)
    engines = []
    for shape, k in (((1, 6), (1, 2)), ((3, 2), (1, 2)), ((1, 6), (3, 4))):
        y, z = rep.run([x, np.array(shape, np.int64), np.array(k, np.int64)])
        assert y.shape == tuple(2 * d for d in shape) and np.array_equal(y.ravel(), x)
        assert np.array_equal(z, 2 * np.array(k)) and not rep.reference_steps()
        engines.append(rep.engine)
    assert engines[0] is not engines[1] and engines[0] is engines[2]


def test_run_node():
    node = onnx.helper.make_node("Add", ["a", "b"], ["c"])
    a = np.arange(6, dtype=np.float32).reshape(2, 3)
    assert np.array_equal(onnx_backend.run_node(node, [a, a], outputs_info=[(np.float32, (2, 3))])[0], 2 * a)


def test_new_shapes_make_new_engines():
    value = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph([onnx.helper.make_node("Relu", ["x"], ["y"])], "g",
                                   [value("x", onnx.TensorProto.FLOAT, ["n"])], [value("y", onnx.TensorProto.FLOAT, ["n"])])
    rep = onnx_backend.prepare(onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8))
    for count in (3, 5, 3):
        x = np.linspace(-1, 1, count, dtype=np.float32)
        assert np.array_equal(rep.run([x])[0], np.maximum(x, 0))
        assert np.array_equal(rep.run({"x": x})[0], np.maximum(x, 0))
    with pytest.raises(Exception, match="2 inputs given"):
        rep.run([x, x])


def test_devices():
    assert onnx_backend.supports_device("CPU") and not onnx_backend.supports_device("CPU:7")
