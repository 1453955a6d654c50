#!/bin/sh
# Run the study of the paper's claims on a machine with a CUDA device, or go on with it.
#
#   scripts/gpu_study.sh DATA OUT [SECONDS] [PROCESSES]
#
# DATA holds kitti and semantickitti, for instance from gpu_pack.py --parts train val; simulated
# sweeps are added to it. OUT gets the scores of finished runs and the state of the others. All
# processes stop after SECONDS (default: 500); run the same command again to continue. PROCESSES is
# by default the number of cores less two, at least one.
set -eu
[ $# -ge 2 ] || { sed -n '2,9s/^# \{0,1\}//p' "$0" >&2; exit 2; }
root=$(cd "$(dirname "$0")/.." && pwd)
data=$1 out=$2 seconds=${3:-500} processes=${4:-$(($(nproc) > 3 ? $(nproc) - 2 : 1))}
start=$(date +%s)
mkdir -p "$out"

simulate() { # SEQUENCE COUNT SEED
	[ -e "$data/claims/.made-$1" ] && return
	python3 "$root/tools/simulate.py" --out "$data/claims" --sequence "$1" --count "$2" \
		--seed "$3" --workers "$(nproc)" --overwrite
	touch "$data/claims/.made-$1"
}

simulate 00 600 61
simulate 01 300 62
variants=
for name in regression hinge fixed fixed_wide scalar elliptical centroid medoid box rough seed_one \
	foreground_1 foreground_10; do
	variants="$variants $root/configs/study/$name.yaml"
done
left=$((seconds - $(date +%s) + start))
[ "$left" -gt 0 ] || { echo "no time left to train; run it again" >&2; exit 1; }
for number in $(seq "$processes"); do
	# shellcheck disable=SC2086 # one argument per variant
	OMP_NUM_THREADS=1 timeout -s INT "$left" python3 "$root/tools/study.py" --data "$data" \
		--config "$root/configs/study/claims.yaml" --variants $variants --out "$out" \
		>"$out/process-$number.txt" 2>&1 &
done
wait
for scores in "$out"/*/scores.json; do # a run with scores needs no state
	[ -e "$scores" ] || continue
	run=${scores%/*}
	rm -f "$run/last.pt" "$run/weights.safetensors" "$run/weights.json"
	echo "${run##*/} is done"
done
