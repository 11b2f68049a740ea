# SPDX-License-Identifier: Apache-2.0
"""Whole networks, Tenon against other engines on this CPU: `./dev bench peers`.

Each engine runs in a process of its own, which loads the network and then runs it when told over a pipe; all but the one measured
are stopped (SIGSTOP), since some keep threads spinning. Engines take turns in an order that rotates; a turn is a warm-up and some
kept runs, and the fastest of all kept runs counts. Tenon is entered twice: if the two differ by more than 3%, the machine was too
noisy, and the table says so.

    python bench/peers.py [--models resnet50,vit_b_16] [--exporter ts] [--threads N] [--rounds 8] [--runs 5] [--what NAME]

The table goes to bench/results/DATE-NAME-cpu.md. Engines and the timing cache are kept under build/peers.
"""
import argparse
import contextlib
import datetime
import importlib.metadata
import importlib.util
import json
import os
import signal
import subprocess
import sys
import time

TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
MODELS, OUT = os.path.join(TOP, "build", "models"), os.path.join(TOP, "build", "peers")
ALL = "resnet50,mobilenet_v3_large,efficientnet_b0,vit_b_16,convnext_tiny,bert_base,yolo11n"
AGREE = 0.03
LEAST_KEPT = 40
sys.path.insert(0, os.path.join(TOP, "python"))


# --- the worker: one engine, one network ----------------------------------------------------------------------------

def load_onnxruntime(path, threads):
    """Default graph optimisation, which is all of it; as many threads as Tenon has."""
    import onnxruntime
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    session = onnxruntime.InferenceSession(path, options, providers=["CPUExecutionProvider"])
    names = [o.name for o in session.get_outputs()]
    return lambda feeds: dict(zip(names, session.run(None, feeds)))


def load_openvino(path, threads):
    """Tuned for the latency of one request, in float32 as the others."""
    import openvino
    core = openvino.Core()
    settings = {"PERFORMANCE_HINT": "LATENCY", "INFERENCE_NUM_THREADS": threads, "INFERENCE_PRECISION_HINT": "f32"}
    compiled = core.compile_model(path, "CPU", settings)
    request = compiled.create_infer_request()
    return lambda feeds: {out.get_any_name(): value for out, value in request.infer(feeds).items()}


def load_tenon(path, threads):
    import tenon
    engine = os.path.join(OUT, f"{os.path.basename(path)[:-5]}.{threads}.engine")
    return tenon.load(engine).run


LOADERS = {"onnxruntime": load_onnxruntime, "openvino": load_openvino, "tenon": load_tenon, "tenon-again": load_tenon}


def work(kind, path, threads):
    """Answers each line, a number of runs, with their times in seconds; the line "check" with the error against the stored
    answer."""
    import numpy as np
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)                                   # what an engine prints is no answer
    data = np.load(path[:-5] + ".npz")
    feeds = {k[6:]: data[k] for k in data if k.startswith("input.")}
    run = LOADERS[kind](path, threads)
    for line in sys.stdin:
        if line.strip() == "check":
            outputs = run(feeds)
            answer = max(float(np.abs(outputs[k[7:]] - data[k]).max() / data[k].std()) for k in data if k.startswith("output."))
        else:
            answer = []
            for _ in range(int(line)):
                start = time.perf_counter()
                run(feeds)
                answer.append(time.perf_counter() - start)
        print(json.dumps(answer), file=answers, flush=True)


class Worker:
    """A worker process, which is stopped but for when it is asked something."""

    def __init__(self, kind, path, threads):
        command = [sys.executable, os.path.abspath(__file__), "--work", kind, path, str(threads)]
        self.kind, self.times = kind, []
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.error = self.ask("check")

    def ask(self, what):
        self.process.send_signal(signal.SIGCONT)
        print(what, file=self.process.stdin, flush=True)
        line = self.process.stdout.readline()
        if not line:
            sys.exit(f"peers: {self.kind} ended with {self.process.wait()}")
        self.process.send_signal(signal.SIGSTOP)
        return json.loads(line)

    def turn(self, runs):
        self.ask(2)                                 # caches and clocks
        self.times += self.ask(runs)

    def close(self):
        self.process.send_signal(signal.SIGCONT)
        with contextlib.suppress(BrokenPipeError):  # it may have ended by itself
            self.process.stdin.close()
        self.process.wait()


# --- the rounds -----------------------------------------------------------------------------------------------------

def build_engine(path, threads):
    """Tenon's engine, built anew in a process of its own with a timing cache that is kept; gives the seconds it took."""
    target = os.path.join(OUT, f"{os.path.basename(path)[:-5]}.{threads}.engine")
    code = ("import sys, time, tenon\nstart = time.perf_counter()\n"
            "tenon.build(sys.argv[1], device='cpu', threads=int(sys.argv[2]), timing_cache=sys.argv[4]).save(sys.argv[3])\n"
            "print(time.perf_counter() - start)")
    command = [sys.executable, "-c", code, path, str(threads), target, os.path.join(OUT, "peers.timing")]
    environment = dict(os.environ, PYTHONPATH=os.path.join(TOP, "python"))
    return float(subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True).stdout.splitlines()[-1])


def measure(path, kinds, threads, rounds, runs):
    workers = []
    try:
        for kind in kinds:
            workers.append(Worker(kind, path, threads))
        for round_ in range(rounds):
            shift = round_ % len(workers)
            for worker in workers[shift:] + workers[:shift]:
                worker.turn(runs)
    finally:
        for worker in workers:
            worker.close()
    return {w.kind: (min(w.times), sorted(w.times)[len(w.times) // 2], len(w.times), w.error) for w in workers}


def cpu_name():
    with open("/proc/cpuinfo", encoding="utf-8") as f:
        return next((line.split(":")[1].strip() for line in f if line.startswith("model name")), "unknown")


def version_of(kind):
    if kind.startswith("tenon"):
        import tenon
        command = ["git", "describe", "--always", "--dirty"]
        revision = subprocess.run(command, cwd=TOP, capture_output=True, text=True).stdout.strip()
        return f"{tenon.version} ({revision or 'no revision'})"
    return importlib.metadata.version(kind)


def heading(args, kinds):
    versions = ", ".join(f"{k} {version_of(k)}" for k in kinds if k != "tenon-again")
    load = os.getloadavg()[0]
    return [f"# Whole networks, float32, batch 1: {args.what}", "",
            f"{datetime.date.today()}, {cpu_name()}, {args.threads} of {len(os.sched_getaffinity(0))} cores, load "
            f"{load:.1f} at the start; {versions}; Python {sys.version.split()[0]}.",
            f"Each engine in its own process, the others stopped, order rotating; the fastest of {args.rounds * args.runs} kept "
            f"runs in {args.rounds} rounds, the median of them in brackets. Ratio: onnxruntime's time over the engine's.",
            "Error: greatest difference from the stored answer of onnxruntime, relative to its deviation. tenon-again is the "
            "same engine once more.", "",
            "| network | engine | ms | ratio | error | note |", "| --- | --- | ---: | ---: | ---: | --- |"]


def lines_of(model, found, build_s):
    base = found["onnxruntime"][0]
    ours, again = found["tenon"][0], found["tenon-again"][0]
    apart = abs(ours - again) / min(ours, again)
    for kind, (best, median, count, error) in found.items():
        note = f"built in {build_s:.1f} s" if kind == "tenon" else ""
        if kind == "tenon-again":
            note = f"{100 * apart:.1f}% apart" + (": NOISY, more than 3%" if apart > AGREE else "")
        yield f"| {model} | {kind} | {1e3 * best:.3f} ({1e3 * median:.3f}) | {base / best:.2f} | {error:.1e} | {note} |"


def main():
    parser = argparse.ArgumentParser(description="Tenon against other engines, whole networks")
    parser.add_argument("--models", default=ALL, help="comma-separated; default: all seven")
    parser.add_argument("--exporter", default="ts", choices=("ts", "dynamo", "numpy"))
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)))
    parser.add_argument("--rounds", type=int, default=8)
    parser.add_argument("--runs", type=int, default=5, help="kept runs of a turn")
    parser.add_argument("--what", default="peers", help="name of the table")
    parser.add_argument("--work", nargs=3, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.work:
        return work(args.work[0], args.work[1], int(args.work[2]))
    if args.rounds * args.runs < LEAST_KEPT:
        parser.error(f"{args.rounds} rounds of {args.runs} runs: at least {LEAST_KEPT} runs are kept of each engine")
    os.makedirs(OUT, exist_ok=True)
    kinds = ["onnxruntime", "tenon", "tenon-again"]
    if importlib.util.find_spec("openvino"):
        kinds.insert(1, "openvino")
    lines = heading(args, kinds)
    print("\n".join(lines), flush=True)
    for model in args.models.split(","):
        path = os.path.join(MODELS, f"{model}.{args.exporter}.static1.onnx")
        if not os.path.exists(path):
            sys.exit(f"peers: {path} is missing: python bench/models.py makes it")
        build_s = build_engine(path, args.threads)
        for line in lines_of(model, measure(path, kinds, args.threads, args.rounds, args.runs), build_s):
            print(line, flush=True)
            lines.append(line)
    target = os.path.join(TOP, "bench", "results", f"{datetime.date.today()}-{args.what}-cpu.md")
    os.makedirs(os.path.dirname(target), exist_ok=True)
    with open(target, "w", encoding="utf-8") as f:
        f.write("\n".join(lines) + "\n")
    print(f"written to {os.path.relpath(target, TOP)}")


if __name__ == "__main__":
    main()
