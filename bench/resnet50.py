# SPDX-License-Identifier: Apache-2.0
"""ResNet-50 (v1.5) as an ONNX file, written with onnx.helper and numpy alone: random He weights, real BatchNormalization.

Each BatchNormalization's mean and variance are first those of its input on a few small images, computed layer by layer in
numpy while the graph is written, and then disturbed: so activations stay lively to the end, and folding the statistics wrongly
shows in the output.

    python bench/resnet50.py resnet50.onnx [--batch N|dynamic] [--fold] [--seed 1]
"""
import argparse

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper

import inputs

STAGES = ((64, 3, 1), (128, 4, 2), (256, 6, 2), (512, 3, 2))    # width, blocks, stride of the first
EPSILON = 1e-5


def conv(x, w, stride, pad):
    """Convolution of x (n, h, w, c) by w (k, c, r, s)."""
    x = np.pad(x, ((0, 0), (pad, pad), (pad, pad), (0, 0)))
    windows = np.lib.stride_tricks.sliding_window_view(x, w.shape[2:], axis=(1, 2))[:, ::stride, ::stride]
    n, h, wide = windows.shape[:3]
    return (windows.reshape(n * h * wide, -1) @ w.reshape(len(w), -1).T).reshape(n, h, wide, -1)


def max_pool(x):
    x = np.pad(x, ((0, 0), (1, 1), (1, 1), (0, 0)), constant_values=-np.inf)
    return np.lib.stride_tricks.sliding_window_view(x, (3, 3), axis=(1, 2))[:, ::2, ::2].max(axis=(-1, -2))


class Writer:
    """Writes nodes and weights, and carries the sample images through what it writes."""

    def __init__(self, seed, fold):
        self.rng = np.random.default_rng(seed)
        self.fold = fold
        self.nodes, self.weights = [], []

    def weight(self, name, value):
        self.weights.append(numpy_helper.from_array(np.ascontiguousarray(value, dtype=np.float32), name))
        return name

    def node(self, kind, sources, name, **attributes):
        self.nodes.append(helper.make_node(kind, sources, [name], name=name, **attributes))
        return name

    def conv_bn(self, name, source, sample, out, size, stride, gain=1.0):
        """Conv and BatchNormalization, or the one Conv that equals both."""
        rng, channels = self.rng, sample.shape[-1]
        w = rng.standard_normal((out, channels, size, size)).astype(np.float32) * np.sqrt(2 / (channels * size * size))
        y = conv(sample, w, stride, size // 2)
        deviation = y.std(axis=(0, 1, 2)) + 1e-3
        mean = y.mean(axis=(0, 1, 2)) + 0.1 * deviation * rng.standard_normal(out)
        variance = deviation ** 2 * rng.uniform(0.7, 1.4, out)
        scale, bias = gain * rng.uniform(0.6, 1.4, out), gain * 0.2 * rng.standard_normal(out)
        mean, variance, scale, bias = (np.float32(v) for v in (mean, variance, scale, bias))
        factor = scale / np.sqrt(variance + EPSILON)
        places = dict(kernel_shape=[size, size], strides=[stride, stride], pads=[size // 2] * 4)
        if self.fold:
            self.node("Conv", [source, self.weight(name + ".weight", w * factor[:, None, None, None]),
                               self.weight(name + ".bias", bias - mean * factor)], name, **places)
        else:
            self.node("Conv", [source, self.weight(name + ".weight", w)], name + ".conv", **places)
            values = (("scale", scale), ("bias", bias), ("mean", mean), ("var", variance))
            parts = [self.weight(f"{name}.bn.{k}", v) for k, v in values]
            self.node("BatchNormalization", [name + ".conv"] + parts, name, epsilon=EPSILON)
        return name, y * factor + (bias - mean * factor)

    def relu(self, name, sample):
        return self.node("Relu", [name], name + ".relu"), np.maximum(sample, 0)

    def block(self, name, source, sample, width, stride):
        """1x1, 3x3, 1x1 with a shortcut; the stride is in the 3x3."""
        a, y = self.relu(*self.conv_bn(name + ".a", source, sample, width, 1, 1))
        a, y = self.relu(*self.conv_bn(name + ".b", a, y, width, 3, stride))
        a, y = self.conv_bn(name + ".c", a, y, 4 * width, 1, 1, gain=0.5)
        short, z = source, sample
        if stride != 1 or sample.shape[-1] != 4 * width:
            short, z = self.conv_bn(name + ".short", source, sample, 4 * width, 1, stride)
        return self.relu(self.node("Add", [a, short], name + ".add"), y + z)


def build(batch=1, fold=False, seed=1):
    """The model; batch is a number or "dynamic"."""
    w = Writer(seed, fold)
    y = inputs.image(seed, 8, 64).transpose(0, 2, 3, 1)
    name, y = w.relu(*w.conv_bn("stem", "x", y, 64, 7, 2))
    name, y = w.node("MaxPool", [name], "stem.pool", kernel_shape=[3, 3], strides=[2, 2], pads=[1] * 4), max_pool(y)
    for stage, (width, blocks, stride) in enumerate(STAGES, 1):
        for index in range(blocks):
            name, y = w.block(f"stage{stage}.{index}", name, y, width, stride if index == 0 else 1)
    name = w.node("GlobalAveragePool", [name], "pool")
    name = w.node("Flatten", [name], "flat", axis=1)
    features = y.mean(axis=(1, 2))
    fc = w.rng.standard_normal((1000, features.shape[1])) / np.sqrt((features.var(axis=0)).sum())
    bias = 0.1 * w.rng.standard_normal(1000) - fc @ features.mean(axis=0)
    w.node("Gemm", [name, w.weight("fc.weight", fc), w.weight("fc.bias", bias)], "y", transB=1)
    size = "batch" if batch == "dynamic" else int(batch)
    graph = helper.make_graph(w.nodes, "resnet50", [helper.make_tensor_value_info("x", TensorProto.FLOAT, [size, 3, 224, 224])],
                              [helper.make_tensor_value_info("y", TensorProto.FLOAT, [size, 1000])], w.weights)
    model = helper.make_model(graph, producer_name="tenon", opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 8
    onnx.checker.check_model(model)
    return model


def main():
    parser = argparse.ArgumentParser(description="writes ResNet-50 with random weights as ONNX")
    parser.add_argument("out")
    parser.add_argument("--batch", default="1", help='a number, or "dynamic"')
    parser.add_argument("--fold", action="store_true", help="fold BatchNormalization into Conv")
    parser.add_argument("--seed", type=int, default=1)
    args = parser.parse_args()
    onnx.save(build(args.batch, args.fold, args.seed), args.out)


if __name__ == "__main__":
    main()
