# SPDX-License-Identifier: Apache-2.0
"""The Python package from outside: all that its documentation promises, on the digits network and on graphs of a few nodes."""
import functools
import gc
import logging
import threading

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper

import tenon

build = functools.partial(tenon.build, device="cpu")     # on machines with a GPU too

# float32 against onnxruntime, relative to the logits' deviation (about 6): sums of at most 432 products in another order.
TOLERANCE = 1e-5


def shape(batch):
    return (batch, 1, 8, 8)


ONE = [{"x": (shape(1), shape(4), shape(8))}]
TWO = [{"x": (shape(1), shape(1), shape(2))}, {"x": (shape(2), shape(8), shape(8))}]


def small(nodes, inputs, outputs, opset=17):
    """A model of a few nodes; inputs and outputs are (name, type, shape)."""
    def infos(values):
        return [helper.make_tensor_value_info(*v) for v in values]
    model = helper.make_model(helper.make_graph(nodes, "small", infos(inputs), infos(outputs)),
                              opset_imports=[helper.make_opsetid("", opset)])
    model.ir_version = 8
    return model


def close(y, expected, spread):
    assert y.shape == expected.shape and y.dtype == expected.dtype
    assert np.abs(y - expected).max() / spread < TOLERANCE


@pytest.fixture(scope="module")
def engine(digits):
    return build(digits.path, profiles=ONE, timing=False)


@pytest.fixture(scope="module")
def spread(digits):
    return digits.logits.std()


# --- build, save, load, run ---

@pytest.mark.parametrize("batch", range(1, 9))
@pytest.mark.parametrize("profiles", [ONE, TWO], ids=["one profile", "two profiles"])
def test_dynamic_batch(digits, spread, profiles, batch):
    engine = build(digits.path, profiles=profiles, timing=False)
    close(engine.run({"x": digits.images[:batch]})["y"], digits.logits[:batch], spread)
    close(engine(digits.images[8:8 + batch]), digits.logits[8:8 + batch], spread)


def test_save_and_load(digits, engine, spread, tmp_path):
    path = tmp_path / "digits.engine"
    engine.save(path)
    assert path.read_bytes() == engine.bytes() == bytes(engine)
    for other in (tenon.load(path), tenon.load(str(path)), tenon.Engine.load(path, threads=1), tenon.load(engine.bytes())):
        assert (other.inputs, other.outputs, other.profiles) == (engine.inputs, engine.outputs, engine.profiles)
        close(other(digits.images[:8]), digits.logits[:8], spread)


def test_timed_build_is_right(digits, spread):
    close(build(digits.path, profiles=ONE, level=1)(digits.images[:8]), digits.logits[:8], spread)


def test_accuracy(digits, engine):
    answers = np.concatenate([engine(digits.images[i:i + 8]) for i in range(0, len(digits.images), 8)]).argmax(axis=1)
    assert (answers == digits.logits.argmax(axis=1)).all()
    assert (answers == digits.labels).mean() > 0.95


def test_forms_of_a_model(digits, spread):
    with open(digits.path, "rb") as f:
        data = f.read()
    for model in (data, bytearray(data), onnx.load_from_string(data)):
        close(build(model, profiles=ONE, timing=False)(digits.images[:3]), digits.logits[:3], spread)
    with pytest.raises(TypeError, match="ModelProto"):
        build(7)


def test_without_a_profile_the_batch_is_one(digits, spread):
    engine = build(digits.path, timing=False)
    close(engine(digits.images[:1]), digits.logits[:1], spread)
    with pytest.raises(tenon.InvalidError, match="x"):
        engine(digits.images[:2])


def test_infos(engine):
    assert engine.inputs == (tenon.TensorInfo("x", np.dtype("float32"), ("batch", 1, 8, 8)),)
    assert engine.outputs == (tenon.TensorInfo("y", np.dtype("float32"), ("batch", 10)),)
    assert engine.profiles == ({"x": (shape(1), shape(4), shape(8))},)
    assert "batch" in repr(engine)


def test_inputs_of_any_strides(digits, engine, spread):
    images = digits.images[:4]
    wide = np.zeros((4, 1, 8, 16), np.float32)
    wide[..., ::2] = images
    frozen = images.copy()
    frozen.setflags(write=False)
    odd = np.frombuffer(b"\0" + images.tobytes(), np.float32, offset=1).reshape(images.shape)
    for x in (wide[..., ::2], np.asfortranarray(images), frozen, odd, images.tolist()):
        close(engine.run({"x": x})["y"], digits.logits[:4], spread)


def test_outputs_are_new_arrays(digits, engine, spread):
    first = engine(digits.images[:4])
    engine(digits.images[4:8])
    close(first, digits.logits[:4], spread)


def test_several_inputs_and_outputs():
    model = small([helper.make_node("Add", ["a", "b"], ["s"]), helper.make_node("Mul", ["a", "b"], ["p"])],
                  [("a", TensorProto.FLOAT, [2, 3]), ("b", TensorProto.FLOAT, [3])],
                  [("s", TensorProto.FLOAT, [2, 3]), ("p", TensorProto.FLOAT, [2, 3])])
    engine = build(model, timing=False)
    a, b = np.arange(6, dtype=np.float32).reshape(2, 3), np.float32([1, 2, 4])
    s, p = engine(a, b)
    assert (s == a + b).all() and (p == a * b).all()
    assert list(engine.run({"b": b, "a": a})) == ["s", "p"]
    with pytest.raises(tenon.InvalidError, match="'a', 'b'"):
        engine(a)


def test_scalars_and_integers():
    model = small([helper.make_node("Add", ["a", "b"], ["y"])], [("a", TensorProto.INT64, []), ("b", TensorProto.INT64, [])],
                  [("y", TensorProto.INT64, [])])
    y = build(model, timing=False)(np.int64(2 ** 40), np.array(5))
    assert y.shape == () and y.dtype == np.int64 and y == 2 ** 40 + 5


def test_bfloat16():
    ml_dtypes = pytest.importorskip("ml_dtypes")
    model = small([helper.make_node("Cast", ["x"], ["y"], to=TensorProto.BFLOAT16)], [("x", TensorProto.FLOAT, [5])],
                  [("y", TensorProto.BFLOAT16, [5])])
    x = np.float32([1, 1.0039, -3.3, 1e30, 0])
    for y in (build(model, timing=False)(x), tenon.reference(model, {"x": x})["y"]):
        assert y.dtype == ml_dtypes.bfloat16 and (y == x.astype(ml_dtypes.bfloat16)).all()


def test_output_whose_size_depends_on_data():
    model = small([helper.make_node("NonZero", ["x"], ["y"])], [("x", TensorProto.FLOAT, [2, 3])],
                  [("y", TensorProto.INT64, [2, None])])
    engine = build(model, timing=False)
    for x in (np.float32([[0, 1, 0], [2, 0, 3]]), np.float32([[1, 1, 1], [1, 1, 1]]), np.zeros((2, 3), np.float32)):
        y = engine(x)
        assert y.shape == np.array(np.nonzero(x)).shape and (y == np.array(np.nonzero(x))).all()


def test_device_memory_path(digits, spread):
    """What a device with memory of its own needs, tried with the CPU's."""
    engine = build(digits.path, profiles=ONE, timing=False)
    engine._opened.host_memory = False
    for batch in (2, 8, 1):
        close(engine(digits.images[:batch]), digits.logits[:batch], spread)


# --- errors ---

@pytest.mark.parametrize("inputs, says", [
    ({}, "'x' is missing"),
    ({"x": np.zeros(shape(1), np.float32), "z": np.zeros(1)}, "no input 'z'.*'x'"),
    ({"x": np.zeros(shape(1))}, "float64 given.*float32"),
    ({"x": np.zeros(shape(1), np.int32)}, "int32 given.*float32"),
    ({"x": np.zeros((8, 8), np.float32)}, "rank 2.*rank 4"),
    ({"x": np.zeros(shape(9), np.float32)}, r"'x' \(9, 1, 8, 8\).*1\.\.8, 1, 8, 8"),
    ({"x": np.zeros(shape(0), np.float32)}, r"allowed \(1\.\.8"),
    ({"x": np.zeros((1, 1, 8, 9), np.float32)}, r"\(1, 1, 8, 9\)"),
])
def test_wrong_inputs(engine, inputs, says):
    with pytest.raises(tenon.InvalidError, match=says) as caught:
        engine.run(inputs)
    assert isinstance(caught.value, tenon.Error) and isinstance(caught.value, ValueError)


def test_context_keeps_to_its_profile(digits, spread):
    engine = build(digits.path, profiles=TWO, timing=False)
    first, second = engine.context(), engine.context(1)
    close(first.run({"x": digits.images[:2]})["y"], digits.logits[:2], spread)
    close(second.run({"x": digits.images[:5]})["y"], digits.logits[:5], spread)
    with pytest.raises(tenon.InvalidError, match="x.*1..2"):
        first.run({"x": digits.images[:5]})
    close(first.run({"x": digits.images[:1]})["y"], digits.logits[:1], spread)
    with pytest.raises(tenon.InvalidError, match="profile 2"):
        engine.context(2)


@pytest.mark.parametrize("profiles, says", [
    ([{"z": shape(1)}], "z"),
    ([{"x": (shape(4), shape(2), shape(8))}], "x"),
    ([{"x": (shape(1), shape(2))}], "minimum, optimum, maximum"),
    ([{"x": ((1, 1), (2, 1), (3, 1))}], "rank"),
    ([{"x": ((1, 1, 8, 8), (1, 1, 9, 9), (1, 1, 9, 9))}], "axis 2"),
])
def test_wrong_profiles(digits, profiles, says):
    with pytest.raises(tenon.InvalidError, match=says):
        build(digits.path, profiles=profiles, timing=False)


def test_wrong_settings(digits):
    for settings, says in (({"device": "tpu"}, "tpu"), ({"level": 9}, "9"), ({"threads": -1}, "-1")):
        with pytest.raises(tenon.InvalidError, match=says):
            build(digits.path, **settings)


def test_progress_that_cannot_be_called(digits):
    with pytest.raises(TypeError, match="progress"):
        build(digits.path, progress="often")


def test_wrong_models(digits, tmp_path):
    with pytest.raises(tenon.Error, match="nowhere.onnx"):
        build(tmp_path / "nowhere.onnx")
    with open(digits.path, "rb") as f:
        data = f.read()
    with pytest.raises(tenon.CorruptError):
        build(data[:len(data) // 2])
    with pytest.raises(tenon.UnsupportedError, match="Frobnicate"):
        build(small([helper.make_node("Frobnicate", ["x"], ["y"])], [("x", TensorProto.FLOAT, [1])],
                          [("y", TensorProto.FLOAT, [1])]))


def test_damaged_engine(engine, tmp_path):
    data = engine.bytes()
    path = tmp_path / "damaged.engine"
    for at in (0, 9, 40, 100, *(len(data) * part // 16 for part in range(1, 16)), len(data) - 1):
        at = max(i for i in range(at + 1) if data[i])           # zeros may be padding between sections
        bad = bytearray(data)
        bad[at] ^= 0x40
        path.write_bytes(bad)
        for source in (path, bytes(bad)):
            with pytest.raises(tenon.CorruptError, match="engine"):
                tenon.load(source)
    for bad in (data[:-1], data[:64], data + b"\0", b"", b"ftrt" + data[4:]):
        path.write_bytes(bad)
        with pytest.raises(tenon.CorruptError):
            tenon.load(path)
    with pytest.raises(tenon.Error, match="nowhere.engine"):
        tenon.load(tmp_path / "nowhere.engine")


# --- progress, timing cache ---

def test_progress(digits):
    seen = []
    build(digits.path, profiles=ONE, level=1, progress=lambda phase, done, total: seen.append((phase, done, total)))
    phases = list(dict.fromkeys(phase for phase, _, _ in seen))
    assert phases[0] == "read" and {"passes", "timing", "write"} <= set(phases)
    assert all(0 <= done <= total or total == 0 for _, done, total in seen)
    last = {phase: (done, total) for phase, done, total in seen if total}
    assert all(done == total for done, total in last.values()), last


@pytest.mark.parametrize("where", ["read", "passes", "timing", "write"])
def test_cancel(digits, where):
    with pytest.raises(tenon.CancelledError):
        build(digits.path, profiles=ONE, level=1, progress=lambda phase, done, total: phase == where)


def test_exception_in_progress_cancels_and_is_passed_on(digits):
    def progress(phase, done, total):
        if phase == "timing":
            raise KeyError("mine")
    with pytest.raises(KeyError, match="mine"):
        build(digits.path, profiles=ONE, level=1, progress=progress)


def test_progress_bar(digits, capsys):
    build(digits.path, profiles=ONE, level=1, progress=True)
    assert "timing" in capsys.readouterr().err


def test_timing_cache(digits, tmp_path):
    path = tmp_path / "digits.timing"
    first = build(digits.path, profiles=ONE, timing_cache=path).bytes()
    cache = tenon.TimingCache(path)
    assert len(cache) > 0
    timed = []
    second = build(digits.path, profiles=ONE, timing_cache=cache,
                         progress=lambda phase, *of: timed.append(of) if phase == "timing" else None)
    assert second.bytes() == first
    assert not any(total == 0 for _, total in timed), "the second build measured something"
    assert build(digits.path, profiles=ONE, timing_cache=str(path)).bytes() == first
    other = tenon.TimingCache()
    build(digits.path, timing_cache=other)
    other.save(path)
    assert len(tenon.TimingCache(path)) == len(other) > 0


def test_damaged_timing_cache(digits, tmp_path):
    path = tmp_path / "digits.timing"
    build(digits.path, level=1, timing_cache=path)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(tenon.CorruptError):
        tenon.TimingCache(path)


def test_untimed_builds_are_equal(digits, engine):
    assert build(digits.path, profiles=ONE, timing=False).bytes() == engine.bytes()


# --- threads, lifetimes ---

def test_threads(digits, spread):
    engine, faults = build(digits.path, profiles=ONE, timing=False), []

    def work(seed):
        rng = np.random.default_rng(seed)
        try:
            for _ in range(40):
                pick = rng.integers(0, len(digits.images), rng.integers(1, 9))
                close(engine(digits.images[pick]), digits.logits[pick], spread)
        except BaseException as e:
            faults.append(e)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(6)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not faults
    assert 1 <= len(engine._pool[0]) <= 6


def test_builds_in_threads(digits, engine):
    results = [None] * 3

    def work(index):
        results[index] = build(digits.path, profiles=ONE, timing=False).bytes()

    threads = [threading.Thread(target=work, args=(i,)) for i in range(3)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert results == [engine.bytes()] * 3


def test_context_outlives_the_engine(digits, spread):
    context = build(digits.path, profiles=ONE, timing=False).context()
    gc.collect()
    close(context.run({"x": digits.images[:8]})["y"], digits.logits[:8], spread)


# --- the rest ---

def test_refit_of_namesakes(tmp_path):
    """Branches of two nodes may each have an initializer of one name: both are replaced, or neither if they differ in shape."""
    from onnx import TensorProto, helper, numpy_helper

    def branch(source, shape, name):
        out = helper.make_tensor_value_info(name, TensorProto.FLOAT, (4, 8))
        return helper.make_graph([helper.make_node("Add", [source, "v"], [name])], name, [], [out],
                                 [numpy_helper.from_array(np.full(shape, 2, np.float32), "v")])

    def model(shape):
        nodes = [helper.make_node("If", ["yes"], [out], then_branch=branch(source, s, f"{out}_then"),
                                  else_branch=branch(source, s, f"{out}_else"))
                 for source, out, s in (("x", "a", (8,)), ("a", "y", shape))]
        graph = helper.make_graph(nodes, "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, (4, 8))],
                                  [helper.make_tensor_value_info("y", TensorProto.FLOAT, (4, 8))],
                                  [numpy_helper.from_array(np.array(True), "yes")])
        return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8).SerializeToString()

    x, v = np.zeros((4, 8), np.float32), np.arange(8, dtype=np.float32)
    twice = build(model((8,)), timing=False, refit=True)
    assert np.array_equal(twice.run({"x": x})["y"], np.full((4, 8), 4))
    twice.refit({"v": v})
    assert np.array_equal(twice.run({"x": x})["y"], np.broadcast_to(2 * v, (4, 8)))
    with pytest.raises(tenon.InvalidError, match="several weights 'v'"):
        build(model((4, 8)), timing=False, refit=True).refit({"v": v})


def test_refit(digits, engine):
    model = onnx.load(digits.path)
    engine = build(digits.path, profiles=ONE, timing=False, refit=True)
    name = next(w.name for w in model.graph.initializer if w.name.endswith("fc.bias"))
    bias = np.arange(10, dtype=np.float32)
    old = onnx.numpy_helper.to_array(next(w for w in model.graph.initializer if w.name == name))
    before = engine(digits.images[:4])
    engine.refit({name: bias})
    close(engine(digits.images[:4]), before - old + bias, digits.logits.std())
    with pytest.raises(tenon.InvalidError, match="no_such_weight"):
        engine.refit({"no_such_weight": bias})
    with pytest.raises(tenon.Error):
        build(digits.path, profiles=ONE, timing=False).refit({name: bias})


def test_bench(digits, engine):
    bench = engine.bench(seconds=0.05)
    assert bench.count >= 5 and 0 < bench.min <= bench.median and bench.min <= bench.mean
    assert bench.throughput == pytest.approx(1 / bench.mean) and bench.shapes == {"x": shape(4)}
    assert engine.bench({"x": shape(7)}, seconds=0.01).shapes == {"x": shape(7)}
    assert engine.bench({"x": digits.images[:2]}, seconds=0.01).shapes == {"x": shape(2)}
    with pytest.raises(tenon.InvalidError, match="allowed"):
        engine.bench({"x": shape(11)})
    with pytest.raises(tenon.InvalidError, match="no input 'z'"):
        engine.bench({"z": shape(1)})


def test_inspect_and_step_times(digits, engine):
    told = engine.inspect()
    steps = told["profiles"][0]["steps"]
    assert told["backend"] == "cpu" and told["tenon"] == tenon.version and told["file_bytes"] == len(engine.bytes())
    assert len(steps) == told["profiles"][0]["step_count"] > 0 and all(s["problem"] and s["tactic"] for s in steps)
    times = engine.context().profile_steps({"x": digits.images[:4]})
    assert [name for name, _ in times] == [s["name"] for s in steps] and all(seconds >= 0 for _, seconds in times)


def test_reference(digits, spread):
    close(tenon.reference(digits.path, {"x": digits.images[:4]})["y"], digits.logits[:4], spread)
    with pytest.raises(tenon.InvalidError, match="x"):
        tenon.reference(digits.path, {})
    with pytest.raises(tenon.InvalidError, match="'x': f64"):
        tenon.reference(digits.path, {"x": digits.images[:4].astype(np.float64)})


def test_lists():
    for what in ("ops", "tactics", "passes", "devices"):
        table = tenon.list(what)
        assert table and all(isinstance(row, dict) for row in table)
    assert "conv" in {row["name"] for row in tenon.list("ops")}
    with pytest.raises(tenon.InvalidError, match="colours"):
        tenon.list("colours")


def test_log_goes_to_logging(digits, caplog, capfd):
    with caplog.at_level(logging.INFO, "tenon"):
        build(digits.path, timing=False)
    assert any("opset" in r.getMessage() and r.levelno == logging.INFO for r in caplog.records)
    assert "opset" not in capfd.readouterr().err


def test_version():
    assert tenon.version == tenon.__version__ and tenon.version.count(".") == 2
