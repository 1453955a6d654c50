"""Label the objects in LiDAR sweeps (KITTI .bin: float32 x, y, z, intensity).

Examples:
  %(prog)s sweep.bin --out results --png
  %(prog)s recordings/velodyne --out results --view

For each STEM.bin, DIR gets
  STEM.label  uint32 per point, in input order: low 16 bits SemanticKITTI class (vehicle 10,
              pedestrian 30, cyclist 31, none 0), high 16 bits instance 1..K by falling score
  STEM.json   per instance: class, score, points, oriented box; grid, weights, timing
  STEM.png    with --png: the sweep from above, objects coloured and named

A sweep that cannot be read is reported, the others are done, and the exit code is 2.
"""

import argparse
import dataclasses
import sys
import threading
import time
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from tqdm import tqdm

from bev_instseg.cli import add_network_arguments, explain, make_segmenter, new_parser, run
from bev_instseg.datasets.scan_io import ScanError, read_scan
from bev_instseg.export import write_result
from bev_instseg.structures import Float32, Instances
from bev_instseg.visualize import draw_bev, view

if TYPE_CHECKING:
    from bev_instseg.segmenter import Segmenter

Result = tuple[Float32, Instances, dict[str, float]]
DRAWING = threading.Lock()  # Matplotlib draws one picture at a time


def main(argv: list[str] | None = None, prog: str = "python tools/segment_scan.py") -> int:
    """Run the tool; returns the exit code."""
    return run("segment_scan", partial(segment_all, parse_arguments(argv, prog)))


def segment_all(arguments: argparse.Namespace) -> int:
    """Label every sweep; returns the exit code."""
    from bev_instseg.streaming import in_parallel  # torch: not for --help

    scans = find_scans(arguments.inputs)
    arguments.out.mkdir(parents=True, exist_ok=True)
    segmenter = make_segmenter(arguments)
    segmenter.warm_up()
    work = partial(segment_file, segmenter, arguments.out, arguments.png)

    shown: list[tuple[str, Float32, Instances]] = []
    timings: list[dict[str, float]] = []
    start = time.perf_counter()
    with closing(in_parallel(scans, len(scans), work, segmenter.device)) as steps:
        for path, outcome in tqdm(steps, total=len(scans), unit="sweep", disable=len(scans) == 1):
            try:
                points, instances, timing_ms = outcome.result()
            except (ValueError, OSError, RuntimeError, MemoryError) as error:
                about = "" if str(path) in str(error) else f"{path}: "
                tqdm.write(f"segment_scan: {about}{explain(error)}", file=sys.stderr)
                continue
            timings.append(timing_ms)
            if arguments.view:
                shown.append((path.stem, points, instances))
            if len(scans) == 1:
                print(f"{path.stem}: {instances}; {sum(timing_ms.values()):.0f} ms")
    if len(scans) > 1:
        rate = len(timings) / (time.perf_counter() - start)
        labelled = f"{len(timings)} of {len(scans)} sweeps labelled"
        print(f"{labelled} in {arguments.out}, {rate:.1f} a second")
        print(describe(timings), end="")
    if shown:
        view(shown)
    return 0 if len(timings) == len(scans) else 2


def parse_arguments(argv: list[str] | None, prog: str) -> argparse.Namespace:
    """The command line."""
    parser = new_parser(__doc__, prog)
    parser.add_argument("inputs", nargs="+", type=Path, metavar="INPUT", help=".bin file or folder")
    parser.add_argument("--out", required=True, type=Path, metavar="DIR", help="where results go")
    add_network_arguments(parser)
    parser.add_argument("--png", action="store_true", help="write a picture of each sweep")
    parser.add_argument("--view", action="store_true", help="open the sweeps in Open3D at the end")
    return parser.parse_args(argv)


def find_scans(inputs: list[Path]) -> list[Path]:
    """The .bin files named or lying in the folders named, in order.

    Raises:
        ScanError: nothing to do, or two files whose results would have the same name.
    """
    scans: dict[Path, Path] = {}  # by real path: a file named twice is done once
    for path in inputs:
        found = sorted(path.glob("[!.]*.bin")) if path.is_dir() else [path]
        if not found:
            raise ScanError(f"{path}: no .bin files in this folder")
        for scan in found:
            scans.setdefault(scan.resolve(), scan)
    stems: dict[str, Path] = {}
    for path in scans.values():
        first = stems.setdefault(path.stem, path)
        if first is not path:
            raise ScanError(f"{path}: named like {first}; give them different --out folders")
    return list(scans.values())


def segment_file(segmenter: "Segmenter", out: Path, png: bool, path: Path) -> Result:
    """Read, segment and write one sweep; milliseconds by stage, without those of the picture."""
    start = time.perf_counter()
    points = read_scan(path)
    read_ms = 1000 * (time.perf_counter() - start)
    instances = segmenter.segment(points)
    timing_ms = {"read": read_ms, **segmenter.timing_ms}
    start = time.perf_counter()
    extra = {
        "sweep": path.name,
        "num_points": len(points),
        "class_names": list(instances.class_names),
        "grid": dataclasses.asdict(segmenter.config.grid),
        "weights_sha256": segmenter.weights_sha256,
        "timing_ms": {stage: round(ms, 2) for stage, ms in timing_ms.items()},
    }
    labels = [c.label for c in segmenter.config.classes]
    picture = out / f"{path.stem}.png"
    picture.unlink(missing_ok=True)
    write_result(out, path.stem, instances, labels, extra)
    timing_ms["write"] = 1000 * (time.perf_counter() - start)
    if png:
        with DRAWING:
            draw_bev(points, instances, picture, title=path.stem)
    return points, instances, timing_ms


def describe(timings: list[dict[str, float]]) -> str:
    """Median times over the sweeps, a line, or nothing without sweeps."""
    if not timings:
        return ""
    stages = [f"{stage} {np.median([t[stage] for t in timings]):.1f}" for stage in timings[0]]
    whole = np.median([sum(t.values()) for t in timings])
    return f"median {whole:.1f} ms a sweep, several at once ({', '.join(stages)})\n"
