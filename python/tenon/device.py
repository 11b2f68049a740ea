# SPDX-License-Identifier: Apache-2.0
"""Arrays in a GPU's memory: what others hold is read through __cuda_array_interface__ or DLPack, what Tenon holds is given
through both. Nothing here copies; all arrays are dense and row-major."""
from __future__ import annotations

import ctypes
import math
import weakref
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from . import dtypes
from .errors import InvalidError
from .library import shared

ffi, c = shared.ffi, shared.c
CPU, CUDA, CUDA_MANAGED = 1, 2, 13                       # DLDeviceType
LEGACY_STREAM = 1                                       # as both protocols number CUDA's default stream
_KINDS = {0: "i", 1: "u", 2: "f", 6: "b"}               # DLDataTypeCode; 4 is bfloat16
_BFLOAT = dtypes.to_numpy(c.TENON_BF16, "bfloat16")


@dataclass(frozen=True)
class Pointer:
    """The address of a dense row-major array in the GPU's memory, for an input or an output. Whoever makes it keeps the memory,
    and has what writes it done before the run, or in the stream of the run."""
    address: int
    shape: tuple[int, ...]
    dtype: Any = np.float32

    @property
    def nbytes(self) -> int:
        return math.prod(self.shape) * np.dtype(self.dtype).itemsize


# --- DLPack's structures (dlpack.h, version 0) ---

class _Tensor(ctypes.Structure):
    _fields_ = [("data", ctypes.c_void_p), ("device_type", ctypes.c_int32), ("device_id", ctypes.c_int32),
                ("ndim", ctypes.c_int32), ("code", ctypes.c_uint8), ("bits", ctypes.c_uint8), ("lanes", ctypes.c_uint16),
                ("shape", ctypes.POINTER(ctypes.c_int64)), ("strides", ctypes.POINTER(ctypes.c_int64)),
                ("byte_offset", ctypes.c_uint64)]


class _Managed(ctypes.Structure):
    pass


_DELETER = ctypes.CFUNCTYPE(None, ctypes.POINTER(_Managed))
_DESTRUCTOR = ctypes.CFUNCTYPE(None, ctypes.c_void_p)
_Managed._fields_ = [("tensor", _Tensor), ("manager", ctypes.c_void_p), ("deleter", _DELETER)]
_get_pointer = ctypes.pythonapi.PyCapsule_GetPointer
_get_pointer.restype, _get_pointer.argtypes = ctypes.c_void_p, [ctypes.py_object, ctypes.c_char_p]
_is_valid = ctypes.pythonapi.PyCapsule_IsValid
_is_valid.restype, _is_valid.argtypes = ctypes.c_int, [ctypes.c_void_p, ctypes.c_char_p]
_raw_pointer = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.c_void_p, ctypes.c_char_p)(("PyCapsule_GetPointer", ctypes.pythonapi))
_new_capsule = ctypes.pythonapi.PyCapsule_New
_new_capsule.restype, _new_capsule.argtypes = ctypes.py_object, [ctypes.c_void_p, ctypes.c_char_p, ctypes.c_void_p]
_exported: dict[int, tuple[Any, ...]] = {}              # what a tensor that was given away keeps alive, by its address


@_DELETER
def _delete(managed: Any) -> None:
    _exported.pop(ctypes.addressof(managed.contents), None)


@_DESTRUCTOR
def _destroy_capsule(capsule: Any) -> None:
    if _is_valid(capsule, b"dltensor"):                 # nobody took the tensor out of it
        _exported.pop(_raw_pointer(capsule, b"dltensor"), None)


def capsule_of(address: int, shape: Sequence[int], dtype: np.dtype, device: tuple[int, int], owner: Any) -> Any:
    """A DLPack capsule over memory that `owner` keeps."""
    codes = {kind: code for code, kind in _KINDS.items()}
    code = 4 if dtype == _BFLOAT and dtype.kind == "V" else codes.get(dtype.kind)
    if code is None:
        raise InvalidError(f"DLPack has no form for elements of type {dtype}")
    managed, dims = _Managed(), (ctypes.c_int64 * max(len(shape), 1))(*shape)
    managed.tensor = _Tensor(address, *device, len(shape), code, 8 * dtype.itemsize, 1, dims, None, 0)
    managed.deleter = _delete
    _exported[ctypes.addressof(managed)] = (managed, dims, owner)
    return _new_capsule(ctypes.addressof(managed), b"dltensor", _destroy_capsule)


def read_capsule(capsule: Any, what: str) -> tuple[int, tuple[int, ...], np.dtype]:
    """Address, shape and type of a capsule, which is not consumed: it must be kept as long as the memory is used."""
    t = ctypes.cast(_get_pointer(capsule, b"dltensor"), ctypes.POINTER(_Managed)).contents.tensor
    shape = tuple(t.shape[0:t.ndim])
    if t.lanes != 1 or (t.code, t.bits) != (4, 16) and t.code not in _KINDS:
        raise InvalidError(f"{what}: DLPack type {t.code} of {t.bits} bits and {t.lanes} lanes has no counterpart in Tenon")
    dtype = _BFLOAT if t.code == 4 else np.dtype(bool) if t.code == 6 else np.dtype(f"{_KINDS[t.code]}{t.bits // 8}")
    if t.strides:
        _check_dense(what, shape, tuple(t.strides[0:t.ndim]))
    return (t.data or 0) + t.byte_offset, shape, dtype


def _check_dense(what: str, shape: tuple[int, ...], strides: tuple[int, ...]) -> None:
    """Strides in elements."""
    step = 1
    for size, stride in zip(reversed(shape), reversed(strides)):
        if size > 1 and stride != step and 0 not in shape:
            raise InvalidError(f"{what}: an array on the GPU must be dense and row-major; shape {shape} has strides {strides}")
        step *= size


# --- what others hold ---

@dataclass(frozen=True)
class View:
    """An array on the GPU as a run sees it. `keeps` holds the memory; `stream` is where what writes it stands, None: it is
    written."""
    address: int
    shape: tuple[int, ...]
    dtype: np.dtype
    keeps: Any
    stream: int | None = None

    @property
    def ndim(self) -> int:
        return len(self.shape)

    @property
    def nbytes(self) -> int:
        return math.prod(self.shape) * self.dtype.itemsize


def view(value: Any, what: str, stream: int = LEGACY_STREAM) -> View | None:
    """The value as an array on the GPU, if it is one: in what order its writer has done its work holds for `stream`."""
    if isinstance(value, View):
        return value
    if isinstance(value, Pointer):
        return View(value.address, tuple(value.shape), np.dtype(value.dtype), value)
    if isinstance(value, DeviceArray):
        return View(value.address, value.shape, value.dtype, value)
    if hasattr(value, "__dlpack_device__") and not isinstance(value, (np.ndarray, np.generic)):
        if value.__dlpack_device__()[0] not in (CUDA, CUDA_MANAGED):
            return None
        capsule = value.__dlpack__(stream=stream)
        return View(*read_capsule(capsule, what), (value, capsule), stream)
    interface = getattr(value, "__cuda_array_interface__", None)
    if interface is None:
        return None
    dtype, shape = np.dtype(interface["typestr"]), tuple(interface["shape"])
    if interface.get("mask") is not None:
        raise InvalidError(f"{what}: masked arrays are not read")
    if interface.get("strides") is not None:
        _check_dense(what, shape, tuple(s // dtype.itemsize for s in interface["strides"]))
    written = interface.get("stream", LEGACY_STREAM)    # before version 3 nothing is said: what most write in
    return View(interface["data"][0], shape, dtype, value, written)


# --- what Tenon holds ---

class DeviceArray:
    """A result in the GPU's memory. torch.as_tensor, torch.from_dlpack, cupy.asarray and numba.cuda.as_cuda_array take it without
    a copy; numpy() copies it to the host. The memory lives as long as this or what was made of it."""

    def __init__(self, opened: Any, shape: tuple[int, ...], dtype: np.dtype) -> None:
        self.shape, self.dtype = shape, dtype
        self.nbytes = math.prod(shape) * dtype.itemsize
        self._opened, out = opened, ffi.new("void **")
        with shared.session() as session:
            session.check(c.tenon_device_alloc(session.cx, opened.handle, max(self.nbytes, 1), out))
        self.address = int(ffi.cast("uintptr_t", out[0]))
        weakref.finalize(self, _free, opened, out[0]).atexit = False

    @property
    def ndim(self) -> int:
        return len(self.shape)

    def numpy(self) -> np.ndarray:
        array = np.empty(self.shape, self.dtype)
        with shared.session() as session:
            session.check(c.tenon_device_download(session.cx, self._opened.handle, ffi.cast("void *", array.ctypes.data),
                                                  ffi.cast("void *", self.address), self.nbytes))
        return array

    @property
    def __cuda_array_interface__(self) -> dict[str, Any]:
        return {"shape": self.shape, "typestr": self.dtype.str, "data": (self.address, False), "version": 3, "strides": None,
                "stream": None}

    def __dlpack_device__(self) -> tuple[int, int]:
        return CUDA, self._opened.device_index

    def __dlpack__(self, *, stream: Any = None, **_: Any) -> Any:
        return capsule_of(self.address, self.shape, self.dtype, self.__dlpack_device__(), self)

    def __repr__(self) -> str:
        return f"<tenon.DeviceArray {self.dtype} {list(self.shape)} at {self.address:#x}>"


def _free(opened: Any, place: Any) -> None:
    with shared.session() as session:
        c.tenon_device_free(session.cx, opened.handle, place)


# --- streams ---

def _wrap(opened: Any, native: int) -> Any:
    out = ffi.new("tenon_stream **")
    with shared.session() as session:
        handle = ffi.NULL if native in (0, LEGACY_STREAM) else ffi.cast("void *", native)
        session.check(c.tenon_stream_wrap(session.cx, opened.handle, handle, out))
    return out


def stream_of(opened: Any, native: int) -> Any:
    """A tenon_stream * over a stream of the caller's; destroyed with `opened`. Of threads that ask for a new one at the same time
    all get that of the first."""
    kept = opened.streams.get(native)
    if kept is None:
        made = _wrap(opened, native)
        kept = opened.streams.setdefault(native, made[0])
        if kept != made[0]:
            c.tenon_stream_destroy(made)
    return kept


def settle(opened: Any, arrays: Sequence[Any]) -> None:
    """Waits on the host for the streams in which arrays of others are written. Nothing is kept: those streams may go at any
    time."""
    for native in {a.stream for a in arrays if isinstance(a, View) and a.stream is not None}:
        out = _wrap(opened, native)
        try:
            with shared.session() as session:
                session.check(c.tenon_stream_synchronize(session.cx, out[0]))
        finally:
            c.tenon_stream_destroy(out)
