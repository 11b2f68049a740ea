# SPDX-License-Identifier: Apache-2.0
"""What `tenon` says of itself: help, whose examples are run as they stand, wrong usage, completion, manual pages."""
import os
import re
import shutil
import subprocess
import sys

import numpy as np
import pytest
from cli_tool import TOOL, TOP, fails, tenon

COMMANDS = "build", "run", "bench", "inspect", "list", "completion", "version", "help"
TOPICS = "dynamic-shapes", "shapes", "profiles", "precision", "timing-cache", "batches", "npy", "exit-codes"


def test_overview_names_every_command_and_topic():
    out = tenon("help")[0]
    for name in COMMANDS + TOPICS:
        assert re.search(rf"^  {name} ", out, re.M), name
    assert tenon("--help")[0] == out and tenon("-h")[0] == out
    assert tenon(code=2)[0] == out


@pytest.mark.parametrize("command", COMMANDS)
def test_help_of_a_command(command):
    out, err = tenon("help", command)
    assert err == "" and out.startswith(f"tenon {command} - ") and f"usage: tenon {command}" in out
    assert f"examples:\n  tenon {command}" in out
    assert tenon(command, "--help")[0] == out and tenon(command, "-h")[0] == out
    assert max(map(len, out.split("\n"))) <= 130


@pytest.mark.parametrize("command", COMMANDS)
def test_options_in_examples_exist(command):
    out = tenon("help", command)[0]
    for line in out.split("examples:\n")[1].split("\nnext:")[0].splitlines():
        for option in re.findall(r" (--?[a-z-]+)", line):
            assert re.search(rf"^  {option}\b", out.split("options:")[1], re.M), (line, option)


def test_what_to_do_next_names_things_that_exist():
    for command in COMMANDS:
        part = tenon("help", command)[0].split("\nnext:")[1:]
        for text in part:
            for words in re.findall(r"tenon +(help [a-z-]+|[a-z]+)", text):
                assert words.split()[0] in COMMANDS and (words.split()[-1] in COMMANDS + TOPICS), (command, words)


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """What the examples talk of: model.onnx (x: batch x 3 x 224 x 224, y), text.onnx, model.engine and arrays."""
    import onnx
    from onnx import TensorProto, helper
    folder, rng = tmp_path_factory.mktemp("examples"), np.random.default_rng(0)

    def save(name, nodes, inputs, outputs, constants=()):
        graph = helper.make_graph(nodes, "g", inputs, outputs, [onnx.numpy_helper.from_array(a, n) for n, a in constants])
        onnx.save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), folder / name)
    save("model.onnx", [helper.make_node("Conv", ["x", "w"], ["c"], strides=[16, 16]), helper.make_node("Relu", ["c"], ["r"]),
                        helper.make_node("GlobalAveragePool", ["r"], ["p"]), helper.make_node("Flatten", ["p"], ["y"])],
         [helper.make_tensor_value_info("x", TensorProto.FLOAT, ["batch", 3, 224, 224])],
         [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["batch", 8])],
         [("w", rng.standard_normal((8, 3, 16, 16)).astype(np.float32))])
    save("text.onnx", [helper.make_node("Gather", ["table", "ids"], ["e"]), helper.make_node("Mul", ["e", "mask"], ["logits"])],
         [helper.make_tensor_value_info("ids", TensorProto.INT64, [4]), helper.make_tensor_value_info("mask", TensorProto.FLOAT, [4, 1])],
         [helper.make_tensor_value_info("logits", TensorProto.FLOAT, [4, 6])], [("table", rng.standard_normal((9, 6)).astype(np.float32))])
    np.save(folder / "x.npy", rng.standard_normal((1, 3, 224, 224)).astype(np.float32))
    np.save(folder / "ids.npy", np.arange(4))
    np.save(folder / "mask.npy", np.ones((4, 1), np.float32))
    tenon("build", "model.onnx", "-o", "model.engine", cwd=folder)
    return folder


def run_lines(lines, folder, label):
    for line in lines:
        words = re.sub(r"^tenon\b", f"'{TOOL}'", line)
        done = subprocess.run(["bash", "-c", words], cwd=folder, capture_output=True, text=True, timeout=120,
                              env=dict(os.environ, VIRTUAL_ENV=sys.prefix))
        assert done.returncode == 0, f"{label}: {line}: exit code {done.returncode}\n{done.stdout}{done.stderr}"


@pytest.mark.parametrize("command", COMMANDS)
def test_examples_run(command, folder):
    lines = re.findall(r"^  (tenon .*)$", tenon("help", command)[0].split("examples:\n")[1].split("\nnext:")[0], re.M)
    assert lines
    if command in ("bench", "inspect", "run"):                         # as they stand they are of the model's own shapes
        tenon("build", "model.onnx", "-o", "model.engine", "--shape", "x=1x3x224x224:4x3x224x224:8x3x224x224", "--no-timing",
              cwd=folder)
    run_lines(lines, folder, command)


@pytest.mark.parametrize("topic", TOPICS)
def test_commands_in_topics_run(topic, folder):
    lines = re.findall(r"^    (tenon .*)$", tenon("help", topic)[0], re.M)
    assert lines or topic in ("shapes", "npy", "exit-codes")
    run_lines(lines, folder, topic)


@pytest.mark.parametrize("topic", TOPICS)
def test_help_of_a_topic(topic):
    assert len(tenon("help", topic)[0].splitlines()) >= 3


def test_exit_codes_are_documented():
    assert re.findall(r"^(\d)  ", tenon("help", "exit-codes")[0], re.M) == ["0", "1", "2", "3"]


@pytest.mark.parametrize("words, says", [
    (["bild"], ["no command 'bild'", "did you mean 'build'?"]),
    (["frobnicate"], ["no command 'frobnicate'"]),
    (["help", "bulid"], ["'bulid'", "did you mean 'build'?"]),
    (["build", "m.onnx", "-o", "e", "--thread", "2"], ["no option '--thread'", "did you mean '--threads'?"]),
    (["build", "m.onnx", "-o", "e", "--timing-cahce=c"], ["'--timing-cahce'", "'--timing-cache'"]),
    (["run", "e", "--inptu", "x=x.npy"], ["'--inptu'", "'--input'"]),
    (["bench", "e", "--zzzzzzzz"], ["no option '--zzzzzzzz'"]),
    (["build"], ["MODEL.onnx", "missing"]),
    (["build", "m.onnx"], ["-o FILE is missing"]),
    (["build", "m.onnx", "n.onnx", "-o", "e"], ["'n.onnx'", "too many"]),
    (["build", "m.onnx", "-o"], ["-o wants a value"]),
    (["build", "m.onnx", "-o", "e", "--threads", "two"], ["--threads 'two'"]),
    (["build", "m.onnx", "-o", "e", "--threads", "2", "--threads", "3"], ["--threads is given twice"]),
    (["build", "m.onnx", "-o", "e", "--workspace", "lots"], ["--workspace 'lots'", "256M"]),
    (["build", "m.onnx", "-o", "e", "--json=yes"], ["--json takes no value"]),
    (["bench", "e", "--seconds", "soon"], ["--seconds 'soon'"]),
    (["bench", "e", "--runs", "5", "--seconds", "1"], ["--runs", "--seconds", "exclude"]),
    (["bench", "e", "--runs", "0"], ["--runs 0"]),
    (["bench", "e", "--streams", "0"], ["--streams 0"]),
    (["bench", "e", "--fail-if", "1.05"], ["--fail-if wants --against"]),
    (["bench", "e", "--against", "a", "--fail-if", "0"], ["--fail-if 0"]),
    (["bench", "e", "--against", "a", "--fail-if", "much"], ["--fail-if 'much'", "1.05"]),
    (["bench", "e", "--max-latency", "5"], ["--max-latency '5'", "5ms"]),
    (["bench", "e", "--max-latency", "5ms"], ["--max-latency wants --sweep"]),
    (["bench", "e", "--sweep", "batch=1..64", "--streams", "2"], ["--sweep and --streams exclude"]),
    (["bench", "e", "--sweep", "batch=64..1"], ["'batch=64..1'", "FROM..TO"]),
    (["bench", "e", "--sweep", "batch=0"], ["'batch=0'", "from 1"]),
    (["bench", "e", "--sweep", "batch=1,"], ["'batch=1,'"]),
    (["bench", "e", "--sweep", "size=1"], ["'size=1'", "batch= or streams="]),
    (["bench", "e", "--sweep", "batch=1", "batch=2"], ["'batch=2'", "twice"]),
    (["bench", "e", "--sweep", "streams=1..512"], ["at most 256 streams"]),
    (["bench", "e", "batch=1"], ["'batch=1'", "too many"]),
    (["bench", "--sweep", "batch=1", "streams=1"], ["ENGINE|MODEL.onnx is missing"]),
    (["bench", "e", "--torch", "m.pt"], ["--torch wants --table"]),
    (["completion", "fish"], ["'fish'", "bash", "zsh"]),
    (["help", "--man", "nothing"], ["no manual page 'nothing'"]),
    (["run", "e", "--input", "x"], ["--input 'x'", "NAME=FILE.npy"]),
    (["run", "e", "--input", "x=a.npy", "--input", "x=b.npy"], ["--input names 'x' twice"]),
    (["list"], ["ops|tactics|passes|devices", "missing"]),
    (["list", "tactic"], ["'tactic'", "did you mean 'tactics'?"]),
])
def test_wrong_usage(words, says, tmp_path):
    err = fails(*words, code=2, says=says, cwd=tmp_path)
    assert "`tenon help" in err
    assert os.listdir(tmp_path) == []


@pytest.mark.parametrize("shape, says", [
    ("1x8", "NAME=SHAPE"), ("x=", "'' is not a shape"), ("x=1x", "'1x'"), ("x=1x1x8x8:2x1x8x8", "MIN:OPT:MAX"),
    ("x=-1x1x8x8", "'-1x1x8x8'"),
    ("x=1x8:1x1x8:1x8", "different ranks"), ("x=1x1x1x1x1x1x1x1x1", "not a shape"), ("x=99999999999999999999", "not a shape"),
])
def test_wrong_shape_text(shape, says, digits, tmp_path):
    fails("build", digits.path, "-o", tmp_path / "e", "--shape", shape, code=2, says=["--shape", says])


def test_profile_without_shapes(digits, tmp_path):
    start = ["build", digits.path, "-o", tmp_path / "e"]
    fails(*start, "--profile", "--profile", "--shape", "x=1x1x8x8", code=2, says="profile 0 has none")
    fails(*start, "--shape", "x=1x1x8x8", "--profile", code=2, says="profile 1 has none")


def test_device_names(digits, tmp_path):
    fails("build", digits.path, "-o", tmp_path / "e", "--device", "gpu", code=2, says=["--device 'gpu'", "cuda"])
    fails("build", digits.path, "-o", tmp_path / "e", "--device", "cpu:x", code=2, says="--device 'cpu:x'")




# --- completion and manual pages ------------------------------------------------------------------------------------

def complete(*words, cwd=None):
    """What bash offers for the last of these words, by the script that the tool prints; = and : are words of their own there."""
    split = [part for word in words for part in re.findall(r"[=:]|[^=:]+", word) or [""]]
    if words[-1].endswith("="):
        split.append("")
    script = ('source <("$0" completion bash); name=$1; COMP_WORDS=("$@"); COMP_CWORD=$(($# - 1)); COMPREPLY=()\n'
              'if [[ $name == trtexec ]]; then _trtexec; else _tenon; fi; printf "%s\\n" "${COMPREPLY[@]}"')
    done = subprocess.run(["bash", "--norc", "-c", script, TOOL, *split], capture_output=True, text=True, timeout=60, cwd=cwd)
    assert done.returncode == 0 and done.stderr == "", done.stderr
    return done.stdout.split()


def test_bash_completes_commands_and_options():
    assert set(complete("tenon", "")) >= {*COMMANDS, "trtexec"}
    assert complete("tenon", "ben") == ["bench"]
    for command in COMMANDS:
        documented = re.findall(r"^  (--?[a-z0-9-]+)", tenon("help", command)[0].split("\noptions:")[-1], re.M) if command != "completion" else []
        assert set(complete("tenon", command, "-")) - {"--backend"} == {*documented, "--help"}, command
    assert complete("tenon", "bench", "--ti") == [] and complete("tenon", "build", "--ti") == ["--timing-cache"]


def test_bash_completes_values(tmp_path):
    (tmp_path / "model.onnx").touch()
    (tmp_path / "last.json").touch()
    assert complete("tenon", "build", "--level", "") == list("012345")
    assert complete("tenon", "build", "--level=", cwd=tmp_path) == list("012345")
    assert "cuda" in complete("tenon", "build", "--device", "cu") == complete("tenon", "build", "--backend", "cu")
    assert complete("tenon", "list", "") == ["ops", "tactics", "passes", "devices"]
    assert complete("tenon", "completion", "z") == ["zsh"]
    assert set(complete("tenon", "help", "")) >= {*COMMANDS, *TOPICS}
    for words in ["build", "mo"], ["bench", "--json", "mo"], ["run", "m", "--input", "x=mo"], ["run", "m", "--input=x=mo"]:
        assert complete("tenon", *words, cwd=tmp_path) == ["model.onnx"], words
    assert complete("tenon", "bench", "e", "--against", "la", cwd=tmp_path) == ["last.json"]
    assert complete("tenon", "bench", "e", "--runs", "", cwd=tmp_path) == []
    assert complete("trtexec", "--onnx=mo", cwd=tmp_path) == ["model.onnx"]
    assert complete("trtexec", "--saveE") == ["--saveEngine="] and complete("tenon", "trtexec", "--fp1") == ["--fp16"]


def test_zsh_script_parses(tmp_path):
    """By zsh itself where there is one; else quotes are balanced as a shell sees them, which bash can tell of the same text."""
    script = tenon("completion", "zsh")[0]
    (tmp_path / "_tenon").write_text(script)
    for name in COMMANDS:
        assert f"    ({name})\n" in script
    assert "_tenon()" not in script                                    # the text is that function's body: it must not replace itself
    shell = shutil.which("zsh") or "bash"
    done = subprocess.run([shell, "-n", tmp_path / "_tenon"], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0 and done.stderr == "", done.stderr


PAGES = ["tenon", "trtexec", *(f"tenon-{c}" for c in COMMANDS)]


@pytest.mark.parametrize("page", PAGES)
def test_manual_pages(page, tmp_path):
    text = tenon("help", "--man", page)[0]
    sections = re.findall(r"^\.SH (.*)$", text, re.M)
    assert sections[:3] == ["NAME", "SYNOPSIS", "DESCRIPTION"] and sections[-1] == "SEE ALSO"
    assert f".TH {page.upper()} 1 " in text
    if page.startswith("tenon-"):
        shown = tenon("help", page[6:])[0]
        options = re.findall(r"^  (--?[a-z0-9-]+)", shown.split("\noptions:")[1].split("\nexamples:")[0], re.M) if "\noptions:" in shown else []
        assert re.findall(r"^\.TP\n\\fB(\S+?)\\fR", text, re.M) == [o.replace("-", "\\-") for o in options]
    (tmp_path / "p.1").write_text(text)
    if shutil.which("mandoc"):
        done = subprocess.run(["mandoc", "-T", "lint", "-W", "error", tmp_path / "p.1"], capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stdout
    if shutil.which("groff"):
        done = subprocess.run(["groff", "-man", "-Tascii", "-ww", tmp_path / "p.1"], capture_output=True, text=True, timeout=60)
        assert done.returncode == 0 and done.stderr == "", done.stderr
        assert "NAME" in re.sub(".\x08", "", done.stdout)                        # bold is struck twice


def test_manual_of_the_program_holds_every_topic():
    text = tenon("help", "--man")[0]
    for topic in TOPICS:
        assert f".SH {topic.upper().replace('-', ' ')}\n" in text
    assert tenon("help", "--man", "build")[0] == tenon("help", "--man", "tenon-build")[0]
