# SPDX-License-Identifier: Apache-2.0
"""The rules of the house that a program can check. A finding is a line `file:line: what`; the last line counts rules.

    python3 test/lint.py [--build build]

With a build folder it also looks into the objects: code for a wider instruction set must stay in the files that are named for it.
A rule is a function named rule_*, yielding findings; a warning is a finding that begins with `warning:` and does not fail.
"""
import argparse
import os
import re
import subprocess
import sys
from collections import defaultdict

TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))

# What each folder of src/ may include from src/, itself aside.
ALLOWED = {
    "base": "", "ir": "base", "op": "base ir", "pass": "base ir op", "run": "base ir op",
    "cpu": "base ir op", "cuda": "base ir op", "null": "base ir op",
    "quant": "base ir op pass run", "plan": "base ir op pass quant run", "onnx": "base ir op pass quant plan run",
    "api": "base ir op pass quant plan run onnx cpu cuda null",
}
CLIENTS = ("tools/", "examples/", "compat/", "triton/")       # of include/tenon.h alone
ISA = ("avx2", "avx512", "vnni", "bf16", "fp16", "amx")
SAME_NAME = {"backend.c", "backend.h", "tactic.def", "README.md", "__init__.py", "CMakeLists.txt", ".gitignore", "conftest.py"}
TEXT = (".c", ".h", ".cu", ".def", ".py", ".cmake", ".txt", ".md", ".toml", ".cpp", ".hpp", ".pyi", ".yml", "")
CODE = (".c", ".h", ".cu", ".cpp", ".hpp")
WIDTH_WARN, WIDTH_MAX, FILE_WARN, FILE_MAX, FUNCTION_WARN, FUNCTION_MAX = 130, 160, 500, 1000, 60, 100
GENERATED = ("LICENSE",)
DATA = (".ci/", "test/fuzz/corpus/", "test/case/", "test/golden/")


def tracked():
    """Files of the tree: what git knows and what it would add."""
    out = subprocess.run(["git", "ls-files", "-co", "--exclude-standard"], cwd=TOP, capture_output=True, text=True)
    if out.returncode == 0:
        names = out.stdout.split("\n")
    else:                                                         # an unpacked archive
        names = [os.path.relpath(os.path.join(folder, f), TOP) for folder, _, found in os.walk(TOP) for f in found
                 if "/build" not in folder and "/.git" not in folder]
    return sorted(n for n in names if n and os.path.isfile(os.path.join(TOP, n)))


class Tree:
    def __init__(self, build):
        self.files, self.build = tracked(), build
        self.text = {}
        for name in self.files:
            if os.path.splitext(name)[1] in TEXT and name not in GENERATED:
                try:
                    with open(os.path.join(TOP, name), encoding="utf-8") as f:
                        self.text[name] = f.read().split("\n")
                except UnicodeDecodeError:
                    pass

    def code(self, suffixes=CODE):
        return ((n, t) for n, t in self.text.items() if n.endswith(suffixes))


def includes(lines):
    for number, line in enumerate(lines, 1):
        match = re.match(r'\s*#\s*include\s+(["<])([^">]+)[">]', line)
        if match:
            yield number, match[1], match[2]


def rule_include_law(tree):
    """base < ir < op < pass, plan < onnx; run and backends above op; no backend includes another; clients: tenon.h alone."""
    for name, lines in tree.code(CODE + (".def",)):
        part = name.split("/")
        for number, quote, what in includes(lines):
            if name.startswith(CLIENTS):
                if quote == '"' and what != "tenon.h" and not os.path.exists(os.path.join(TOP, os.path.dirname(name), what)):
                    yield f"{name}:{number}: includes {what}; clients include tenon.h alone"
                if quote == '"' and what.startswith(".."):
                    yield f"{name}:{number}: includes {what}; no way out of the folder"
            elif part[0] == "src" and quote == '"':
                folder = what.split("/")[0] if "/" in what else part[1]
                if what == "tenon.h":
                    continue                                      # the public types are everyone's
                if folder == ".." or (folder != part[1] and folder not in ALLOWED.get(part[1], "").split()):
                    yield f"{name}:{number}: src/{part[1]} may not include {what}"


def rule_isa_files(tree):
    """A file with an instruction set in its name calls no libc: a call may land in code that another file compiled for less."""
    libc = {"stdio.h", "stdlib.h", "string.h", "math.h", "malloc.h", "unistd.h", "assert.h", "errno.h", "pthread.h"}
    for name, lines in tree.code((".c",)):
        if re.search(r"^src/cpu/.*_(%s)\.c$" % "|".join(ISA), name):
            for number, _, what in includes(lines):
                if what in libc:
                    yield f"{name}:{number}: includes {what}; files for one instruction set call no libc"


def rule_unique_names(tree):
    seen = defaultdict(list)
    for name in tree.files:
        if os.path.basename(name) not in SAME_NAME and not name.startswith(DATA):
            seen[os.path.basename(name)].append(name)
    for names in seen.values():
        if len(names) > 1:
            yield f"{names[0]}: the same file name as {', '.join(names[1:])}"


def rule_lengths(tree):
    for name, lines in tree.code(CODE + (".py",)):
        if len(lines) > FILE_MAX:
            yield f"{name}: {len(lines)} lines"
        elif len(lines) > FILE_WARN:
            yield f"warning: {name}: {len(lines)} lines"
        wide = [number for number, line in enumerate(lines, 1) if len(line) > WIDTH_WARN]
        if wide:
            yield f"warning: {name}:{wide[0]}: {len(wide)} lines of more than {WIDTH_WARN} columns"
        for number in wide:
            if len(lines[number - 1]) > WIDTH_MAX:
                yield f"{name}:{number}: {len(lines[number - 1])} columns"


def rule_function_lengths(tree):
    """A function of C begins at a line that ends its head with { in column 0 or on its own, and ends at } in column 0."""
    for name, lines in tree.code():
        start = None
        for number, line in enumerate(lines, 1):
            if start is None and re.match(r"[A-Za-z_].*\)\s*\{\s*$", line) and not line.startswith(("typedef", "struct", "enum")):
                start = number
            elif start is None and line == "{":
                start = number - 1
            elif start is not None and line.startswith("}"):
                length = number - start + 1
                if length > FUNCTION_MAX:
                    yield f"{name}:{start}: a function of {length} lines"
                elif length > FUNCTION_WARN:
                    yield f"warning: {name}:{start}: a function of {length} lines"
                start = None


def rule_spdx(tree):
    for name, lines in tree.text.items():
        if os.path.splitext(name)[1] in CODE + (".def", ".py", ".cmake", ".pyi") or name in ("dev", "CMakeLists.txt", ".ci/run"):
            if not any("SPDX-License-Identifier: Apache-2.0" in line for line in lines[:2]):
                yield f"{name}:1: no SPDX line"


def rule_words(tree):
    """What may not stand in the tree: promises, paths of one machine, registries' hosts, merge marks."""
    bad = re.compile(r"\b(TO" r"DO|FIX" r"ME|XX" r"X)\b|/ho" r"me/\w|/ro" r"ot/|/wo" r"rk/|pyp" r"i\.org|debian\.or" r"g/"
                     r"|^<<<<<<< |^>>>>>>> ")
    for name, lines in tree.text.items():
        for number, line in enumerate(lines, 1):
            match = bad.search(line)
            if match:
                yield f"{name}:{number}: {match[0].strip()}"


def rule_style(tree):
    for name, lines in tree.text.items():
        if not name.endswith(CODE + (".def", ".py")):
            continue
        for number, line in enumerate(lines, 1):
            if "\t" in line and not name.endswith((".plan", ".md")):
                yield f"{name}:{number}: a tab"
            if line != line.rstrip():
                yield f"{name}:{number}: blanks at the end of the line"
        if lines[-1] != "":
            yield f"{name}: no newline at the end"


def rule_goto(tree):
    for name, lines in tree.code((".c", ".h")):
        for number, line in enumerate(lines, 1):
            match = re.search(r"\bgoto\s+(\w+)", line)
            if match and match[1] != "done":
                yield f"{name}:{number}: goto {match[1]}; the one label is done"


def rule_no_exit(tree):
    """The library never ends the process and never prints by itself."""
    for name, lines in tree.code((".c",)):
        if name.startswith("src/"):
            for number, line in enumerate(lines, 1):
                line = re.sub(r'"[^"]*"|//.*|/\*.*', "", line)
                match = re.search(r"(?<![\w.>])(abort|exit|_exit|system|popen|strcpy|strcat|sprintf|gets|alloca)\s*\(", line)
                if match:
                    yield f"{name}:{number}: {match[1]}() in the library"


def rule_def_in_one_file(tree):
    """One file expands a table, into an array. Beside it, op.h makes the externs of the operators, and the headers of libraries the
    members of the structs that hold their functions, each with its own type, which no array could give."""
    headers = ("src/op/op.h", "src/cuda/cuda_api.h", "src/cuda/cublaslt.h", "src/cuda/cudnn.h")
    users = defaultdict(set)
    for name, lines in tree.code((".c", ".h")):
        for _, _, what in includes(lines):
            if what.endswith(".def"):
                folder = os.path.dirname(what) or os.path.basename(os.path.dirname(name))
                if name not in headers:
                    users[folder + "/" + os.path.basename(what)].add(name)
    for table, names in users.items():
        if len(names) > 1:
            yield f"{table}: included by {', '.join(sorted(names))}; one file makes the array"


UNUSED_API = ()                 # public functions that no example and no test calls, each with a reason: there is none


def rule_api_page(tree):
    """doc/c-api.md is what the header says."""
    sys.path.insert(0, os.path.join(TOP, "doc"))
    import c_api
    if not c_api.fresh():
        yield "doc/c-api.md:1: older than include/tenon.h: python3 doc/c_api.py"


def rule_api_used(tree):
    """Every public function is called by an example or a test that is not about its refusals alone."""
    import c_api                                                  # on the path since the rule above
    text = "\n".join("\n".join(lines) for name, lines in tree.code((".c", ".h"))
                     if name.startswith(("examples/", "test/unit/")) and not name.endswith("test_null_arguments.c"))
    called = set(re.findall(r"\b(tenon_\w+)\s*\(", text))
    for name in c_api.functions("\n".join(tree.text["include/tenon.h"])):
        if name not in called and name not in UNUSED_API:
            yield f"include/tenon.h: no example and no test calls {name}"


def objects(tree):
    """(object, source) of the library, as the compile commands name them."""
    path = os.path.join(tree.build or "", "compile_commands.json")
    if not tree.build or not os.path.exists(path):
        return
    import json
    for entry in json.load(open(path)):
        match = re.search(r" -o (\S+\.o)", entry.get("command", ""))
        if match and "/src/" in entry["file"]:
            target = os.path.join(entry["directory"], match[1])
            if os.path.exists(target):
                yield target, os.path.relpath(entry["file"], TOP)


def rule_isa_objects(tree):
    """An object for a wider instruction set gives away nothing but its table: others could end up calling a stray function."""
    for target, source in objects(tree):
        if re.search(r"/cpu/.*_(%s)\.c$" % "|".join(ISA), source):
            out = subprocess.run(["nm", "--defined-only", "--extern-only", target], capture_output=True, text=True).stdout
            names = [line.split()[1:] for line in out.splitlines()]
            code = [n[1] for n in names if n[0] not in "RDBV"]
            if code:
                yield f"{source}: external functions {', '.join(code[:5])}; only the table may be external"
            elif len(names) != 1:
                yield f"{source}: {len(names)} external symbols ({', '.join(n[1] for n in names[:5])}); one table is the rule"


def rule_generic_objects(tree):
    """No wide register in what every machine runs."""
    for target, source in objects(tree):
        if not re.search(r"_(%s)\.c$" % "|".join(ISA), source):
            out = subprocess.run(["objdump", "-d", "--no-show-raw-insn", target], capture_output=True, text=True).stdout
            match = re.search(r"%[yz]mm\d+", out)
            if match:
                yield f"{source}: {match[0]} in a generic object"


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--build")
    args = parser.parse_args()
    tree = Tree(args.build)
    passed = failed = 0
    for name, rule in list(globals().items()):
        if not name.startswith("rule_"):
            continue
        bad = 0
        for finding in rule(tree):
            print(finding if finding.startswith("warning:") else f"{finding}  [{name[5:]}]")
            bad += not finding.startswith("warning:")
        passed += bad == 0
        failed += bad > 0
    print(f"{passed} passed, {failed} failed, 0 skipped")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
