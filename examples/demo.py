# SPDX-License-Identifier: Apache-2.0
"""What Tenon does, in a minute or two: `./dev demo [cpu | cuda]`.

Engines are for the GPU if there is one, else for the CPU, or for what is named. Two networks are built into engines, run and
measured: a small one that was trained to read handwritten digits (examples/digits), and ResNet-50 at its full size with random
weights. Every number printed was measured just now.
"""
import os
import sys
import time

import numpy as np
import onnx
import onnxruntime

TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
sys.path[:0] = [os.path.join(TOP, "python"), os.path.join(TOP, "bench"), os.path.join(TOP, "examples", "digits")]

import inputs       # noqa: E402  (bench/: images from a seed)
import resnet50     # noqa: E402  (bench/: writes the network)
import tenon        # noqa: E402
import train        # noqa: E402  (examples/digits/: the data set)

OUT = os.path.join(TOP, "build", "demo")
DIGITS = os.path.join(TOP, "examples", "digits", "digits.onnx")
DEVICE = sys.argv[1] if len(sys.argv) > 1 else "auto"
RESNET = os.path.join(TOP, "build", "models", "resnet50.numpy.static1.onnx")


def say(text=""):
    print(text, flush=True)


def short(path):
    return os.path.relpath(path, os.getcwd())


def timed(function, *args, **options):
    """What the function gives, and the seconds it took."""
    start = time.perf_counter()
    result = function(*args, **options)
    return result, time.perf_counter() - start


def picture(image):
    """An 8x8 image as text, two characters a pixel."""
    shades = " ░▒▓█" if "utf" in (sys.stdout.encoding or "").lower() else " .+*#"
    rows = (np.clip(image, 0, 1) * (len(shades) - 1)).round().astype(int)
    return "\n".join("    |" + "".join(2 * shades[v] for v in row) + "|" for row in rows)


def fastest(function, seconds):
    """The shortest of the runs in that time."""
    best, end = float("inf"), time.perf_counter() + seconds
    while time.perf_counter() < end:
        best = min(best, timed(function)[1])
    return best


def compare(model, engine_path, x, build_options):
    """Builds an engine and measures it beside onnxruntime and Tenon's reference. Gives the engine and the rows of the table."""
    engine, build_s = timed(tenon.build, model, progress=True, device=DEVICE, tf32=False, **build_options)
    say(f"  the engine is for {engine.inspect()['backend']}")
    engine.save(engine_path)
    engine, load_s = timed(tenon.load, engine_path)
    session, session_s = timed(onnxruntime.InferenceSession, model, providers=["CPUExecutionProvider"])

    expected, answer = session.run(None, {"x": x})[0], engine.run({"x": x})["y"]
    reference, reference_s = timed(tenon.reference, model, {"x": x})
    for name, y in (("engine", answer), ("reference", reference["y"])):
        off = np.abs(y - expected).max() / expected.std()
        say(f"  the {name}'s answer differs from onnxruntime's by {off:.1e} of its deviation")
        if not off < 1e-3:
            sys.exit("demo: that is too much")

    ours = theirs = float("inf")
    for _ in range(4):                  # in turns, so that a busy machine is unfair to both
        theirs = min(theirs, fastest(lambda: session.run(None, {"x": x}), 0.75))
        time.sleep(0.1)                 # onnxruntime's threads go on spinning for a moment
        ours = min(ours, engine.bench({"x": x}, seconds=0.75).min)
    size = os.path.getsize
    return engine, [("onnxruntime " + onnxruntime.__version__, theirs, theirs, size(model), None, session_s),
                    ("Tenon's reference", reference_s, theirs, None, None, None),
                    ("Tenon's engine", ours, theirs, size(engine_path), build_s, load_s)]


def table(title, rows):
    say(f"\n{title}")
    say(f"  {'':22}{'latency':>12}{'speed':>10}{'file':>11}{'build':>10}{'load':>10}")
    for name, latency, theirs, size, build_s, load_s in rows:
        cells = (f"{1e3 * latency:.3f} ms", f"{theirs / latency:.3g}x", f"{size / 1024:,.0f} KB" if size else "",
                 f"{build_s:.1f} s" if build_s else "", f"{1e3 * load_s:.0f} ms" if load_s else "")
        say(f"  {name:22}" + "".join(f"{c:>{w}}" for c, w in zip(cells, (12, 10, 11, 10, 10))))


def digits():
    images, labels = train.load()[2:]
    say("Digits: a network trained on handwritten digits; batches of 1 to 64, tuned for 8")
    sizes = [(n, 1, 8, 8) for n in (1, 8, 64)]
    engine, rows = compare(DIGITS, os.path.join(OUT, "digits.engine"), images[:8], {"profiles": [{"x": sizes}]})
    answers = np.concatenate([engine(images[i:i + 64]).argmax(axis=1) for i in range(0, len(images), 64)])
    say(f"  {(answers == labels).sum()} of {len(labels)} test images are read rightly: {100 * (answers == labels).mean():.1f}%")
    say(f"\n{picture(images[7, 0])}\n    The engine reads {answers[7]}; it is {labels[7]}.\n")
    return rows


def resnet():
    if not os.path.exists(RESNET):
        say("Writing ResNet-50 ...")
        os.makedirs(os.path.dirname(RESNET), exist_ok=True)
        onnx.save(resnet50.build(1), RESNET + ".part")
        os.replace(RESNET + ".part", RESNET)
    say("ResNet-50: 25 million random weights, one image of 224x224")
    engine, rows = compare(RESNET, os.path.join(OUT, "resnet50.engine"), inputs.image(11, 1, 224), {})
    plan = engine.inspect()["profiles"][0]
    say(f"  {len(onnx.load(RESNET).graph.node)} ONNX nodes became {plan['step_count']} steps; "
        f"activations take {plan['memory']['block_bytes'] / 2 ** 20:.1f} MB")
    return rows


def main():
    os.makedirs(OUT, exist_ok=True)
    say(f"Tenon {tenon.version}")
    devices = {d["backend"]: d["name"] if d["available"] else "not here" for d in tenon.list("devices")}
    say("".join(f"  {name:5} {devices[name]}\n" for name in ("cuda", "cpu") if name in devices))
    small, large = digits(), resnet()
    table("Digits, a batch of 8", small)
    table("ResNet-50, batch 1", large)
    say("\nLatency: the fastest run of three seconds (the reference: its one run, reading the model included). "
        "Speed: against onnxruntime\non the CPU, "
        "with the same threads. Load: until the first run could start.")
    resnet_engine = short(os.path.join(OUT, "resnet50.engine"))
    say(f"\nThe engines are {short(os.path.join(OUT, 'digits.engine'))} and {resnet_engine}. Next:\n"
        f"  build/tenon inspect {resnet_engine}            what is in it, step by step\n"
        f"  build/tenon bench {resnet_engine}              how fast it is here\n"
        f"  build/tenon build YOUR.onnx -o YOUR.engine                a network of yours\n"
        f"  build/venv/bin/python                                     import tenon; help(tenon.build)")


if __name__ == "__main__":
    main()
