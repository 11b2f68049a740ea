# SPDX-License-Identifier: Apache-2.0
"""`tenon bench`: one measurement, against an earlier one, a sweep, and the table of several programs."""
import json
import os
import re
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from cli_tool import TOOL, fails, tenon


def test_bench_prints_latency_and_throughput(engine):
    out, err = tenon("bench", engine, "--runs", "20")
    assert err == "" and "20 runs in " in out and "x=4x1x8x8" in out
    assert re.search(r"latency +min .*, median .*, mean .*, p99 .*, max ", out)
    assert re.search(r"throughput +[\d.]+ runs a second, times 4", out)


def test_bench_as_json(digits, engine):
    j = json.loads(tenon("bench", engine, "--runs", "30", "--streams", "2", "--shape", "x=3x1x8x8", "--warmup", "1", "--json")[0])
    t = j["latency_ms"]
    assert j["runs"] == 60 and j["streams"] == 2 and j["shapes"] == {"x": [3, 1, 8, 8]} and j["profile"] == 0
    assert 0 < t["min"] <= t["median"] <= t["p99"] <= t["max"] and t["min"] <= t["mean"] <= t["max"]
    assert j["items_per_second"] == pytest.approx(3 * j["runs_per_second"])
    j = json.loads(tenon("bench", digits.path, "--seconds", "0.1", "--shape", "x=2x1x8x8", "--json")[0])
    assert j["runs"] >= 10 and j["shapes"] == {"x": [2, 1, 8, 8]}
    assert json.loads(tenon("bench", engine, "--use-profile", "1", "--runs", "3", "--json")[0])["shapes"] == {"x": [16, 1, 8, 8]}


def test_bench_steps_are_sorted_by_time(engine):
    steps = json.loads(tenon("bench", engine, "--runs", "3", "--profile", "--json")[0])["steps"]
    inspected = json.loads(tenon("inspect", engine, "--json")[0])["profiles"][0]["steps"]
    assert [(s["name"], s["tactic"]) for s in steps] == [(s["name"], s["tactic"]) for s in inspected]
    assert all(s["microseconds"] > 0 for s in steps)
    rows = tenon("bench", engine, "--runs", "3", "--profile")[0].split("share  tactic")[1].splitlines()[1:]
    times, shares = [float(r.split()[0]) for r in rows], [float(r.split()[1].rstrip("%")) for r in rows]
    assert len(rows) == len(steps) and times == sorted(times, reverse=True)
    assert sum(shares) == pytest.approx(100, abs=0.1 * len(rows))


def test_bench_refuses(digits, engine, tmp_path):
    fails("bench", engine, "--shape", "x=9x1x8x8", "--use-profile", "0", says=["'x'", "1..8"])
    fails("bench", engine, "--shape", "z=1x1x8x8", says=["'z'", "but 'x'"])
    fails("bench", engine, "--shape", "x=1x8", says=["'x'", "2 dimensions"])
    fails("bench", engine, "--shape", "x=1x1x8x8:2x1x8x8:3x1x8x8", code=2, says="one shape")
    fails("bench", engine, "--use-profile", "7", says="--use-profile 7")
    fails("bench", tmp_path / "none", says="none")
    fails("bench", digits.path, "--shape", "z=1x1x8x8", says="'z'")


def test_interrupt_ends_a_bench_with_its_report(engine):
    child = subprocess.Popen([TOOL, "bench", engine, "--seconds", "60", "--json"], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                             text=True)
    time.sleep(1)
    child.send_signal(signal.SIGINT)
    out, err = child.communicate(timeout=60)
    assert child.returncode == 0, err
    assert 0 < json.loads(out)["seconds"] < 30


# --- against --------------------------------------------------------------------------------------------------------

@pytest.fixture(scope="module")
def last(engine, tmp_path_factory):
    path = tmp_path_factory.mktemp("against") / "last.json"
    path.write_text(tenon("bench", engine, "--runs", "200", "--json")[0])
    return path


def scaled(last, tmp_path, factor, **more):
    """The report as if everything had taken `factor` times as long, with other entries in place of its own."""
    j = json.loads(last.read_text())
    t = j["latency_ms"]
    j["latency_ms"] = {k: [factor * r for r in v] if k == "rounds" else factor * v for k, v in t.items()}
    path = tmp_path / "scaled.json"
    path.write_text(json.dumps({**j, **more}))
    return path


def test_report_says_of_what_it_is(last):
    j = json.loads(last.read_text())
    assert j["model"] == {"inputs": {"x": "f32 4x1x8x8"}, "outputs": {"y": "f32"}} and j["device"] and j["tenon"]
    rounds = j["latency_ms"]["rounds"]
    assert len(rounds) == 10 and min(rounds) >= j["latency_ms"]["min"] and max(rounds) <= j["latency_ms"]["max"]


def test_against_passes_and_fails_by_the_ratio(engine, last, tmp_path):
    quick = scaled(last, tmp_path, 1000)
    out, err = tenon("bench", engine, "--runs", "100", "--against", quick, "--fail-if", "1.05")
    assert "not slower than 1.05 times; sure" in out and err == ""
    slow = scaled(last, tmp_path, 1e-5)
    out = tenon("bench", engine, "--runs", "100", "--against", slow, "--fail-if", "1.05", code=3)[0]
    assert "slower than 1.05 times, measured 4 times; sure" in out
    assert "times as long" in tenon("bench", engine, "--runs", "100", "--against", slow)[0]    # no limit, no judgement
    j = json.loads(tenon("bench", engine, "--runs", "100", "--against", slow, "--fail-if", "1.05", "--json", code=3)[0])["against"]
    assert j["slower"] is True and j["sure"] is True and j["limit"] == 1.05 and j["ratio"] == min(j["median_ratio"], j["min_ratio"]) > 5
    assert j["interval"][0] <= j["interval"][1]


def test_against_what_cannot_be_compared(engine, last, tmp_path):
    def refused(path, *says, words=(), code=1):
        out, err = tenon("bench", engine, "--runs", "20", "--against", path, *words, code=code)
        assert out == ""
        for part in says:
            assert part in err, err
    refused(scaled(last, tmp_path, 1, device="Abacus, 1 threads"), "measured on 'Abacus, 1 threads'", "two machines")
    refused(last, "input 'x' was f32 4x1x8x8 there, here it is f32 2x1x8x8", words=["--shape", "x=2x1x8x8"])
    refused(last, "--streams 1, this is 2", words=["--streams", "2"])
    refused(scaled(last, tmp_path, 1, model={"inputs": {"z": "f32 4"}, "outputs": {}}), "another model", "'x'")
    refused(scaled(last, tmp_path, 1, sweep={}), "it is a sweep")
    refused(scaled(last, tmp_path, 1, latency_ms={"min": 1, "median": 1}), "no rounds")
    refused(scaled(last, tmp_path, 1, latency_ms={"min": 1, "median": 1, "rounds": [0]}), "no time")
    refused(tmp_path / "none.json", "none.json")
    (tmp_path / "bad.json").write_text("{")
    refused(tmp_path / "bad.json", "bad.json")


# --- sweep ----------------------------------------------------------------------------------------------------------

def sweep_json(*words):
    return json.loads(tenon("bench", *words, "--seconds", "0.02", "--json")[0])


def test_sweep_of_a_model(digits):
    j = sweep_json(digits.path, "--sweep", "batch=1..6", "streams=1,2", "--level", "0")
    points = j["sweep"]["points"]
    assert [(p["batch"], p["streams"]) for p in points] == [(b, s) for s in (1, 2) for b in (1, 2, 4, 6)]
    for p in points:
        assert 0 < p["latency_ms"]["min"] <= p["latency_ms"]["median"] <= p["latency_ms"]["p99"] and p["runs"] >= 10
        assert p["samples_per_second"] == pytest.approx(1e3 / p["sample_ms"]) and 0 < p["arithmetic_share"] < 1.5 and p["memory_share"] > 0
    for s in 1, 2:                                                     # the rule of the knee, from the numbers themselves
        line = [p for p in points if p["streams"] == s]
        best = max(p["samples_per_second"] for p in line)
        assert [p["batch"] for p in line if p["knee"]] == [next(p["batch"] for p in line if p["samples_per_second"] >= 0.9 * best)]
    best = max(p["samples_per_second"] for p in points)
    good = [p for p in points if p["samples_per_second"] >= 0.97 * best]
    chosen = min(good, key=lambda p: p["latency_ms"]["p99"])
    assert j["sweep"]["best"] == {"batch": chosen["batch"], "streams": chosen["streams"]}
    why = j["sweep"]["why"]
    assert sum(why["shares"].values()) == pytest.approx(1, abs=0.02) and 0 <= why["fixed_ms"] <= why["latency_ms"]
    assert j["peak"]["f32_flops"] > 1e8 and j["peak"]["memory_bytes_per_second"] > 1e8
    assert set(j["sweep"]["sentences"]) == {"knee", "why", "streams", "best"}
    names = {s["name"] for s in json.loads(tenon("bench", digits.path, "--runs", "1", "--profile", "--json", "--level", "0")[0])["steps"]}
    assert {layer["name"] for layer in why["layers"]} <= names


def test_sweep_as_text(digits):
    out, err = tenon("bench", digits.path, "--sweep", "batch=1..4 streams=1,2", "--seconds", "0.02", "--level", "0", "--max-latency", "10s")
    assert err == ""
    table = out.split("samples/s")[1]
    assert len(re.findall(r"^ +\d+ +\d+ .*%", table, re.M)) == 6 and re.search(r"\bknee\b", table)
    assert "built for batch 1 to 4, tuned for 2" in out
    for start in "knee: batch ", "why: of a run at batch ", "streams: at batch 1", "best: batch ":
        assert re.search(rf"^{start}", out, re.M), start
    assert re.search(r"^why: .*(arithmetic|memory|launching)", out, re.M) and "within 10.0 s" in out
    out = tenon("bench", digits.path, "--sweep", "batch=1,2", "--seconds", "0.02", "--level", "0", "--max-latency", "0.001us")[0]
    assert "best: none keeps 0.00 us" in out and "nearest is batch" in out
    assert "streams:" not in out


def test_sweep_of_an_engine_takes_the_profiles_it_has(engine):
    j = sweep_json(engine, "--sweep", "batch=1,8,16,32")
    assert [p["batch"] for p in j["sweep"]["points"]] == [1, 8, 16, 32]
    err = fails("bench", engine, "--sweep", "batch=1..16", "--use-profile", "0", says=["no profile", "x=16x1x8x8"])
    assert "tenon inspect" in err
    fails("bench", engine, "--sweep", "batch=1,12", says=["no profile", "x=12x1x8x8", "tenon build --shape"])
    fails("bench", engine, "--sweep", "batch=1,8", "--tune-each", code=2, says="--tune-each is for models")


def test_sweep_with_a_profile_each(digits):
    j = sweep_json(digits.path, "--sweep", "batch=1,4", "--tune-each", "--level", "0")
    assert [p["batch"] for p in j["sweep"]["points"]] == [1, 4] and j["sweep"]["why"]["shares"]
    assert "tuned for" not in tenon("bench", digits.path, "--sweep", "batch=1,4", "--tune-each", "--level", "0", "--seconds", "0.02")[0]


@pytest.mark.skipif(not os.path.isdir(os.path.join(os.path.dirname(TOOL), "fake")), reason="the stand-in for a GPU is not built")
def test_sweep_and_table_on_a_gpu(digits, tmp_path):
    """On the stand-in, which computes nothing: what is asked of the device, not what it answers."""
    env = dict(os.environ, TENON_CUDA_PATH=os.path.join(os.path.dirname(TOOL), "fake"), TENON_CACHE_DIR=str(tmp_path))
    words = ["bench", digits.path, "--device", "cuda", "--level", "0", "--seconds", "0.02"]
    j = json.loads(tenon(*words, "--sweep", "batch=1..4", "streams=1,2", "--json", env=env)[0])
    assert len(j["sweep"]["points"]) == 6 and "SMs" in j["device"] and all(p["arithmetic_share"] > 0 for p in j["sweep"]["points"])
    assert j["peak"]["f32_flops"] > 0 and j["peak"]["half_flops"] == 2 * j["peak"]["tf32_flops"] and j["peak"]["memory_bytes_per_second"] > 0
    out = tenon(*words, "--table", "--python", sys.executable, env=env)[0]
    assert re.findall(r"^\| Tenon [\d.]+, (\w+) ", out, re.M) == ["TF32", "FP32"] and "CUDAExecutionProvider" in out


def test_sweep_of_streams_alone_and_of_fixed_shapes(digits, tmp_path):
    import onnx
    model = onnx.load(digits.path)
    for value in [*model.graph.input, *model.graph.output]:
        value.type.tensor_type.shape.dim[0].dim_value = 3
    onnx.save(model, tmp_path / "fixed.onnx")
    fails("bench", tmp_path / "fixed.onnx", "--sweep", "batch=1..4", says=["'x'", "3x1x8x8", "fixed", "dynamic_axes"])
    j = sweep_json(tmp_path / "fixed.onnx", "--sweep", "streams=1,2", "--level", "0")
    assert [(p["batch"], p["streams"], p["knee"]) for p in j["sweep"]["points"]] == [(3, 1, False), (3, 2, False)]


# --- table ----------------------------------------------------------------------------------------------------------

def test_table(digits):
    words = ["bench", digits.path, "--table", "--seconds", "0.08", "--level", "0", "--shape", "x=2x1x8x8", "--python", sys.executable]
    out, err = tenon(*words)
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in out.splitlines() if line.startswith("|")]
    assert rows[0] == ["Precision", "Latency", "Throughput", "Ratio", "Error"]
    names = [row[0] for row in rows[2:]]
    assert re.match(r"onnxruntime [\d.]+, FP32", names[-2]) and re.match(r"Tenon [\d.]+, FP32", names[-1])
    assert rows[2][3] == "1.00x" and all(float(row[4]) < 1e-4 for row in rows[2:])
    assert "PyTorch eager: " in out                                    # there it would need the model, here it is not installed
    j = json.loads(tenon(*words, "--json")[0])
    for row in j["table"]:
        assert row["items_per_second"] == pytest.approx(2e3 / row["latency_ms"])
        assert row["ratio"] == pytest.approx(j["table"][0]["latency_ms"] / row["latency_ms"])


def test_table_without_a_python(digits, tmp_path):
    out = tenon("bench", digits.path, "--table", "--seconds", "0.04", "--level", "0", "--python", tmp_path / "none",
                env=dict(os.environ, TMPDIR=str(tmp_path)))[0]
    assert len(re.findall(r"^\| Tenon ", out, re.M)) == 1 and "Not here: PyTorch, onnxruntime: " in out
    assert os.listdir(tmp_path) == []                                  # what was written for it is gone


def test_table_is_of_models(engine):
    fails("bench", engine, "--table", code=2, says="--table is for models")


def test_table_with_a_torch_module(digits, tmp_path):
    """PyTorch's part by a stand-in of the few names that are used: the real one is gigabytes."""
    (tmp_path / "torch.py").write_text("""
import numpy, onnxruntime
__version__, bfloat16 = "0.0+test", "bfloat16"
class jit: ScriptModule = type("ScriptModule", (), {})
class Tensor:
    def __init__(self, a): self.a = a
    def to(self, place): return self
    dtype = "float32"
    def cpu(self): return self
    def numpy(self): return self.a
class inference_mode:
    def __enter__(self): pass
    def __exit__(self, *e): pass
def from_numpy(a): return Tensor(a)
def set_num_threads(n): pass
def compile(m): raise RuntimeError("no compiler here")
""")
    (tmp_path / "mine.py").write_text(f"""
import onnxruntime, torch
class Net:
    session = onnxruntime.InferenceSession({digits.path!r}, providers=["CPUExecutionProvider"])
    def to(self, place): return self
    def eval(self): return self
    def __call__(self, x): return dict(y=torch.Tensor(self.session.run(None, dict(x=x.a))[0]))
def net(): return Net()
""")
    words = ["bench", digits.path, "--table", "--seconds", "0.04", "--level", "0", "--python", sys.executable]
    env = dict(os.environ, PYTHONPATH=str(tmp_path))
    out = tenon(*words, "--torch", "mine:net", cwd=tmp_path, env=env)[0]
    assert re.search(r"^\| PyTorch 0\.0 eager, FP32 \|.*\| 1\.00x \| [\d.]+e-0[5-9] \|$", out, re.M), out
    assert "PyTorch compile: it failed: RuntimeError: no compiler here" in out
    out = tenon(*words, "--torch", "nothing", cwd=tmp_path, env=env)[0]
    assert "PyTorch eager: --torch nothing: there is no such file" in out
