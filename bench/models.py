# SPDX-License-Identifier: Apache-2.0
"""Makes the ONNX models that tests and benches use: real architectures, random weights, through both of PyTorch's exporters.

Weights come from a seed, and BatchNorm statistics, LayerNorm scales and the like are disturbed so that a wrong fold shows.
Nothing is downloaded. Beside MODEL.EXPORTER.BATCH.onnx lies a .npz with `input.NAME` and `output.NAME`, what onnxruntime
answers (3 rows where the batch is dynamic).

    python bench/models.py --out DIR --all
    python bench/models.py --out DIR --model vit_b_16 --exporter ts|dynamo|numpy --batch static1|static64|dynamic [--half]

With --half weights and floating inputs are float16, the file is MODEL.EXPORTER.BATCH.half.onnx, and the answers are what PyTorch
gives in float32 for the same weights and the rounded inputs.
"""
import argparse
import os
import re
import subprocess
import sys
import warnings

import numpy as np

import inputs
import resnet50

VISION = ("resnet50", "mobilenet_v3_large", "efficientnet_b0", "vit_b_16", "convnext_tiny")
TORCH_MODELS = VISION + ("bert_base", "yolo11n")
TOKENS, VOCABULARY = 128, 30522


def make_inputs(model, seed, batch):
    """What the network eats, by name."""
    if model == "bert_base":
        return inputs.tokens(seed, batch, TOKENS, VOCABULARY)
    if model == "yolo11n":
        return {"images": inputs.image(seed, batch, 640, 0.0, 1.0)}
    return {"x": inputs.image(seed, batch, 224)}


# --- networks -------------------------------------------------------------------------------------------------------

def disturb(torch, net, generator, linear=True):
    """Random scales and offsets for normalisations, biases, layer scales: whatever initialisation left at 0, 1 or 1e-6.

    With linear, matrices get one deviation at any width; without, they keep their own and attention is sharpened instead:
    BERT has no skip past its normalisations, and stronger layers would wash out what tells one token from another.
    """
    def uniform(tensor, low, high):
        tensor.copy_(low + (high - low) * torch.rand(tensor.shape, generator=generator))

    def normal(tensor, deviation):
        tensor.copy_(deviation * torch.randn(tensor.shape, generator=generator))

    for name, part in net.named_modules():
        if name.endswith("dfl.conv"):        # not weights: YOLO's 0 to 15, an expectation written as a convolution
            continue
        if isinstance(part, (torch.nn.BatchNorm2d, torch.nn.LayerNorm)):
            uniform(part.weight, 0.6, 1.4)
            normal(part.bias, 0.2)
        elif isinstance(part, (torch.nn.Linear, torch.nn.Conv2d)):
            if part.bias is not None:
                normal(part.bias, 0.1)
            if isinstance(part, torch.nn.Linear) and linear:
                normal(part.weight, part.in_features ** -0.5)
            if isinstance(part, torch.nn.Conv2d):
                fan = part.weight[0].numel()
                normal(part.weight, (2 / fan) ** 0.5)
        elif isinstance(part, torch.nn.MultiheadAttention):
            part.in_proj_weight[: 2 * part.embed_dim] *= 1.5     # queries and keys: attention that prefers something
            normal(part.in_proj_bias, 0.1)
    for name, value in net.named_parameters():
        if name.endswith("layer_scale"):
            uniform(value, 0.3, 1.0)
        elif name.endswith((".query.weight", ".key.weight")) and not linear:
            value *= 1.8
        elif name.endswith("class_token"):
            normal(value, 0.5)


def calibrate(torch, net, sample, generator):
    """BatchNorm statistics as the sample gives them, then disturbed; the rest of the network stays in evaluation mode."""
    norms = [part for part in net.modules() if isinstance(part, torch.nn.BatchNorm2d)]
    net.eval()
    for part in norms:
        part.momentum, part.kept = None, part.momentum
        part.reset_running_stats()
        part.train()
    net(*sample)
    net.eval()
    for part in norms:
        part.momentum = part.kept
        size = part.running_var.shape
        part.running_var.clamp_(min=1e-3)
        part.running_mean += 0.1 * part.running_var.sqrt() * torch.randn(size, generator=generator)
        part.running_var *= 0.7 + 0.7 * torch.rand(size, generator=generator)


def make_network(model, dynamic):
    """The network in evaluation mode."""
    import torch
    generator = torch.Generator().manual_seed(7)
    torch.manual_seed(7)
    sample = [torch.from_numpy(v) for v in make_inputs(model, 5, 2).values()]
    with torch.no_grad():
        if model == "bert_base":
            import transformers
            config = transformers.BertConfig(vocab_size=VOCABULARY, attn_implementation="sdpa", return_dict=False)
            net = transformers.BertModel(config).eval()
            disturb(torch, net, generator, linear=False)
            return in_order(torch, net)
        if model == "yolo11n":
            return make_yolo(torch, generator, sample, dynamic)
        import torchvision
        torch.backends.mha.set_fastpath_enabled(False)      # the fused attention of evaluation mode has no ONNX form
        net = getattr(torchvision.models, model)(weights=None).eval()
        disturb(torch, net, generator)
        calibrate(torch, net, sample, generator)
        return net


def in_order(torch, net):
    """BERT with its three inputs by position, which both exporters understand."""
    class InOrder(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.bert = net

        def forward(self, ids, mask, segments):
            if self.bert.dtype == torch.float16:     # a mask of truths would be exported as one of float32, and all behind it
                mask = (1 - mask[:, None, None, :].to(torch.float16)) * torch.finfo(torch.float16).min
            return self.bert(input_ids=ids, attention_mask=mask, token_type_ids=segments)[:2]

    return InOrder().eval()


def make_yolo(torch, generator, sample, dynamic):
    """YOLO11n with the head as its own exporter sets it: one output of boxes and class probabilities."""
    os.environ.setdefault("YOLO_OFFLINE", "true")
    from ultralytics import YOLO
    net = YOLO("yolo11n.yaml", verbose=False).model.float()
    head = net.model[-1]
    disturb(torch, net, generator)
    head.export, head.format, head.dynamic = False, "onnx", dynamic
    calibrate(torch, net, sample, generator)
    for boxes, classes in zip(head.cv2, head.cv3):
        classes[-1].weight.mul_(0.3)
        classes[-1].bias.copy_(-2 + 0.5 * torch.randn(classes[-1].bias.shape, generator=generator))
        boxes[-1].bias.copy_(torch.randn(boxes[-1].bias.shape, generator=generator))
    for part in net.modules():
        if hasattr(part, "export"):
            part.export, part.format, part.dynamic = True, "onnx", dynamic
    return net.eval()


# --- export ---------------------------------------------------------------------------------------------------------

def output_names(model):
    return {"bert_base": ["last_hidden_state", "pooler_output"], "yolo11n": ["output0"]}.get(model, ["y"])


def export(model, net, feeds, exporter, dynamic, path):
    """Writes the model; the dynamic dimension is the batch, named so. Network and inputs say the types and the device."""
    import torch
    example = tuple(feeds.values())
    names = dict(input_names=list(feeds), output_names=output_names(model))
    with torch.no_grad(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if model == "yolo11n":
            net(*example)                    # the head makes its anchors in a first run
        if exporter == "ts":
            axes = {k: {0: "batch"} for k in names["input_names"] + names["output_names"]} if dynamic else None
            torch.onnx.export(net, example, path, dynamo=False, opset_version=17, dynamic_axes=axes, **names)
        else:
            shapes = tuple({0: torch.export.Dim("batch", min=1, max=64)} for _ in example) if dynamic else None
            torch.onnx.export(net, example, path, dynamo=True, opset_version=18, dynamic_shapes=shapes, external_data=False,
                              verbose=False, **names)


def half(value):
    """An array or tensor as float16, if it is one of floats."""
    if hasattr(value, "is_floating_point"):
        return value.half() if value.is_floating_point() else value
    return value.astype(np.float16) if value.dtype == np.float32 else value


def torch_run(model, net, feeds):
    """What PyTorch answers in float32."""
    import torch
    with torch.no_grad():
        y = net(*(torch.from_numpy(v.astype(np.float32) if v.dtype == np.float16 else v) for v in feeds.values()))
    return dict(zip(output_names(model), (v.numpy() for v in (y if isinstance(y, tuple) else (y,)))))


def onnx_run(path, feeds):
    import onnxruntime
    onnxruntime.set_default_logger_severity(3)
    session = onnxruntime.InferenceSession(path, providers=["CPUExecutionProvider"])
    return dict(zip((o.name for o in session.get_outputs()), session.run(None, feeds)))


def check_lively(path, outputs, others):
    """Random networks easily die: an answer that is constant, not a number, or the same for other inputs would test nothing."""
    for name, y in outputs.items():
        z = others[name]
        if name == "output0":                # YOLO's boxes lie where the grid is, whatever the network says; its classes do not
            y, z = y[:, 4:], z[:, 4:]
        spread, moved = float(y.std()), float((y - z).std())
        print(f"  {name} {tuple(y.shape)}: deviation {spread:.3g}, {moved / (spread + 1e-30):.3g} of it moves with the input")
        if not np.isfinite(y).all() or spread < 1e-3 or moved < 0.05 * spread:
            sys.exit(f"{path}: output {name} is dead")


def batch_size(batch):
    """What static1, static64 and so on say; 0: dynamic."""
    return 0 if batch == "dynamic" else int(batch.removeprefix("static"))


def make_one(out, model, exporter, batch, to_half):
    size = batch_size(batch)
    path = os.path.join(out, f"{model}.{exporter}.{batch}{'.half' if to_half else ''}.onnx")
    part = path + ".part"
    print(os.path.basename(path), flush=True)
    if exporter == "numpy":
        import onnx
        onnx.save(resnet50.build("dynamic" if not size else size), part)
    else:
        import torch
        net = make_network(model, not size)
        example = {k: torch.from_numpy(v) for k, v in make_inputs(model, 3, size or 2).items()}
        if to_half:
            example = {k: half(v) for k, v in example.items()}
            net.half()
        export(model, net, example, exporter, not size, part)
    rows = size or 3
    feeds, others = make_inputs(model, 11, rows), make_inputs(model, 12, rows)
    if to_half:
        feeds, others = ({k: half(v) for k, v in f.items()} for f in (feeds, others))
        net = make_network(model, not size)
        outputs = torch_run(model, net, feeds)
        check_lively(path, outputs, torch_run(model, net, others))
    else:
        outputs = onnx_run(part, feeds)
        check_lively(path, outputs, onnx_run(part, others))
    np.savez(path[:-5] + ".npz", **{f"input.{k}": v for k, v in feeds.items()},
             **{f"output.{k}": v for k, v in outputs.items()})
    os.replace(part, path)


def everything():
    for exporter, batch in (("ts", "static1"), ("ts", "dynamic"), ("dynamo", "static1"), ("dynamo", "dynamic")):
        if exporter == "ts":
            yield "resnet50", "numpy", batch
        for model in TORCH_MODELS:
            yield model, exporter, batch


def main():
    parser = argparse.ArgumentParser(description="makes ONNX models with random weights")
    parser.add_argument("--out", required=True)
    parser.add_argument("--all", action="store_true", help="each that is not there yet, in a process of its own")
    parser.add_argument("--model", choices=TORCH_MODELS)
    parser.add_argument("--exporter", choices=("ts", "dynamo", "numpy"), default="ts")
    parser.add_argument("--batch", default="static1", help="dynamic, or static1, static64, ...")
    parser.add_argument("--half", action="store_true", help="float16 weights and inputs")
    args = parser.parse_args()
    os.makedirs(args.out, exist_ok=True)
    if not args.all:
        if not args.model or (args.exporter == "numpy" and args.model != "resnet50"):
            parser.error("--model is needed; the exporter numpy has resnet50 alone")
        if args.half and args.exporter == "numpy":
            parser.error("--half: the exporters of PyTorch alone")
        if args.batch != "dynamic" and not re.fullmatch("static[1-9][0-9]*", args.batch):
            parser.error(f"--batch {args.batch}: dynamic, or static1, static64, ...")
        return make_one(args.out, args.model, args.exporter, args.batch, args.half)
    bad = 0
    for model, exporter, batch in everything():
        if os.path.exists(os.path.join(args.out, f"{model}.{exporter}.{batch}.npz")):
            continue
        command = [sys.executable, __file__, "--out", args.out, "--model", model, "--exporter", exporter, "--batch", batch]
        bad += subprocess.run(command).returncode != 0
    sys.exit(1 if bad else 0)


if __name__ == "__main__":
    main()
