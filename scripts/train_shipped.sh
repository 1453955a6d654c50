#!/bin/sh
# Train the weights of the package from scratch: `clean`, then from it `default`, in three legs.
#
#   scripts/train_shipped.sh DATA OUT
#
# DATA contains kitti, semantickitti, pandaset and nuscenes. All files are written to OUT; the
# results are clean.safetensors and default.safetensors, each with its .json.
# After an interruption, run it again: finished steps are skipped and training resumes.
# A GPU is used if there is one; on two CPU cores it takes nine hours.
set -eu
[ $# -eq 2 ] || { sed -n '2,9s/^# \{0,1\}//p' "$0" >&2; exit 2; }
for name in kitti semantickitti pandaset nuscenes; do
	[ -e "$1/$name" ] || { echo "$1/$name: not found" >&2; exit 2; }
done
data=$(cd "$1" && pwd) out=$2
root=$(dirname "$0")/..
tools=$root/tools configs=$root/configs
mkdir -p "$out/data/kitti/ImageSets"
for name in semantickitti pandaset nuscenes; do ln -sfn "$data/$name" "$out/data/$name"; done
ln -sfn "$data/kitti/training" "$out/data/kitti/training"
cp "$data"/kitti/ImageSets/*.txt "$out/data/kitti/ImageSets/"
(
	cd "$out/data/kitti/ImageSets"
	grep -E '^(0000|0048|object_[0-9]*[02468]$)' train.txt >first.txt
	grep -vxFf first.txt train.txt >second.txt
)

once() { # FILE COMMAND...: run the command unless the file exists
	file=$1
	shift
	[ -e "$file" ] || "$@"
}

simulate() { # FOLDER SEQUENCE COUNT [options]
	folder=$out/data/$1 sequence=$2 count=$3
	shift 3
	[ -e "$folder/.made-$sequence" ] && return
	python "$tools/simulate.py" --out "$folder" --sequence "$sequence" --count "$count" \
		--workers "$(nproc)" --overwrite "$@"
	touch "$folder/.made-$sequence"
}

train() { # NAME WEIGHTS options: WEIGHTS to start from, or none
	name=$1 weights=$2
	shift 2
	[ -e "$out/$name/weights.safetensors" ] && return
	if [ -e "$out/$name/last.pt" ]; then
		set -- --resume "$@"
	elif [ "$weights" != none ]; then
		set -- --init "$weights" "$@"
	fi
	python "$tools/train_kitti.py" --data "$out/data" --out "$out/$name" "$@" || {
		code=$?
		[ $code -lt 128 ] || echo "stopped; run this again to continue" >&2
		exit $code
	}
}

cut() { # NAME options
	name=$1
	shift
	once "$out/$name.npz" python "$tools/cut_objects.py" --data "$out/data" \
		--out "$out/$name.npz" "$@"
}

calibrate() { # NAME WEIGHTS options
	name=$1 weights=$2
	shift 2
	once "$out/$name.json" python "$tools/calibrate.py" --data "$out/data" --weights "$weights" \
		--simulated "$out/data/heldout" --out "$out/$name.yaml" --save "$out/$name.safetensors" "$@"
}

mean() { # FILE WEIGHTS...
	file=$1
	shift
	once "$file" python "$root/scripts/average_weights.py" --out "$file" "$@"
}

leg() { # NUMBER WEIGHTS [configuration]: train, then average with the weights from before
	number=$1 before=$2
	shift 2
	train "run-$number" "$before" --config "$default" "$@" \
		--objects "$out/real.npz" "$out/simulated.npz"
	mean "$out/mean-$number.safetensors" "$before" "$out/run-$number/weights.safetensors"
}

simulate simulated 12 900 --sensor any --seed 77
simulate simulated 13 100 --sensor pandar64 --seed 78
simulate simulated 14 1000 --sensor any --seed 79
simulate simulated 11 600 --sensor any --seed 61
simulate simulated 15 900 --sensor any --seed 91 --streets arterial industrial
simulate heldout 20 70 --sensor any --seed 81

echo 'data: {sources: [{path: simulated, layout: semantickitti, train: ["12"]}]}' >"$out/12.yaml"
cut simulated --config "$out/12.yaml"
cut pandaset --config "$configs/clean.yaml" --sources pandaset
train run-clean none --config "$configs/clean.yaml" \
	--objects "$out/pandaset.npz" "$out/simulated.npz"
clean=$out/run-clean/weights.safetensors
calibrate clean "$clean" --config "$configs/clean.yaml" --sources pandaset

real="kitti semantickitti pandaset nuscenes"
default=$configs/default.yaml
# shellcheck disable=SC2086 # one argument per source
cut real --config "$default" --sources $real --distractors "$clean"
leg 1 "$clean" "$configs/legs/1.yaml"
leg 2 "$out/mean-1.safetensors" "$configs/legs/2.yaml"
leg 3 "$out/mean-2.safetensors"

# Calibration: a network that has not seen half of the streets scores that half.
first="$default $configs/folds/first.yaml"
# shellcheck disable=SC2086
cut first --config $first --sources $real --distractors "$clean"
# shellcheck disable=SC2086
train run-first "$clean" --config $first --objects "$out/first.npz" "$out/simulated.npz"
mean "$out/first.safetensors" "$clean" "$out/run-first/weights.safetensors"
calibrate default "$out/mean-3.safetensors" \
	--fold "$configs/folds/second.yaml" "$out/first.safetensors"
