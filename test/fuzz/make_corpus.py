# SPDX-License-Identifier: Apache-2.0
"""Makes the seeds of the fuzz corpora: small models that together use most of what the reader knows, texts of problems out of
test/case, timing caches, and calls. Seeds of engines are built from the models when the fuzzer starts, so they are never stale.
Crash inputs (regress-*) are left alone. The seeds are committed; this is run when they shall change.

    build/venv/bin/python test/fuzz/make_corpus.py
"""
import glob
import os
import random

import numpy as np
from onnx import TensorProto as T
from onnx import helper, numpy_helper

HERE = os.path.dirname(os.path.abspath(__file__))
TOP = os.path.dirname(os.path.dirname(HERE))
LIMIT = 100_000          # bytes of one target's folder


def value(name, shape, dtype=T.FLOAT):
    return helper.make_tensor_value_info(name, dtype, shape)


def const(name, array, dtype=np.float32):
    return numpy_helper.from_array(np.asarray(array, dtype), name)


def model(nodes, inputs, outputs, consts=(), opset=17, functions=(), domains=()):
    graph = helper.make_graph(nodes, "g", inputs, outputs, list(consts))
    imports = [helper.make_opsetid("", opset)] + [helper.make_opsetid(d, 1) for d in domains]
    return helper.make_model(graph, opset_imports=imports, ir_version=8, functions=list(functions)).SerializeToString()


def node(op, src, dst, **attributes):
    return helper.make_node(op, src.split(","), dst.split(","), **attributes)


def weight(*shape):
    return np.random.default_rng(sum(shape)).standard_normal(shape).astype(np.float32)


def models():
    yield "mlp", model(
        [node("Gemm", "x,w,b", "h", transB=1), node("Erf", "h", "e"), node("Mul", "h,e", "m"), node("MatMul", "m,v", "y")],
        [value("x", ["n", 8])], [value("y", ["n", 4])], [const("w", weight(6, 8)), const("b", weight(6)), const("v", weight(6, 4))])
    yield "conv", model(
        [node("Conv", "x,w,b", "c", pads=[1, 1, 1, 1], strides=[2, 2]), node("BatchNormalization", "c,s,s,s,q", "n"),
         node("Relu", "n", "r"), node("MaxPool", "r", "p", kernel_shape=[2, 2]), node("GlobalAveragePool", "p", "a"),
         node("Flatten", "a", "f"), node("Gemm", "f,v,u", "y")],
        [value("x", ["n", 3, 9, 9])], [value("y", ["n", 2])],
        [const("w", weight(4, 3, 3, 3)), const("b", weight(4)), const("s", np.arange(1, 5)), const("q", np.ones(4)),
         const("v", weight(4, 2)), const("u", weight(2))])
    yield "depthwise", model(
        [node("Conv", "x,w", "c", group=4, auto_pad="SAME_UPPER"), node("Sigmoid", "c", "s"), node("Mul", "c,s", "m"),
         node("Resize", "m,,k", "z", mode="linear"), node("Concat", "z,x2", "y", axis=1)],
        [value("x", [1, 4, 5, 5]), value("x2", [1, 2, 10, 10])], [value("y", [1, 6, 10, 10])],
        [const("w", weight(4, 1, 3, 3)), const("k", [1, 1, 2, 2])])
    yield "attention", model(
        [node("MatMul", "x,w", "a"), node("Reshape", "a,s", "r"), node("Transpose", "r", "t", perm=[2, 0, 3, 1, 4]),
         node("Split", "t", "q,k,v", axis=0, num_outputs=3), node("Squeeze", "q,z", "q1"), node("Squeeze", "k,z", "k1"),
         node("Squeeze", "v,z", "v1"), node("Transpose", "k1", "kt", perm=[0, 1, 3, 2]), node("MatMul", "q1,kt", "p"),
         node("Mul", "p,c", "p1"), node("Softmax", "p1", "p2", axis=-1), node("MatMul", "p2,v1", "o"),
         node("Transpose", "o", "o1", perm=[0, 2, 1, 3]), node("Reshape", "o1,u", "y")],
        [value("x", ["n", "t", 8])], [value("y", ["n", "t", 8])],
        [const("w", weight(8, 24)), const("s", [0, -1, 3, 2, 4], np.int64), const("z", [0], np.int64), const("c", 0.5),
         const("u", [0, -1, 8], np.int64)], opset=18)
    yield "shapes", model(
        [node("Shape", "x", "s"), node("Gather", "s,i", "n", axis=0), node("Unsqueeze", "n,z", "n1"), node("Concat", "n1,m", "c", axis=0),
         node("Reshape", "x,c", "r"), node("Shape", "r", "q"), node("ConstantOfShape", "q", "f", value=const("v", [0.5])), node("Add", "r,f", "a"),
         node("Slice", "a,z,e,z", "b"), node("Pad", "b,p", "d"), node("Expand", "d,g", "h"), node("Tile", "h,t", "y")],
        [value("x", ["n", 3, 4])], [value("y", None)],
        [const("i", 0, np.int64), const("z", [0], np.int64), const("m", [-1], np.int64), const("e", [1], np.int64),
         const("p", [0, 1, 0, 1], np.int64), const("g", [2, 1, 1], np.int64), const("t", [1, 2, 1], np.int64)])
    branch = [helper.make_graph([node(op, "x", "o")], name, [], [value("o", None)]) for op, name in (("Relu", "a"), ("Exp", "b"))]
    yield "if", model([node("If", "c", "y", then_branch=branch[0], else_branch=branch[1])],
                      [value("c", [], T.BOOL), value("x", [2, 3])], [value("y", None)])
    body = helper.make_graph(
        [node("Add", "s,x", "s1"), node("Identity", "k", "k1"), node("Identity", "s1", "o")], "body",
        [value("i", [], T.INT64), value("k", [], T.BOOL), value("s", [2])], [value("k1", [], T.BOOL), value("s1", [2]), value("o", [2])])
    yield "loop", model([node("Loop", "m,,s0", "s,y", body=body)], [value("x", [2])], [value("s", [2]), value("y", None)],
                        [const("m", 3, np.int64), const("s0", [0, 0])])
    step = helper.make_graph([node("Add", "s,e", "s1"), node("Identity", "s1", "o")], "step", [value("s", [2]), value("e", [2])],
                             [value("s1", [2]), value("o", [2])])
    yield "scan", model([node("Scan", "s0,x", "s,y", body=step, num_scan_inputs=1)], [value("x", [3, 2])],
                        [value("s", [2]), value("y", [3, 2])], [const("s0", [0, 0])])
    yield "sequence", model(
        [node("SplitToSequence", "x", "q", axis=0, keepdims=1), node("SequenceAt", "q,i", "a"), node("SequenceInsert", "q,a", "r"),
         node("ConcatFromSequence", "r", "y", axis=0)],
        [value("x", [3, 2])], [value("y", None)], [const("i", 1, np.int64)])
    yield "data", model(
        [node("NonZero", "x", "i"), node("Transpose", "i", "t"), node("GatherND", "x,t", "g"), node("TopK", "x,k", "v,j", axis=1),
         node("Unique", "g", "u")], [value("x", [2, 4])], [value("u", None), value("v", [2, 2]), value("j", [2, 2], T.INT64)],
        [const("k", [2], np.int64)])
    function = helper.make_function("f", "Twice", ["a"], ["b"], [node("Add", "a,a", "b")], [helper.make_opsetid("", 17)])
    yield "function", model([helper.make_node("Twice", ["x"], ["y"], domain="f")], [value("x", [2])], [value("y", [2])],
                            functions=[function], domains=["f"])
    yield "types", model(
        [node("Cast", "x", "h", to=T.FLOAT16), node("Cast", "h", "b", to=T.BFLOAT16), node("Cast", "b", "f", to=T.FLOAT),
         node("Mul", "f,s", "d"), node("Greater", "d,f", "g"), node("Where", "g,d,f", "w"), node("Cast", "w", "i", to=T.INT32),
         node("BitShift", "u,u", "j", direction="LEFT"),
         node("Cast", "j", "k", to=T.INT32), node("Add", "i,k", "y")],
        [value("x", [4]), value("u", [4], T.UINT8)], [value("y", [4], T.INT32)], [const("s", 0.1)])
    yield "quantised", model([node("QuantizeLinear", "x,s,z", "q"), node("DequantizeLinear", "q,s,z", "y")],
                             [value("x", [4])], [value("y", [4])], [const("s", 0.1), const("z", 3, np.uint8)])
    yield "norms", model(
        [node("LayerNormalization", "x,a,b", "l", axis=-1), node("InstanceNormalization", "l,c,c", "i"), node("ReduceMean", "i", "m", axes=[1, 2]),
         node("LogSoftmax", "m", "s", axis=1), node("CumSum", "s,z", "t"), node("Einsum", "t,w", "e", equation="nchw,hk->ncwk"),
         node("ConvTranspose", "x,v", "y")],
        [value("x", [1, 2, 4, 4])], [value("e", None), value("y", None)],
        [const("a", np.ones(4)), const("b", np.zeros(4)), const("c", [1, 2]), const("z", 1, np.int64), const("w", weight(1, 3)),
         const("v", weight(2, 3, 2, 2))])
    yield "old", model(
        [node("Upsample", "x,k", "u", mode="nearest"), node("Dropout", "u", "d", ratio=0.5), node("Softmax", "d", "s", axis=1),
         node("Clip", "s", "y", min=0.1, max=0.9)],
        [value("x", [1, 2, 3, 3])], [value("y", None)], [const("k", [1, 1, 2, 2])], opset=9)


def foreign():
    """First bytes of what people hand over instead, for every reader."""
    yield "plan-ftrt", b"ftrt" + bytes(range(60))
    yield "plan-ptrt", b"ptrt" + bytes(range(60))
    yield "zip", b"PK\3\4\x14\0\0\0\0\0" + b"archive/data.pkl" + bytes(20)
    yield "empty", b""
    yield "text", b"hello, this is text"


def problems():
    lines = []
    for path in sorted(glob.glob(os.path.join(TOP, "test", "case", "*.txt"))):
        with open(path, encoding="utf-8") as f:
            found = [line.split("#")[0].strip() for line in f if ":" in line]
        lines += [line for line in found if line and len(line) < 160][:400]
    chosen = random.Random(1).sample(sorted(set(lines)), 150)
    return ((f"case-{i:03}", line.encode()) for i, line in enumerate(chosen))


def texts():
    yield "mlp", (b"graph(x: f32[n,8] where n=2..8@4%2) {\n  w: f32[8,6] = const #12\n  b: f32[6] = const {1,2,3,4,5,6}\n"
                  b"  h = matmul(x, w)\n  a = add(h, b)\n  y = gelu(a)\n  s = sigmoid(a)\n  z = mul(a, s)\n  return y, z\n}\n")
    yield "conv", (b"graph(x: f32[1,3,9,9]) {\n  w: f32[4,3,3,3] = const #7\n  c = conv(x, w, -) pads=1+1+1+1 strides=2+2\n"
                   b"  r = relu(c)\n  m = reduce_mean(r) axes=2+3 keepdims=1\n  return m\n}\n")
    yield "if", (b"graph(c: bool[], a: f32[2]) {\n  z = if(c) then_branch=graph() {\n    t = relu(a)\n    return t\n  }"
                 b" else_branch=graph() {\n    e = exp(a)\n    return e\n  }\n  return z\n}\n")
    yield "views", (b"graph(x: f32[n,t,12] where n=1..*, t=1..77) {\n  s: i64[4] = const {0,0,3,4}\n  r = reshape(x, s)\n"
                    b"  p = transpose(r) perm=0+2+1+3\n  a, b = split(p) axis=3 num_outputs=2\n  y = concat(a, b) axis=1\n  return y\n}\n")
    yield "pack", b"graph(w: f32[64,32]) {\n  p = transpose(w) perm=1+0\n  q = mul(p, p)\n  return q\n}\n"
    yield "names", b"graph(`a b`: sequence(f32[*]), `\xc3\xa9`: optional(i64[2])) {\n  // nothing\n  return `a b`\n}\n"


def caches():
    """Without their hash: fuzz_cache.c sets it right."""
    lines = [f"cpu;avx512;t{t}\t{p}\tcpu.{k}#1f\t{t},0,0,0,0,0,0,{-t}\t{1000 * t + 17}\n"
             for t in (1, 2, 8) for p in ("matmul:f32,4x8,8x6:w", "relu:f32,64") for k in ("ref", "pointwise")]
    body = "".join(sorted(lines)).encode()
    for name, text in (("twelve", body), ("one", lines[0].encode()), ("none", b""), ("cut", body[:-5]), ("bad", b"a\tb\tc\n")):
        yield name, b"tenon-timing-cache 1 " + b"0" * 16 + b"\n" + text
    yield "theirs", bytes(range(16, 80))


def calls():
    """Bytes as fuzz_shapes.c reads them."""
    dims = lambda n, t: [0, n, t, 4, 0, 0, 0, 0, 0]                   # rank 3, eight sizes
    ask = lambda profile, name, lo, opt, hi: [1, profile + 1, name] + lo + opt + hi + [1, 1, 1]
    bind = lambda k: [5, k, 5, k, 5]                                   # one buffer for the binding k, as large as it wants
    whole = [0] + ask(0, 0, dims(1, 1), dims(2, 3), dims(8, 8)) + ask(0, 1, dims(1, 1), dims(2, 3), dims(8, 8)) + [3, 4, 1]
    run = [8] + dims(2, 3) + [0, 8] + dims(2, 5) + [1, 5, 0, 0, 0, 5, 1, 0, 1, 5, 2, 0, 4, 5, 3, 0, 5, 7, 7, 7]
    yield "run", bytes(whole + run)
    yield "other-shape", bytes(whole + run + [8] + dims(3, 3) + [0, 7] + run)
    yield "two-profiles", bytes([0, 0] + ask(1, 0, dims(1, 2), dims(1, 2), dims(4, 7)) + whole[1:] + [4, 2] + run + run)
    yield "no-range", bytes([3, 4, 1] + run)
    yield "short", bytes(whole + bind(0) + bind(1) + [7])


def main():
    for target, seeds in (("onnx", [*models(), *foreign()]), ("engine", foreign()), ("problem", problems()), ("text", texts()),
                          ("cache", caches()), ("shapes", calls())):
        folder = os.path.join(HERE, "corpus", target)
        os.makedirs(folder, exist_ok=True)
        for name in os.listdir(folder):
            if not name.startswith("regress-"):
                os.remove(os.path.join(folder, name))
        for name, data in seeds:
            with open(os.path.join(folder, name), "wb") as f:
                f.write(data)
        size = sum(os.path.getsize(os.path.join(folder, name)) for name in os.listdir(folder))
        print(f"{target}: {len(os.listdir(folder))} files, {size} bytes")
        assert size < LIMIT


if __name__ == "__main__":
    main()
