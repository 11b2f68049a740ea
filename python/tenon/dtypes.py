# SPDX-License-Identifier: Apache-2.0
"""Element types: Tenon's against numpy's. bfloat16 and the 8-bit floats are ml_dtypes' where it is installed, else their bits as
unsigned integers."""
from __future__ import annotations

import importlib
from typing import Any

import numpy as np

from .errors import UnsupportedError
from .library import shared

_PLAIN = {"F32": "float32", "F64": "float64", "F16": "float16", "I8": "int8", "I16": "int16", "I32": "int32", "I64": "int64",
          "U8": "uint8", "U16": "uint16", "U32": "uint32", "U64": "uint64", "BOOL": "bool"}
_SMALL = {"BF16": ("bfloat16", "uint16"), "F8E4M3": ("float8_e4m3fn", "uint8"), "F8E5M2": ("float8_e5m2", "uint8")}


def _table() -> dict[int, np.dtype]:
    table = {getattr(shared.c, "TENON_" + ours): np.dtype(name) for ours, name in _PLAIN.items()}
    try:
        small: Any = importlib.import_module("ml_dtypes")
    except ImportError:
        small = None
    for ours, (name, bits) in _SMALL.items():
        table[getattr(shared.c, "TENON_" + ours)] = np.dtype(getattr(small, name, bits))
    return table


_NUMPY = _table()
_TENON = {dtype: ours for ours, dtype in reversed(_NUMPY.items())}      # of two that share a numpy type, the first


def to_numpy(ours: int, what: str) -> np.dtype:
    """The numpy type of a tenon_dtype; `what` is named when there is none."""
    if ours not in _NUMPY:
        name = shared.text(shared.c.tenon_dtype_name(ours))
        raise UnsupportedError(f"{what}: elements of type {name} have no numpy form here")
    return _NUMPY[ours]


def from_numpy(dtype: np.dtype, what: str) -> int:
    """The tenon_dtype of a numpy type; `what` is named when there is none."""
    if dtype not in _TENON:
        raise UnsupportedError(f"{what}: numpy type {dtype} has no counterpart in Tenon")
    return _TENON[dtype]
