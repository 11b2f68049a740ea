# SPDX-License-Identifier: Apache-2.0
"""What the client tests share: the digits network, its test images and what onnxruntime answers."""
import os
import sys
from types import SimpleNamespace

import cli_tool
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


@pytest.fixture(scope="session")
def engine(digits, tmp_path_factory):
    """An engine of two profiles: batches 1 to 8, and 16 to 32."""
    path = tmp_path_factory.mktemp("cli") / "digits.engine"
    cli_tool.tenon("build", digits.path, "-o", path, "--device", "cpu", "--shape", "x=1x1x8x8:4x1x8x8:8x1x8x8",
                   "--profile", "--shape", "x=16x1x8x8:16x1x8x8:32x1x8x8")
    return path
