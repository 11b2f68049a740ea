# SPDX-License-Identifier: Apache-2.0
"""Tenon behind ONNX's own interface for backends (onnx.backend.base), so that what is written for it runs here:

    from tenon import onnx_backend
    rep = onnx_backend.prepare(model, device="CPU")         # or "CUDA"
    outputs = rep.run([x, y])

An engine is built for the shapes of the first run, and another for each new set of shapes. Integers that sizes are made of (the shape
of a Reshape, the axes of a ReduceSum) are part of a shape in that sense, where they are inputs of the model: an engine knows their
values. 4-bit integers, which have no dense numpy form, are handed over as 8-bit ones. Sequences and optionals cannot be inputs or
outputs: UnsupportedError.
"""
from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
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


# Inputs of operators that say how large results are, or which axes they have.
_SIZES = {"CenterCropPad": (1,), "ConstantOfShape": (0,), "Expand": (1,), "NonMaxSuppression": (2,), "OneHot": (1,), "Pad": (1, 3),
          "Range": (0, 1, 2), "Reshape": (1,), "Resize": (3,), "Slice": (1, 2, 3, 4), "Split": (1,), "Squeeze": (1,), "Tile": (1,),
          "TopK": (1,), "Unsqueeze": (1,), "BlackmanWindow": (0,), "HammingWindow": (0,), "HannWindow": (0,),
          **{"Reduce" + kind: (1,) for kind in ("L1", "L2", "LogSum", "LogSumExp", "Max", "Mean", "Min", "Prod", "Sum", "SumSquare")}}
# What exporters reckon sizes with: integers that come to a size through these alone are of sizes themselves.
_ARITHMETIC = {"Abs", "Add", "And", "Cast", "Ceil", "Concat", "Div", "Equal", "Floor", "Gather", "Greater", "GreaterOrEqual", "Identity",
               "Less", "LessOrEqual", "Max", "Min", "Mod", "Mul", "Neg", "Not", "Or", "Reshape", "Slice", "Squeeze", "Sub", "Unsqueeze",
               "Where"}
_SIZES_MOST = 64                            # elements of such an input


def _size_inputs(model: onnx.ModelProto) -> set[str]:
    """Integer inputs of rank 0 or 1 that sizes are made of: TensorRT's shape tensors."""
    graph = model.graph
    maker = {name: node for node in graph.node for name in node.output if name}
    integers = {v.name for v in graph.input if v.type.tensor_type.elem_type in (TensorProto.INT32, TensorProto.INT64)
                and v.type.tensor_type.HasField("shape") and len(v.type.tensor_type.shape.dim) < 2}
    names = [node.input[i] for node in graph.node for i in _SIZES.get(node.op_type, ())
             if i < len(node.input) and (node.op_type != "Slice" or len(node.input) > 1)]
    seen: set[str] = set()
    while names:
        name = names.pop()
        if not name or name in seen:
            continue
        seen.add(name)
        if name in maker and maker[name].op_type in _ARITHMETIC:
            names.extend(maker[name].input)
    return seen & integers


class TenonRep(BackendRep):
    """A model ready to run. Not for several threads at once."""

    def __init__(self, model: onnx.ModelProto, device: str, **options: Any) -> None:
        """options: as tenon.build."""
        model = _with_wider_bindings(model)
        initialized = {w.name for w in model.graph.initializer}
        for value in (*model.graph.input, *model.graph.output):
            if not value.type.HasField("tensor_type"):
                raise UnsupportedError(f"'{value.name}' is no tensor: a sequence or optional cannot be handed in or out")
        self._model = model
        self._inputs = [i.name for i in model.graph.input if i.name not in initialized]
        self._sizes = _size_inputs(model) - initialized
        self._outputs = [o.name for o in model.graph.output]
        self._device, self._options = device, options
        self._engines: dict[tuple, Engine] = {}
        self.engine: Engine | None = None       # of the last run

    def _arrays(self, inputs: Sequence[Any] | dict[str, Any]) -> dict[str, np.ndarray]:
        """Inputs by name, as the engine's bindings want them."""
        if isinstance(inputs, dict):
            arrays = {name: np.asarray(value) for name, value in inputs.items()}
        elif len(inputs) > len(self._inputs):
            raise InvalidError(f"{len(inputs)} inputs given, the model has {len(self._inputs)}: {', '.join(self._inputs)}")
        else:
            arrays = {name: np.asarray(value) for name, value in zip(self._inputs, inputs)}
        for name in [n for n in arrays if n + "/8bit" in self._inputs]:
            arrays[name + "/8bit"] = arrays.pop(name)
        return {name: a.astype(a.dtype.name.replace("int4", "int8")) if a.dtype.name in ("int4", "uint4") else a
                for name, a in arrays.items()}

    def _model_with(self, fixed: dict[str, np.ndarray]) -> bytes:
        """The model where these inputs are constants."""
        model = self._model
        if fixed:
            model = onnx.ModelProto()
            model.CopyFrom(self._model)
            kept = [value for value in model.graph.input if value.name not in fixed]
            del model.graph.input[:]
            model.graph.input.extend(kept)
            model.graph.initializer.extend(numpy_helper.from_array(np.ascontiguousarray(a), name) for name, a in fixed.items())
        return model.SerializeToString()

    def _prepare(self, inputs: Sequence[Any] | dict[str, Any]) -> dict[str, np.ndarray]:
        """Makes the engine for these inputs the one of this run; what is to be handed to it."""
        arrays = self._arrays(inputs)
        fixed = {name: a for name, a in arrays.items() if name in self._sizes and a.size <= _SIZES_MOST and a.ndim < 2}
        key = tuple((name, a.shape, a.tobytes() if name in fixed else None) for name, a in sorted(arrays.items()))
        arrays = {name: a for name, a in arrays.items() if name not in fixed}
        if key not in self._engines:
            shapes: dict[str, Any] = {name: a.shape for name, a in arrays.items()}
            self._engines[key] = build(self._model_with(fixed), profiles=[shapes], device=self._device, **self._options)
        self.engine = self._engines[key]
        return arrays

    def plan(self, inputs: Sequence[Any] | dict[str, Any]) -> Engine:
        """The engine that would run these inputs, which is not run: on a GPU that is not here it can still be looked at."""
        self._prepare(inputs)
        assert self.engine
        return self.engine

    def run(self, inputs: Sequence[Any] | dict[str, Any], **kwargs: Any) -> tuple[np.ndarray, ...]:
        """Arrays in the order of the model's inputs, or by name; the outputs in their order."""
        arrays = self._prepare(inputs)
        assert self.engine
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
