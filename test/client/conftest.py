# SPDX-License-Identifier: Apache-2.0
"""What the client tests share: the digits network, its test images and what onnxruntime answers."""
import os
import sys
from types import SimpleNamespace

import onnxruntime
import pytest

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
sys.path[:0] = [os.path.join(TOP, "examples", "digits"), os.path.join(TOP, "python")]


@pytest.fixture(scope="session")
def digits():
    """path, images (n, 1, 8, 8), labels (n,), logits (n, 10) by onnxruntime."""
    import train
    path = os.path.join(TOP, "examples", "digits", "digits.onnx")
    images, labels = train.load()[2:]
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return SimpleNamespace(path=path, images=images, labels=labels, logits=session.run(None, {"x": images})[0])
