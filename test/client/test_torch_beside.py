# SPDX-License-Identifier: Apache-2.0
"""PyTorch brings a cuDNN of its own, which need not be the one that a build without PyTorch found and noted (cuda/library_note.c): a build
in PyTorch's process goes by the library that is open there, and its engine runs there. Needs a GPU and torch."""
import json
import os
import subprocess
import sys

import pytest

tenon = pytest.importorskip("tenon")

MODEL = os.path.join(os.path.dirname(__file__), "..", "..", "examples", "digits", "digits.onnx")
BUILD = """
import json, numpy, sys
torch = None
if {torch}:
    import torch
    x = torch.ones(1, 8, 8, 8, device="cuda", dtype=torch.float16)
    torch.nn.functional.conv2d(x, torch.ones(8, 8, 3, 3, device="cuda", dtype=torch.float16))  # opens its cuDNN
import tenon
engine = tenon.build({model!r}, device="cuda", profiles=[{{"x": ((1, 1, 8, 8), (1, 1, 8, 8), (1, 1, 8, 8))}}])
y = engine.run({{"x": numpy.ones((1, 1, 8, 8), numpy.float32)}})["y"]
print(json.dumps([numpy.asarray(y).astype(float).ravel().tolist(), torch and torch.backends.cudnn.version()]))
"""


def build(folder, with_torch):
    done = subprocess.run([sys.executable, "-c", BUILD.format(torch=with_torch, model=MODEL)], capture_output=True, text=True,
                          env=dict(os.environ, TENON_CACHE_DIR=str(folder)))
    assert done.returncode == 0, done.stderr[-2000:]
    return json.loads(done.stdout.splitlines()[-1])


def test_a_cudnn_of_torch_beside_a_noted_one(tmp_path):
    devices = {d["backend"]: d for d in tenon.list("devices")}
    if not devices.get("cuda", {}).get("available"):
        pytest.skip("no GPU: " + devices.get("cuda", {}).get("why", "not in this build")[:200])
    torch = pytest.importorskip("torch")
    if not torch.cuda.is_available():
        pytest.skip("torch sees no GPU")
    alone, _ = build(tmp_path, False)      # leaves its notes
    beside, version = build(tmp_path, True)
    again, _ = build(tmp_path, False)      # and is not misled by what torch had open
    assert version
    assert beside == pytest.approx(alone, rel=1e-2, abs=1e-2)
    assert again == pytest.approx(alone, rel=1e-2, abs=1e-2)
