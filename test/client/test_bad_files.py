# SPDX-License-Identifier: Apache-2.0
"""Files that are not what they are taken for, and files that cannot be written: exit code 1, a message that names the file and says
what to do, and nothing half-written. By the commands, in processes of their own. TENON_TOOL: another build/tenon."""
import os
import pickle
import resource
import signal
import struct
import subprocess
import zipfile

import numpy as np
import pytest

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
TOOL = os.environ.get("TENON_TOOL", os.path.join(TOP, "build", "tenon"))
TRTEXEC = os.path.join(os.path.dirname(TOOL), "trtexec")
REBUILD = "`tenon build model.onnx -o model.engine`"


def run(*words, tool=TOOL, **more):
    return subprocess.run([tool, *map(str, words)], capture_output=True, text=True, timeout=120, **more)


def fails(*words, says, **more):
    done = run(*words, **more)
    told = done.stdout + done.stderr
    assert done.returncode == 1, f"{words}: exit code {done.returncode}\n{told}"
    for part in says:
        assert part in told, f"'{part}' is not in: {told}"


@pytest.fixture(scope="session")
def engine(digits, tmp_path_factory):
    path = tmp_path_factory.mktemp("bad") / "digits.engine"
    assert run("build", digits.path, "-o", path, "--no-timing", "--device", "cpu").returncode == 0
    return path


# --- made by others -------------------------------------------------------------------------------------------------

def state(engine, key="engine"):
    return pickle.dumps({"weight": list(range(100)), key: bytearray(engine), "input_names": ["x"], "output_names": ["y"]}, protocol=2)


def torch_zip(path, data):
    """As torch.save writes it: entries are stored as they are, data.pkl first."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_STORED) as z:
        z.writestr("archive/data.pkl", data)
        z.writestr("archive/version", "3\n")


def write_plan(path, magic=b"ptrt"):
    path.write_bytes(magic + bytes(range(256)) * 20)


def write_legacy_state(path):
    begin = pickle.dumps(0x1950a86a20f9469cfc6c, protocol=2) + pickle.dumps(1001, protocol=2)
    path.write_bytes(begin + state(b"ptrt" + bytes(2000)))


FOREIGN = {
    "plan": (write_plan, ["TensorRT engine", REBUILD]),
    "newer plan": (lambda path: write_plan(path, b"ftrt"), ["TensorRT engine", REBUILD]),
    "torch2trt": (lambda path: torch_zip(path, state(b"ptrt" + bytes(range(256)) * 300)), ["torch2trt", "torch.onnx.export", REBUILD]),
    "torch2trt in a module": (lambda path: torch_zip(path, state(b"ftrt" + bytes(500), "neck.engine")), ["torch2trt", REBUILD]),
    "torch2trt, before zip": (write_legacy_state, ["torch2trt", "torch.onnx.export", REBUILD]),
    "checkpoint": (lambda path: torch_zip(path, pickle.dumps({"engine_speed": [1.0], "w": 2}, protocol=2)), ["PyTorch", REBUILD]),
}


@pytest.mark.parametrize("kind", FOREIGN)
def test_files_of_others(kind, digits, tmp_path):
    path, made = tmp_path / "theirs.bin", tmp_path / "made.engine"
    write, says = FOREIGN[kind]
    write(path)
    for words in ["run", path], ["bench", path], ["inspect", path], ["build", path, "-o", made]:
        fails(*words, says=[str(path), *says])
    fails(f"--loadEngine={path}", tool=TRTEXEC, says=[str(path), *says])
    fails("build", digits.path, "-o", made, "--no-timing", "--timing-cache", path, says=[str(path), "not a timing cache", *says])
    assert not made.exists()
    if "checkpoint" in kind:
        assert "torch2trt" not in run("inspect", path).stderr


@pytest.mark.parametrize("data", [b"\x00" * 100, b"some other cache\n" * 20, b"tenon-timing-cache 2 0123456789abcdef\n", b"x"])
def test_timing_caches_of_others(data, digits, tmp_path):
    path, made = tmp_path / "their.cache", tmp_path / "made.engine"
    path.write_bytes(data)
    fails("build", digits.path, "-o", made, "--timing-cache", path, says=[str(path), "not a timing cache of Tenon", "delete it"])
    assert not made.exists() and path.read_bytes() == data


def test_an_engine_of_another_cpu(engine):
    if "avx2" not in open("/proc/cpuinfo", encoding="utf-8").read():
        pytest.skip("this CPU has no AVX2, so its engines run everywhere")
    scalar = dict(os.environ, TENON_ISA="scalar")
    for command in "run", "bench", "inspect":
        fails(command, engine, env=scalar, says=[str(engine), "built for a CPU with", "avx2", "build it again here"])
    fails(f"--loadEngine={engine}", tool=TRTEXEC, env=scalar, says=["built for a CPU with", "build it again here"])


def test_an_engine_of_the_scalar_cpu_runs_everywhere(digits, tmp_path):
    path = tmp_path / "scalar.engine"
    assert run("build", digits.path, "-o", path, "--no-timing", "--device", "cpu", env=dict(os.environ, TENON_ISA="scalar")).returncode == 0
    assert run("bench", path, "--runs", "1").returncode == 0


@pytest.mark.parametrize("version", [0, 2, 1 << 31])
def test_an_engine_of_another_version(version, engine, tmp_path):
    path, data = tmp_path / "other.engine", bytearray(engine.read_bytes())
    struct.pack_into("<I", data, 8, version)
    path.write_bytes(data)
    fails("run", path, says=[str(path), f"engine format {version}", "build the engine again"])


# --- that cannot be written -----------------------------------------------------------------------------------------

def small_files():
    """Files may have 1 KB, as if the disk were full behind it."""
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1024, 1024))


def test_a_full_disk(digits, engine, tmp_path):
    made, cache, x, y = (tmp_path / name for name in ("made.engine", "times", "x.npy", "y.npy"))
    np.save(x, digits.images[:1])
    limited = {"preexec_fn": small_files, "cwd": tmp_path}
    fails("build", digits.path, "-o", made, "--no-timing", **limited, says=[str(made), "File too large"])
    fails("build", digits.path, "-o", "/dev/full", "--no-timing", says=["/dev/full", "No space left", "another place"])
    fails("build", digits.path, "-o", made, "--level", "1", "--timing-cache", "/dev/full", says=["/dev/full"])
    assert sorted(os.listdir(tmp_path)) in ([x.name], [made.name, x.name])   # an engine that was saved before is whole
    made.unlink(missing_ok=True)
    fails("run", engine, "--input", f"x={x}", "--output", "y=/dev/full", says=["/dev/full", "No space left"])
    fails("build", digits.path, "-o", tmp_path / "none" / "made.engine", "--no-timing", says=["none/made.engine", "No such file"])
    assert not cache.exists() and os.listdir(tmp_path) == [x.name]


def test_outputs_are_whole_or_not_there(tmp_path):
    from onnx import TensorProto, helper, save
    graph = helper.make_graph([helper.make_node("Neg", ["x"], ["y"])], "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, [4096])],
                              [helper.make_tensor_value_info("y", TensorProto.FLOAT, [4096])])
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), tmp_path / "neg.onnx")
    np.save(tmp_path / "x.npy", np.ones(4096, np.float32))
    limited = {"preexec_fn": small_files, "cwd": tmp_path}
    fails("run", "neg.onnx", "--input", "x=x.npy", "--output", "y=y.npy", **limited, says=["y.npy", "File too large"])
    for flag in "--exportOutput=y.json", "--dumpRawBindingsToFile":
        fails("--onnx=neg.onnx", "--iterations=1", "--duration=0", "--warmUp=0", flag, tool=TRTEXEC, **limited, says=["File too large"])
    assert sorted(os.listdir(tmp_path)) == ["neg.onnx", "x.npy"]
