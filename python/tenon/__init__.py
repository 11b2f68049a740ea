# SPDX-License-Identifier: Apache-2.0
"""Tenon turns a trained network (ONNX) into an engine tuned for the machine it will run on, and runs it there.

    import tenon
    engine = tenon.build("model.onnx", profiles=[{"x": ((1, 3, 224, 224), (4, 3, 224, 224), (8, 3, 224, 224))}])
    y = engine.run({"x": x})["y"]
    engine.save("model.engine")
    engine = tenon.load("model.engine")

Arrays are numpy's, dense, shapes in ONNX's order; times are seconds, sizes bytes. Engines may be shared by threads. Failures are
`tenon.Error` and its kinds, with the library's message. What the library logs goes to the logger "tenon".
"""
from .builder import TimingCache, build, list_table as list, reference
from .device import DeviceArray, Pointer
from .engine import Bench, Context, Engine, TensorInfo, load
from .errors import (CancelledError, CorruptError, DeviceError, Error, InternalError, InvalidError, NoMemoryError,
                     UnsupportedError)
from .library import shared as _shared
from .network import Network, NodeInfo, Value, ValueInfo

version: str = _shared.version
__version__ = version

__all__ = ["Bench", "CancelledError", "Context", "CorruptError", "DeviceArray", "DeviceError", "Engine", "Error", "InternalError",
           "InvalidError", "Network", "NoMemoryError", "NodeInfo", "Pointer", "TensorInfo", "TimingCache", "UnsupportedError", "Value",
           "ValueInfo", "build", "list", "load", "reference", "version"]
