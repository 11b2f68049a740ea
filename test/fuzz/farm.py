#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Long fuzzing on many cores: every target in several processes at once, for a time, and a table of what was done.

    python3 farm.py --minutes 60 [--jobs 32] [--targets onnx,engine] [--out FOLDER]

Beside it lie `tenonfuzz` and `seeds/TARGET`, as `./dev fuzz carry` puts them, or they are named by --fuzzer and --seeds. The
processes of a target share one corpus folder, and each takes up what the others found. One that dies of an input is counted, its
input kept, and it starts again; one that dies without an input in the first seconds ends the farm, since nothing can be tried.
--plain: a tenonfuzz without libFuzzer, which makes variants from seeds and looks at no coverage.
"""
import argparse
import os
import random
import re
import shutil
import subprocess
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
MOST_CRASHES = 40                               # of one target, then it is let alone: it finds the same thing over and over
WEIGHT = {"onnx": 3, "engine": 3, "shapes": 2}  # shares of the jobs; the other targets have 1


class Worker:
    """One process at a time, again and again until the end."""

    def __init__(self, farm, target, number):
        self.farm, self.target, self.number = farm, target, number
        self.log = os.path.join(farm.out, "log", f"{target}-{number}")
        self.process = None
        self.runs = self.starts = self.crashes = 0
        self.features = self.coverage = self.corpus = 0
        self.cpu = 0.0

    def start(self, seconds):
        a, seed = self.farm.args, random.randrange(1, 1 << 31)
        if a.plain:
            words = ["--seconds", str(int(seconds)), "--seed", str(seed), "--corpus", a.seeds, self.target]
        else:
            words = [f"--target={self.target}", f"-max_total_time={int(seconds)}", f"-seed={seed}", "-print_final_stats=1",
                     f"-rss_limit_mb={a.megabytes}", "-timeout=20", "-reload=1", "-max_len=65536",
                     f"-artifact_prefix={os.path.join(self.farm.out, 'found', self.target)}-",
                     os.path.join(self.farm.out, "corpus", self.target)]
        folder = os.path.join(self.farm.out, "found", f"{self.target}-{self.number}")
        os.makedirs(folder, exist_ok=True)      # the plain driver writes crash-TARGET where it stands
        self.from_byte = os.path.getsize(self.log) if os.path.exists(self.log) else 0
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen([os.path.abspath(a.fuzzer), *words], stdout=log, stderr=log, cwd=folder)
        self.began, self.starts = time.monotonic(), self.starts + 1

    def poll(self):
        """Takes the process in when it has ended; True: it was a failure."""
        pid, status, usage = os.wait4(self.process.pid, os.WNOHANG)
        if pid == 0:
            return False
        self.process.returncode = os.waitstatus_to_exitcode(status)
        self.cpu += usage.ru_utime + usage.ru_stime
        text = self.text()
        done = re.findall(r"stat::number_of_executed_units: (\d+)|, +(\d+) inputs;", text)
        if done:
            self.runs += int(done[-1][0] or done[-1][1])
        self.look(text)
        code, self.process = self.process.returncode, None
        self.crashes += code != 0
        if code != 0 and time.monotonic() - self.began < 10 and not re.search(r"Test unit written|written to crash", text):
            sys.exit(f"{self.target} ended with {code} before it tried anything:\n{text[-2000:]}")
        return code != 0

    def text(self):
        with open(self.log, "rb") as f:
            f.seek(self.from_byte)
            return f.read().decode(errors="replace")

    def look(self, text):
        lines = re.findall(r"#(\d+)\s.*cov: (\d+) ft: (\d+) corp: (\d+)", text)
        if lines:
            _, self.coverage, self.features, self.corpus = map(int, lines[-1])
        return int(lines[-1][0]) if lines else 0


class Farm:
    def __init__(self, args):
        self.args, self.out = args, os.path.abspath(args.out)
        listed = subprocess.run([os.path.abspath(args.fuzzer), "none"], capture_output=True, text=True)
        names = re.findall(r"^  (\w+) ", listed.stderr, re.M)
        self.targets = args.targets.split(",") if args.targets else names
        unknown = [t for t in self.targets if t not in names]
        if unknown or not names:
            sys.exit(f"no target {unknown}; {args.fuzzer} has {names}\n{listed.stderr[:500]}")
        os.makedirs(os.path.join(self.out, "log"), exist_ok=True)
        for target in self.targets:
            corpus = os.path.join(self.out, "corpus", target)
            os.makedirs(corpus, exist_ok=True)
            seeds = os.path.join(args.seeds, target)
            for name in os.listdir(seeds) if os.path.isdir(seeds) else []:
                shutil.copy(os.path.join(seeds, name), corpus)
            if not args.plain and not os.listdir(corpus):
                sys.exit(f"no seeds in {seeds}")
        self.workers = [Worker(self, t, i) for i, t in enumerate(self.share())]

    def share(self):
        """A target for each job, by weight; each target has one at least."""
        jobs, got = list(self.targets), {t: 1 for t in self.targets}
        while len(jobs) < self.args.jobs:
            least = min(self.targets, key=lambda t: got[t] / WEIGHT.get(t, 1))
            got[least] += 1
            jobs.append(least)
        return jobs

    def run(self):
        begin = time.monotonic()
        end = begin + self.args.minutes * 60
        told = begin
        for w in self.workers:
            w.start(end - begin)
        while any(w.process for w in self.workers):
            time.sleep(0.5)
            now = time.monotonic()
            for w in self.workers:
                if w.process is None or not w.poll():
                    continue
                crashes = sum(o.crashes for o in self.workers if o.target == w.target)
                print(f"{time.strftime('%H:%M:%S')} {w.target}: failure {crashes}, see {w.log}", flush=True)
                if end - now > 5 and crashes < MOST_CRASHES:
                    w.start(end - now)
            if now > end + 120:                     # a process that ignores its time
                for w in self.workers:
                    if w.process:
                        w.process.kill()
            if now - told >= self.args.every * 60:
                told = now
                self.table(f"after {(now - begin) / 60:.0f} minutes")
        self.table(f"{(time.monotonic() - begin) / 60:.1f} minutes, {len(self.workers)} processes")

    def table(self, title):
        print(f"\n{title}\n{'target':10}{'processes':>10}{'executions':>14}{'CPU minutes':>13}{'edges':>8}{'features':>10}"
              f"{'corpus':>8}{'failures':>10}")
        total = [0, 0, 0.0, 0]
        for target in self.targets:
            mine = [w for w in self.workers if w.target == target]
            runs = cpu = 0
            for w in mine:
                runs, cpu = runs + w.runs, cpu + w.cpu
                if w.process:                       # what it says of itself so far
                    runs += w.look(w.text())
                    cpu += cpu_seconds(w.process.pid)
            crashes = sum(w.crashes for w in mine)
            corpus = len(os.listdir(os.path.join(self.out, "corpus", target)))
            edges, features = max(w.coverage for w in mine), max(w.features for w in mine)
            print(f"{target:10}{len(mine):10}{runs:14,}{cpu / 60:13.1f}{edges:8}{features:10}{corpus:8}{crashes:10}")
            total = [t + x for t, x in zip(total, (len(mine), runs, cpu, crashes))]
        print(f"{'all':10}{total[0]:10}{total[1]:14,}{total[2] / 60:13.1f}{'':26}{total[3]:10}", flush=True)


def cpu_seconds(pid):
    try:
        with open(f"/proc/{pid}/stat", encoding="ascii", errors="replace") as f:
            words = f.read().rsplit(")", 1)[1].split()
        return (int(words[11]) + int(words[12])) / os.sysconf("SC_CLK_TCK")
    except OSError:
        return 0.0


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, required=True)
    parser.add_argument("--jobs", type=int, default=os.cpu_count(), help="processes in all; each target has one at least")
    parser.add_argument("--targets", help="some of them, with commas; all")
    parser.add_argument("--fuzzer", default=os.path.join(HERE, "tenonfuzz"))
    parser.add_argument("--seeds", default=os.path.join(HERE, "seeds"), help="a folder for each target")
    parser.add_argument("--out", default="fuzz-out", help="corpus, logs and inputs that failed; may be used again")
    parser.add_argument("--megabytes", type=int, default=2048, help="a process may have so many")
    parser.add_argument("--every", type=float, default=10, help="minutes between tables")
    parser.add_argument("--plain", action="store_true")
    farm = Farm(parser.parse_args())
    farm.run()
    if any(w.crashes for w in farm.workers):
        sys.exit(f"failures: the inputs are in {os.path.join(farm.out, 'found')}")


if __name__ == "__main__":
    main()
