#!/bin/sh
# Train the shipped model from scratch: simulate, pretrain, fine-tune, calibrate.
#
#   scripts/train_shipped.sh DATA LAYOUTS OUT
#
# DATA contains kitti, semantickitti and pandaset; LAYOUTS is a folder or .tar.gz of KITTI label
# files. All files are written to OUT, the last of them shipped.safetensors and shipped.json.
# After an interruption, run it again: finished steps are skipped and training resumes.
# A GPU is used if there is one; on two CPU cores it takes a night.
set -eu
[ $# -eq 3 ] || { sed -n '2,9s/^# \{0,1\}//p' "$0" >&2; exit 2; }
require() { [ -e "$1" ] || { echo "$1: not found" >&2; exit 2; }; }
for name in kitti semantickitti pandaset; do require "$1/$name"; done
require "$2"
data=$(cd "$1" && pwd) layouts=$2 out=$3
tools=$(dirname "$0")/../tools configs=$(dirname "$0")/../configs
mkdir -p "$out/data"
for name in kitti semantickitti pandaset; do ln -sfn "$data/$name" "$out/data/$name"; done

simulate() { # FOLDER SEQUENCE COUNT [options]
	folder=$out/data/$1 sequence=$2 count=$3
	shift 3
	[ -e "$folder/.made-$sequence" ] && return
	python "$tools/simulate.py" --out "$folder" --sequence "$sequence" --count "$count" \
		--workers "$(nproc)" --overwrite "$@"
	touch "$folder/.made-$sequence"
}

cut() { # CONFIG NAME [options]
	config=$1 name=$2
	shift 2
	[ -e "$out/$name.npz" ] || python "$tools/cut_objects.py" --config "$configs/$config.yaml" \
		--data "$out/data" --out "$out/$name.npz" "$@"
}

train() { # NAME options; --init WEIGHTS must come first, and --resume replaces it
	name=$1
	shift
	[ -e "$out/$name/weights.safetensors" ] && return
	if [ -e "$out/$name/last.pt" ]; then
		[ "$1" != --init ] || shift 2
		set -- --resume "$@"
	fi
	python "$tools/train_kitti.py" --config "$configs/$name.yaml" --data "$out/data" \
		--out "$out/$name" "$@" || {
		code=$?
		[ $code -lt 128 ] || echo "stopped; run this again to continue" >&2
		exit $code
	}
}

simulate simulated 10 500 --layouts "$layouts"
simulate simulated 11 350 --layouts "$layouts" --sensor any
simulate simulated 12 150
simulate simulated 13 80 --layouts "$layouts" --sensor pandar64
simulate heldout 20 24 --layouts "$layouts"
simulate heldout 21 16 --layouts "$layouts" --sensor any
cut mixed real
cut pretrain simulated
train pretrain --objects "$out/real.npz"
cut mixed hard --distractors "$out/pretrain/weights.safetensors"
train finetune --init "$out/pretrain/weights.safetensors" \
	--objects "$out/hard.npz" "$out/simulated.npz"
[ -e "$out/shipped.json" ] || python "$tools/calibrate.py" --config "$configs/mixed.yaml" \
	--weights "$out/finetune/weights.safetensors" --data "$out/data" \
	--simulated "$out/data/heldout" --out "$out/calibration.yaml" --save "$out/shipped.safetensors"
