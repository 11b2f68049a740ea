# SPDX-License-Identifier: Apache-2.0
"""Arrays in a GPU's memory. What the protocols carry is checked on host memory too; runs need a GPU, some also torch there."""
import gc
import threading
from types import SimpleNamespace

import numpy as np
import pytest

import tenon
from tenon import device


class Holder:
    """Host memory that says what a GPU's array would say of itself."""

    def __init__(self, array, **interface):
        self.array = array
        self.__cuda_array_interface__ = {"shape": array.shape, "typestr": array.dtype.str, "data": (array.ctypes.data, False),
                                         "version": 3, "strides": None, **interface}


class Lender:
    def __init__(self, array):
        self.array = array

    def __dlpack_device__(self):
        return device.CPU, 0

    def __dlpack__(self, *, stream=None, **_):
        return device.capsule_of(self.array.ctypes.data, self.array.shape, self.array.dtype, (device.CPU, 0), self.array)


@pytest.mark.parametrize("dtype", ["float32", "float16", "int64", "uint8", "bool"])
def test_capsules_carry_numpy_arrays(dtype):
    array = np.arange(24).reshape(2, 3, 4).astype(dtype)
    address, shape, found = device.read_capsule(array.__dlpack__(), "x")
    assert (address, shape, found) == (array.ctypes.data, (2, 3, 4), array.dtype)
    if tuple(map(int, np.__version__.split(".")[:2])) >= (1, 22):
        assert np.array_equal(np.from_dlpack(Lender(array)), array)


def test_what_is_given_away_is_kept_until_it_is_given_back():
    before = len(device._exported)
    capsule = Lender(np.zeros(4, "float32")).__dlpack__()
    assert len(device._exported) == before + 1
    del capsule
    taken = np.from_dlpack(Lender(np.arange(4, dtype="float32")))
    assert len(device._exported) == before + 1 and taken[3] == 3
    del taken
    gc.collect()
    assert len(device._exported) == before


def test_threads_that_wrap_a_stream_at_the_same_time_share_it(monkeypatch):
    """All make one before any has kept its own; what is not kept is destroyed."""
    together, destroyed, made = threading.Barrier(4), [], iter(range(1, 5))

    def wrap(opened, native):
        mine = [next(made)]
        together.wait()
        return mine

    monkeypatch.setattr(device, "_wrap", wrap)
    monkeypatch.setattr(device, "c", SimpleNamespace(tenon_stream_destroy=lambda out: destroyed.append(out[0])))
    opened, given = SimpleNamespace(streams={}), []
    threads = [threading.Thread(target=lambda: given.append(device.stream_of(opened, 7))) for _ in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert len(given) == 4 and set(given) == {opened.streams[7]}
    assert sorted(destroyed + [opened.streams[7]]) == [1, 2, 3, 4]


def test_strides_are_refused_and_dense_ones_taken():
    array = np.zeros((4, 6), "float32")
    assert device.view(Holder(array, strides=array.strides), "x").shape == (4, 6)
    for bad in (array.T, array[:, ::2]):
        with pytest.raises(tenon.InvalidError, match="dense"):
            device.view(Holder(bad, strides=bad.strides), "x")
        with pytest.raises(tenon.InvalidError, match="dense"):
            device.read_capsule(bad.__dlpack__(), "x")
    with pytest.raises(tenon.InvalidError, match="mask"):
        device.view(Holder(array, mask=array), "x")


def test_streams_of_the_writers():
    array = np.zeros(3, "float32")
    assert device.view(Holder(array), "x").stream == device.LEGACY_STREAM
    assert device.view(Holder(array, stream=None), "x").stream is None
    assert device.view(Holder(array, stream=1234), "x").stream == 1234
    assert device.view(tenon.Pointer(64, (3, 2)), "x").nbytes == 24
    assert device.view(array, "x") is None and device.view([1.0], "x") is None


def test_an_engine_of_the_cpu_takes_none(digits):
    engine = tenon.build(digits.path, device="cpu", timing=False)
    array = np.zeros((1, 1, 8, 8), "float32")
    with pytest.raises(tenon.InvalidError, match="runs on the CPU"):
        engine.run({"x": Holder(array)})
    with pytest.raises(tenon.InvalidError, match="CPU"):
        engine.run({"x": array}, device=True)
    with pytest.raises(tenon.InvalidError, match="memory of the engine's GPU"):
        engine.run({"x": array}, outputs={"y": np.zeros((1, 10), "float32")})
    with pytest.raises(tenon.InvalidError, match="memory of the engine's GPU"):
        engine.context().enqueue({"x": array}, {}, 0)


def test_strict_refuses_what_only_the_reference_does(digits):
    onnx = pytest.importorskip("onnx")
    tenon.build(digits.path, device="cpu", timing=False, strict=True)
    info = onnx.helper.make_tensor_value_info
    graph = onnx.helper.make_graph([onnx.helper.make_node("NonZero", ["x"], ["y"], name="where_not")], "g",
                                   [info("x", 1, [4])], [info("y", 7, [1, None])])
    model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=8)
    tenon.build(model, device="cpu", timing=False)
    with pytest.raises(tenon.UnsupportedError, match="strict: 1 of 1 steps have no tactic of 'cpu'; 'where_not'"):
        tenon.build(model, device="cpu", timing=False, strict=True)


# --- on a GPU ---

@pytest.fixture(scope="module")
def gpu(digits):
    devices = {d["backend"]: d for d in tenon.list("devices")}
    if not devices.get("cuda", {}).get("available"):
        pytest.skip("no GPU: " + devices.get("cuda", {}).get("why", "not in this build")[:200])
    n = len(digits.images)
    return tenon.build(digits.path, device="cuda", timing=False, profiles=[{"x": ((1, 1, 8, 8), (8, 1, 8, 8), (n, 1, 8, 8))}])


def close(got, digits, n):
    np.testing.assert_allclose(got, digits.logits[:n], rtol=2e-2, atol=2e-2)


def test_results_on_the_device(gpu, digits):
    y = gpu.run({"x": digits.images[:5]}, device=True)["y"]
    assert isinstance(y, tenon.DeviceArray) and y.shape == (5, 10)
    close(y.numpy(), digits, 5)
    x = gpu.run({"x": digits.images[:5]}, device=True)["y"]
    out = gpu.run({"x": digits.images[:5]}, outputs={"y": x})["y"]
    assert out is x
    close(x.numpy(), digits, 5)
    with pytest.raises(tenon.InvalidError, match="shape"):
        gpu.run({"x": digits.images[:4]}, outputs={"y": x})


def test_torch_in_and_out(gpu, digits):
    torch = pytest.importorskip("torch")
    if not torch.cuda.is_available():
        pytest.skip("torch sees no GPU")
    for n in (1, 7):
        x = torch.from_numpy(digits.images[:n]).cuda()
        y = gpu.run({"x": x}, device=True)["y"]
        close(torch.from_dlpack(y).cpu().numpy(), digits, n)
        close(torch.as_tensor(y, device="cuda").cpu().numpy(), digits, n)
        out = torch.full((n, 10), float("nan"), device="cuda")
        assert gpu.run({"x": x}, outputs={"y": out})["y"] is out
        close(out.cpu().numpy(), digits, n)
        close(gpu.run({"x": tenon.Pointer(x.data_ptr(), tuple(x.shape))})["y"], digits, n)
    with pytest.raises(tenon.InvalidError, match="dense"):
        gpu.run({"x": torch.from_numpy(digits.images[:8]).cuda().transpose(2, 3)})
    kept = torch.from_dlpack(gpu.run({"x": digits.images[:2]}, device=True)["y"])
    gc.collect()
    torch.empty(1 << 20, device="cuda").fill_(1)
    close(kept.cpu().numpy(), digits, 2)


def test_enqueue_in_torch_streams(gpu, digits):
    torch = pytest.importorskip("torch")
    if not torch.cuda.is_available():
        pytest.skip("torch sees no GPU")
    context, stream = gpu.context(), torch.cuda.Stream()
    with torch.cuda.stream(stream):
        x = torch.from_numpy(digits.images[:6]).cuda(non_blocking=True)
        out = torch.full((6, 10), float("nan"), device="cuda")
        for _ in range(3):
            context.enqueue({"x": x * 1.0}, {"y": out}, stream.cuda_stream)
        doubled = out * 2
    stream.synchronize()
    close(out.cpu().numpy(), digits, 6)
    close(doubled.cpu().numpy() / 2, digits, 6)
