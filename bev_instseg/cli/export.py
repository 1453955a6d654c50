"""Export a network for ONNX Runtime, OpenVINO or any program that reads their models.

Examples:
  %(prog)s --format onnx --out exported
      the shipped network in float32: exported/model.onnx, with its settings in model.json
  %(prog)s --format onnx --precision int8 --out small --sweeps ~/recording/*.bin
      an 8-bit network, a quarter of the size and faster; its ranges are taken from these sweeps
  bev-instseg segment sweep.bin --weights exported/model.onnx --out results
      uses the exported network; this needs neither PyTorch nor Open3D

The model is the whole network, from pillar features to seed, offset and precision maps, for any
number of pillars and any size of grid. docs/export.md describes its inputs and outputs. Exporting
needs the packages torch and onnx, and openvino for its own format.
"""

import argparse
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from tqdm import tqdm

from bev_instseg.cli.arguments import new_parser, run, to_folder, to_path, weights_file
from bev_instseg.cli.report import Report
from bev_instseg.io.formats import SUFFIXES
from bev_instseg.model_files import (
    EXPORTED_SUFFIXES,
    PRETRAINED,
    ExportedModel,
    require_own_sidecar,
)
from bev_instseg.structures import Float32

if TYPE_CHECKING:
    from bev_instseg.config import Config
    from bev_instseg.models.network import BEVNet

NUM_SIMULATED = 24  # sweeps by random sensors, where none are given
MAX_SWEEPS = 64  # more change the ranges little


def main(argv: list[str] | None = None, prog: str = "python tools/export.py") -> int:
    """Run the command and return its exit code."""
    arguments = parse_arguments(argv, prog)
    return run(arguments.program, partial(export, arguments))


def export(arguments: argparse.Namespace) -> int:
    """Write the model and return the exit code."""
    from bev_instseg.checkpoint import load_model  # imports torch
    from bev_instseg.models.onnx_export import export_float32, to_openvino

    weights = arguments.weights
    if weights.suffix in EXPORTED_SUFFIXES:
        raise ValueError(f"{weights}: already exported; give .safetensors or .pt")
    if arguments.sweeps and arguments.precision != "int8":
        raise ValueError("--sweeps is for --precision int8; add it or leave --sweeps out")
    suffix = ".xml" if arguments.format == "openvino" else ".onnx"
    path = arguments.out / f"model{suffix}"
    require_own_sidecar(path)
    network, config, sha256 = load_model(weights)
    if arguments.precision == "int8":
        report = Report(arguments.program)
        model = _in_8_bits(network, config, _calibration_sweeps(arguments.sweeps, report))
        report.totals()
    else:
        model = export_float32(network, config.grid)
    parts = to_openvino(model) if arguments.format == "openvino" else (model, b"")
    about = {"precision": arguments.precision, "exported_from_sha256": sha256}
    arguments.out.mkdir(parents=True, exist_ok=True)
    ExportedModel.from_parts(*parts, config).write(path, about)
    size_mb = sum(map(len, parts)) / 1e6
    print(f"{path}: {arguments.precision}, {size_mb:.1f} MB; settings in {path.stem}.json")
    return 0


def _in_8_bits(network: "BEVNet", config: "Config", sweeps: Iterator[Float32]) -> bytes:
    import torch

    from bev_instseg.models.onnx_export import to_onnx
    from bev_instseg.models.pillar_batch import PillarBatch
    from bev_instseg.models.quantize import quantize
    from bev_instseg.stages import make_pillars

    batches = (
        PillarBatch.from_pillars([make_pillars(points, config)], config.model.sparse_levels)
        for points in sweeps
    )
    rounded = quantize(network.folded(torch.float32), batches)
    return to_onnx(rounded, config.grid)


def _calibration_sweeps(paths: Sequence[Path], report: Report) -> Iterator[Float32]:
    """Return the points of the sweeps that show the range of each activation; report notices."""
    from bev_instseg.io.sensor_setup import SensorSetup
    from bev_instseg.io.survey import survey_sweeps
    from bev_instseg.io.sweep import read_sweep
    from bev_instseg.simulate import simulate_sweep

    if not paths:
        for seed in tqdm(range(NUM_SIMULATED), desc="simulated", unit="sweep"):
            yield simulate_sweep(seed, None)[0]
        return
    files = sorted(
        file
        for path in paths
        for file in (path.rglob("*") if path.is_dir() else [path])
        if file.suffix.lower() in SUFFIXES
    )
    if not files:
        raise ValueError(f"{paths[0]}: no sweeps here; name files or folders of sweeps")
    survey = survey_sweeps(files, SensorSetup())
    for file in tqdm(files[:: -(-len(files) // MAX_SWEEPS)], desc="calibration", unit="sweep"):
        sweep = read_sweep(file, reading=survey.reading_of(file))
        for notice in sweep.notices:
            report.notice(notice, file)
        yield sweep.points


def parse_arguments(argv: list[str] | None, prog: str) -> argparse.Namespace:
    """Parse the command line."""
    parser = new_parser(__doc__, prog)
    parser.add_argument(
        "--format", required=True, choices=("onnx", "openvino"), help="format of the model"
    )
    parser.add_argument(
        "--precision",
        choices=("fp32", "int8"),
        default="fp32",
        help="fp32 equals PyTorch to 1e-5 (default); int8 is faster and a quarter of the size",
    )
    parser.add_argument(
        "--weights",
        type=weights_file,
        default=PRETRAINED[0],
        metavar="NAME|FILE",
        help=f"shipped weights ({', '.join(PRETRAINED)}), or a .safetensors or .pt file "
        "(default: %(default)s)",
    )
    parser.add_argument(
        "--sweeps",
        type=to_path,
        nargs="+",
        default=[],
        metavar="PATH",
        help="for int8: typical sweeps to calibrate with, or folders of them "
        f"(default: {NUM_SIMULATED} simulated ones)",
    )
    parser.add_argument("--out", required=True, type=to_folder, metavar="DIR", help="output folder")
    return parser.parse_args(argv)
