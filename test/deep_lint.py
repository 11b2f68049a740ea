# SPDX-License-Identifier: Apache-2.0
"""clang-tidy (.clang-tidy) and cppcheck (test/cppcheck.txt) over the library, the tools, the examples and the tests. Minutes on two
cores, so `./dev lint --all` and `./dev test --all` run it, not `./dev lint`.

    python3 test/deep_lint.py --build build [FILE...]

A finding is shown as the checker gives it; one file is one count, so that the last line sums as everywhere.
"""
import argparse
import concurrent.futures
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile

TOP = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
PARTS = ("src/", "tools/", "examples/", "test/", "bench/")


def sources(build, wanted):
    """File -> its command, of the compile commands, one of each."""
    found = {}
    with open(os.path.join(build, "compile_commands.json"), encoding="utf-8") as f:
        for entry in json.load(f):
            name = os.path.relpath(entry["file"], TOP)
            if name.startswith(PARTS) and name not in found and (not wanted or name in wanted):
                found[name] = entry
    return found


def tidy(build, name):
    for _ in range(2):          # a checker that dies of a signal says nothing of the file: once more
        done = subprocess.run(["nice", "clang-tidy", "-p", build, "--quiet", "--extra-arg=-UNDEBUG", os.path.join(TOP, name)],
                              capture_output=True, text=True)
        if done.returncode in (0, 1):
            break
    text = "\n".join(line for line in (done.stdout + done.stderr).splitlines() if not re.match(r"\d+ warnings? generated", line))
    return name, done.returncode == 0, text


def cppcheck(entries, jobs):
    """All files in one run: what it reads of headers it keeps. Files of one instruction set are mostly intrinsics, which it cannot read."""
    kept = [e for n, e in entries.items() if not re.search(r"_(avx2|avx512|vnni|bf16|fp16|amx)\.c$", n)]
    with tempfile.TemporaryDirectory() as folder:
        project = os.path.join(folder, "compile_commands.json")
        with open(project, "w", encoding="utf-8") as f:
            json.dump(kept, f)
        done = subprocess.run(
            ["nice", "cppcheck", f"--project={project}", f"-j{jobs}", "--quiet", "--enable=warning,performance,portability",
             "--inline-suppr", f"--suppressions-list={os.path.join(TOP, 'test', 'cppcheck.txt')}", "--error-exitcode=1",
             "--std=c11", "--library=posix,gnu", "--max-configs=1", "--template={file}:{line}: {severity}: {message} [{id}]"],
            capture_output=True, text=True)
    return done.returncode == 0, done.stdout + done.stderr


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--build", required=True)
    parser.add_argument("file", nargs="*", help="these alone, as src/run/load.c")
    args = parser.parse_args()
    jobs, passed, failed, skipped = os.cpu_count(), 0, 0, 0
    entries = sources(args.build, args.file)
    if not entries:
        sys.exit(f"nothing to read in {args.build}/compile_commands.json")
    if shutil.which("clang-tidy"):
        with concurrent.futures.ThreadPoolExecutor(jobs) as pool:
            for name, good, text in pool.map(lambda n: tidy(args.build, n), entries):
                passed, failed = passed + good, failed + (not good)
                if not good:
                    print(text)
    else:
        print("SKIP clang-tidy is not installed (./dev setup tools)")
        skipped += 1
    if shutil.which("cppcheck"):
        good, text = cppcheck(entries, jobs)
        passed, failed = passed + good, failed + (not good)
        print(text, end="")
    else:
        print("SKIP cppcheck is not installed (./dev setup tools)")
        skipped += 1
    print(f"{passed} passed, {failed} failed, {skipped} skipped")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
