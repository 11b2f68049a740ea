# SPDX-License-Identifier: Apache-2.0
"""ONNX's own cases for each operator, through tenon.onnx_backend. onnx_unsupported.txt lists those that do not pass, each with the
reason; one of them that passes is a failure too.

TENON_ONNX_DEVICE=cuda runs them on a GPU, and counts in how many every step ran there; TENON_ONNX_ONLY=text takes the cases whose name
holds it."""
import os
import warnings

import numpy as np
import onnx
import pytest
from onnx import numpy_helper

from tenon import onnx_backend

HERE = os.path.dirname(os.path.abspath(__file__))
DEVICE = os.environ.get("TENON_ONNX_DEVICE", "cpu").upper()
ONLY = os.environ.get("TENON_ONNX_ONLY", "")

with warnings.catch_warnings():
    warnings.simplefilter("ignore")
    from onnx.backend.test.loader import load_model_tests
    CASES = {case.name: case for case in load_model_tests(kind="node") if ONLY in case.name}


def read_list():
    """{case: reason}"""
    rows = {}
    with open(os.path.join(HERE, "onnx_unsupported.txt"), encoding="utf-8") as file:
        for line in file:
            if line.strip() and not line.startswith("#"):
                name, _, reason = line.strip().partition(" ")
                assert reason.strip(), f"onnx_unsupported.txt: {name} has no reason"
                assert name not in rows, f"onnx_unsupported.txt: {name} is there twice"
                rows[name] = reason.strip()
    return rows


LISTED = read_list()


def array(value):
    return numpy_helper.to_array(value) if isinstance(value, onnx.TensorProto) else np.asarray(value)


def compare(got, want, rtol, atol):
    """As onnx's runner does, and 4-bit integers by their 8-bit values."""
    name = want.dtype.name
    if name in ("int4", "uint4"):
        want = want.astype(name.replace("int4", "int8"))
    assert got.dtype == want.dtype, f"type {got.dtype}, wanted {want.dtype}"
    assert got.shape == want.shape, f"shape {got.shape}, wanted {want.shape}"
    if want.dtype.kind in "fV" or name.startswith(("bfloat", "float")):
        np.testing.assert_allclose(got.astype(np.float64), want.astype(np.float64), rtol=rtol, atol=atol)
    else:
        np.testing.assert_array_equal(got, want)


def run_case(case):
    """Names of the steps that the device did not do."""
    rep = onnx_backend.prepare(case.model, DEVICE, timing=False, threads=2 if DEVICE == "CPU" else None, tf32=False)
    for inputs, wanted in case.data_sets:
        results = rep.run([array(value) for value in inputs])
        assert len(results) == len(wanted)
        for got, want in zip(results, wanted):
            compare(got, array(want), case.rtol, case.atol)
    return rep.reference_steps()


@pytest.fixture(scope="module")
def counts(request):
    """Passed, and of these with a step that no tactic did."""
    if not onnx_backend.supports_device(DEVICE):
        pytest.skip(f"this machine has no {DEVICE}")
    found = {"passed": 0, "by reference": 0}
    yield found
    terminal = request.config.pluginmanager.getplugin("terminalreporter")
    terminal.write_line(f"\nONNX's node cases on {DEVICE}: {found['passed']} of {len(CASES)} pass, in "
                        f"{found['passed'] - found['by reference']} of them every step ran on the device by a tactic of its own")


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", sorted(CASES))
def test_case(name, counts):
    try:
        outside = run_case(CASES[name])
    except Exception as error:
        if name not in LISTED:
            raise
        pytest.skip(f"{LISTED[name]} ({type(error).__name__})")
    counts["passed"] += 1
    counts["by reference"] += bool(outside)
    assert name not in LISTED, f"passes, but is listed: {LISTED[name]}"


@pytest.mark.skipif(bool(ONLY), reason="a part of the cases")
def test_list_names_cases():
    assert not set(LISTED) - set(CASES), "onnx_unsupported.txt names cases that onnx does not have"


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
