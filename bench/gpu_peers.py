# SPDX-License-Identifier: Apache-2.0
"""Whole networks on a GPU, Tenon against PyTorch: eager mode in a CUDA graph, and torch.compile.

    python bench/gpu_peers.py [--models resnet50,bert_base] [--batch 1,128] [--precision f16,f32] [--ours-only | --skip-peer] [--ahead]

Weights are random (bench/models.py), the ONNX file is exported from the very network that the peers run: float16 weights, or
float32 with TF32 forbidden to all. Everybody runs on device memory in one stream; a sample is the time between two CUDA events
around one run, the figure is the median of --runs samples after a warm-up, in rounds that take turns. Convolutional networks are
channels-last in PyTorch. Errors are greatest differences from PyTorch in float32 relative to the result's deviation.

With --ahead every network gets a process of its own. All of them set up their peers side by side, which is slow; then they are told
one by one to build and measure, so nothing else goes on on their GPU. Several GPUs share the networks.

Prints one JSON object a line for each network, and a table at the end. Peers' times are kept in --peers (a file of such objects,
by device), from where --skip-peer takes them. The library is TENON_LIBRARY, or that of build/gpu, or of build.
"""
import argparse
import copy
import ctypes
import glob
import json
import os
import re
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import warnings

import models

TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
ALL = "resnet50,mobilenet_v3_large,efficientnet_b0,convnext_tiny,vit_b_16,bert_base"
TRANSFORMERS = ("vit_b_16", "bert_base")
ROUNDS, WARM = 5, 10
START = time.perf_counter()


# --- our library, by its C interface --------------------------------------------------------------------------------------------

P = ctypes.c_void_p


class Library:
    """libtenon and a session of it; a failed call raises with the library's message."""

    def __init__(self):
        names = [os.path.join(TOP, "build", *n) for n in (("gpu", "libtenon.so"), ("libtenon.so",))]
        found = os.environ.get("TENON_LIBRARY") or next((n for n in names if os.path.exists(n)), None)
        if not found:
            sys.exit("gpu_peers: no libtenon.so: ./dev build makes it, or TENON_LIBRARY names it")
        self.c = ctypes.CDLL(found)
        for name in ("tenon_cx_message", "tenon_config_message", "tenon_context_message"):
            getattr(self.c, name).restype = ctypes.c_char_p
        self.cx = P()
        self.check(self.c.tenon_cx_create(None, ctypes.byref(self.cx)))

    def check(self, status, message="tenon_cx_message", of=None):
        if status:
            text = getattr(self.c, message)(of or self.cx) if self.cx else b""
            raise RuntimeError(f"tenon: {(text or b'').decode()}")

    def build(self, path, cache_path, level, tf32):
        """An engine of the model, and the seconds that it took."""
        c, cx = self.c, self.cx
        network, config, cache, engine = P(), P(), P(), P()
        start = time.perf_counter()
        self.check(c.tenon_network_read_file(cx, path.encode(), None, ctypes.byref(network)))
        self.check(c.tenon_config_create(cx, ctypes.byref(config)))
        self.check(c.tenon_timing_cache_load(cx, cache_path.encode(), ctypes.byref(cache)))
        for status in (c.tenon_config_set_device(config, b"cuda", 0), c.tenon_config_set_optimization_level(config, level),
                       c.tenon_config_set_tf32(config, ctypes.c_bool(tf32)), c.tenon_config_set_timing_cache(config, cache)):
            self.check(status, "tenon_config_message", config)
        self.check(c.tenon_build(cx, network, config, ctypes.byref(engine)))
        self.check(c.tenon_timing_cache_save(cx, cache, cache_path.encode()))
        seconds = time.perf_counter() - start
        c.tenon_timing_cache_destroy(ctypes.byref(cache))
        c.tenon_config_destroy(ctypes.byref(config))
        c.tenon_network_destroy(ctypes.byref(network))
        return engine, seconds

    def inspect(self, engine):
        """The engine's description, JSON."""
        out = ctypes.c_char_p()
        self.check(self.c.tenon_engine_inspect(self.cx, engine, ctypes.byref(out)))
        text = out.value.decode()
        self.c.tenon_text_free(self.cx, ctypes.byref(out))
        return text

    def tactics(self, engine):
        """How many steps each tactic does."""
        count = {}
        for step in re.findall(r'"tactic": ?"([^"]*)"', self.inspect(engine)):
            count[step] = count.get(step, 0) + 1
        return count

    def runner(self, engine, feeds, outputs, stream):
        """What enqueues one run on these tensors in this stream of PyTorch's."""
        c, context, wrapped = self.c, P(), P()
        self.check(c.tenon_context_create(self.cx, engine, None, ctypes.byref(context)))
        for name, tensor in list(feeds.items()) + list(outputs.items()):
            size = ctypes.c_size_t(tensor.numel() * tensor.element_size())
            status = c.tenon_context_set_address(context, name.encode(), P(tensor.data_ptr()), size)
            self.check(status, "tenon_context_message", context)
        self.check(c.tenon_stream_wrap(self.cx, engine, P(stream.cuda_stream), ctypes.byref(wrapped)))

        def run():
            self.check(c.tenon_context_enqueue(context, wrapped), "tenon_context_message", context)

        def close():
            c.tenon_stream_destroy(ctypes.byref(wrapped))
            c.tenon_context_destroy(ctypes.byref(context))
            c.tenon_engine_destroy(ctypes.byref(engine))
        return run, close


# --- networks and peers ---------------------------------------------------------------------------------------------------------

class Case:
    """One network at one batch size and precision, its inputs on the GPU and what PyTorch answers in float32."""

    def __init__(self, torch, model, batch, precision):
        self.torch, self.model, self.batch, self.precision = torch, model, batch, precision
        net = models.make_network(model, False)
        feeds = {k: torch.from_numpy(v) for k, v in models.make_inputs(model, 11, batch).items()}
        self.half = precision == "f16"
        self.feeds = {k: (models.half(v) if self.half else v).cuda() for k, v in feeds.items()}
        wide = copy.deepcopy(net).cuda()
        with torch.no_grad():
            self.want = self.tensors(wide(*(v.float() if v.is_floating_point() else v for v in self.feeds.values())))
        self.net = (net.half() if self.half else net).cuda()

    def tensors(self, y):
        return dict(zip(models.output_names(self.model), y if isinstance(y, tuple) else (y,)))

    def error(self, outputs):
        return max(float((outputs[k].float() - v).abs().max() / v.std()) for k, v in self.want.items())

    def export(self, folder):
        path = os.path.join(folder, f"{self.model}.{self.batch}.{self.precision}.onnx")
        models.export(self.model, self.net, self.feeds, "ts", False, path)
        return path

    def file(self, args, end):
        return os.path.join(args.keep, f"{self.model}.{self.batch}.{self.precision}.{end}")

    def peer_inputs(self):
        """As PyTorch likes them best."""
        last = self.torch.channels_last
        images = self.model not in TRANSFORMERS
        net = copy.deepcopy(self.net).to(memory_format=last) if images else self.net
        return net, [v.contiguous(memory_format=last) if images and v.dim() == 4 else v for v in self.feeds.values()]


def eager_graph(case, stream):
    """Eager PyTorch, captured."""
    torch = case.torch
    net, inputs = case.peer_inputs()
    with torch.no_grad(), torch.cuda.stream(stream):
        for _ in range(3):
            net(*inputs)
        stream.synchronize()
        graph = torch.cuda.CUDAGraph()
        with torch.cuda.graph(graph, stream=stream):
            y = net(*inputs)

    def run(keep=(net, inputs)):        # the graph reads their memory
        graph.replay()
    return run, case.tensors(y)


def compiled(case, stream):
    """torch.compile, weights frozen, with its own CUDA graphs."""
    torch = case.torch
    import torch._inductor.config as inductor
    inductor.freezing = True
    torch._dynamo.reset()
    net, inputs = case.peer_inputs()
    net = torch.compile(net, mode="reduce-overhead")
    answer = {}

    def run():
        answer.clear()                              # a result that somebody holds keeps its CUDA graph from being used again
        torch.compiler.cudagraph_mark_step_begin()
        answer["y"] = net(*inputs)
    with torch.no_grad(), torch.cuda.stream(stream):
        for _ in range(4):
            run()
    stream.synchronize()
    return run, case.tensors(answer["y"])


def ours(library, case, stream, args, path):
    torch = case.torch
    outputs = {k: torch.zeros_like(v, dtype=torch.float16 if case.half else v.dtype) for k, v in case.want.items()}
    engine, seconds = library.build(path, args.cache, args.level, False)
    tell(f"built in {seconds:.1f} s")
    if args.keep:
        with open(case.file(args, "engine.json"), "w", encoding="utf-8") as f:
            f.write(library.inspect(engine))
    tactics = library.tactics(engine)
    run, close = library.runner(engine, case.feeds, outputs, stream)
    return run, close, outputs, seconds, tactics


def tell(what):
    """Where it is: the output is for the results."""
    print(f"[{time.perf_counter() - START:6.1f} s] {what}", file=sys.stderr, flush=True)


# --- measuring ------------------------------------------------------------------------------------------------------------------

def sample(torch, stream, run, count):
    """Milliseconds of runs, each between two events."""
    events = [(torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)) for _ in range(count)]
    with torch.no_grad(), torch.cuda.stream(stream):
        for begin, end in events:
            begin.record(stream)
            run()
            end.record(stream)
    stream.synchronize()
    return [begin.elapsed_time(end) for begin, end in events]


def measure(torch, stream, runs, count):
    """Medians in milliseconds by name, in rounds that take turns."""
    times = {name: [] for name in runs}
    for run in runs.values():
        sample(torch, stream, run, WARM)
    for _ in range(ROUNDS):
        for name, run in runs.items():
            times[name] += sample(torch, stream, run, -(-count // ROUNDS))
    return {name: statistics.median(t) for name, t in times.items()}


def set_up_peers(case, stream, args, result):
    """What runs each peer, by name; how long it took to set up and how far off it is go to the result."""
    runs = {}
    for name, make in (("eager", eager_graph), ("compile", compiled))[: 1 if args.eager_only else 2]:
        try:
            start = time.perf_counter()
            run, outputs = make(case, stream)
            run()
            stream.synchronize()
            result[f"{name}_setup_s"] = time.perf_counter() - start
            result[f"{name}_error"] = case.error(outputs)
            tell(f"{name} ready")
            runs[name] = run
        except Exception as error:  # a peer that cannot is a line of the table, not the end of it
            result[f"{name}_fails"] = str(error)[:400]
    return runs


def wait_for_turn():
    """Until the parent process gives the word."""
    print("ready", flush=True)
    sys.stdin.readline()


def trace(torch, stream, run, path):
    """Writes what each kernel of one run takes, in the order of their starts: microseconds, gap before it, grid, block, name."""
    from torch.profiler import ProfilerActivity, profile
    with profile(activities=[ProfilerActivity.CUDA]) as profiler, torch.no_grad(), torch.cuda.stream(stream):
        for _ in range(3):
            run()
            stream.synchronize()
    with tempfile.TemporaryDirectory() as folder:
        profiler.export_chrome_trace(os.path.join(folder, "t.json"))
        with open(os.path.join(folder, "t.json"), encoding="utf-8") as f:
            events = [e for e in json.load(f)["traceEvents"] if e.get("cat") in ("kernel", "gpu_memcpy", "gpu_memset")]
    events = sorted(events, key=lambda e: e["ts"])
    events, end = events[-(len(events) // 3):], None
    with open(path, "w", encoding="utf-8") as f:
        for e in events:
            gap = 0 if end is None else e["ts"] - end
            end = e["ts"] + e["dur"]
            f.write(f"{e['dur']:9.2f} {gap:8.2f} {e['args'].get('grid')} {e['args'].get('block')} {e['name'][:120]}\n")


def one(torch, library, model, batch, precision, args, known):
    result = {"model": model, "batch": batch, "precision": precision, "device": torch.cuda.get_device_name()}
    key = tuple(result.values())
    result["torch"] = torch.__version__
    case = Case(torch, model, batch, precision)
    stream = torch.cuda.Stream()
    runs, close = {}, None
    with tempfile.TemporaryDirectory() as folder:
        path = case.export(folder) if library else None
        tell(f"{model}, batch {batch}, {precision}: the network is there")
        peers = {} if args.ours_only or args.skip_peer else set_up_peers(case, stream, args, result)
        if args.turn:
            wait_for_turn()
        if library:
            try:
                run, close, outputs, result["build_s"], result["tactics"] = ours(library, case, stream, args, path)
                run()
                stream.synchronize()
                result["ours_error"] = case.error(outputs)
                runs["ours"] = run
            except RuntimeError as error:
                result["ours_fails"] = str(error)[:400]
    runs.update(peers)
    result.update({f"{name}_ms": ms for name, ms in measure(torch, stream, runs, args.runs).items()})
    if args.keep:
        for name, run in runs.items():
            trace(torch, stream, run, case.file(args, f"{name}.trace"))
    if close:
        close()
    if args.skip_peer:
        result.update({k: v for k, v in known.get(key, {}).items() if k.startswith(("eager_", "compile_"))})
    times = [result[k] for k in ("eager_ms", "compile_ms") if k in result]
    if times and "ours_ms" in result:
        result["ratio"] = result["ours_ms"] / min(times)
    return result


# --- many networks, one process each --------------------------------------------------------------------------------------------

def take_turns(children, results):
    """Lets the children of one GPU measure one after the other; all of them have said that they are ready."""
    for child in children:
        child.stdin.write("go\n")
        child.stdin.flush()
        for line in child.stdout:
            if line.startswith("{"):
                print(line, end="", flush=True)
                results.append(json.loads(line))
        child.wait()


def ahead(cases, args, gpus):
    """Results of all cases: children compile side by side, and measure in turn."""
    by_gpu, results = {g: [] for g in range(gpus)}, []
    threads = str(max(1, os.cpu_count() // len(cases)))
    for i, (model, precision, batch) in enumerate(cases):
        gpu = (i + i // gpus) % gpus              # no GPU gets all of one batch size
        command = [sys.executable, os.path.abspath(__file__), "--turn", "--models", model, "--batch", str(batch), "--precision", precision,
                   "--runs", str(args.runs), "--level", str(args.level), "--peers", f"{args.peers}.{i}", "--cache", f"{args.cache}.{gpu}"]
        command += ["--keep", args.keep] if args.keep else []
        command += [f for f, on in (("--ours-only", args.ours_only), ("--skip-peer", args.skip_peer), ("--peer-only", args.peer_only),
                                    ("--eager-only", args.eager_only)) if on]
        environment = dict(os.environ, CUDA_VISIBLE_DEVICES=str(gpu), TORCHINDUCTOR_COMPILE_THREADS=threads, OMP_NUM_THREADS=threads)
        by_gpu[gpu].append(subprocess.Popen(command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True))
    for child in (c for children in by_gpu.values() for c in children):
        while (line := child.stdout.readline()) and line != "ready\n":
            pass
    tell("all ready")
    threads = [threading.Thread(target=take_turns, args=(children, results)) for children in by_gpu.values()]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    return results


# --- the command ----------------------------------------------------------------------------------------------------------------

def read_known(paths):
    """Results by (model, batch, precision, device), later files over earlier ones."""
    known = {}
    for path in paths:
        if os.path.exists(path):
            with open(path, encoding="utf-8") as f:
                for line in f:
                    r = json.loads(line)
                    known[r["model"], r["batch"], r["precision"], r["device"]] = r
    return known


def table(results):
    def number(r, key, form):
        return format(r[key], form) if key in r else "fails" if key.replace("_ms", "_fails") in r else "-"
    columns = (("ours ms", "ours_ms", ".4f"), ("compile ms", "compile_ms", ".4f"), ("eager graph ms", "eager_ms", ".4f"),
               ("ours / best peer", "ratio", ".2f"), ("our error", "ours_error", ".1e"), ("eager's error", "eager_error", ".1e"),
               ("built in s", "build_s", ".1f"))
    yield "| network | batch | type | " + " | ".join(c[0] for c in columns) + " |"
    yield "| --- | ---: | --- |" + " ---: |" * len(columns)
    for r in results:
        yield f"| {r['model']} | {r['batch']} | {r['precision']} | " + " | ".join(number(r, *c[1:]) for c in columns) + " |"


def main():
    parser = argparse.ArgumentParser(description="whole networks on a GPU, Tenon against PyTorch")
    parser.add_argument("--models", default=ALL, help="names, or NAME:BATCH")
    parser.add_argument("--batch", default="1,128", help="128 means 64 for transformers")
    parser.add_argument("--precision", default="f16", help="f16, f32 or both with a comma")
    parser.add_argument("--runs", type=int, default=100)
    parser.add_argument("--level", type=int, default=3, help="optimization level of our builds")
    parser.add_argument("--ours-only", action="store_true")
    parser.add_argument("--skip-peer", action="store_true", help="take the peers' times from earlier results")
    parser.add_argument("--peer-only", action="store_true")
    parser.add_argument("--eager-only", action="store_true", help="no torch.compile, which takes a minute or so a network")
    parser.add_argument("--ahead", action="store_true", help="set up all peers first, side by side; then measure in turn")
    parser.add_argument("--turn", action="store_true", help=argparse.SUPPRESS)
    parser.add_argument("--keep", metavar="FOLDER", help="write there what our engines are, and what each kernel takes in everybody's run")
    out = os.environ.get("OUT", os.path.join(TOP, "build", "gpu"))
    parser.add_argument("--peers", default=os.path.join(out, "gpu_peers.jsonl"), help="where results are kept, a line each")
    parser.add_argument("--cache", default=os.path.join(out, "gpu_peers.timing"), help="our timing cache")
    args = parser.parse_args()
    if args.runs < 50:
        parser.error("--runs: at least 50")
    import torch
    if not torch.cuda.is_available():
        sys.exit("gpu_peers: PyTorch sees no GPU")
    warnings.simplefilter("ignore")
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = False
    for folder in (os.path.dirname(args.peers), args.keep):
        os.makedirs(folder or ".", exist_ok=True)
    known = read_known(sorted(glob.glob(os.path.join(TOP, "bench", "results", "*gpu_peers*.jsonl"))) + [args.peers])
    cases = []
    for model, _, batch in (m.partition(":") for m in args.models.split(",")):
        for precision in args.precision.split(","):
            cases += [(model, precision, min(int(b), 64) if model in TRANSFORMERS else int(b)) for b in (batch or args.batch).split(",")]
    if args.ahead:
        results = ahead(cases, args, torch.cuda.device_count())
    else:
        library, results = None if args.peer_only else Library(), []
        for model, precision, batch in cases:
            results.append(one(torch, library, model, batch, precision, args, known))
            print(json.dumps(results[-1]), flush=True)
            torch.cuda.empty_cache()
    for r in results:
        if "eager_ms" in r or "compile_ms" in r:
            known[r["model"], r["batch"], r["precision"], r["device"]] = r
    if args.turn:
        return
    with open(args.peers, "w", encoding="utf-8") as f:
        f.writelines(json.dumps(r) + "\n" for r in known.values())
    print("\n".join(table(results)))


if __name__ == "__main__":
    main()
