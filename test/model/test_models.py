# SPDX-License-Identifier: Apache-2.0
"""Whole networks: each built, run and compared with what onnxruntime answered, and the plan held to its bounds.

Without more: ResNet-50 as bench/resnet50.py writes it, and the digits network. TENON_TEST_MODELS=all: every model of
bench/models.py under build/models; or a comma-separated list of them. judge.py does the work, once for each model, in a process
of its own that gives its memory back.
"""
import functools
import json
import os
import subprocess
import sys

import pytest

HERE = os.path.dirname(os.path.abspath(__file__))
TOP = os.path.dirname(os.path.dirname(HERE))
MODELS = os.path.join(TOP, "build", "models")
SECONDS = 900

# Both engines sum float32 products in orders of their own, and the difference grows with depth: 6e-7 in the three layers of
# digits, 2e-5 in ResNet-50, 4e-5 in BERT. Twice that is allowed; another input, or 1% in one layer, moves each output by
# a hundred times as much.
# YOLO11n with random weights magnifies: 1% in one layer moves its classes by two deviations, rounding by 1e-3.
TOLERANCE, TOLERANCE_OF = 8e-5, {"yolo11n": 2e-3}
SENSITIVE = 100

# Where 1% in one layer cannot move the outputs by a hundred tolerances (0.8%), by how many it must. A block of a residual network
# adds to a stream that the other blocks have filled: 1% of one of its layers is a smaller part of the stream, and normalisations
# behind it keep that ratio. Convolutional networks with BatchNorm magnify in every layer what an earlier one did, so there the
# first and the middle layer do hold.
#   bert_base      the first and the middle layer are queries, which act through the softmax, and normalisation follows each sum;
#                  the pooled output sees one token of that
#   vit_b_16, convnext_tiny  the middle layer is one of about fifty that add to the stream
#   yolo11n        the middle layer feeds one of three heads; its tolerance is 25 times that of the others
DILUTED = {("bert_base", "first"): 5, ("bert_base", "middle"): 5, ("vit_b_16", "middle"): 50, ("convnext_tiny", "middle"): 30,
           ("yolo11n", "middle"): 10}

# Steps of a plan for AVX-512, conversions counted, timed or not: what the architecture needs. A convolution takes BatchNorm,
# activation and residual with it.
#   resnet50       53 convolutions, 2 poolings, product; one to spare
#   bert_base, vit_b_16  7 a layer (queries with keys and values, attention, projection, two products, two normalisations); 6
#   convnext_tiny  18 blocks of depthwise convolution, normalisation, two products; stem 2; three transitions of 2; pool,
#                  normalisation, product
#   yolo11n        88 convolutions, 3 poolings, 2 resizes, attention, the boxes' softmax, 3 steps that decode boxes; 14 copies or
#                  conversions at most, where a part of a join has other readers and where the maps of the heads become rows
BOUNDS = {"resnet50": 57, "mobilenet_v3_large": 66, "efficientnet_b0": 84, "bert_base": 7 * 12 + 6, "vit_b_16": 7 * 12 + 6,
          "convnext_tiny": 4 * 18 + 2 + 6 + 3, "yolo11n": 98 + 14, "digits": 6}
MEMORY_RATIO = 1.10


def wanted():
    names = os.environ.get("TENON_TEST_MODELS", "")
    if names == "all":
        sys.path.insert(0, os.path.join(TOP, "bench"))
        import models
        return ["digits"] + [".".join(one) for one in models.everything()]
    return names.split(",") if names else ["digits", "resnet50.numpy.static1", "resnet50.numpy.dynamic"]


def path_of(name):
    """The model's file; ResNet-50 of numpy is written if it is not there, the others need PyTorch."""
    if name == "digits":
        return os.path.join(TOP, "examples", "digits", "digits.onnx")
    path = os.path.join(MODELS, name + ".onnx")
    if not os.path.exists(path) or not os.path.exists(path[:-5] + ".npz"):
        model, exporter, batch = name.split(".")
        assert exporter == "numpy", f"{path} is missing: ./dev test --all makes it"
        subprocess.run([sys.executable, os.path.join(TOP, "bench", "models.py"), "--out", MODELS, "--model", model, "--exporter",
                        exporter, "--batch", batch], check=True, capture_output=True)
    return path


@functools.cache
def judged(name):
    command = [sys.executable, os.path.join(HERE, "judge.py"), path_of(name)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=SECONDS)
    if done.returncode != 0:
        return {"failure": f"judge.py ended with {done.returncode}\n{done.stderr[-3000:]}"}
    return json.loads(done.stdout.splitlines()[-1])


@pytest.fixture(params=wanted())
def verdict(request):
    result = judged(request.param)
    if "failure" in result:
        pytest.fail(result["failure"], pytrace=False)
    return dict(result, model=request.param)


def tolerance(verdict):
    return TOLERANCE_OF.get(verdict["model"].split(".")[0], TOLERANCE)


def test_agrees(verdict):
    for build, told in verdict["builds"].items():
        for output, error in told["errors"].items():
            assert error < tolerance(verdict), f"{build}: {output} is off by {error:.2g} of its deviation"


def test_is_sensitive(verdict):
    for output, moved in verdict["moved by input"].items():
        wanted = SENSITIVE * tolerance(verdict)
        assert moved > wanted, f"{output} moves by {moved:.2g} of its deviation when the input is another"
    for place, told in verdict["moved by layer"].items():
        wanted = DILUTED.get((verdict["model"].split(".")[0], place), SENSITIVE) * tolerance(verdict)
        for output, moved in told["moved"].items():
            assert moved > wanted, f"{output} moves by {moved:.2g} of its deviation when {told['layer']} ({place}) changes by 1%"


def test_steps(verdict):
    if "avx512" not in verdict["isa"]:
        pytest.skip("the bounds are those of AVX-512")
    bound = BOUNDS[verdict["model"].split(".")[0]]
    for build, told in verdict["builds"].items():
        for profile in told["profiles"]:
            assert profile["steps"] <= bound, f"{build}: {profile['steps']} steps, {profile['conversions']} of them conversions"


def test_no_step_is_left_to_the_reference(verdict):
    for build, told in verdict["builds"].items():
        for profile in told["profiles"]:
            assert profile["references"] == 0, f"{build}: " + "; ".join(profile["slow"])


def test_memory(verdict):
    for build, told in verdict["builds"].items():
        for profile in told["profiles"]:
            assert profile["ratio"] <= MEMORY_RATIO, f"{build}: the block is {profile['ratio']:.3f} times its lower bound"
