#!/bin/sh
# Check and time the package on a machine with a CUDA device.
#
#   scripts/gpu_check.sh OUT [SWEEPS]
#
# Runs the tests that need a GPU, then the benchmark's rows that use it, on a folder of .bin sweeps
# (default: the bundled one). OUT gets gpu_tests.txt, gpu_benchmark.txt and gpu_benchmark.json.
set -u
[ $# -ge 1 ] || { sed -n '2,7s/^# \{0,1\}//p' "$0" >&2; exit 2; }
root=$(cd "$(dirname "$0")/.." && pwd)
mkdir -p "$1"
out=$(cd "$1" && pwd)
sweeps=${2:-$root/demo/sequences/00/velodyne}
cd "$root" || exit 2
failed=0
python3 -m pytest -m gpu -rs >"$out/gpu_tests.txt" 2>&1 || failed=1
tail -n 5 "$out/gpu_tests.txt"
python3 tools/benchmark.py --device cuda --only stages sparse stream --data "$sweeps" \
	--json "$out/gpu_benchmark.json" >"$out/gpu_benchmark.txt" 2>&1 || failed=1
cat "$out/gpu_benchmark.txt"
exit $failed
