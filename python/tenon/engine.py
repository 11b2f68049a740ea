# SPDX-License-Identifier: Apache-2.0
"""Engines and their contexts: loading, saving, running, measuring."""
from __future__ import annotations

import builtins
import json
import math
import os
import threading
import time
import weakref
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Union

import numpy as np

from . import device, dtypes
from .device import DeviceArray, View
from .errors import InvalidError
from .library import shared

Path = Union[str, os.PathLike]
Shape = Sequence[int]
Arrays = Mapping[str, Any]                  # numpy's, or of a GPU: see Engine.run
Range = tuple[tuple[int, ...], ...]         # minimum, optimum, maximum

ffi, c = shared.ffi, shared.c


@dataclass(frozen=True)
class TensorInfo:
    """An input or output. A dynamic dimension is its name, or "?" where it has none."""
    name: str
    dtype: np.dtype
    shape: tuple[int | str, ...]


@dataclass(frozen=True)
class Bench:
    """Times of one run in seconds; throughput in runs a second."""
    min: float
    median: float
    mean: float
    throughput: float
    count: int
    shapes: dict[str, tuple[int, ...]]


def _address(array: np.ndarray | View) -> Any:
    return ffi.cast("void *", array.address if isinstance(array, View) else array.ctypes.data)


class Opened:
    """A tenon_engine and what it says of itself: what an Engine and its contexts share, and freed after the last of them.
    Contexts hold this and not the Engine, whose pool holds them: so nothing waits for the garbage collector."""

    def __init__(self, handle: Any) -> None:
        """Takes a tenon_engine * over."""
        self.handle = handle
        self.streams: dict[int, Any] = {}       # of the caller's, wrapped, by their handle
        weakref.finalize(self, _destroy_engine, handle, self.streams).atexit = False
        self.inputs: tuple[TensorInfo, ...] = ()
        self.outputs: tuple[TensorInfo, ...] = ()
        info = ffi.new("tenon_binding_info *")
        with shared.session() as session:
            for index in range(c.tenon_engine_binding_count(handle)):
                session.check(c.tenon_engine_binding(session.cx, handle, index, info))
                if info.io == c.TENON_INPUT:
                    self.inputs += (_tensor_info(info),)
                else:
                    self.outputs += (_tensor_info(info),)
            count = c.tenon_engine_profile_count(handle)
            self.profiles: tuple[dict[str, Range], ...] = tuple(
                {i.name: self._range(session, p, i) for i in self.inputs} for p in range(count))
        self.host_memory = self.inspect()["backend"] != "cuda"
        self.device_index = 0

    def _range(self, session: Any, profile: int, info: TensorInfo) -> Range:
        rank = len(info.shape)
        three = [ffi.new("int64_t[]", max(rank, 1)) for _ in range(3)]
        session.check(c.tenon_engine_profile_shape(session.cx, self.handle, profile, info.name.encode(), *three))
        return tuple(tuple(dims[0:rank]) for dims in three)

    def inspect(self) -> dict[str, Any]:
        out = ffi.new("char **")
        with shared.session() as session:
            session.check(c.tenon_engine_inspect(session.cx, self.handle, out))
            return json.loads(shared.take_text(session, out))

    def check(self, inputs: Arrays, stream: int = device.LEGACY_STREAM) -> dict[str, Any]:
        """The inputs as dense arrays of the right names, types and ranks, on the host or as views of the GPU's memory."""
        if not isinstance(inputs, Mapping):
            raise TypeError(f"inputs: a dict of arrays by name, not {type(inputs).__name__}")
        known = {i.name for i in self.inputs}
        for name in inputs:
            if name not in known:
                raise InvalidError(f"there is no input '{name}'; the engine has {_names(self.inputs)}")
        arrays = {}
        for info in self.inputs:
            if info.name not in inputs:
                raise InvalidError(f"input '{info.name}' is missing; the engine wants {_names(self.inputs)}")
            value = inputs[info.name]
            on_device = device.view(value, f"input '{info.name}'", stream)
            if on_device is not None:
                if self.host_memory:
                    raise InvalidError(f"input '{info.name}' is in a GPU's memory, but the engine runs on the CPU")
                value = on_device
            elif not isinstance(value, (np.ndarray, np.generic)):
                value = np.asarray(value, info.dtype)
            if value.dtype != info.dtype:
                raise InvalidError(f"input '{info.name}': type {value.dtype} given, the engine wants {info.dtype}")
            if value.ndim != len(info.shape):
                raise InvalidError(f"input '{info.name}': shape {value.shape} has rank {value.ndim}, the engine wants "
                                   f"rank {len(info.shape)}, {_shape_text(info.shape)}")
            if not isinstance(value, View):
                value = np.require(value, requirements=["C", "A"]) if value.ndim else np.asarray(value)
            arrays[info.name] = value
        return arrays

    def check_outputs(self, outputs: Arrays | None, stream: int = device.LEGACY_STREAM) -> dict[str, View]:
        """The caller's own arrays for outputs, by name."""
        views = {}
        types = {o.name: o.dtype for o in self.outputs}
        for name, value in (outputs or {}).items():
            if name not in types:
                raise InvalidError(f"there is no output '{name}'; the engine has {_names(self.outputs)}")
            view = device.view(value, f"output '{name}'", stream)
            if view is None or self.host_memory:
                raise InvalidError(f"output '{name}': an array in the memory of the engine's GPU is wanted")
            if view.dtype != types[name]:
                raise InvalidError(f"output '{name}': type {view.dtype} given, the engine gives {types[name]}")
            views[name] = view
        return views


class Engine:
    """A built network. Immutable but for refit, and safe to share: each run that overlaps another gets a context of its own, kept
    for later runs. Made by tenon.build and tenon.load."""

    def __init__(self, handle: Any) -> None:
        """Takes a tenon_engine * over."""
        self._opened = Opened(handle)
        self._pool: dict[int, list[Context]] = {}
        self._lock = threading.Lock()

    @property
    def inputs(self) -> tuple[TensorInfo, ...]:
        """In the network's order."""
        return self._opened.inputs

    @property
    def outputs(self) -> tuple[TensorInfo, ...]:
        """In the network's order."""
        return self._opened.outputs

    @property
    def profiles(self) -> tuple[dict[str, Range], ...]:
        """For each profile, by input name: minimum, optimum and maximum shape."""
        return self._opened.profiles

    # --- files ---

    @staticmethod
    def load(source: Path | builtins.bytes, *, threads: int | None = None) -> Engine:
        """As tenon.load."""
        return load(source, threads=threads)

    def save(self, path: Path) -> None:
        """Writes the engine file, whole or not at all."""
        with shared.session() as session:
            session.check(c.tenon_engine_save(session.cx, self._opened.handle, os.fsencode(path)))

    def bytes(self) -> builtins.bytes:
        """A copy of the engine file's content, for tenon.load."""
        data, size = ffi.new("void **"), ffi.new("size_t *")
        with shared.session() as session:
            session.check(c.tenon_engine_data(session.cx, self._opened.handle, data, size))
        return builtins.bytes(ffi.buffer(data[0], size[0]))

    __bytes__ = bytes

    def inspect(self) -> dict[str, Any]:
        """What the engine holds: bindings, and for each profile its steps (problem, tactic, time at build) and memory."""
        return self._opened.inspect()

    def __repr__(self) -> str:
        def tell(infos: tuple[TensorInfo, ...]) -> str:
            return ", ".join(f"{i.name} {i.dtype}{list(i.shape)}".replace("'", "") for i in infos)
        return f"<tenon.Engine ({tell(self.inputs)}) -> ({tell(self.outputs)}), {len(self.profiles)} profile(s)>"

    # --- running ---

    def context(self, profile: int = 0) -> Context:
        """A context of your own, for one thread at a time; keeps the engine alive."""
        return Context(self._opened, profile)

    def run(self, inputs: Arrays, *, outputs: Arrays | None = None, device: bool = False) -> dict[str, Any]:
        """Runs the network on an array for each input and gives new arrays by output name.

        Types must be exact and shapes within a profile (of several the one whose optimum is nearest), else InvalidError. Arrays
        that are not dense are copied. May be called from several threads at once.

        On a GPU inputs may also lie in its memory: whatever has DLPack or __cuda_array_interface__ (torch, cupy, numba), or a
        tenon.Pointer; they are waited for and not copied. With device=True the results are DeviceArrays there; `outputs` names
        arrays there to be written, which are given back as they are.
        """
        arrays = self._opened.check(inputs)
        profile = self._fitting({name: a.shape for name, a in arrays.items()})
        with self._lease(profile) as context:
            return context._run(arrays, outputs, device)

    def __call__(self, *inputs: np.ndarray) -> np.ndarray | tuple[np.ndarray, ...]:
        """As run, inputs in the order of `inputs`; one output is given as the array itself, several as a tuple."""
        if len(inputs) != len(self.inputs):
            raise InvalidError(f"{len(inputs)} inputs given, the engine has {len(self.inputs)}: {_names(self.inputs)}")
        results = tuple(self.run(dict(zip((i.name for i in self.inputs), inputs))).values())
        return results[0] if len(results) == 1 else results

    def bench(self, shapes: Mapping[str, Shape | np.ndarray] | None = None, seconds: float = 1.0) -> Bench:
        """Runs for about so many seconds, at least five times after a warm-up, and tells what one run took.

        shapes: by input name a shape (floats are then random from a fixed seed, all else zero) or an array to run on; inputs that
        are not named have the first profile's optimum. Copies from and to Python's arrays are not part of the time.
        """
        given, rng = dict(shapes or {}), np.random.default_rng(1)
        arrays: dict[str, Any] = {}
        for info in self.inputs:
            value = given.pop(info.name, self.profiles[0][info.name][1])
            if not isinstance(value, np.ndarray):
                shape, plain = tuple(int(d) for d in value), np.issubdtype(info.dtype, np.floating) or info.dtype.kind == "V"
                value = (rng.standard_normal(shape) if plain else np.zeros(shape)).astype(info.dtype)
            arrays[info.name] = value
        arrays.update(given)            # unknown names, for the check to tell
        arrays = self._opened.check(arrays)
        found = {name: a.shape for name, a in arrays.items()}
        with self._lease(self._fitting(found)) as context:
            times = context._times(arrays, seconds)
        mean = sum(times) / len(times)
        return Bench(min(times), sorted(times)[len(times) // 2], mean, 1 / mean, len(times), found)

    def refit(self, weights: Mapping[str, np.ndarray]) -> None:
        """Replaces weights by their ONNX initializer names; same types and shapes. The engine must have been built with
        refit=True, and no run may be going on. Raises InvalidError or UnsupportedError."""
        handle = self._opened.handle
        with shared.session() as session:
            for name, value in weights.items():
                array = np.asarray(value, order="C")
                dtype = dtypes.from_numpy(array.dtype, f"weight '{name}'")
                session.check(c.tenon_engine_set_weight(session.cx, handle, name.encode(), dtype, _address(array), array.nbytes))
            session.check(c.tenon_engine_refit(session.cx, handle))

    # --- inside ---

    def _fitting(self, shapes: Mapping[str, tuple[int, ...]]) -> int:
        """The profile that takes the shapes, of several the one whose optimum is nearest."""
        best, best_distance = -1, math.inf
        for index, profile in enumerate(self.profiles):
            sizes = [at for name, shape in shapes.items() for at in zip(shape, *profile[name])]
            if all(lo <= d <= hi for d, lo, _, hi in sizes):
                distance = sum(abs(math.log((d + 1) / (opt + 1))) for d, _, opt, _ in sizes)
                if distance < best_distance:
                    best, best_distance = index, distance
        if best < 0:
            raise InvalidError(self._misfit(shapes))
        return best

    def _misfit(self, shapes: Mapping[str, tuple[int, ...]]) -> str:
        parts = []
        for name, shape in shapes.items():
            allowed = [tuple(str(lo) if lo == hi else f"{lo}..{hi}" for lo, _, hi in zip(*p[name])) for p in self.profiles]
            parts.append(f"input '{name}' {shape}, allowed " + " or ".join(dict.fromkeys(map(_shape_text, allowed))))
        return "no profile of the engine takes these shapes: " + "; ".join(parts)

    @contextmanager
    def _lease(self, profile: int) -> Iterator[Context]:
        with self._lock:
            free = self._pool.setdefault(profile, [])
            context = free.pop() if free else None
        context = context or Context(self._opened, profile)
        try:
            yield context
        finally:
            with self._lock:
                free.append(context)


class Context:
    """Memory and state of one run at a time. Belongs to one thread at a time. Made by Engine.context."""

    def __init__(self, opened: Opened, profile: int) -> None:
        self._opened, self.profile = opened, profile
        options, out = ffi.new("tenon_context_options *"), ffi.new("tenon_context **")
        options.profile = profile
        with shared.session() as session:
            session.check(c.tenon_context_create(session.cx, opened.handle, options, out))
        self._context = out[0]
        self._device: dict[str, tuple[Any, int]] = {}      # memory of ours on a device that cannot read the host's
        weakref.finalize(self, _destroy_context, out[0], opened, self._device).atexit = False
        self._rank, self._dims = ffi.new("int *"), ffi.new("int64_t[]", c.TENON_MAX_RANK)
        self._data, self._size = ffi.new("void **"), ffi.new("size_t *")
        self._chars = {i.name: ffi.new("char[]", i.name.encode()) for i in opened.inputs + opened.outputs}

    def run(self, inputs: Arrays, *, outputs: Arrays | None = None, device: bool = False) -> dict[str, Any]:
        """As Engine.run, in this context and profile."""
        return self._run(self._opened.check(inputs), outputs, device)

    def enqueue(self, inputs: Arrays, outputs: Arrays, stream: int) -> None:
        """Puts a run in a CUDA stream, given as its handle (torch.cuda.current_stream().cuda_stream), and returns. All inputs and
        outputs lie in the GPU's memory and must live until the run is done, the stream as long as the engine; what
        __cuda_array_interface__ says is written in another stream is waited for. While the stream is captured into a graph, the
        run is recorded: enqueue once before with the same shapes."""
        opened = self._opened
        arrays = opened.check(inputs, stream or device.LEGACY_STREAM)
        views = opened.check_outputs(outputs, stream or device.LEGACY_STREAM)
        for info in (*opened.inputs, *opened.outputs):
            if not isinstance(arrays.get(info.name, views.get(info.name)), View):
                raise InvalidError(f"'{info.name}': an array in the memory of the engine's GPU is wanted")
        here = (None, stream or device.LEGACY_STREAM)
        device.settle(opened, [a for a in (*arrays.values(), *views.values()) if a.stream not in here])
        self._bind(arrays, views, False)
        self._call(c.tenon_context_enqueue(self._context, device.stream_of(opened, stream)))

    def profile_steps(self, inputs: Arrays) -> list[tuple[str, float]]:
        """Runs once, timing each step by itself: (step, seconds) in the order of the steps."""
        arrays = self._opened.check(inputs)
        kept = self._bind(arrays)
        steps: list[tuple[str, float]] = []
        note = ffi.callback("tenon_profile_fn", lambda user, step, layer, seconds: steps.append((shared.text(layer), seconds)))
        self._call(c.tenon_context_profile(self._context, note, ffi.NULL))
        del kept
        return steps

    def _call(self, status: int) -> None:
        if status != 0:
            shared.fail(status, c.tenon_context_message(self._context))

    def _shape(self, name: str) -> tuple[int, ...]:
        self._call(c.tenon_context_shape(self._context, self._chars[name], self._rank, self._dims))
        return tuple(self._dims[0:self._rank[0]])

    def _place(self, name: str, size: int) -> Any:
        """Device memory of at least so many bytes for a binding."""
        place, room = self._device.get(name, (ffi.NULL, -1))
        if room < size:
            out = ffi.new("void **")
            with shared.session() as session:
                session.check(c.tenon_device_alloc(session.cx, self._opened.handle, size, out))
                c.tenon_device_free(session.cx, self._opened.handle, place)
            place, self._device[name] = out[0], (out[0], size)
        return place

    def _bind(self, arrays: Mapping[str, Any], given: Mapping[str, View] | None = None,
              on_device: bool = False) -> dict[str, Any]:
        """Sets shapes and addresses; gives new output arrays, save those whose size only the run tells, and those given."""
        opened, given = self._opened, given or {}
        for name, array in arrays.items():
            self._call(c.tenon_context_set_shape(self._context, self._chars[name], array.ndim, array.shape or ffi.NULL))
        outputs: dict[str, Any] = {}
        for info in opened.outputs:
            shape = self._shape(info.name)
            if info.name in given:
                if given[info.name].shape != shape:
                    raise InvalidError(f"output '{info.name}': shape {given[info.name].shape} given, the run gives {shape}")
                outputs[info.name] = given[info.name]
            elif min(shape, default=0) >= 0:
                outputs[info.name] = DeviceArray(opened, shape, info.dtype) if on_device else np.empty(shape, info.dtype)
        for name, array in (*arrays.items(), *outputs.items()):
            address = _address(device.view(array, name) or array)
            if not opened.host_memory and isinstance(array, np.ndarray):
                address = self._place(name, array.nbytes)
                if name in arrays:
                    with shared.session() as session:
                        session.check(c.tenon_device_upload(session.cx, opened.handle, address, _address(array), array.nbytes))
            self._call(c.tenon_context_set_address(self._context, self._chars[name], address, array.nbytes))
        return outputs

    def _run(self, arrays: Mapping[str, Any], given: Arrays | None = None, on_device: bool = False) -> dict[str, Any]:
        opened = self._opened
        if on_device and opened.host_memory:
            raise InvalidError("device=True is for engines of a GPU; this one runs on the CPU")
        views = opened.check_outputs(given)
        outputs = self._bind(arrays, views, on_device)
        device.settle(opened, (*arrays.values(), *views.values()))
        self._call(c.tenon_context_run(self._context))
        return {info.name: (given or {})[info.name] if info.name in views else self._result(info, outputs.get(info.name))
                for info in opened.outputs}

    def _result(self, info: TensorInfo, array: Any) -> Any:
        """The output's array, filled from the context or the device if the run did not write it itself."""
        if isinstance(array, DeviceArray):
            return array
        self._call(c.tenon_context_output(self._context, self._chars[info.name], self._data, self._size))
        if array is not None and self._data[0] == _address(array):
            return array
        if array is None or array.nbytes != self._size[0]:
            array = np.empty(self._shape(info.name), info.dtype)
        if info.name in self._device and self._data[0] == self._device[info.name][0]:
            with shared.session() as session:
                handle = self._opened.handle
                session.check(c.tenon_device_download(session.cx, handle, _address(array), self._data[0], array.nbytes))
        else:                           # owned by the context, on the host
            array = np.empty(self._shape(info.name), info.dtype)
            ffi.memmove(_address(array), self._data[0], array.nbytes)
        return array

    def _times(self, arrays: Mapping[str, np.ndarray], seconds: float) -> list[float]:
        """Seconds of each run within about so many seconds, after a warm-up."""
        kept = self._bind(arrays)
        run, context, clock = c.tenon_context_run, self._context, time.perf_counter
        times: list[float] = []
        self._call(run(context))
        warm = clock() + 0.2 * seconds
        while clock() < warm:
            self._call(run(context))
        end = clock() + seconds
        while len(times) < 5 or clock() < end:
            start = clock()
            status = run(context)
            times.append(clock() - start)
            self._call(status)
        del kept
        return times


def _destroy(kind: str, handle: Any) -> None:
    getattr(c, kind + "_destroy")(ffi.new(kind + " **", handle))


def _destroy_engine(handle: Any, streams: Mapping[int, Any]) -> None:
    for stream in streams.values():
        _destroy("tenon_stream", stream)
    _destroy("tenon_engine", handle)


def _destroy_context(context: Any, opened: Opened, device: Mapping[str, tuple[Any, int]]) -> None:
    """`opened` is an argument so that the engine is there until now."""
    with shared.session() as session:
        for place, _ in device.values():
            c.tenon_device_free(session.cx, opened.handle, place)
    _destroy("tenon_context", context)


def _tensor_info(info: Any) -> TensorInfo:
    name = shared.text(info.name)
    shape = tuple(info.dim[i] if info.dim[i] >= 0 else shared.text(info.dim_name[i]) or "?" for i in range(info.rank))
    return TensorInfo(name, dtypes.to_numpy(info.dtype, f"binding '{name}'"), shape)


def _shape_text(shape: Sequence[int | str]) -> str:
    return "(" + ", ".join(map(str, shape)) + ("," if len(shape) == 1 else "") + ")"


def _names(infos: tuple[TensorInfo, ...]) -> str:
    return ", ".join(f"'{i.name}'" for i in infos)


def load(source: Path | bytes, *, threads: int | None = None) -> Engine:
    """Opens an engine: the path of a file, which is mapped and shares its pages between processes, or its bytes, which are
    copied.

    threads: None as the engine was built. Raises CorruptError for a damaged file, naming what is wrong, and UnsupportedError or
    DeviceError where the engine is not for this machine or this version.
    """
    options, out = ffi.new("tenon_load_options *"), ffi.new("tenon_engine **")
    options.threads = threads or 0
    with shared.session() as session:
        if isinstance(source, (bytes, bytearray, memoryview)):
            data = ffi.from_buffer(source)
            session.check(c.tenon_engine_load_memory(session.cx, data, len(data), options, out))
        else:
            session.check(c.tenon_engine_load(session.cx, os.fsencode(source), options, out))
    return Engine(out[0])
