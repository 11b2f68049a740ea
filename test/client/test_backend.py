# SPDX-License-Identifier: Apache-2.0
"""Which device an engine is built for: --device and its second name --backend, device= and backend=, and what `auto` takes. The
stand-in of test/fake is a GPU that computes nothing."""
import os
import subprocess
import sys

import pytest

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
