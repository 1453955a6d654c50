r"""Turn scores into probabilities and find the thresholds with the best PQ, on labelled frames.

Examples:
  %(prog)s --config configs/mixed.yaml --data ~/data --out calibration.yaml
  %(prog)s --config configs/mixed.yaml --data ~/data --simulated sim \
      --weights runs/first/weights.safetensors --out calibration.yaml
  %(prog)s --weights runs/all/weights.safetensors --data ~/data --out calibration.yaml \
      --fold north.yaml runs/south/weights.safetensors \
      --fold south.yaml runs/north/weights.safetensors

The frames are the training frames of the configuration's sources in --data and all frames of the
--simulated folders, which bev-instseg simulate made. A network has memorised its training frames,
so add simulated ones that it was not trained on. Better still, divide the streets into folds and,
for each fold, train a network without it. --fold names the frames of a fold (the training frames of
a configuration) and the network that has not seen them. Folds replace the training frames of
--weights; the scores found for them are assumed to hold for --weights, too.

Each data set counts equally. The network runs once per frame, in float (--runtime is torch unless
given), and its output stays in memory: about 5 MB per frame.

The command prints the PQ per class of every setting it tries. Then it prints how well scores agree
with the share of correct predictions, before (mean seeds) and after (probabilities). A class with
fewer than 10 objects in a data set is left out of the mean PQ. The other commands read the YAML
with --config. Equations and settings: score_calibration.py and threshold_search.py in
bev_instseg/evaluation.
"""

import argparse
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import yaml
from tqdm import tqdm

from bev_instseg.cli.arguments import (
    add_network_arguments,
    add_sources_argument,
    make_segmenter,
    new_parser,
    run,
    to_file,
    to_path,
    weights_file,
)
from bev_instseg.cli.check_labels import check_evaluation, warn
from bev_instseg.config import Config
from bev_instseg.datasets.frames import FrameRef, list_frames
from bev_instseg.evaluation.reliability import NUM_BINS, reliability
from bev_instseg.evaluation.score_calibration import Predictions, fit_calibration
from bev_instseg.file_io import write_atomic
from bev_instseg.model_files import EXPORTED_SUFFIXES, require_own_sidecar
from bev_instseg.tables import markdown_table, table_cell
from bev_instseg.training.training_set import list_sources, only_sources

if TYPE_CHECKING:
    # imports torch, which --help does not need
    from bev_instseg.evaluation.threshold_search import InferredFrame, Trial
    from bev_instseg.segmenter import Segmenter

MIN_EXAMPLES = 5  # with fewer correct or fewer wrong predictions of a class, a fit says little


def main(argv: list[str] | None = None, prog: str = "python tools/calibrate.py") -> int:
    """Run the command and return its exit code."""
    arguments = parse_arguments(argv, prog)
    return run(arguments.program, partial(calibrate, arguments))


def calibrate(arguments: argparse.Namespace) -> int:
    """Fit scores, search thresholds, print and write both, and return the exit code."""
    from bev_instseg.evaluation.threshold_search import (  # imports torch
        balanced_predictions,
        infer_frames,
        search_thresholds,
        uncalibrated,
    )

    if arguments.save and arguments.save.suffix != ".safetensors":
        raise ValueError(f"--save {arguments.save}: must end in .safetensors")
    if arguments.save and weights_file(arguments.weights).suffix in EXPORTED_SUFFIXES:
        raise ValueError(
            f"--save: {arguments.weights} is an exported model, which has no weights to save; "
            "give the weights it was made from, or leave --save out"
        )
    refuse_inputs_as_outputs(arguments)
    if arguments.save:
        require_own_sidecar(arguments.save)
    for path in filter(None, (arguments.out, arguments.save)):
        path.parent.mkdir(parents=True, exist_ok=True)
    segmenter = make_segmenter(arguments)
    config = segmenter.config
    shares = list_calibration_frames(arguments, segmenter)
    frames_of: dict[str, list[InferredFrame]] = {}
    for network, refs_of in shares:
        for name, refs in refs_of.items():
            inferred = infer_frames(network, tqdm(refs, desc=name, unit="frame"))
            frames_of.setdefault(name, []).extend(inferred)
    data_sets = list(frames_of.values())
    before = balanced_predictions(data_sets, uncalibrated(config))
    calibration = tuple(
        (round(a, 4), round(b, 4), round(c, 4))
        for a, b, c in fit_calibration(before, len(config.classes))
    )
    for line in too_few(before, config.class_names):
        warn(line)
    start = replace(config, cluster=replace(config.cluster, calibration=calibration))
    best, trials = search_thresholds(data_sets, start)
    after = balanced_predictions(data_sets, best)
    print(thresholds_table(list(frames_of), trials, best))
    print(f"\n{reliability_table(before, after)}")
    num_frames = {name: len(frames) for name, frames in frames_of.items()}
    write_calibration(arguments.out, best, num_frames, segmenter)
    if arguments.save:
        save_calibrated(weights_file(arguments.weights), arguments.save, best)
    return 0


def refuse_inputs_as_outputs(arguments: argparse.Namespace) -> None:
    """Refuse to overwrite a configuration or weights that the command reads.

    Args:
        arguments: The parsed command line.

    Raises:
        ValueError: ``--out`` or ``--save`` is one of these files.
    """
    read = [weights_file(arguments.weights)]
    read += [Path(file) for fold in arguments.fold for file in fold]
    if arguments.config is not None:
        read.append(arguments.config)
    taken = {path.resolve() for path in read}
    for option, path in (("--out", arguments.out), ("--save", arguments.save)):
        if path is not None and path.resolve() in taken:
            raise ValueError(f"{option} {path}: would overwrite an input; choose a different file")


def too_few(predictions: Predictions, class_names: Sequence[str]) -> list[str]:
    """Return a line for each class with too few predictions to calibrate its scores.

    Args:
        predictions: What the scores are calibrated on.
        class_names: Names of the classes.
    """
    lines = []
    for index, name in enumerate(class_names):
        own = predictions.correct[predictions.classes == index]
        rarer = min(int(own.sum()), int((~own).sum()))
        if rarer < MIN_EXAMPLES:
            lines.append(
                f"class {name!r} has only {own.sum()} correct and {(~own).sum()} wrong "
                "predictions: its calibration is unreliable; add frames until "
                f"there are {MIN_EXAMPLES} of each"
            )
    return lines


def list_calibration_frames(
    arguments: argparse.Namespace, segmenter: "Segmenter"
) -> list[tuple["Segmenter", dict[str, list[FrameRef]]]]:
    """List the frames of the command line by the network that segments them, and check them.

    Args:
        arguments: The parsed command line.
        segmenter: The network of ``--weights``.

    Returns:
        Networks, each with frames by the name of their data set.

    Raises:
        CheckpointError: The weights of a fold cannot be used.
        ConfigError: The configuration of a fold cannot be used.
        ScanError: A sequence or frame is missing.
        KittiError: A split is missing.
        OSError: A simulated folder cannot be read.
        ValueError: The network of a fold has other classes, two data sets have the same name, or
            there are no frames.
    """
    shares = []
    for network in make_folds(arguments, segmenter.config) or [segmenter]:
        refs_of: dict[str, list[FrameRef]] = {}
        config = only_sources(network.config, arguments.sources)
        listed = list_sources(config, arguments.data, "train")
        for source, (_, refs) in zip(config.data.sources, listed, strict=True):
            refs_of.setdefault(source.path, []).extend(refs)
        shares.append((network, refs_of))
    simulated: dict[str, list[FrameRef]] = {}
    for folder in arguments.simulated:
        if any(folder.name in refs_of for refs_of in (simulated, *(own for _, own in shares))):
            raise ValueError(f"{folder}: another data set has the name {folder.name!r}; rename one")
        sequences = sorted(path.name for path in (folder / "sequences").iterdir())
        simulated[folder.name] = list_frames(folder, "semantickitti", sequences)
    shares.append((segmenter, simulated))
    shares = [
        (network, {name: refs for name, refs in refs_of.items() if refs})
        for network, refs_of in shares
    ]
    if not any(refs_of for _, refs_of in shares):
        raise ValueError("no training frames: name sources in --config or give --simulated folders")
    for network, refs_of in shares:
        if refs_of:
            check_evaluation(refs_of, network.config)
    return shares


def make_folds(arguments: argparse.Namespace, config: Config) -> list["Segmenter"]:
    """Return the network of each fold; its configuration names the frames that it has not seen.

    Args:
        arguments: The parsed command line.
        config: That of ``--weights``.

    Raises:
        CheckpointError: The weights cannot be used.
        ConfigError: A configuration cannot be used.
        ValueError: A network has other classes.
    """
    folds = []
    for frames, weights in arguments.fold:
        own = {**vars(arguments), "config": Path(frames), "weights": Path(weights)}
        network = make_segmenter(argparse.Namespace(**own))
        if network.config.class_names != config.class_names:
            raise ValueError(
                f"{weights}: classes are {', '.join(network.config.class_names)}, those of "
                f"--weights {', '.join(config.class_names)}; use weights with the same classes"
            )
        folds.append(network)
    return folds


def thresholds_table(names: Sequence[str], trials: Mapping[Config, "Trial"], best: Config) -> str:
    """Format every setting tried, with its PQ in percent by class and data set.

    Args:
        names: Names of the data sets.
        trials: Scores of each configuration.
        best: The configuration to mark.
    """
    classes = "/".join(best.class_names)
    head = ["seed_threshold", "score_threshold", "min_height_m", f"min_points {classes}"]
    rows = [[*head, "mean PQ", *(f"{name} {classes}" for name in names), "best"]]
    for config, trial in trials.items():
        cluster = config.cluster
        row = [
            *map(str, (cluster.seed_threshold, cluster.score_threshold, cluster.min_height_m)),
            "/".join(str(kind.min_points) for kind in config.classes),
            table_cell(trial.mean_pq),
        ]
        for result in trial.results:
            row.append("/".join(table_cell(measures.pq) for measures in result.per_class.values()))
        rows.append([*row, "*" if config == best else ""])
    return markdown_table(rows)


def reliability_table(before: Predictions, after: Predictions) -> str:
    """Format ten bins of scores with their predictions, mean score and precision in percent.

    Args:
        before: Predictions with mean seeds as scores.
        after: Predictions with calibrated scores.
    """
    rows = [
        ["score", "mean seed: count", "mean", "correct", "probability: count", "mean", "correct"]
    ]
    sides = [reliability(p.scores, p.correct, p.weights) for p in (before, after)]
    for k in range(NUM_BINS):
        row = [f"{k / NUM_BINS:.1f}..{(k + 1) / NUM_BINS:.1f}"]
        for bins in sides:
            ratios = (float(bins.mean_score[k]), float(bins.precision[k]))
            row += [str(bins.num_predictions[k]), *map(table_cell, ratios)]
        rows.append(row)
    errors = " -> ".join(table_cell(bins.calibration_error) for bins in sides)
    return f"{markdown_table(rows)}\nexpected calibration error: {errors} %"


def write_calibration(
    path: Path, config: Config, num_frames: Mapping[str, int], segmenter: "Segmenter"
) -> None:
    """Write thresholds and calibration as a YAML file for ``--config``.

    Args:
        path: The file.
        config: Holds the thresholds and the calibration.
        num_frames: Frames used of each data set.
        segmenter: The network of ``--weights``; a comment names the hash of its weights.
    """
    cluster = config.cluster
    tree = {
        "cluster": {
            "seed_threshold": cluster.seed_threshold,
            "min_height_m": cluster.min_height_m,
            "calibration": [list(a_b_c) for a_b_c in cluster.calibration],
            "score_threshold": cluster.score_threshold,
        },
        "classes": [{"name": c.name, "min_points": c.min_points} for c in config.classes],
    }
    counts = ", ".join(f"{count} of {name}" for name, count in num_frames.items())
    command = f"calibrate --tta {segmenter.tta}" if segmenter.tta > 1 else "calibrate"
    comments = (
        f"# bev-instseg {command}, from frames: {counts}\n"
        f"# Only for these weights: sha256 {segmenter.weights_sha256}\n"
    )
    body = yaml.safe_dump(tree, default_flow_style=None, sort_keys=False)
    write_atomic(path, (comments + body).encode())


def save_calibrated(weights: Path, path: Path, calibrated: Config) -> None:
    """Save a copy of the weights with the thresholds and the calibration.

    Args:
        weights: The weights that were calibrated.
        path: The new ``.safetensors`` file.
        calibrated: Holds the thresholds and the calibration.
    """
    from bev_instseg.checkpoint import load_model, save_with_config  # imports torch

    own = load_model(weights)[1]  # keeps the sources it was trained on, whatever --config names
    config = replace(own, cluster=calibrated.cluster, classes=calibrated.classes)
    save_with_config(weights, path, config)


def parse_arguments(argv: list[str] | None, prog: str) -> argparse.Namespace:
    """Parse the command line."""
    parser = new_parser(__doc__, prog)
    parser.add_argument(
        "--data",
        required=True,
        type=to_path,
        metavar="DIR",
        help="folder that contains the configuration's sources",
    )
    add_sources_argument(parser)
    parser.add_argument(
        "--simulated",
        nargs="+",
        default=[],
        type=to_path,
        metavar="DIR",
        help="folders made by bev-instseg simulate",
    )
    parser.add_argument(
        "--fold",
        nargs=2,
        action="append",
        default=[],
        metavar=("YAML", "WEIGHTS"),
        help="a configuration that names training frames, and a network that has not seen them",
    )
    add_network_arguments(parser)
    parser.set_defaults(runtime="torch")  # the float weights are what is calibrated
    parser.add_argument(
        "--out",
        required=True,
        type=to_file,
        metavar="YAML",
        help="write thresholds and calibration to this file",
    )
    parser.add_argument(
        "--save",
        type=to_file,
        metavar="FILE",
        help="also save a calibrated copy of the weights: a .safetensors and its .json",
    )
    return parser.parse_args(argv)
