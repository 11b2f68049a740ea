# SPDX-License-Identifier: Apache-2.0
"""Tenon behind ONNX's own interface for backends (onnx.backend.base), so that what is written for it runs here:

    from tenon import onnx_backend
    rep = onnx_backend.prepare(model, device="CPU")         # or "CUDA"
    outputs = rep.run([x, y])

An engine is built for the shapes of the first run, and another for each new set of shapes. 4-bit integers, which have no dense numpy
form, are handed over as 8-bit ones. Sequences and optionals cannot be inputs or outputs: UnsupportedError.
"""
from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper
from onnx.backend.base import Backend, BackendRep, Device, DeviceType

from .builder import build, list_table
from .engine import Engine
from .errors import InvalidError, UnsupportedError

_DEVICES = {DeviceType.CPU: "cpu", DeviceType.CUDA: "cuda"}
_WIDER = {TensorProto.INT4: TensorProto.INT8, TensorProto.UINT4: TensorProto.UINT8}


def _with_wider_bindings(model: onnx.ModelProto) -> onnx.ModelProto:
    """The model with a cast at each input and output of 4 bits."""
    out = onnx.ModelProto()
    out.CopyFrom(model)
    graph = out.graph
    first: list[onnx.NodeProto] = []
    last: list[onnx.NodeProto] = []
    for values, casts, entering in ((graph.input, first, True), (graph.output, last, False)):
        for value in values:
            tensor = value.type.tensor_type
            if not value.type.HasField("tensor_type") or tensor.elem_type not in _WIDER:
                continue
            narrow, outside = tensor.elem_type, value.name + "/8bit"
            tensor.elem_type = _WIDER[narrow]
            ends = (outside, value.name) if entering else (value.name, outside)
            casts.append(helper.make_node("Cast", [ends[0]], [ends[1]], to=narrow if entering else tensor.elem_type))
            value.name = outside
    nodes = first + list(graph.node) + last
    del graph.node[:]
    graph.node.extend(nodes)
    return out


class TenonRep(BackendRep):
    """A model ready to run. Not for several threads at once."""

    def __init__(self, model: onnx.ModelProto, device: str, **options: Any) -> None:
        """options: as tenon.build."""
        model = _with_wider_bindings(model)
        initialized = {w.name for w in model.graph.initializer}
        for value in (*model.graph.input, *model.graph.output):
            if not value.type.HasField("tensor_type"):
                raise UnsupportedError(f"'{value.name}' is no tensor: a sequence or optional cannot be handed in or out")
        self._model = model.SerializeToString()
        self._inputs = [i.name for i in model.graph.input if i.name not in initialized]
        self._outputs = [o.name for o in model.graph.output]
        self._device, self._options = device, options
        self._engines: dict[tuple, Engine] = {}
        self.engine: Engine | None = None       # of the last run

    def run(self, inputs: Sequence[Any] | dict[str, Any], **kwargs: Any) -> tuple[np.ndarray, ...]:
        """Arrays in the order of the model's inputs, or by name; the outputs in their order."""
        if isinstance(inputs, dict):
            arrays = {name: np.asarray(value) for name, value in inputs.items()}
        elif len(inputs) > len(self._inputs):
            raise InvalidError(f"{len(inputs)} inputs given, the model has {len(self._inputs)}: {', '.join(self._inputs)}")
        else:
            arrays = {name: np.asarray(value) for name, value in zip(self._inputs, inputs)}
        for name in [n for n in arrays if n + "/8bit" in self._inputs]:
            arrays[name + "/8bit"] = arrays.pop(name)
        arrays = {name: a.astype(a.dtype.name.replace("int4", "int8")) if a.dtype.name in ("int4", "uint4") else a
                  for name, a in arrays.items()}
        key = tuple((name, a.shape) for name, a in sorted(arrays.items()))
        if key not in self._engines:
            shapes: dict[str, Any] = {name: a.shape for name, a in arrays.items()}
            self._engines[key] = build(self._model, profiles=[shapes], device=self._device, **self._options)
        self.engine = self._engines[key]
        results = self.engine.run(arrays)
        return tuple(results[name] for name in self._outputs)

    def reference_steps(self) -> list[str]:
        """Steps of the last run that no tactic of the device does: on a GPU those for which data goes to the host and back."""
        assert self.engine, "run first"
        return [step["name"] for profile in self.engine.inspect()["profiles"] for step in profile["steps"]
                if step["reference"] or not step["tactic"]]


class TenonBackend(Backend):
    @classmethod
    def is_compatible(cls, model: onnx.ModelProto, device: str = "CPU", **kwargs: Any) -> bool:
        """Whether the model can be built at all; dynamic dimensions are taken as 1."""
        try:
            build(_with_wider_bindings(model).SerializeToString(), device=_DEVICES[Device(device).type], timing=False)
        except UnsupportedError:
            return False
        return True

    @classmethod
    def prepare(cls, model: onnx.ModelProto, device: str = "CPU", **kwargs: Any) -> TenonRep:
        """kwargs: as tenon.build (threads, timing, level, ...)."""
        super().prepare(model, device, **kwargs)
        return TenonRep(model, _DEVICES[Device(device).type], **kwargs)

    @classmethod
    def run_model(cls, model: onnx.ModelProto, inputs: Any, device: str = "CPU", **kwargs: Any) -> tuple[np.ndarray, ...]:
        return cls.prepare(model, device, **kwargs).run(inputs)

    @classmethod
    def run_node(cls, node: onnx.NodeProto, inputs: Any, device: str = "CPU", outputs_info: Any = None,
                 **kwargs: Any) -> tuple[np.ndarray, ...]:
        """One node of the newest operator set; outputs_info: (dtype, shape) of each output."""
        if outputs_info is None:
            raise InvalidError("run_node wants outputs_info: the types and shapes of the node's outputs")

        def tell(name: str, dtype: np.dtype, shape: tuple[int, ...]) -> onnx.ValueInfoProto:
            return helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(np.dtype(dtype)), shape)
        given = [np.asarray(value) for value in inputs]
        graph = helper.make_graph([node], "node", [tell(n, a.dtype, a.shape) for n, a in zip([n for n in node.input if n], given)],
                                  [tell(n, *info) for n, info in zip(node.output, outputs_info)])
        return cls.run_model(helper.make_model(graph), given, device, **kwargs)

    @classmethod
    def supports_device(cls, device: str) -> bool:
        """Whether this machine has one: "CPU", "CUDA", "CUDA:0"."""
        parsed = Device(device)
        return parsed.device_id == 0 and any(d["backend"] == _DEVICES.get(parsed.type) and d["available"]
                                             for d in list_table("devices"))


is_compatible = TenonBackend.is_compatible
prepare = TenonBackend.prepare
run_model = TenonBackend.run_model
run_node = TenonBackend.run_node
supports_device = TenonBackend.supports_device
