#!/usr/bin/env bash
# SPDX-License-Identifier: Apache-2.0
# On a machine with an NVIDIA GPU: builds, runs all tests, then the proofs of the CUDA backend, and prints everything. The proofs'
# output goes to $OUT (a folder; build/gpu by default) with the machine's name and the date; the files kept are in bench/results/.
#     bench/gpu_proof.sh [quick]        quick: the tests that need the GPU alone
set -uo pipefail
cd "$(dirname "$0")/.."
out=${OUT:-build/gpu}
mkdir -p "$out" build
failed=0

step() { # NAME LIMIT COMMAND...: prints, keeps the output, notes a failure
    local name=$1 limit=$2 code start=$SECONDS
    shift 2
    echo "== $name: $*"
    timeout "$limit" "$@" >"$out/$name.log" 2>&1
    code=$?
    tail -n "${LINES_SHOWN:-40}" "$out/$name.log"
    echo "== $name: exit $code after $((SECONDS - start)) s"
    [ "$code" = 0 ] || failed=1
    return "$code"
}

nvidia-smi --query-gpu=name,driver_version,memory.total,clocks.sm --format=csv,noheader || exit 1
. /etc/os-release && echo "$PRETTY_NAME, $(cc --version | head -n 1)"
step build 400 ./dev build || exit 1
step devices 60 build/tenon list devices
step proof 200 build/unit/test_cuda_proof
{
    echo "# $(date -u +%Y-%m-%d), $(nvidia-smi --query-gpu=name,driver_version --format=csv,noheader | head -n 1)"
    echo "## build/unit/test_cuda_proof"
    cat "$out/proof.log"
} >"$out/cuda_proof.txt"
if [ "${1:-}" != quick ]; then
    LINES_SHOWN=80 step ctest 300 ctest --test-dir build --output-on-failure -j "$(nproc)"
    step tenoncheck 240 build/tenoncheck --quick --device cuda --jobs "$(nproc)"
fi
exit "$failed"
