# SPDX-License-Identifier: Apache-2.0
"""Runs the command `tenon` for the tests. TENON_TOOL: another build/tenon."""
import os
import re
import subprocess

TOP = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
TOOL = os.environ.get("TENON_TOOL", os.path.join(TOP, "build", "tenon"))


def tenon(*words, code=0, **more):
    """Runs the command in `cwd`; the exit code must be `code`; gives (standard output, standard error)."""
    done = subprocess.run([TOOL, *map(str, words)], capture_output=True, text=True, timeout=120, **more)
    assert done.returncode == code, f"tenon {' '.join(map(str, words))}: exit code {done.returncode}\n{done.stdout}{done.stderr}"
    assert "\033" not in done.stderr, "a progress bar without a terminal"
    return done.stdout, done.stderr


def fails(*words, code=1, says=(), **more):
    """Nothing on standard output; the message holds each of `says`."""
    out, err = tenon(*words, code=code, **more)
    assert out == ""
    assert re.match(r"tenon( [a-z]+)?: ", err), err
    for part in [says] if isinstance(says, str) else says:
        assert part in err, f"'{part}' is not in: {err}"
    return err
