#!/bin/sh
# Export shipped weights in 8 bits: sh scripts/quantize_shipped.sh default|clean|lanes DATA OUT
# DATA holds pandaset, for `default` also kitti, semantickitti and nuscenes, and for `lanes` also
# lanes (docs/method.md). Only simulated sweeps and those that the weights were trained on are used.
set -eu
name=$1 data=$2 out=$3
sim=$(mktemp -d)
trap 'rm -rf "$sim"' EXIT
sweeps=
case $name in
lanes)
	sweeps=$(
		ls "$data"/lanes/sequences/40/velodyne/*.bin | awk 'NR % 20 == 1'
		ls "$data"/lanes/sequences/42/velodyne/*.bin | awk 'NR % 25 == 1'
	)
	;;
default)
	sweeps=$(
		for stem in $(awk 'NR % 10 == 1' "$data/kitti/ImageSets/train.txt"); do
			ls "$data"/kitti/training/velodyne*/"$stem.bin" | head -1
		done
		ls "$data"/semantickitti/sequences/0[0-5]/velodyne/*.bin | awk 'NR % 4 == 1' | head -16
		ls "$data"/nuscenes/sequences/r*/velodyne/*.bin | awk 'NR % 5 == 1' | head -8
	)
	;;
esac
if [ "$name" != lanes ]; then
	bev-instseg simulate --out "$sim" --count 16 --sequence 1 --sensor any --seed 77
	sweeps="$sweeps $sim"
fi
# shellcheck disable=SC2086 # one argument per sweep
bev-instseg export --weights "$name" --format onnx --precision int8 --out "$out" --sweeps $sweeps \
	"$data/pandaset/sequences/001/velodyne" "$data/pandaset/sequences/002/velodyne"
echo "copy $out/model.onnx and .json to bev_instseg/weights/$name.int8.onnx and .json"
