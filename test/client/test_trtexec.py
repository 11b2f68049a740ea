# SPDX-License-Identifier: Apache-2.0
"""`trtexec` from outside: its lines as scripts read them, its flags, files and exit codes. TENON_TOOL: another build/tenon.

Every run takes the CPU (--cpuOnly), so that the lines are the same on machines with a GPU.
"""
import json
import os
import re
import signal
import subprocess
import time

import numpy as np
import onnx
import pytest
from onnx import TensorProto, helper, numpy_helper

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
TOOL = os.environ.get("TENON_TOOL", os.path.join(TOP, "build", "tenon"))
TRTEXEC = os.path.join(os.path.dirname(TOOL), "trtexec")
QUICK = ["--cpuOnly", "--duration=0", "--warmUp=1", "--iterations=12"]

# The flags of TensorRT's trtexec, versions 8.6 and 10, and what 11 added.
FLAGS = """
--onnx --uff --model --deploy --output --uffInput --uffNHWC
--maxBatch --minShapes --optShapes --maxShapes --minShapesCalib --optShapesCalib --maxShapesCalib --profile --calibProfile
--inputIOFormats --outputIOFormats --workspace --memPoolSize --profilingVerbosity --nvtxMode --minTiming --avgTiming --refit
--stripWeights --stripAllWeights --weightless --versionCompatible --vc --pluginInstanceNorm --pi --uint8AsymmetricQuantizationDLA
--reportCapabilityDLA --adjustForDLA --enablePluginOverride --useRuntime --leanDLLPath --excludeLeanRuntime --sparsity --noTF32
--fp16 --int8 --fp8 --best --bf16 --int4 --stronglyTyped --directIO --precisionConstraints --layerPrecisions --layerOutputTypes
--layerDeviceTypes --decomposableAttentions --calib --safe --consistency --restricted --buildDLAStandalone --allowGPUFallback
--saveEngine --loadEngine --asyncFileReader --getPlanVersionOnly --tacticSources --noBuilderCache --timingCacheFile
--noCompilationCache --errorOnTimingCacheMiss --heuristic --preview --builderOptimizationLevel --maxTactics
--tilingOptimizationLevel --l2LimitForTiling --hardwareCompatibilityLevel --runtimePlatform --tempdir --tempfileControls
--maxAuxStreams --allowWeightStreaming --refitFromOnnx --markDebug --markUnfusedTensorsAsDebugTensors --monitorMemory
--dumpKernelText --distributiveIndependence --remoteAutoTuningConfig --cpuOnly --explicitBatch --explicitPrecision --buildOnly
--tuneBuildRoutes --tuneBuildRouteFile --tuningSearch --tuningCacheFile --tuningResultFile --tuningTimeOut --saveAllEngines
--dryRun --continue --helpBuildRoute --setBuildRoute
--batch --shapes --loadInputs --iterations --warmUp --duration --sleepTime --idleTime --infStreams --streams --exposeDMA
--noDataTransfers --includeDataTransfers --useManagedMemory --threads --timeDeserialize --timeRefit --separateProfileRun
--skipInference --useSpinWait --noSpinWait --useCudaGraph --noCudaGraph --persistentCacheRatio --useProfile --allocationStrategy
--saveDebugTensors --saveAllDebugTensors --weightStreamingBudget --loadRefOutputs --accuracyAlgorithm --atol --rtol
--accuracyThreshold --refPair
--verbose --avgRuns --percentile --dumpRefit --dumpOutput --dumpRawBindingsToFile --dumpProfile --dumpLayerInfo
--dumpOptimizationProfile --exportTimes --exportOutput --exportProfile --exportLayerInfo
--device --useDLACore --staticPlugins --plugins --dynamicPlugins --setPluginsToSerialize --ignoreParsedPluginLibs --safetyPlugins
--help -h
""".split()


def table():
    """name: (kind, section, effect) of each row of trtexec.def."""
    with open(os.path.join(TOP, "tools", "trtexec.def"), encoding="utf-8") as f:
        rows = re.findall(r'^FLAG\("([^"]+)", (\w+), (\w+), (\w+), ', f.read(), re.M)
    assert len(rows) == len({row[0] for row in rows})
    return {name: rest for name, *rest in rows}


TABLE = table()


def trtexec(*words, code=0, program=None, **more):
    """(standard output, standard error); the exit code and the result lines must fit `code`."""
    command = [*(program or [TRTEXEC]), *map(str, words)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120, **more)
    assert done.returncode == code, f"{command}: exit code {done.returncode}\n{done.stdout}{done.stderr}"
    lines = done.stdout.splitlines()
    rest = "TensorRT.trtexec [TensorRT v100300] # " + " ".join(command)
    assert lines[0] == f"&&&& RUNNING {rest}"
    if "--help" not in words and "-h" not in words:
        assert lines[-1] == f"&&&& {'FAILED' if code else 'PASSED'} {rest}"
    return done.stdout, done.stderr


def fails(*words, says, **more):
    out, err = trtexec(*words, code=1, **more)
    for part in [says] if isinstance(says, str) else says:
        assert re.search(rf"^\[[^]]+\] \[E\] .*{re.escape(part)}", err, re.M), f"'{part}' is not in an error: {err}"
    return out, err


def messages(text, severity="I"):
    return re.findall(rf"^\[\d\d/\d\d/\d{{4}}-\d\d:\d\d:\d\d\] \[{severity}\] ?(.*)$", text, re.M)


@pytest.fixture(scope="session")
def engine(digits, tmp_path_factory):
    """Of two profiles: batches 1 to 8 tuned for 4, and 16."""
    path = tmp_path_factory.mktemp("trtexec") / "digits.engine"
    trtexec(f"--onnx={digits.path}", f"--saveEngine={path}", "--minShapes=x:1x1x8x8", "--optShapes=x:4x1x8x8",
            "--maxShapes=x:8x1x8x8",
            "--profile=1", "--optShapes=x:16x1x8x8", "--skipInference", "--cpuOnly", "--builderOptimizationLevel=0")
    return path


# --- flags ----------------------------------------------------------------------------------------------------------

def test_no_flag_is_missing():
    assert sorted(TABLE) == sorted(FLAGS)


def test_help_names_every_flag_with_its_effect():
    out = trtexec("--help")[0]
    assert trtexec("-h")[0].split("\n", 1)[1] == out.split("\n", 1)[1] and "&&&& PASSED" not in out
    titles = re.findall(r"^=== (.*) ===$", out, re.M)
    assert titles == ["Model Options", "Build Options", "Inference Options", "Reporting Options", "System Options", "Help"]
    for name, (_, _, effect) in TABLE.items():
        mark = {"WORKS": r"(?!\[)", "ACCEPTED": r"\[accepted\] ", "REFUSED": r"\[refused\] "}[effect]
        assert re.search(rf"^  {name}(=\S+)? +{mark}\S", out, re.M), name


def test_no_words_give_help_and_pass():
    assert "=== Build Options ===" in trtexec()[0]


def word(name):
    kind = TABLE[name][0]
    values = {"--precisionConstraints": "obey", "--layerPrecisions": "*:fp16", "--layerOutputTypes": "a:fp32+fp16",
              "--tacticSources": "+CUDNN,-CUBLAS", "--preview": "+profileSharing0806", "--allocationStrategy": "static"}
    if name in values:
        return f"{name}={values[name]}"
    return {"SWITCH": name, "OPTIONAL": name, "SHAPES": f"{name}=x:1x1x8x8"}.get(kind, f"{name}=1")


def test_accepted_flags_say_once_why_nothing_changes(digits):
    names = [name for name, row in TABLE.items() if row[2] == "ACCEPTED"]
    out, err = trtexec(f"--onnx={digits.path}", "--skipInference", "--shapes=x:1x1x8x8", "--builderOptimizationLevel=0",
                       "--cpuOnly",
                       *map(word, names))
    told = [message.split(" has no effect: ") for message in messages(err, "W") if " has no effect: " in message]
    assert [name for name, _ in told] == names and all(len(reason) > 10 for _, reason in told)


@pytest.mark.parametrize("name", [name for name, row in TABLE.items() if row[2] == "REFUSED"])
def test_refused_flags_say_why(name):
    out, err = fails("--onnx=m.onnx", word(name), says=name + ": ")
    assert "=== Help ===" in out and "[W]" not in err


def test_unknown_flags_are_all_told_with_the_nearest():
    out, err = fails("--onnx=m", "--fp61", "--saveEngin=e", "--zzzzzzzz=1", "-k", "word",
                     says=["Unknown option: --fp61", "--fp16", "Unknown option: --saveEngin e", "--saveEngine",
                           "Unknown option: --zzzzzzzz 1", "Unknown option: -k", "Unknown option: word"])
    assert err.count("Did you mean") == 2 and "=== Help ===" in out


@pytest.mark.parametrize("words, says", [
    (["--fp16"], "Model missing"),
    (["--onnx="], "--onnx needs a value"),
    (["--onnx=a", "--onnx=b"], "--onnx is given twice"),
    (["--loadEngine=e", "--saveEngine=f"], "exclude each other"),
    (["--onnx=m", "--iterations=many"], "--iterations=many"),
    (["--onnx=m", "--warmUp=-5"], "--warmUp=-5"),
    (["--onnx=m", "--duration=-2"], "--duration=-2"),
    (["--onnx=m", "--infStreams=0"], "--infStreams=0"),
    (["--onnx=m", "--streams=1", "--infStreams=1"], "same flag"),
    (["--onnx=m", "--avgRuns=0"], "--avgRuns=0"),
    (["--onnx=m", "--percentile=90,101"], "--percentile=90,101"),
    (["--onnx=m", "--percentile=half"], "--percentile=half"),
    (["--onnx=m", "--builderOptimizationLevel=6"], "0 to 5"),
    (["--onnx=m", "--memPoolSize=256"], "'256'"),
    (["--onnx=m", "--memPoolSize=workspace:-1"], "'workspace:-1'"),
    (["--onnx=m", "--memPoolSize=heap:1"], "Unknown memory pool 'heap'"),
    (["--onnx=m", "--workspace=x"], "--workspace=x"),
    (["--onnx=m", "--shapes=x"], "'x'"),
    (["--onnx=m", "--shapes=x:1x"], "'x:1x'"),
    (["--onnx=m", "--shapes=x:-1x8"], "'x:-1x8'"),
    (["--onnx=m", "--shapes=*a*:1"], "'*a*:1'"),
    (["--onnx=m", "--shapes=x:1,x:2"], "'x' twice"),
    (["--onnx=m", "--profile=1", "--optShapes=x:1"], "profile 0 has no shapes"),
    (["--onnx=m", "--profile=99", "--optShapes=x:1"], "--profile=99"),
    (["--onnx=m", "--sparsity=some"], "--sparsity=some"),
    (["--onnx=m", "--sparsity=force"], "--sparsity=force"),
    (["--onnx=m", "--profilingVerbosity=loud"], "--profilingVerbosity=loud"),
    (["--onnx=m", "--precisionConstraints=maybe"], "--precisionConstraints=maybe"),
    (["--onnx=m", "--layerPrecisions=a:fp99"], "Invalid type 'fp99'"),
    (["--onnx=m", "--layerPrecisions=a"], "name:type"),
    (["--onnx=m", "--layerDeviceTypes=a:DLA"], "no DLA"),
    (["--onnx=m", "--tacticSources=CUDNN"], "neither + nor -"),
    (["--onnx=m", "--tacticSources=+CUSTOM"], "Unknown tactic source: CUSTOM"),
    (["--onnx=m", "--hardwareCompatibilityLevel=ampere+"], "one kind of device"),
    (["--onnx=m", "--runtimePlatform=WindowsAMD64"], "WindowsAMD64"),
    (["--onnx=m", "--useRuntime=lean"], "building needs the full runtime"),
    (["--onnx=m", "--errorOnTimingCacheMiss"], "--timingCacheFile"),
    (["--onnx=m", "--noBuilderCache", "--timingCacheFile=t"], "exclude each other"),
    (["--onnx=m", "--getPlanVersionOnly"], "--loadEngine"),
])
def test_wrong_values(words, says):
    out, err = fails(*words, says=says)
    assert "=== Help ===" in out


# --- builds and runs ------------------------------------------------------------------------------------------------

def masked(text):
    text = re.sub(r"\d\d/\d\d/\d{4}-\d\d:\d\d:\d\d", "DATE", text)
    text = re.sub(r"(?<![HD])-?\d+(\.\d+)?(e[-+]\d+)?", "N", text)  # H2D and D2H are words
    return text.splitlines()


def test_a_run_from_start_to_end(digits, tmp_path):
    out, err = trtexec(f"--onnx={digits.path}", "--shapes=x:2x1x8x8", "--fp16", f"--saveEngine={tmp_path}/e", *QUICK)
    lines = [line[11:] for line in masked(out) if line.startswith("[DATE] [I] ") and "[TRT]" not in line]
    start = lines.index("TensorRT version: N.N")
    statistics = "min = N ms, max = N ms, mean = N ms, median = N ms" + 3 * ", percentile(N%) = N ms"
    assert lines[start:] == [
        "TensorRT version: N.N", "Tenon version: N.N", "Loading standard plugins", "Start parsing network model.",
        "Finished parsing network model. Parse time: N", "Engine built in N sec.", "Created engine with size: N MiB",
        "Layers take at most N MiB of workspace", "Using random values for input x",
        "Input binding for x with dimensions NxNxNxN is created.", "Output binding for y with dimensions NxN is created.",
        "Starting inference", "Warmup completed N queries over N ms", "Timing trace has N queries over N s", "",
        "=== Trace details ===", "Trace averages of N runs:",
        "Average on N runs - GPU latency: N ms - Host latency: N ms (enqueue N ms)", "", "=== Performance summary ===",
        "Throughput: N qps", f"Latency: {statistics}", f"Enqueue Time: {statistics}", f"H2D Latency: {statistics}",
        f"GPU Compute Time: {statistics}", f"D2H Latency: {statistics}", "Total Host Walltime: N s",
        "Total GPU Compute Time: N s",
        "Explanations of the performance metrics are printed in the verbose logs.", ""]
    titles = [line[4:-4] for line in lines[:start] if line.startswith("=== ")]
    assert titles == ["Model Options", "Build Options", "System Options", "Inference Options", "Reporting Options",
                      "Device Information"]
    said = messages(out)
    for line in ["Format: ONNX", f"Model: {digits.path}", "Max batch: explicit batch", "Precision: FP32+FP16", "Refit: Disabled",
                 "Input(s)s format: fp32:CHW", "Input build shape: x=2x1x8x8+2x1x8x8+2x1x8x8", "Input inference shape: x=2x1x8x8",
                 "Duration: 0s (+ 1ms warm up)", "Iterations: 12", "Percentiles: 90,95,99", "TensorRT version: 10.3.0"]:
        assert line in said, line
    assert any(re.fullmatch("other types are permitted, but all [1-9][0-9]* layers stay in f32, .*", m) for m in messages(err,
                                                                                                                          "W"))
    assert set(re.findall(r"^\[[^]]*\] \[(.)\]", err, re.M)) == {"W"}
    assert (tmp_path / "e").stat().st_size > 1000


def test_called_as_a_command_of_tenon(engine):
    out, _ = trtexec(f"--loadEngine={engine}", *QUICK, program=[TOOL, "trtexec"])
    assert "Throughput: " in out


def test_shapes_and_profiles(digits, engine):
    said = messages(trtexec(f"--loadEngine={engine}", "--shapes=x:7x1x8x8", "--dumpOptimizationProfile", *QUICK)[0])
    assert "Input binding for x with dimensions 7x1x8x8 is created." in said
    assert "Output binding for y with dimensions 7x10 is created." in said
    assert 'Input "x": min = 1x1x8x8, opt = 4x1x8x8, max = 8x1x8x8' in said
    assert 'Input "x": min = 16x1x8x8, opt = 16x1x8x8, max = 16x1x8x8' in said
    said = messages(trtexec(f"--loadEngine={engine}", "--useProfile=1", "--shapes='x':16x1x8x8", *QUICK)[0])
    assert "Input binding for x with dimensions 16x1x8x8 is created." in said
    fails(f"--loadEngine={engine}", "--shapes=x:9x1x8x8", *QUICK, says=["'x'", "1..8"])
    fails(f"--loadEngine={engine}", "--shapes=z:9x1x8x8", *QUICK, says='"z"')
    fails(f"--loadEngine={engine}", "--shapes=x:9", *QUICK, says="4 dimensions")
    fails(f"--loadEngine={engine}", "--useProfile=2", *QUICK, says="--useProfile=2")
    fails(f"--onnx={digits.path}", "--optShapes=z:9x1x8x8", *QUICK, says='"z"')
    fails(f"--onnx={digits.path}", "--minShapes=x:4x1x8x8", "--optShapes=x:2x1x8x8", *QUICK,
          says=["'x'", "axis 0", "could not be created"])
    assert "Input binding for x with dimensions 3x1x8x8 is created." in trtexec(
        f"--onnx={digits.path}", "--optShapes=*:3x1x8x8", "--builderOptimizationLevel=0", *QUICK)[0]


def test_io_formats_are_checked(digits):
    start = [f"--onnx={digits.path}", "--skipInference", "--cpuOnly", "--builderOptimizationLevel=0", "--shapes=x:1x1x8x8"]
    trtexec(*start, "--inputIOFormats=fp32:chw", "--outputIOFormats=fp32:chw+hwc")
    fails(*start, "--inputIOFormats=fp16:chw", says=["'x' is f32"])
    fails(*start, "--inputIOFormats=fp32:hwc8", says=["'x' is dense"])
    fails(*start, "--outputIOFormats=fp32:round", says="Invalid format 'round'")
    fails(*start, "--outputIOFormats=fp32", says="Invalid format 'fp32'")
    fails(*start, "--outputIOFormats=fp32:chw,fp32:chw", says="2 formats")


def transposed_conv(path):
    """Its fast tactics need workspace."""
    weight = np.random.default_rng(0).standard_normal((16, 24, 4, 4)).astype(np.float32)
    node = helper.make_node("ConvTranspose", ["x", "w"], ["y"], name="up", strides=[2, 2], pads=[1, 1, 1, 1])
    graph = helper.make_graph([node], "g", [helper.make_tensor_value_info("x", TensorProto.FLOAT, [1, 16, 14, 14])],
                              [helper.make_tensor_value_info("y", TensorProto.FLOAT, [1, 24, 28, 28])],
                              [numpy_helper.from_array(weight, "w")])
    onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), path)


def test_workspace_is_obeyed_or_the_layer_is_named(tmp_path):
    transposed_conv(tmp_path / "m.onnx")
    for mib in 0, 1, 256:
        out, err = trtexec(f"--onnx={tmp_path}/m.onnx", "--skipInference", "--cpuOnly", f"--memPoolSize=workspace:{mib}")
        most = float(re.search(r"Layers take at most (\S+) MiB of workspace", out)[1])
        assert f"Memory Pools: workspace: {mib} MiB," in out and most <= mib
        assert ("'up' runs on the slow reference" in err) == (mib == 0)
        if mib == 0:
            assert re.search(r"needs \d+ bytes of workspace, 0 are permitted", err)
        else:
            assert most > 0
    assert "workspace: 0.5 MiB" in trtexec(f"--onnx={tmp_path}/m.onnx", "--skipInference", "--cpuOnly", "--workspace=0.5")[0]
    assert "workspace: 2 MiB" in trtexec(f"--onnx={tmp_path}/m.onnx", "--skipInference", "--memPoolSize=workspace:2048K",
                                         "--cpuOnly")[0]


def test_timing_cache(digits, tmp_path):
    start = [f"--onnx={digits.path}", "--skipInference", "--cpuOnly", "--shapes=x:1x1x8x8", f"--timingCacheFile={tmp_path}/t",
             "--builderOptimizationLevel=1"]
    fails(*start, "--errorOnTimingCacheMiss", says="not in the timing cache")
    said = messages(trtexec(*start, "--errorOnTimingCacheMiss", "--buildOnly")[0])
    assert any(re.search("[1-9][0-9]* entries, 0 of them new", line) for line in said)


def test_files_that_are_wrong(digits, engine, tmp_path):
    (tmp_path / "bad").write_bytes(engine.read_bytes()[:200])
    fails(f"--loadEngine={tmp_path}/none", *QUICK, says=["none", "No such file"])
    fails(f"--loadEngine={tmp_path}/bad", *QUICK, says="deserialization failed")
    fails(f"--onnx={tmp_path}/none.onnx", *QUICK, says=["none.onnx", "Failed to parse onnx file"])
    fails(f"--onnx={digits.path}", "--shapes=x:1x1x8x8", "--skipInference", "--cpuOnly", "--builderOptimizationLevel=0",
          f"--saveEngine={tmp_path}/no/e", says="no/e")
    fails(f"--loadEngine={engine}", f"--exportTimes={tmp_path}/no/t.json", *QUICK, says=["no/t.json", "No such file"])


def test_inputs_and_outputs(digits, engine, tmp_path):
    digits.images[:3].tofile(tmp_path / "x.raw")
    start = [f"--loadEngine={engine}", "--shapes=x:3x1x8x8", *QUICK]
    out, _ = trtexec(*start, f"--loadInputs=x:{tmp_path}/x.raw", f"--exportOutput={tmp_path}/o.json", "--dumpOutput",
                     "--dumpRawBindingsToFile", cwd=tmp_path)
    (row,) = json.loads((tmp_path / "o.json").read_text())
    assert row["name"] == "y" and row["dimensions"] == "3x10"
    assert np.allclose(np.reshape(row["values"], (3, 10)), digits.logits[:3], atol=1e-3)
    assert np.allclose(np.fromfile(tmp_path / "y.output.3.10.Float.raw", np.float32).reshape(3, 10), digits.logits[:3], atol=1e-3)
    assert np.array_equal(np.fromfile(tmp_path / "x.input.3.1.8.8.Float.raw", np.float32).reshape(3, 1, 8, 8), digits.images[:3])
    said = messages(out)
    at = said.index("y: (3x10)")
    assert said[at - 1] == "Output Tensors:" and np.allclose(np.array(said[at + 1].split(), float), digits.logits[:3].ravel(),
                                                             atol=1e-3)
    fails(*start, "--loadInputs=x:none.raw", says=["none.raw", "No such file"])
    fails(*start, f"--loadInputs=z:{tmp_path}/x.raw", says="0 of 1 entries")
    digits.images[:2].tofile(tmp_path / "x.raw")
    fails(*start, f"--loadInputs=x:{tmp_path}/x.raw", says=["x.raw", "768 bytes", "fewer"])


def statistics(values, percentiles):
    """trtexec's own rule, beside the usual mean and median."""
    order, n = sorted(values), len(values)
    half = (order[n // 2] + order[(n - 1) // 2]) / 2
    return [order[0], order[-1], sum(order) / n, half] + [order[max(n - 1 - int((1 - p / 100) * n), 0)] for p in percentiles]


def test_times_and_statistics(engine, tmp_path):
    out, _ = trtexec(f"--loadEngine={engine}", "--cpuOnly", "--duration=0", "--warmUp=2", "--iterations=45", "--avgRuns=15",
                     "--percentile=0,50,99.5,100", f"--exportTimes={tmp_path}/t.json")
    rows = json.loads((tmp_path / "t.json").read_text())
    assert len(rows) == 45 and all(list(row) == [
        "startEnqMs", "endEnqMs", "startH2dMs", "endH2dMs", "startComputeMs", "endComputeMs", "startD2hMs", "endD2hMs", "h2dMs",
        "computeMs", "d2hMs", "latencyMs"] for row in rows)
    for row in rows:
        assert row["startComputeMs"] >= 2 and row["computeMs"] > 0
        assert row["latencyMs"] == pytest.approx(row["h2dMs"] + row["computeMs"] + row["d2hMs"])
    for title, key in ("Latency", "latencyMs"), ("GPU Compute Time", "computeMs"), ("H2D Latency", "h2dMs"):
        line = next(m for m in messages(out) if m.startswith(title + ": "))
        got = [float(value) for value in re.findall(r" = (\S+) ms", line)]
        assert got == pytest.approx(statistics([row[key] for row in rows], [0, 50, 99.5, 100]), rel=1e-5, abs=1e-9)
    assert out.count("Average on 15 runs - ") == 3
    throughput = float(re.search(r"Throughput: (\S+) qps", out)[1])
    assert throughput == pytest.approx(1e3 * 45 / (rows[-1]["endD2hMs"] - rows[0]["startH2dMs"]), rel=1e-3)


def test_streams(engine, tmp_path):
    out, err = trtexec(f"--loadEngine={engine}", *QUICK, "--infStreams=2", "--threads", "--noDataTransfers", "--useCudaGraph",
                       f"--exportTimes={tmp_path}/t.json")
    rows = json.loads((tmp_path / "t.json").read_text())
    assert len(rows) >= 24 and {row["h2dMs"] for row in rows} == {0.0}
    assert all(row["endEnqMs"] > row["startEnqMs"] for row in rows)
    assert "Data transfers: Disabled" in out and "Multiple inference streams" in err


def test_profile_of_the_layers(engine, tmp_path):
    start = [f"--loadEngine={engine}", *QUICK, "--dumpProfile", f"--exportProfile={tmp_path}/p.json"]
    for more in [], ["--separateProfileRun"]:
        out, _ = trtexec(*start, *more)
        assert ("=== Performance summary ===" in out) == bool(more)
        count, *layers = json.loads((tmp_path / "p.json").read_text())
        assert count["count"] >= 12 and layers
        assert all(list(layer) == ["name", "timeMs", "averageMs", "medianMs", "percentage"] for layer in layers)
        assert sum(layer["percentage"] for layer in layers) == pytest.approx(100)
        assert all(layer["averageMs"] == pytest.approx(layer["timeMs"] / count["count"]) for layer in layers)
        said = messages(out)
        at = said.index(f"=== Profile ({count['count']} iterations ) ===")
        assert said[at + 1].split() == ["Time(ms)", "Avg.(ms)", "Median(ms)", "Time(%)", "Layer"]
        assert [line.split()[-1] for line in said[at + 2:at + 3 + len(layers)]] == [layer["name"] for layer in layers] + ["Total"]
        assert re.fullmatch(r" *\d+\.\d\d +\d+\.\d{4} +\d+\.\d{4} +100\.0   Total", said[at + 2 + len(layers)])


def test_layer_information(engine, tmp_path):
    start = [f"--loadEngine={engine}", *QUICK, f"--exportLayerInfo={tmp_path}/l.json"]
    said = messages(trtexec(*start, "--dumpLayerInfo")[0])
    names = json.loads((tmp_path / "l.json").read_text())
    assert list(names) == ["Layers", "Bindings"] and names["Bindings"] == ["x", "y"] and names["Layers"]
    at = said.index("Layer Information:")
    assert said[at + 1:at + 5 + len(names["Layers"])] == ["Layers:", *names["Layers"], "Bindings:", "x", "y"]
    trtexec(*start, "--profilingVerbosity=detailed")
    layers = json.loads((tmp_path / "l.json").read_text())["Layers"]
    assert [layer["Name"] for layer in layers] == names["Layers"]
    for layer in layers:
        assert {"LayerType", "Inputs", "Outputs", "TacticName", "TacticValue", "StreamId", "Metadata"} <= set(layer)
        for tensor in layer["Inputs"] + layer["Outputs"]:
            assert list(tensor) == ["Name", "Location", "Dimensions", "Format/Datatype"] and "FP32" in tensor["Format/Datatype"]
    conv = next(layer for layer in layers if layer.get("ParameterType") == "Convolution")
    assert (conv["Kernel"], conv["Stride"], conv["Dilation"], conv["PrePadding"], conv["PostPadding"]) == (
        [3, 3], [1, 1], [1, 1], [1, 1], [1, 1])
    assert (conv["OutMaps"], conv["Groups"], conv["HasBias"], conv["HasReLU"]) == (24, 1, 1, 1)
    assert conv["Weights"] == {"Type": "Float", "Count": 24 * 9} and conv["Bias"] == {"Type": "Float", "Count": 24}
    assert conv["Inputs"][0]["Name"] == "x" and conv["Inputs"][0]["Dimensions"] == [-1, 1, 8, 8]
    pool = next(layer for layer in layers if layer.get("ParameterType") == "Pooling")
    assert pool["PoolingType"] == "MAX" and pool["WindowSize"] == [2, 2] and pool["Stride"] == [2, 2]
    trtexec(*start, "--profilingVerbosity=none")
    assert json.loads((tmp_path / "l.json").read_text())["Layers"] == []


def test_loading_is_timed(engine):
    said = messages(trtexec(f"--loadEngine={engine}", "--timeDeserialize", "--cpuOnly")[0])
    for what in r"Engine loaded in \S+ sec\.", r"Engine deserialized in \S+ sec\.", \
            r"First deserialization time = \S+ milliseconds\.", \
            r"Total deserialization time = \S+ milliseconds in \d+ iterations, .*", r"Deserialization Bandwidth = \S+ GB/s":
        assert any(re.fullmatch(what, line) for line in said), what
    assert any("Tenon" in line for line in messages(trtexec(f"--loadEngine={engine}", "--getPlanVersionOnly")[0])[-1:])


def test_verbose_explains_and_shows_the_library(digits):
    start = [f"--onnx={digits.path}", "--shapes=x:1x1x8x8", "--builderOptimizationLevel=0", *QUICK]
    assert messages(trtexec(*start)[0], "V") == []
    said = messages(trtexec(*start, "--verbose")[0], "V")
    assert any(line.startswith("[TRT] ") for line in said) and any(line.startswith("Throughput: ") for line in said)


def test_refit_is_kept(digits, tmp_path):
    trtexec(f"--onnx={digits.path}", "--shapes=x:1x1x8x8", "--refit", f"--saveEngine={tmp_path}/e", "--skipInference",
            "--cpuOnly",
            "--builderOptimizationLevel=0")
    out = subprocess.run([TOOL, "inspect", tmp_path / "e", "--json"], capture_output=True, text=True, check=True).stdout
    assert json.loads(out)["refittable"] is True


def test_an_endless_run_ends_with_its_report(engine):
    child = subprocess.Popen([TRTEXEC, f"--loadEngine={engine}", "--cpuOnly", "--warmUp=1", "--duration=-1", "--idleTime=2"],
                             stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    time.sleep(0.7)
    child.send_signal(signal.SIGINT)
    out, err = child.communicate(timeout=60)
    assert child.returncode == 0, err
    assert "Throughput: " in out and float(re.search(r"Throughput: (\S+) qps", out)[1]) < 500 and "&&&& PASSED" in out


def test_lost_output_is_a_failure():
    with open("/dev/full", "w") as full:
        done = subprocess.run([TRTEXEC, "--help"], stdout=full, stderr=subprocess.PIPE, text=True, timeout=60)
    assert done.returncode == 1


def test_readme_names_runs_that_work(digits, tmp_path):
    with open(os.path.join(TOP, "README.md"), encoding="utf-8") as f:
        lines = re.findall(r"^    build/trtexec (.*)$", f.read(), re.M)
    (tmp_path / "model.onnx").write_bytes(open(digits.path, "rb").read())
    assert len(lines) == 2
    for line in lines:
        trtexec(*line.split(), "--cpuOnly", *(["--skipInference"] if "--saveEngine" in line else QUICK[1:]), cwd=tmp_path)


def test_types_are_counted(tmp_path):
    """A model in f16 has the type that is permitted; one with a comparison has layers of another type than f32."""
    def said(kind, op, flag):
        result = TensorProto.BOOL if op == "Less" else kind
        graph = helper.make_graph([helper.make_node(op, ["x", "x"], ["y"])], "g",
                                  [helper.make_tensor_value_info("x", kind, [2, 3])],
                                  [helper.make_tensor_value_info("y", result, [2, 3])])
        onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), tmp_path / "m.onnx")
        out, err = trtexec(f"--onnx={tmp_path}/m.onnx", "--skipInference", "--cpuOnly", "--builderOptimizationLevel=0", flag)
        return messages(out) + messages(err, "W")
    assert "1 layers by the type of the first result: 1 in f16" in said(TensorProto.FLOAT16, "Add", "--fp16")
    assert "other types are permitted, but no layer has them: of 1 layers 1 in f16" in said(TensorProto.FLOAT16, "Add", "--int8")
    assert "other types are permitted, but no layer has them: of 1 layers 1 in bool" in said(TensorProto.FLOAT, "Less", "--best")
    assert "other types are permitted, but all 1 layers stay in f32, the type that the model has" in said(
        TensorProto.FLOAT, "Mul", "--bf16")
