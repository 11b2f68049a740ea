# SPDX-License-Identifier: Apache-2.0
"""Trains a small convolutional network on scikit-learn's handwritten digits (8x8 images) with numpy alone and writes digits.onnx.

Conv, BatchNormalization, Relu, MaxPool twice, then Gemm; the batch is dynamic; `x` is (batch, 1, 8, 8) from 0 to 1, `y` are
ten logits.
Every part is a class with forward and backward; seeded, under a minute on one core.

    python examples/digits/train.py
"""
import os

import numpy as np
import onnx
from onnx import TensorProto, helper, numpy_helper
from sklearn.datasets import load_digits

HERE = os.path.dirname(os.path.abspath(__file__))
EPSILON, EPOCHS, BATCH = 1e-5, 30, 32


def load():
    """Training and test images and labels; every fifth image is for the test."""
    data = load_digits()
    images = (data.images / 16).astype(np.float32)[:, None]
    test = np.arange(len(images)) % 5 == 0
    return images[~test], data.target[~test], images[test], data.target[test]


class Conv:
    """3x3, padded by 1, no bias: the normalisation after it has one."""

    def __init__(self, rng, channels, out):
        self.values = {"weight": (rng.standard_normal((out, channels, 3, 3)) * np.sqrt(2 / (9 * channels))).astype(np.float32)}

    def forward(self, x, training):
        windows = np.lib.stride_tricks.sliding_window_view(np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1))), (3, 3), axis=(2, 3))
        self.windows = windows
        return np.einsum("nchwrs,kcrs->nkhw", windows, self.values["weight"], optimize=True)

    def backward(self, d):
        gradient = np.einsum("nchwrs,nkhw->kcrs", self.windows, d, optimize=True)
        windows = np.lib.stride_tricks.sliding_window_view(np.pad(d, ((0, 0), (0, 0), (1, 1), (1, 1))), (3, 3), axis=(2, 3))
        turned = self.values["weight"][:, :, ::-1, ::-1]
        return np.einsum("nkhwrs,kcrs->nchw", windows, turned, optimize=True), {"weight": gradient}


class Norm:
    def __init__(self, channels):
        self.values = {"scale": np.ones(channels, np.float32), "bias": np.zeros(channels, np.float32)}
        self.mean, self.variance = np.zeros(channels, np.float32), np.ones(channels, np.float32)

    def forward(self, x, training):
        mean, variance = (x.mean(axis=(0, 2, 3)), x.var(axis=(0, 2, 3))) if training else (self.mean, self.variance)
        if training:
            self.mean, self.variance = 0.9 * self.mean + 0.1 * mean, 0.9 * self.variance + 0.1 * variance
        self.deviation = np.sqrt(variance + EPSILON)[:, None, None]
        self.normal = (x - mean[:, None, None]) / self.deviation
        return self.normal * self.values["scale"][:, None, None] + self.values["bias"][:, None, None]

    def backward(self, d):
        gradients = {"scale": (d * self.normal).sum(axis=(0, 2, 3)), "bias": d.sum(axis=(0, 2, 3))}
        d = d * self.values["scale"][:, None, None]
        d = d - d.mean(axis=(0, 2, 3), keepdims=True) - self.normal * (d * self.normal).mean(axis=(0, 2, 3), keepdims=True)
        return d / self.deviation, gradients


class Relu:
    values = {}

    def forward(self, x, training):
        self.kept = x > 0
        return x * self.kept

    def backward(self, d):
        return d * self.kept, {}


class Pool:
    """The greatest of each 2x2; of equal ones each gets its share of the gradient."""
    values = {}

    def forward(self, x, training):
        n, c, h, w = x.shape
        tiles = x.reshape(n, c, h // 2, 2, w // 2, 2)
        y = tiles.max(axis=(3, 5), keepdims=True)
        self.kept = tiles == y
        self.kept = self.kept / self.kept.sum(axis=(3, 5), keepdims=True, dtype=np.float32)
        return y[:, :, :, 0, :, 0]

    def backward(self, d):
        n, c, h, w = d.shape
        return (self.kept * d[:, :, :, None, :, None]).reshape(n, c, 2 * h, 2 * w), {}


class Dense:
    def __init__(self, rng, features, out):
        weight = rng.standard_normal((out, features)).astype(np.float32) / np.float32(np.sqrt(features))
        self.values = {"weight": weight, "bias": np.zeros(out, np.float32)}

    def forward(self, x, training):
        self.shape, self.x = x.shape, x.reshape(len(x), -1)
        return self.x @ self.values["weight"].T + self.values["bias"]

    def backward(self, d):
        return (d @ self.values["weight"]).reshape(self.shape), {"weight": d.T @ self.x, "bias": d.sum(axis=0)}


def forward(layers, x, training=False):
    for layer in layers:
        x = layer.forward(x, training)
    return x


def train(layers, images, labels, rng):
    """Stochastic gradient descent with momentum, a learning rate that falls as a cosine, a little noise on the images."""
    speed = [{k: np.zeros_like(v) for k, v in layer.values.items()} for layer in layers]
    steps, step = EPOCHS * (len(images) // BATCH), 0
    for epoch in range(EPOCHS):
        order, total = rng.permutation(len(images)), 0.0
        for start in range(0, len(order) - BATCH + 1, BATCH):
            pick = order[start:start + BATCH]
            x = images[pick] + 0.1 * rng.standard_normal(images[pick].shape).astype(np.float32)
            logits = forward(layers, x, training=True)
            p = np.exp(logits - logits.max(axis=1, keepdims=True))
            p /= p.sum(axis=1, keepdims=True)
            total -= np.log(p[np.arange(BATCH), labels[pick]] + 1e-12).mean()
            p[np.arange(BATCH), labels[pick]] -= 1
            d, rate = p / BATCH, 0.05 * (1 + np.cos(np.pi * step / steps))
            for layer, velocity in zip(reversed(layers), reversed(speed)):
                d, gradients = layer.backward(d)
                for k, gradient in gradients.items():
                    velocity[k] = 0.9 * velocity[k] - rate * (gradient + 1e-4 * layer.values[k])
                    layer.values[k] = (layer.values[k] + velocity[k]).astype(np.float32)
            step += 1
        if epoch % 5 == 4:
            print(f"epoch {epoch + 1}: loss {total * BATCH / len(order):.4f}")


def to_onnx(layers):
    nodes, weights, name = [], [], "x"

    def weight(key, value):
        weights.append(numpy_helper.from_array(np.ascontiguousarray(value, np.float32), key))
        return key

    def node(kind, sources, out, **attributes):
        nodes.append(helper.make_node(kind, sources, [out], name=out, **attributes))
        return out

    for index, layer in enumerate(layers):
        out = f"{type(layer).__name__.lower()}{index}"
        if isinstance(layer, Conv):
            kernel = weight(out + ".weight", layer.values["weight"])
            name = node("Conv", [name, kernel], out, kernel_shape=[3, 3], pads=[1, 1, 1, 1])
        elif isinstance(layer, Norm):
            parts = dict(layer.values, mean=layer.mean, var=layer.variance)
            name = node("BatchNormalization", [name] + [weight(f"{out}.{k}", v) for k, v in parts.items()], out, epsilon=EPSILON)
        elif isinstance(layer, Relu):
            name = node("Relu", [name], out)
        elif isinstance(layer, Pool):
            name = node("MaxPool", [name], out, kernel_shape=[2, 2], strides=[2, 2])
        else:
            name = node("Flatten", [name], "flat", axis=1)
            node("Gemm", [name] + [weight("fc." + k, v) for k, v in layer.values.items()], "y", transB=1)
    graph = helper.make_graph(nodes, "digits", [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 1, 8, 8])],
                              [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 10])], weights)
    model = helper.make_model(graph, producer_name="tenon", opset_imports=[helper.make_opsetid("", 17)])
    model.ir_version = 8
    onnx.checker.check_model(model)
    return model


def main():
    rng = np.random.default_rng(1)
    images, labels, test_images, test_labels = load()
    layers = [Conv(rng, 1, 24), Norm(24), Relu(), Pool(), Conv(rng, 24, 48), Norm(48), Relu(), Pool(), Dense(rng, 192, 10)]
    train(layers, images, labels, rng)
    path = os.path.join(HERE, "digits.onnx")
    onnx.save(to_onnx(layers), path)
    own = (forward(layers, test_images).argmax(axis=1) == test_labels).mean()
    import onnxruntime
    answer = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"]).run(None, {"x": test_images})[0]
    judged = (answer.argmax(axis=1) == test_labels).mean()
    print(f"{len(test_labels)} test images: {100 * own:.2f}% right here, {100 * judged:.2f}% by onnxruntime; "
          f"{os.path.getsize(path) / 1024:.0f} KB in digits.onnx")


if __name__ == "__main__":
    main()
