"""The network in every runtime, precision and instruction set, with its quality."""

import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from tqdm import tqdm

from bev_instseg.benchmark.measure import Timing
from bev_instseg.benchmark.report import TIMING_COLUMNS, Report, outcome_table, timing_cells
from bev_instseg.benchmark.setup import Setup
from bev_instseg.checkpoint import load_model
from bev_instseg.engines.engine import Runtime, has_runtime
from bev_instseg.model_files import (
    EXPORTED_SUFFIXES,
    PRETRAINED,
    ExportedModel,
    pretrained_8_bit_model,
    pretrained_weights,
)
from bev_instseg.models.onnx_export import export_float32

# Environment that keeps the libraries from using more than AVX2; ONNX Runtime has no such switch.
INSTRUCTION_SETS: dict[str, dict[str, str]] = {
    "all": {},
    "AVX2": {"ONEDNN_MAX_CPU_ISA": "AVX2", "ATEN_CPU_CAPABILITY": "avx2"},
}


@dataclass(frozen=True)
class Outcome:
    """The measurement of one combination.

    Attributes:
        network: Time of the network alone.
        whole: Time from the bytes of a file to its labels.
        pq: Panoptic quality of each class, in percent.
    """

    network: Timing
    whole: Timing
    pq: dict[str, float]


def report(setup: Setup) -> Report:
    """Measure each combination in a separate process, on the CPU."""
    outcomes = compare_runtimes(setup)
    names = setup.segmenter.config.class_names
    header = ["runtime, precision, instructions", *(f"network {c}" for c in TIMING_COLUMNS)]
    text = outcome_table(
        [*header, "bytes to labels", *(f"PQ {name}" for name in names)],
        outcomes,
        lambda outcome: [
            *timing_cells(outcome.network),
            outcome.whole.median_ms,
            *(outcome.pq[name] for name in names),
        ],
    )
    return Report(outcomes, text)


def compare_runtimes(setup: Setup) -> dict[str, Outcome | str]:
    """Measure each combination; see `report`.

    Args:
        setup: The weights, the sweeps and the labelled data.

    Returns:
        The outcome of each combination by its name, or the reason why it was not measured.
    """
    if setup.weights.suffix in EXPORTED_SUFFIXES:
        return {"runtimes": f"not measured: {setup.weights} has one precision; give .safetensors"}
    outcomes: dict[str, Outcome | str] = {}
    with tempfile.TemporaryDirectory() as folder:
        files = dict(_files(setup.weights, Path(folder)))
        for name, runtime, file, environment in tqdm(list(_combinations(files)), unit="runtime"):
            if not has_runtime(runtime):
                outcomes[name] = f"not measured: pip install {runtime}"
            else:
                outcomes[name] = _measure(setup, runtime, file, environment)
    return outcomes


def _files(weights: Path, folder: Path) -> Iterator[tuple[str, Path]]:
    """Yield the files to measure by precision."""
    network, config, _ = load_model(weights)
    exported = folder / "model.onnx"
    model = ExportedModel.from_parts(export_float32(network, config.grid), b"", config)
    model.write(exported, {})
    yield "native", weights
    yield "float32", exported
    for name in PRETRAINED:
        if weights == pretrained_weights(name):
            yield "8 bits", pretrained_8_bit_model(name)


def _combinations(files: Mapping[str, Path]) -> Iterator[tuple[str, Runtime, Path, dict[str, str]]]:
    for instructions, environment in INSTRUCTION_SETS.items():
        for precision, file in files.items():
            runtimes: tuple[Runtime, ...] = ("openvino", "onnxruntime")
            for runtime in ("torch",) if precision == "native" else runtimes:
                if runtime != "onnxruntime" or instructions == "all":
                    yield f"{runtime}, {precision}, {instructions}", runtime, file, environment


def _measure(
    setup: Setup, runtime: Runtime, file: Path, environment: Mapping[str, str]
) -> Outcome | str:
    worker = [sys.executable, "-m", "bev_instseg.benchmark.runtime_worker"]
    truth = [str(setup.truth), ",".join(setup.sequences)]
    sweeps = [str(path) for path in setup.sweeps]
    done = subprocess.run(
        [*worker, runtime, str(file), *truth, str(setup.repeats), *sweeps],
        env={**os.environ, **environment},
        capture_output=True,
        text=True,
    )
    if done.returncode:
        reason = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        return f"not measured: {reason[:100]}"
    found = json.loads(done.stdout)
    return Outcome(Timing(*found["network"]), Timing(*found["whole"]), found["pq"])
