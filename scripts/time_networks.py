r"""Print how long networks of other shapes take in 8 bits, without training them.

Examples:
  python scripts/time_networks.py kitti/unlabelled/velodyne \
      configs/study/{claims,slim,narrow,wide,shallow,deep}.yaml
  ONEDNN_MAX_CPU_ISA=AVX2 python scripts/time_networks.py kitti/unlabelled/velodyne \
      configs/study/claims.yaml configs/study/slim.yaml

Each file overrides the first one. The weights are random, which does not change the time. Every
network is exported in 8 bits and run by OpenVINO. The networks take turns on each sweep, so that
all of them suffer alike if the machine is busy. The first one is the reference of the ratios.
"""

import argparse
import tempfile
import time
from pathlib import Path

import numpy as np
import torch

from bev_instseg import Segmenter
from bev_instseg.config import Config
from bev_instseg.config_files import load_config
from bev_instseg.io.sweep import read_sweep
from bev_instseg.model_files import ExportedModel
from bev_instseg.models.network import BEVNet
from bev_instseg.models.onnx_export import to_onnx
from bev_instseg.models.pillar_batch import PillarBatch
from bev_instseg.models.quantize import quantize
from bev_instseg.stages import make_pillars
from bev_instseg.structures import Float32
from bev_instseg.tables import markdown_table

NUM_CALIBRATION = 4


def main() -> None:
    """Time the networks and print a Markdown table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("sweeps", type=Path, help="folder of .bin sweeps")
    parser.add_argument("configs", type=Path, nargs="+", metavar="YAML")
    parser.add_argument("--repeats", type=int, default=5, help="runs per sweep (default: 5)")
    arguments = parser.parse_args()
    sweeps = [read_sweep(path).points for path in sorted(arguments.sweeps.glob("*.bin"))]
    if not sweeps:
        parser.error(f"{arguments.sweeps}: no .bin sweeps here; give a folder of sweeps")
    first = arguments.configs[0]
    networks = {
        path.stem: in_8_bits(load_config(first, path), sweeps[:NUM_CALIBRATION])
        for path in arguments.configs  # the first one overrides itself: nothing changes
    }
    times_ms: dict[str, list[float]] = {name: [] for name in networks}
    for points in sweeps:
        pillars = make_pillars(points, networks[first.stem].config)
        for turn in range(arguments.repeats + 1):
            for name, segmenter in networks.items():
                start = time.perf_counter()
                segmenter.infer(pillars)
                if turn:  # the first one compiles code for the number of pillars
                    times_ms[name].append(1000 * (time.perf_counter() - start))
    reference = np.array(times_ms[first.stem])
    rows = [["network", "widths", "blocks", "median ms", "p10", "p90", "of the first"]]
    for name, own in times_ms.items():
        model = networks[name].config.model
        middle, low, high = np.percentile(own, (50, 10, 90))
        ratio = np.median(np.array(own) / reference)
        shape = "-".join(map(str, model.widths)), "-".join(map(str, model.blocks))
        rows.append([name, *shape, f"{middle:.1f}", f"{low:.1f}", f"{high:.1f}", f"{ratio:.2f}"])
    print(markdown_table(rows))


def in_8_bits(config: Config, sweeps: list[Float32]) -> Segmenter:
    """Return a segmenter with random weights that runs in 8 bits.

    Args:
        config: Shape of the network.
        sweeps: Sweeps that show the range of each activation.
    """
    torch.manual_seed(0)
    batches = (
        PillarBatch.from_pillars([make_pillars(points, config)], config.model.sparse_levels)
        for points in sweeps
    )
    model = to_onnx(quantize(BEVNet(config).folded(torch.float32), batches), config.grid)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "model.onnx")
        ExportedModel.from_parts(model, b"", config).write(path, {})
        return Segmenter.from_checkpoint(path, "cpu", runtime="openvino")


if __name__ == "__main__":
    main()
