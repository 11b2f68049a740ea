# SPDX-License-Identifier: Apache-2.0
"""From an ONNX model to an engine, and the slow reference beside it."""
from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Union

import numpy as np

from . import dtypes
from .engine import Engine, Shape
from .errors import InvalidError
from .library import Progress, Session, shared
from .network import Network

if TYPE_CHECKING:
    import onnx

Path = Union[str, os.PathLike]
Model = Union[Path, bytes, "onnx.ModelProto", Network]
# By input name: minimum, optimum, maximum; or one shape for all three.
Profile = Mapping[str, Union[tuple[Shape, Shape, Shape], Shape]]

ffi, c = shared.ffi, shared.c


class TimingCache:
    """Measured times of tactics, by device and problem. With the same cache two builds give the same bytes. Not for two builds at
    the same time."""

    def __init__(self, path: Path | None = None) -> None:
        """Empty, or what the file holds; a missing file is an empty cache, a damaged one raises CorruptError."""
        out = ffi.new("tenon_timing_cache **")
        with shared.session() as session:
            if path is None:
                session.check(c.tenon_timing_cache_create(session.cx, ffi.NULL, 0, out))
            else:
                session.check(c.tenon_timing_cache_load(session.cx, os.fsencode(path), out))
        self._cache = ffi.gc(out[0], lambda p: c.tenon_timing_cache_destroy(ffi.new("tenon_timing_cache **", p)))

    def save(self, path: Path) -> None:
        """Writes the file anew, whole or not at all."""
        with shared.session() as session:
            session.check(c.tenon_timing_cache_save(session.cx, self._cache, os.fsencode(path)))

    def __len__(self) -> int:
        return int(c.tenon_timing_cache_count(self._cache))


class Bar:
    """A progress line on standard error; where that is no terminal, one line for each phase."""

    WIDTH = 32

    def __init__(self) -> None:
        self.phase, self.drawn, self.terminal = "", 0.0, sys.stderr.isatty()

    def __call__(self, phase: str, done: int, total: int) -> None:
        now = time.monotonic()
        if not self.terminal:
            if phase != self.phase:
                print(f"tenon: {phase}", file=sys.stderr, flush=True)
        elif total and (phase != self.phase or now - self.drawn > 0.05):
            full = self.WIDTH * done // total
            line = f"\r{phase:8.8} [{'#' * full}{'.' * (self.WIDTH - full)}] {done}/{total}\033[K"
            print(line, end="", file=sys.stderr, flush=True)
            self.drawn = now
        self.phase = phase

    def close(self) -> None:
        if self.terminal and self.phase:
            print("\r\033[K", end="", file=sys.stderr, flush=True)


@contextmanager
def _network(session: Session, model: Model) -> Iterator[Any]:
    """A tenon_network *, and whatever it borrows, for as long as the block lasts."""
    out = ffi.new("tenon_network **")
    if isinstance(model, Network):
        yield model._network
        return
    if hasattr(model, "SerializeToString"):
        model = model.SerializeToString()
    if isinstance(model, (bytes, bytearray, memoryview)):
        data = ffi.from_buffer(model)
        session.check(c.tenon_network_read(session.cx, data, len(data), ffi.NULL, out))
    elif isinstance(model, (str, os.PathLike)):
        data = None
        session.check(c.tenon_network_read_file(session.cx, os.fsencode(model), ffi.NULL, out))
    else:
        raise TypeError(f"model: a path, bytes, an onnx.ModelProto or a tenon.Network, not {type(model).__name__}")
    try:
        yield out[0]
    finally:
        c.tenon_network_destroy(out)
        del data


def _three(name: str, given: Any) -> tuple[Shape, Shape, Shape]:
    """Minimum, optimum, maximum of a profile's entry."""
    given = tuple(given)
    shapes = given if given and not isinstance(given[0], (int, np.integer)) else (given,) * 3
    if len(shapes) != 3:
        raise InvalidError(f"input '{name}': a profile wants (minimum, optimum, maximum), or one shape; {len(shapes)} were given")
    low, best, high = (tuple(int(d) for d in shape) for shape in shapes)
    if not len(low) == len(best) == len(high):
        raise InvalidError(f"input '{name}': minimum {low}, optimum {best} and maximum {high} differ in rank")
    return low, best, high


def _add_profile(check: Any, config: Any, profile: Profile) -> None:
    index = ffi.new("int *")
    check(c.tenon_config_add_profile(config, index))
    for name, given in profile.items():
        three = _three(name, given)
        check(c.tenon_config_set_shape(config, index[0], name.encode(), len(three[0]), *(list(shape) for shape in three)))


@contextmanager
def _configuration(session: Session) -> Iterator[tuple[Any, Any]]:
    """A tenon_config *, and what checks the calls on it."""
    out = ffi.new("tenon_config **")
    session.check(c.tenon_config_create(session.cx, out))

    def check(status: int) -> None:
        if status != 0:
            shared.fail(status, c.tenon_config_message(out[0]))

    try:
        yield out[0], check
    finally:
        c.tenon_config_destroy(out)


def build(model: Model, *, profiles: Sequence[Profile] = (), timing_cache: Path | TimingCache | None = None,
          workspace: int | None = None, threads: int | None = None, device: str | None = None, backend: str | None = None,
          level: int = 3, timing: bool = True, refit: bool = False, tf32: bool = True, strict: bool = False,
          progress: Progress | bool | None = None) -> Engine:
    """Builds an engine for this machine, or with device="cuda:sm_90" for a GPU elsewhere.

    model         path of an ONNX file (external data is found beside it), its bytes, an onnx.ModelProto or a tenon.Network
    profiles      ranges of the dynamic inputs: [{"x": (minimum, optimum, maximum)}], each a shape in ONNX's order; steps
                  are tuned for the optimum. Without one, dynamic dimensions are 1
    timing_cache  a path (read if there, written at the end) or a TimingCache; makes a second build quick and byte-identical
    workspace     limit in bytes of a step's scratch memory; None: none
    threads       CPU threads, at build and run; None: all usable cores
    device        "cpu", "cuda", "null" or "auto", the default: the GPU if there is one that can be built for, else the CPU
    backend       the same as device
    level         0 (nothing is timed) to 5 (most is tried)
    timing        False: plan by the cost model alone, which is reproducible
    refit         keep what is needed to replace weights later (Engine.refit); the engine is larger
    tf32          GPUs: products of float32 may round their operands to TF32 (10 bits of mantissa); sums stay float32
    strict        UnsupportedError where a step has no tactic of the device and would run on the host or the slow reference
    progress      called as progress(phase, done, total), total 0 if unknown; a true answer cancels (CancelledError), an exception
                  cancels and is passed on. True: a bar on standard error

    Raises InvalidError, UnsupportedError, CorruptError (model or timing cache), DeviceError, NoMemoryError, CancelledError.
    """
    if device is not None and backend is not None:
        raise InvalidError("device and backend are the same option: give one of them")
    device = device or backend or "auto"
    bar = Bar() if progress is True else None
    if not (progress is None or isinstance(progress, bool) or callable(progress)):
        raise TypeError(f"progress: a function or True, not {type(progress).__name__}")
    told: Progress | None = bar or (progress if callable(progress) else None)
    path = timing_cache if isinstance(timing_cache, (str, os.PathLike)) else None
    cache = timing_cache if isinstance(timing_cache, TimingCache) else TimingCache(path) if path is not None else None
    out = ffi.new("tenon_engine **")
    try:
        with shared.session(told) as session, _network(session, model) as network, \
                _configuration(session) as (config, check):
            check(c.tenon_config_set_device(config, device.encode(), 0))
            check(c.tenon_config_set_threads(config, threads or 0))
            if workspace is not None:
                check(c.tenon_config_set_workspace(config, workspace))
            check(c.tenon_config_set_optimization_level(config, level))
            check(c.tenon_config_set_timing(config, timing))
            check(c.tenon_config_set_refit(config, refit))
            check(c.tenon_config_set_tf32(config, tf32))
            check(c.tenon_config_set_strict(config, strict))
            if cache is not None:
                check(c.tenon_config_set_timing_cache(config, cache._cache))
            for profile in profiles:
                _add_profile(check, config, profile)
            session.check(c.tenon_build(session.cx, network, config, out))
    finally:
        if bar:
            bar.close()
    engine = Engine(out[0])
    if cache is not None and path is not None:
        cache.save(path)
    return engine


def reference(model: Model, inputs: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Runs the model by Tenon's reference: plain loops that every kernel is judged by, thousands of times slower than an engine.

    inputs: an array for each input, of its exact type. Gives the outputs by name, as new arrays.
    """
    with shared.session() as session, _network(session, model) as network:
        given = ffi.new("tenon_host_tensor[]", max(len(inputs), 1))
        kept = []                       # what the C structures point to
        for slot, (name, value) in zip(given, inputs.items()):
            array, chars = np.asarray(value, order="C"), ffi.new("char[]", name.encode())
            kept.append((array, chars))
            slot.name, slot.data = chars, ffi.cast("void *", array.ctypes.data)
            slot.dtype, slot.rank = dtypes.from_numpy(array.dtype, f"input '{name}'"), array.ndim
            if array.ndim > c.TENON_MAX_RANK:
                raise InvalidError(f"input '{name}': rank {array.ndim}, at most {c.TENON_MAX_RANK}")
            slot.dim[0:array.ndim] = array.shape
        count = _output_count(session, network)
        results = ffi.new("tenon_host_tensor[]", max(count, 1))
        session.check(c.tenon_network_run_reference(session.cx, network, given, len(inputs), results, count))
        try:
            return {shared.text(r.name): _copy(r) for r in results[0:count]}
        finally:
            c.tenon_reference_free(session.cx, results, count)


def _output_count(session: Session, network: Any) -> int:
    info, count = ffi.new("tenon_binding_info *"), 0
    for index in range(c.tenon_network_binding_count(network)):
        session.check(c.tenon_network_binding(session.cx, network, index, info))
        count += info.io == c.TENON_OUTPUT
    return count


def _copy(tensor: Any) -> np.ndarray:
    array = np.empty(tuple(tensor.dim[0:tensor.rank]), dtypes.to_numpy(tensor.dtype, f"output '{shared.text(tensor.name)}'"))
    ffi.memmove(ffi.cast("void *", array.ctypes.data), tensor.data, array.nbytes)
    return array


def list_table(what: str) -> list[dict[str, Any]]:
    """One of the library's tables: "ops", "tactics", "passes" or "devices"."""
    out = ffi.new("char **")
    with shared.session() as session:
        session.check(c.tenon_list(session.cx, what.encode(), out))
        return json.loads(shared.take_text(session, out))
