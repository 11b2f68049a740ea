# SPDX-License-Identifier: Apache-2.0
"""The other programs of `tenon bench --table`, which runs this file by itself: `python -c TEXT manifest.json`.

The manifest names the model, its inputs (.npy), threads, device, and where the outputs go. Every row, a program that could load
the network, is a line of JSON on standard output, {"row": name, "outputs": [files]}, or {"row": name, "absent": why}; a line
{"ready": true} ends them. Then each line `ROW SECONDS LEAST` on standard input is answered with the times of that many runs in
seconds. It needs numpy; torch, onnxruntime and onnx2torch are used where they are installed.
"""
import importlib
import json
import os
import sys
import time

import numpy as np


class Absent(Exception):
    pass


def need(name):
    try:
        return importlib.import_module(name)
    except ImportError as e:
        raise Absent(f"{name} is not installed for {sys.executable} ({e})") from None


def onnxruntime_row(job, inputs):
    """All graph optimisation, which is the default; on a GPU its inputs and outputs stay there, as Tenon's do."""
    ort = need("onnxruntime")
    options = ort.SessionOptions()
    options.log_severity_level = 3
    if job["threads"]:
        options.intra_op_num_threads = job["threads"]
    providers = ["CPUExecutionProvider"]
    if job["device"] != "cpu":
        if "CUDAExecutionProvider" not in ort.get_available_providers():
            raise Absent("this onnxruntime has no CUDAExecutionProvider (onnxruntime-gpu has)")
        providers = [("CUDAExecutionProvider", {"device_id": job["index"]}), "CPUExecutionProvider"]
    session = ort.InferenceSession(job["model"], options, providers=providers)
    if job["device"] == "cpu":
        return f"onnxruntime {ort.__version__}", lambda: session.run(None, inputs), list
    if session.get_providers()[0] != "CUDAExecutionProvider":
        raise Absent("its CUDAExecutionProvider cannot be loaded")
    binding = session.io_binding()
    for name, value in inputs.items():
        binding.bind_ortvalue_input(name, ort.OrtValue.ortvalue_from_numpy(value, "cuda", job["index"]))
    for output in session.get_outputs():
        binding.bind_output(output.name, "cuda", job["index"])

    def run():
        session.run_with_iobinding(binding)
        binding.synchronize_outputs()
        return binding
    return f"onnxruntime {ort.__version__}", run, lambda b: b.copy_outputs_to_cpu()


def torch_module(job, torch):
    """From a TorchScript file, a torch.export program, a function, or the ONNX file where a converter is installed."""
    spec = job["torch"]
    if spec is None:
        try:
            from onnx2torch import convert
        except ImportError:
            raise Absent("it cannot read ONNX: give the model with --torch FILE.pt, FILE.pt2 or MODULE:FUNCTION, or install "
                         "onnx2torch") from None
        return convert(job["model"])
    if spec.endswith(".pt2"):
        return torch.export.load(spec).module()
    if os.path.exists(spec):
        return torch.jit.load(spec, map_location="cpu")
    if ":" not in spec:
        raise Absent(f"--torch {spec}: there is no such file, and MODULE:FUNCTION has a colon")
    module, function = spec.rsplit(":", 1)
    sys.path.insert(0, os.getcwd())
    return getattr(importlib.import_module(module), function)()


def flatten(value):
    if isinstance(value, dict):
        value = list(value.values())
    if isinstance(value, (list, tuple)):
        return [part for item in value for part in flatten(item)]
    return [value]


class Torch:
    """Its module is loaded once, for both of its rows."""

    def __init__(self, job, inputs):
        self.job, self.inputs, self.module = job, inputs, None

    def row(self, compiled):
        torch = need("torch")
        gpu = self.job["device"] != "cpu"
        if gpu and not torch.cuda.is_available():
            raise Absent("this torch finds no GPU")
        place = f"cuda:{self.job['index']}" if gpu else "cpu"
        if self.job["threads"]:
            torch.set_num_threads(self.job["threads"])
        if self.module is None:
            self.module = torch_module(self.job, torch)
            if hasattr(self.module, "to"):
                self.module = self.module.to(place)
            if self.job["torch"] is None or not self.job["torch"].endswith(".pt2"):
                self.module.eval()                                   # an exported program has no modes
        if compiled and isinstance(self.module, torch.jit.ScriptModule):
            raise Absent("TorchScript is not compiled: give a torch.export program (.pt2) or MODULE:FUNCTION")
        module = torch.compile(self.module) if compiled else self.module
        values = [torch.from_numpy(v).to(place) for v in self.inputs.values()]

        def run():
            with torch.inference_mode():
                y = module(*values)
            if gpu:
                torch.cuda.synchronize()
            return y
        name = f"PyTorch {torch.__version__.split('+')[0]} {'compile' if compiled else 'eager'}"
        return name, run, lambda y: [(t.float() if t.dtype == torch.bfloat16 else t).cpu().numpy() for t in flatten(y)]


def measure(run, seconds, least):
    times, end = [], time.perf_counter() + seconds
    run()                                                            # caches and clocks
    while len(times) < least or time.perf_counter() < end:
        start = time.perf_counter()
        run()
        times.append(time.perf_counter() - start)
    return times


def main():
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)                                                    # what a program prints is no answer
    with open(sys.argv[1], encoding="utf-8") as f:
        job = json.load(f)
    inputs = {i["name"]: np.load(i["file"]) for i in job["inputs"]}
    torch_rows = Torch(job, inputs)
    runs = []
    for name, load in (("PyTorch eager", lambda: torch_rows.row(False)), ("PyTorch compile", lambda: torch_rows.row(True)),
                       ("onnxruntime", lambda: onnxruntime_row(job, inputs))):
        files = []
        try:
            name, run, arrays = load()
            outputs = arrays(run())
            name += {"float32": ", FP32", "float16": ", FP16"}.get(str(outputs[0].dtype) if outputs else "", "")
            for index, array in enumerate(outputs):
                files.append(os.path.join(job["folder"], f"{len(runs)}.{index}.npy"))
                np.save(files[-1], np.ascontiguousarray(array))
        except Exception as e:                                       # whatever goes wrong there, the other rows go on
            lines = [line for line in str(e).splitlines() if line.strip()] or [type(e).__name__]
            why = lines[0] if isinstance(e, Absent) else f"it failed: {type(e).__name__}: {lines[0]}"
            print(json.dumps({"row": name, "absent": why[:300]}), file=answers, flush=True)
            continue
        runs.append(run)
        print(json.dumps({"row": name, "outputs": files}), file=answers, flush=True)
    print(json.dumps({"ready": True}), file=answers, flush=True)
    for line in sys.stdin:
        row, seconds, least = line.split()
        print(json.dumps(measure(runs[int(row)], float(seconds), int(least))), file=answers, flush=True)


if __name__ == "__main__":
    main()
