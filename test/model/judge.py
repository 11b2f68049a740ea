# SPDX-License-Identifier: Apache-2.0
"""Builds one model in a process of its own, compares the engine with the answers stored beside it, and prints a line of JSON.

    python judge.py MODEL.onnx

An error is the greatest absolute difference in a row (of the batch) relative to the deviation of the expected row, the worst of
the rows. Beside the errors stand how far the outputs move, in the same measure, when the input is another and when the weights of
one layer change by 1%: what a test with this tolerance can see.
"""
import argparse
import json
import os
import sys

import numpy as np
import onnx
from onnx import numpy_helper

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path[:0] = [os.path.join(TOP, "python"), os.path.join(TOP, "bench"), os.path.join(TOP, "examples", "digits")]

import tenon                                                  # noqa: E402

ROWS = (1, 3, 8)


def parts(name, value):
    """An output as what is judged apart: YOLO's boxes are hundreds of pixels, its class probabilities less than one."""
    if name == "output0":
        return {"boxes": value[:, :4], "classes": value[:, 4:]}
    return {name: value}


def differences(outputs, expected):
    """By output: the worst row's greatest difference relative to its deviation."""
    result = {}
    for name, whole in expected.items():
        got = parts(name, outputs[name])
        for part, e in parts(name, whole).items():
            y = got[part]
            if y.shape != e.shape or not np.isfinite(y).all():
                return {part: float("inf")}
            e, y = e.reshape(len(e), -1).astype(np.float64), y.reshape(len(y), -1)
            result[part] = float((np.abs(y - e).max(axis=1) / e.std(axis=1)).max())
    return result


def worst(many):
    return {name: max(one[name] for one in many) for name in many[0]}



def stored(path):
    """Inputs, expected outputs, and inputs that differ, by name. The digits network has its data set instead of a file."""
    if os.path.basename(path) == "digits.onnx":
        import onnxruntime
        import train
        images = train.load()[2]
        session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
        return {"x": images[:3]}, {"y": session.run(None, {"x": images[:3]})[0]}, {"x": images[3:6]}
    import models
    data = np.load(path[:-5] + ".npz")
    inputs = {k[6:]: data[k] for k in data if k.startswith("input.")}
    other = models.make_inputs(os.path.basename(path).split(".")[0], 12, len(next(iter(inputs.values()))))
    return inputs, {k[7:]: data[k] for k in data if k.startswith("output.")}, other


def layers(model):
    """Initializers that are the weights of a convolution or product, in the network's order."""
    weights = {w.name: w for w in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type in ("Conv", "Gemm", "MatMul"):
            for name in node.input[1:2]:
                if name in weights and len(weights[name].dims) > 1:
                    yield weights[name]


def perturbed(path):
    """For three places the model with each weight of one layer 1% larger or smaller, by chance: its first layer, the middle one,
    and the last of its largest."""
    found = list(layers(onnx.load(path)))
    most = max(np.prod(w.dims) for w in found)
    places = {"first": 0, "middle": len(found) // 2,
              "largest": max(i for i, w in enumerate(found) if np.prod(w.dims) == most)}
    for place, index in places.items():
        model = onnx.load(path)
        weight = list(layers(model))[index]
        value = numpy_helper.to_array(weight)
        sign = np.random.default_rng(1).choice([-1, 1], value.shape)
        weight.CopyFrom(numpy_helper.from_array((value * (1 + 0.01 * sign)).astype(value.dtype), weight.name))
        yield place, weight.name, model


def profiles_of(inputs, ranges):
    return [{name: tuple((rows,) + x.shape[1:] for rows in three) for name, x in inputs.items()} for three in ranges]


def steps_of(engine):
    """For each profile what is bounded."""
    told = []
    for profile in engine.inspect()["profiles"]:
        told.append({"steps": profile["step_count"], "conversions": profile["conversions"], "references": profile["references"],
                     "ratio": profile["memory"]["ratio"],
                     "slow": sorted({s["problem"] for s in profile["steps"] if s["reference"]})[:5]})
    return told


def judge_static(path, inputs, expected):
    engines = {"untimed": tenon.build(path, device="cpu", timing=False), "timed": tenon.build(path, device="cpu")}
    return {name: (differences(e.run(inputs), expected), steps_of(e)) for name, e in engines.items()}, []


def judge_dynamic(path, inputs, expected):
    """One profile and two, at several sizes of the batch: rows are repeated. Timed at one image, run with the expected rows."""
    result, ranges = {}, {"one profile": [(1, 4, 8)], "two profiles": [(1, 1, 2), (3, 8, 8)]}
    for name, three in ranges.items():
        profiles = profiles_of(inputs, three)
        engine, errors = tenon.build(path, device="cpu", profiles=profiles, timing=False), []
        for rows in ROWS:
            pick = np.arange(rows) % 3
            outputs = engine.run({k: v[pick] for k, v in inputs.items()})
            errors.append(differences(outputs, {k: v[pick] for k, v in expected.items()}))
        result[name] = (worst(errors), steps_of(engine))
    profiles = profiles_of(inputs, [(1, 1, 3)])
    engine = tenon.build(path, device="cpu", profiles=profiles)
    result["timed"] = (differences(engine.run(inputs), expected), steps_of(engine))
    return result, profiles


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("model")
    path = parser.parse_args().model
    inputs, expected, other = stored(path)
    dynamic = len(next(iter(inputs.values()))) > 1
    builds, profiles = (judge_dynamic if dynamic else judge_static)(path, inputs, expected)
    engine = tenon.build(path, device="cpu", profiles=profiles, timing=False)
    moved_by_input = differences(engine.run(other), expected)
    moved_by_layer = {}
    for place, layer, model in perturbed(path):
        outputs = tenon.build(model, device="cpu", profiles=profiles, timing=False).run(inputs)
        moved_by_layer[place] = {"layer": layer, "moved": differences(outputs, expected)}
    print(json.dumps({
        "builds": {name: {"errors": errors, "profiles": told} for name, (errors, told) in builds.items()},
        "moved by input": moved_by_input, "moved by layer": moved_by_layer,
        "isa": next(d["fingerprint"] for d in tenon.list("devices") if d["backend"] == "cpu"),
    }))


if __name__ == "__main__":
    main()
