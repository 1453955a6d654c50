"""Measure how long a sweep takes, stage by stage, compared with lower bounds and other methods.

Examples:
  %(prog)s --data ~/kitti/velodyne --json now.json
  %(prog)s --only stages peers --data ~/kitti/velodyne --against before.json

Parts (--only; running all takes several minutes):
  stages    read, voxelize, network, cluster, assemble, write; their sum; lower bounds ("floors")
  peers     ground removal + DBSCAN, and HDBSCAN, on the same sweeps
  decoders  other ways to cluster the network's output, with PQ on labelled frames (--truth)
  growth    how the time grows with points, instances and cells (--plot draws it)
  runtimes  the network in PyTorch, OpenVINO and ONNX Runtime, in float and 8 bits, with AVX2 only,
            with PQ on labelled frames (--truth)
  sparse    sparse convolutions by torch and by spconv
  stream    2,000 sweeps in a row: sweeps per second, memory
  start     a cold start with the shipped weights on the CPU, step by step
  load      sweeps while another process keeps each core busy

Peers need optional packages: pip install 'bev-instseg[peers]'. Missing packages are reported and
their rows left out.
"""

import argparse
import json
from functools import partial
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any

from bev_instseg.cli.arguments import (
    add_network_arguments,
    make_segmenter,
    new_parser,
    positive,
    run,
    to_file,
    to_path,
    weights_file,
)
from bev_instseg.exceptions import BevInstsegError, ScanError, explain
from bev_instseg.file_io import write_atomic

if TYPE_CHECKING:
    from bev_instseg.benchmark.report import Report  # imports torch, which --help does not need

DEMO = Path(__file__).resolve().parents[2] / "demo"
PARTS = {  # name -> module of bev_instseg.benchmark
    "stages": "stages",
    "peers": "peers",
    "decoders": "decoders",
    "growth": "growth",
    "runtimes": "runtimes",
    "sparse": "sparse_backends",
    "stream": "throughput",
    "start": "cold_start",
    "load": "load",
}


def main(argv: list[str] | None = None, prog: str = "python tools/benchmark.py") -> int:
    """Run the command and return its exit code."""
    arguments = parse_arguments(argv, prog)
    return run(arguments.program, partial(benchmark, arguments))


def benchmark(arguments: argparse.Namespace) -> int:
    """Measure the chosen parts, print and write the results, and return the exit code."""
    import torch

    from bev_instseg.benchmark.decoders import list_labelled_frames
    from bev_instseg.benchmark.measure import Machine
    from bev_instseg.benchmark.report import compare_results, read_json, to_json
    from bev_instseg.benchmark.setup import Setup

    sweeps = sorted(arguments.data.glob("[!.]*.bin"))
    if not sweeps:
        raise ScanError(f"{arguments.data}: no .bin files in this folder; choose one with --data")
    if arguments.plot and "growth" not in arguments.only:
        raise ValueError("--plot needs the part growth: add it to --only")
    scored = {"decoders", "runtimes"} & set(arguments.only)
    if arguments.sequences and not scored:
        raise ValueError("--sequences needs the part decoders or runtimes: add one to --only")
    if scored:  # now rather than after minutes
        try:
            list_labelled_frames(arguments.truth, arguments.sequences)
        except (BevInstsegError, ValueError, OSError) as error:
            raise ValueError(
                f"{explain(error)}; the parts decoders and runtimes need labelled frames: "
                "choose them with --truth, or leave these parts out with --only"
            ) from error
    if arguments.tta > 1 and set(arguments.only) != {"stages"}:
        raise ValueError("--tta is for the part stages: add --only stages")
    if arguments.config is not None and "runtimes" in arguments.only:
        raise ValueError(
            "--config has no effect on the part runtimes: leave that part out with --only, or give "
            "--weights saved with the configuration"
        )
    before = read_json(arguments.against) if arguments.against else None
    segmenter = make_segmenter(arguments)
    segmenter.warm_up()
    setup = Setup(
        segmenter=segmenter,
        weights=weights_file(arguments.weights),
        sweeps=sweeps,
        truth=arguments.truth,
        sequences=arguments.sequences,
        repeats=arguments.repeats,
        machine=Machine.measure(torch.device(segmenter.engine.device)),
        growth_plot=arguments.plot,
    )
    print(f"{setup.machine}; device {segmenter.engine.device}")
    results: dict[str, Any] = {"machine": setup.machine, "weights_sha256": segmenter.weights_sha256}
    results["tta"] = segmenter.tta
    for part, module in PARTS.items():
        if part in arguments.only:
            print(f"\n## {part}\n")
            report: Report = import_module(f"bev_instseg.benchmark.{module}").report(setup)
            print(report.text)
            results[part] = report.figures
            if arguments.json:  # after each part, as a later one may fail
                write_atomic(arguments.json, to_json(results).encode())
    if before is not None:
        print(f"\n## against {arguments.against}\n")
        print(compare_results(json.loads(to_json(results)), before))
    return 0


def parse_arguments(argv: list[str] | None, prog: str) -> argparse.Namespace:
    """Parse the command line."""
    parser = new_parser(__doc__, prog)
    parser.add_argument(
        "--data",
        type=to_path,
        metavar="DIR",
        default=DEMO / "sequences" / "00" / "velodyne",
        help="folder of .bin sweeps (default: the bundled one)",
    )
    parser.add_argument(
        "--truth",
        type=to_path,
        metavar="DIR",
        default=DEMO,
        help="labelled data set for the PQ of decoders and runtimes: split val of a KITTI layout, "
        "or a SemanticKITTI layout (default: the bundled sweep)",
    )
    parser.add_argument(
        "--sequences",
        nargs="+",
        default=[],
        metavar="SEQ",
        help="sequences or frames of --truth in SemanticKITTI layout, such as 06 or 06/000003 "
        "(default: all)",
    )
    parser.add_argument(
        "--only",
        nargs="+",
        choices=tuple(PARTS),
        default=tuple(PARTS),
        metavar="PART",
        help="parts to measure (default: all)",
    )
    parser.add_argument(
        "--repeats",
        type=positive,
        default=9,
        metavar="N",
        help="calls per measurement (default: 9)",
    )
    parser.add_argument("--json", type=to_file, metavar="FILE", help="write all figures to FILE")
    parser.add_argument(
        "--against", type=to_path, metavar="FILE", help="compare with a file written by --json"
    )
    parser.add_argument("--plot", type=to_file, metavar="PNG", help="plot the growth to this file")
    add_network_arguments(parser)
    return parser.parse_args(argv)
