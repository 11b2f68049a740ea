# SPDX-License-Identifier: Apache-2.0
"""Which device an engine is built for: --device and its second name --backend, device= and backend=, and what `auto` takes. The
stand-in of test/fake is a GPU that computes nothing."""
import os
import subprocess
import sys

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

import tenon
from test_cli import TOOL, fails
from test_cli import tenon as command

FAKE = os.path.join(os.path.dirname(TOOL), "fake")
CACHE = {"TENON_CACHE_DIR": ""}
GPU = {"TENON_CUDA_PATH": FAKE, "TENON_CUDA_ABSENT": "cudnn,cublaslt", **CACHE}
NO_DRIVER = {"TENON_CUDA_ABSENT": "driver", **CACHE}
NO_COMPILER = {"TENON_CUDA_PATH": FAKE, "TENON_CUDA_ABSENT": "nvrtc", **CACHE}
OFFLINE = {"TENON_CUDA_OFFLINE": "90", **CACHE}


@pytest.fixture
def build(digits, tmp_path):
    """What the command says of a build in that environment: (standard output, standard error)."""
    def run(environment, *options):
        clean = {k: v for k, v in os.environ.items() if k not in ("TENON_CUDA_PATH", "TENON_CUDA_ABSENT", "TENON_CUDA_OFFLINE")}
        return command("build", digits.path, "-o", tmp_path / "e", "--no-timing", "--shape", "x=1x1x8x8", *options,
                       env=clean | environment)
    return run


@pytest.mark.parametrize("options, device", [((), "cuda"), (("--device", "auto"), "cuda"), (("--backend=auto",), "cuda"),
                                             (("--backend", "cpu"), "cpu"), (("--backend=cuda",), "cuda"), (("--device=cpu",), "cpu")])
def test_a_gpu_is_taken_unless_the_cpu_is_asked_for(build, options, device):
    assert f" for {device}, " in build(GPU, *options)[0]


def test_without_a_driver_the_cpu_is_taken_and_the_log_says_why(build):
    out, err = build(NO_DRIVER)
    assert " for cpu, " in out and err == ""
    out, err = build({**NO_DRIVER, "TENON_LOG": "device"})
    assert "auto: cuda is passed over: " in err and "libcuda.so.1" in err and "auto: the engine is for " in err


def test_a_gpu_that_cannot_be_built_for_is_passed_over_aloud(build):
    out, err = build(NO_COMPILER)
    assert " for cpu, " in out
    assert "warning" in err and "auto: cuda is passed over: " in err and "nvidia-cuda-nvrtc" in err


def test_a_gpu_that_is_not_here_is_no_choice_of_auto(build):
    assert " for cpu, " in build(OFFLINE)[0]


def test_one_name_of_the_option_at_a_time(digits):
    fails("build", digits.path, "-o", "e", "--device", "cpu", "--backend", "cpu", code=2, says="--device is given twice")
    fails("build", digits.path, "-o", "e", "--backend", "abacus", code=2, says=["abacus", "cpu, cuda"])


def test_an_engine_runs_on_its_own_device(build, tmp_path):
    build(NO_DRIVER)
    fails("bench", tmp_path / "e", "--backend", "cuda", code=2, says="is an engine, made for one device")
    assert "cpu" in command("inspect", tmp_path / "e", env=os.environ | GPU)[0]
    command("bench", tmp_path / "e", "--seconds", "0.01", env=os.environ | GPU)    # where auto would take the GPU


def test_keywords(digits):
    assert tenon.build(digits.path, backend="cpu", timing=False).inspect()["backend"] == "cpu"
    with pytest.raises(tenon.InvalidError, match="the same option"):
        tenon.build(digits.path, device="cpu", backend="cpu")
    with pytest.raises(tenon.InvalidError, match="abacus"):
        tenon.build(digits.path, backend="abacus")
    program = f"import tenon; print(tenon.build({digits.path!r}, timing=False).inspect()['backend'])"
    for environment, device in ((GPU, "cuda"), (NO_DRIVER, "cpu")):
        done = subprocess.run([sys.executable, "-c", program], env=os.environ | environment, capture_output=True, text=True)
        assert done.stdout == device + "\n", done.stderr


@pytest.fixture
def far_taps(tmp_path):
    """A convolution that no kernel of a GPU does, between two nodes that some do."""
    nodes = [helper.make_node("Relu", ["x"], ["r"]), helper.make_node("Conv", ["r", "w"], ["c"], dilations=[5000]),
             helper.make_node("Softmax", ["c"], ["y"], axis=2)]
    graph = helper.make_graph(nodes, "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 2, 6000])],
                              [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 3, 1000])],
                              [numpy_helper.from_array(np.ones((3, 2, 2), np.float32), "w")])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), tmp_path / "m.onnx")
    return tmp_path / "m.onnx"


def test_steps_on_the_host_are_told_listed_and_refused(far_taps, tmp_path):
    environment = os.environ | GPU
    start = ["build", far_taps, "-o", tmp_path / "e", "--no-timing", "--backend", "cuda"]
    out, err = command(*start, env=environment)
    assert ", 1 on the host), " in out
    assert "runs on the host, between copies, by cpu.conv_f32" in err
    out = command("inspect", tmp_path / "e", "--steps", env=environment)[0]
    row, = [line.split() for line in out.splitlines() if "(host, synchronises)" in line]
    assert row[2].startswith("cpu.conv_f32") and f", 1 on the host (steps {row[0]}), where the device waits" in out
    fails(*start, "--strict", says=["strict: 1 of", "cuda.conv_direct: "], env=environment)
