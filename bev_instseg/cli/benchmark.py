"""Measure how long a sweep takes, stage by stage, beside the floors and beside what others do.

Examples:
  %(prog)s --data ~/kitti/velodyne --json now.json
  %(prog)s --only stages peers --data ~/kitti/velodyne --against before.json

Parts (--only; all of them take some minutes):
  stages    read, voxelize, network, cluster, assemble, write; the whole; the floors
  peers     ground removal + DBSCAN, and HDBSCAN, on the same sweeps
  decoders  other ways from the same maps to instances, with their PQ on labelled frames (--truth)
  growth    points, instances and cells from few to many (--plot draws it)
  runtimes  the network's dense part in torch.compile, ONNX Runtime and OpenVINO, on the CPU
  sparse    the sparse convolutions by torch and by spconv
  stream    2,000 sweeps in a row: sweeps a second, memory
  start     a cold start of the package's own weights on the CPU, step by step
Peers and runtimes are an extra: pip install '.[peers]'; what is missing is said.
"""

import argparse
import json
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bev_instseg.cli.arguments import (
    add_network_arguments,
    make_segmenter,
    new_parser,
    positive,
    run,
)
from bev_instseg.datasets.frames import FrameRef, detect_layout, list_frames
from bev_instseg.exceptions import ScanError
from bev_instseg.file_io import write_atomic

if TYPE_CHECKING:
    from bev_instseg.segmenter import Segmenter

DEMO = Path(__file__).resolve().parents[2] / "demo"
STREAM = 2000


def main(argv: list[str] | None = None, prog: str = "python tools/benchmark.py") -> int:
    """Run the tool; returns the exit code."""
    arguments = parse_arguments(argv, prog)
    return run(arguments.program, partial(benchmark, arguments))


def parse_arguments(argv: list[str] | None, prog: str) -> argparse.Namespace:
    """The command line."""
    parser = new_parser(__doc__, prog)
    parser.add_argument(
        "--data",
        type=Path,
        metavar="DIR",
        default=DEMO / "sequences" / "00" / "velodyne",
        help="folder of .bin sweeps (default: the bundled one)",
    )
    parser.add_argument(
        "--truth",
        type=Path,
        metavar="DIR",
        default=DEMO,
        help="labelled data set for the decoders' PQ: KITTI val or all of a SemanticKITTI layout "
        "(default: the bundled sweep)",
    )
    parser.add_argument(
        "--only",
        nargs="+",
        choices=tuple(PARTS),
        default=tuple(PARTS),
        metavar="PART",
        help="default: all",
    )
    parser.add_argument("--repeats", type=positive, default=9, metavar="N", help="default: 9")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all figures there")
    parser.add_argument("--against", type=Path, metavar="FILE", help="compare with such a file")
    parser.add_argument("--plot", type=Path, metavar="PNG", help="draw the growth there")
    add_network_arguments(parser)
    return parser.parse_args(argv)


def benchmark(arguments: argparse.Namespace) -> int:
    """Measure the parts asked for; returns the exit code."""
    from bev_instseg.benchmark.measure import Machine  # torch: not for --help
    from bev_instseg.benchmark.report import compare, to_json

    paths = sorted(arguments.data.glob("*.bin"))
    if not paths:
        raise ScanError(f"{arguments.data}: no .bin files in this folder; name one with --data")
    if arguments.plot and "growth" not in arguments.only:
        raise ValueError("--plot draws the growth: add growth to --only")
    before = read_json(arguments.against) if arguments.against else None
    segmenter = make_segmenter(arguments)
    segmenter.warm_up()
    machine = Machine.here(segmenter.device)
    print(
        f"{machine.cpu}, {machine.cores} cores, {machine.threads} threads, torch "
        f"{machine.pytorch}: "
        f"copies {machine.copy_gb_s:.1f} GB/s, multiplies {machine.gemm_gflop_s:.0f} GFLOP/s in "
        f"{machine.precision}; device {segmenter.device}"
    )
    results: dict[str, Any] = {"machine": machine, "weights_sha256": segmenter.weights_sha256}
    for part, measure in PARTS.items():
        if part in arguments.only:
            print(f"\n## {part}\n")
            results[part] = measure(segmenter, paths, arguments, results)
            if arguments.json:  # after each part: a later one may fail
                write_atomic(arguments.json, to_json(results).encode())
    if before is not None:
        print(f"\n## against {arguments.against}\n")
        print(compare(json.loads(to_json(results)), before))
    return 0


def read_json(path: Path) -> dict[str, Any]:
    """What an earlier run wrote with ``--json``.

    Raises:
        ValueError: something else.
    """
    try:
        tree = json.loads(path.read_bytes())
    except ValueError:
        tree = None
    if not isinstance(tree, dict) or "machine" not in tree:
        raise ValueError(f"{path}: not written by --json of this tool; name such a file")
    return tree


def _stages(
    segmenter: "Segmenter", paths: list[Path], arguments: argparse.Namespace, results: dict
) -> dict[str, Any]:
    from bev_instseg.benchmark.measure import forget_peak, peak_mb
    from bev_instseg.benchmark.report import spread, table
    from bev_instseg.benchmark.stages import WHOLE, floors, time_stages

    forget_peak()
    timings, whole_of = time_stages(segmenter, paths, arguments.repeats)
    peak = peak_mb()
    floor = floors(segmenter, paths, results["machine"])
    floor_of = {"voxelize": floor["voxelize_floor_ms"], "network": floor["network_floor_ms"]}
    rows = [
        [stage, *spread(timing), floor_of.get(stage, float("nan")),
         timing.median_ms / floor_of.get(stage, float("nan"))]
        for stage, timing in timings.items()
    ]  # fmt: skip
    print(table(["stage", "median ms", "p10", "p90", "floor ms", "times floor"], rows))
    print(
        f"\n{len(paths)} sweeps, {floor['points']:.0f} points and {floor['pillars']:.0f} pillars "
        f"(medians), {arguments.repeats} repeats; slowest sweep {max(whole_of):.1f} ms; "
        f"peak memory {peak:.0f} MiB\n"
        f"floors: {floor['voxelize_mb']:.1f} MB moved once, {floor['network_gflop']:.1f} GFLOP; "
        f"{WHOLE} is all before 'write'"
    )
    return {"timings": timings, "floors": floor, "peak_mb": peak}


def _peers(
    segmenter: "Segmenter", paths: list[Path], arguments: argparse.Namespace, results: dict
) -> dict[str, Any]:
    from bev_instseg.benchmark.measure import Timing
    from bev_instseg.benchmark.peers import time_peers
    from bev_instseg.benchmark.report import spread, table
    from bev_instseg.benchmark.stages import WHOLE, time_stages

    peers = time_peers(paths)
    ours = time_stages(segmenter, paths, min(arguments.repeats, 3))[0][WHOLE]
    rows = [["ours, bytes to labels", *spread(ours), 1.0]]
    for name, timing in peers.items():
        if isinstance(timing, Timing):
            rows.append([name, *spread(timing), timing.median_ms / ours.median_ms])
        else:
            print(f"{name}: {timing}")
    print(table(["over all sweeps", "median ms", "p10", "p90", "times ours"], rows))
    return {"ours": ours, **peers}


def _decoders(
    segmenter: "Segmenter", paths: list[Path], arguments: argparse.Namespace, results: dict
) -> dict[str, Any]:
    from bev_instseg.benchmark.decoders import compare_decoders
    from bev_instseg.benchmark.report import spread, table

    refs = labelled_frames(arguments.truth)
    found = compare_decoders(segmenter, refs, min(arguments.repeats, 3))
    names = segmenter.config.class_names
    rows: list[list[object]] = []
    for name, outcome in found.items():
        if isinstance(outcome, str):
            print(f"{name}: {outcome}")
        else:
            timing, scores = outcome
            rows.append([name, *spread(timing), *(100 * scores[c].pq for c in names)])
    head = ["decoder", "median ms", "p10", "p90", *(f"PQ {name}" for name in names)]
    print(table(head, rows))
    print(f"\n{len(refs)} labelled frames of {arguments.truth.name}")
    return found


def labelled_frames(root: Path) -> list[FrameRef]:
    """KITTI's val split, or every frame in SemanticKITTI layout."""
    layout = detect_layout(root)
    if layout == "kitti":
        return list_frames(root, layout, ["val"])
    sequences = sorted(path.name for path in (root / "sequences").iterdir() if path.is_dir())
    return list_frames(root, layout, sequences)


def _growth(
    segmenter: "Segmenter", paths: list[Path], arguments: argparse.Namespace, results: dict
) -> list[Any]:
    from bev_instseg.benchmark.growth import measure_growth
    from bev_instseg.benchmark.report import draw_growth, spread, table
    from bev_instseg.io.sweep import read_scan

    growths = measure_growth(segmenter, read_scan(paths[0]), min(arguments.repeats, 5))
    for growth in growths:
        rows = [
            [f"{size:,}", *spread(timing), 1e6 * timing.median_ms / size if size else float("nan")]
            for size, timing in zip(growth.sizes, growth.timings, strict=True)
        ]
        print(f"{growth.name}: time ~ size^{growth.slope:.2f}\n")
        print(table([growth.unit, "median ms", "p10", "p90", "ns each"], rows) + "\n")
    if arguments.plot:
        draw_growth(growths, arguments.plot)
    return growths


def _runtimes(
    segmenter: "Segmenter", paths: list[Path], arguments: argparse.Namespace, results: dict
) -> dict[str, Any]:
    from bev_instseg.benchmark.report import spread, table
    from bev_instseg.benchmark.runtimes import compare_runtimes
    from bev_instseg.checkpoint import default_weights, load_model

    model, config, _ = load_model(arguments.weights or default_weights())
    found = compare_runtimes(model, config, arguments.repeats)
    rows: list[list[object]] = []
    for name, outcome in found.items():
        if isinstance(outcome, str):
            print(f"{name}: {outcome}")
        else:
            rows.append([name, *spread(outcome[0]), f"{outcome[1]:.1e}"])
    print(table(["dense part", "median ms", "p10", "p90", "error"], rows))
    return found


def _sparse(
    segmenter: "Segmenter", paths: list[Path], arguments: argparse.Namespace, results: dict
) -> dict[str, Any]:
    from bev_instseg.benchmark.report import spread, table
    from bev_instseg.benchmark.sparse_backends import compare_sparse

    found = compare_sparse(segmenter, paths[0], arguments.repeats)
    rows: list[list[object]] = []
    for name, outcome in found.items():
        if isinstance(outcome, str):
            print(f"{name}: {outcome}")
        else:
            rows.append([name, *spread(outcome)])
    print(table([f"network, one sweep, {segmenter.device}", "median ms", "p10", "p90"], rows))
    return found


def _stream(
    segmenter: "Segmenter", paths: list[Path], arguments: argparse.Namespace, results: dict
) -> dict[str, float]:
    from bev_instseg.benchmark.throughput import stream

    found = stream(segmenter, paths, STREAM)
    print(
        f"{STREAM} sweeps: {found['sweeps_s']:.1f} a second ({found['serial_sweeps_s']:.1f} with "
        f"one after the other); memory {found['early_mb']:.0f} MiB after a tenth, "
        f"{found['late_mb']:.0f} at the end, {found['peak_mb']:.0f} at most"
    )
    return found


def _start(
    segmenter: "Segmenter", paths: list[Path], arguments: argparse.Namespace, results: dict
) -> dict[str, float]:
    from bev_instseg.benchmark.report import table
    from bev_instseg.benchmark.throughput import cold_start

    found = cold_start(paths[0])
    print(table(["cold start", "seconds"], [list(row) for row in found.items()]))
    return found


PARTS = {
    "stages": _stages,
    "peers": _peers,
    "decoders": _decoders,
    "growth": _growth,
    "runtimes": _runtimes,
    "sparse": _sparse,
    "stream": _stream,
    "start": _start,
}
