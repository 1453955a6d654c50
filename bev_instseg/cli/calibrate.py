"""Fit scores to be probabilities and find the thresholds of the best PQ, on labelled frames.

Examples:
  %(prog)s --config configs/mixed.yaml --data ~/data --out calibration.yaml
  %(prog)s --config configs/mixed.yaml --data ~/data --simulated sim \\
      --weights runs/first/weights.safetensors --out calibration.yaml

The frames are the training frames of the sources that the configuration names below --data and,
with --simulated, all of folders that bev-instseg simulate made; each source counts equally. The
network runs once on each frame; all of it is kept in memory, some 5 MB a frame.

Printed are every setting tried with its PQ per class, and how well scores agree with the part of
predictions that is right: of all predictions by their mean seed, and of those that remain by their
probability. A network knows its training frames by heart, so give it --simulated ones that it has
not seen, too. A class with fewer than 10 objects in a data set has no
say in the mean PQ. The YAML holds what was found; the other tools take it as --config.
bev_instseg/evaluation/score_calibration.py has the equations, bev_instseg/evaluation/threshold_search.py the settings.
"""

import argparse
from dataclasses import replace
from functools import partial
from pathlib import Path

import yaml
from tqdm import tqdm

from bev_instseg.cli.arguments import add_network_arguments, make_segmenter, new_parser, run
from bev_instseg.config import Config
from bev_instseg.datasets.frames import FrameRef, list_frames
from bev_instseg.evaluation.metrics import Result
from bev_instseg.evaluation.reliability import BINS, reliability
from bev_instseg.evaluation.score_calibration import Predictions, fit
from bev_instseg.file_io import write_atomic
from bev_instseg.tables import markdown_table, table_cell
from bev_instseg.training.training_set import list_sources


def main(argv: list[str] | None = None, prog: str = "python tools/calibrate.py") -> int:
    """Run the tool; returns the exit code."""
    arguments = parse_arguments(argv, prog)
    return run(arguments.program, partial(calibrate, arguments))


def calibrate(arguments: argparse.Namespace) -> int:
    """Fit and search as the command line says; returns the exit code."""
    from bev_instseg.checkpoint import (  # torch: not for --help
        default_weights,
        load_model,
        save_with_config,
    )
    from bev_instseg.evaluation.threshold_search import (
        fit_settings,
        judge_all,
        mean_pq,
        read_samples,
        score_all,
        scored_classes,
        search,
        search_steps,
    )

    if arguments.save and arguments.save.suffix != ".safetensors":
        raise ValueError(f"--save {arguments.save}: weights are a .safetensors file")
    for path in filter(None, (arguments.out, arguments.save)):
        path.parent.mkdir(parents=True, exist_ok=True)
    segmenter = make_segmenter(arguments)
    present = segmenter.config
    frames = find_frames(arguments, present)
    data_sets = [
        read_samples(segmenter, tqdm(refs, desc=name, unit="frame"))
        for name, refs in frames.items()
    ]
    raw = judge_all(data_sets, fit_settings(present))
    fitted = fit(raw, len(present.classes))
    calibration = tuple((round(a, 4), round(b, 4), round(c, 4)) for a, b, c in fitted)

    start = replace(present, cluster=replace(present.cluster, calibration=calibration))
    tried: dict[Config, list[Result]] = {}
    turn = search_steps(len(present.classes))
    progress = tqdm(total=1 + sum(len(knob(present)) for knob in turn), unit="setting")

    votes = scored_classes(data_sets, len(present.classes))

    def score(config: Config) -> float:
        if config not in tried:
            tried[config] = score_all(data_sets, config)
        progress.update()
        return mean_pq(tried[config], votes)

    with progress:
        best = search(score, start, turn)

    means = {config: mean_pq(results, votes) for config, results in tried.items()}
    print(thresholds_table(list(frames), tried, means, best))
    print(f"\n{reliability_table(raw, judge_all(data_sets, best))}")
    write(arguments.out, best, {name: len(refs) for name, refs in frames.items()})
    if arguments.save:
        weights = arguments.weights or default_weights()
        own = load_model(weights)[1]  # --config may have named other frames than it was trained on
        found = replace(own, cluster=best.cluster, classes=best.classes)
        save_with_config(weights, arguments.save, found)
    return 0


def find_frames(arguments: argparse.Namespace, config: Config) -> dict[str, list[FrameRef]]:
    """The frames of each data set, by its name.

    Raises:
        ValueError, OSError: frames that are not there, two folders of one name, or none at all.
    """
    frames: dict[str, list[FrameRef]] = {}
    listed = list_sources(config, arguments.data, "train")
    for source, (_, refs) in zip(config.data.sources, listed, strict=True):
        frames.setdefault(source.path, []).extend(refs)
    for folder in arguments.simulated:
        if folder.name in frames:
            raise ValueError(f"{folder}: another data set is called {folder.name!r} too")
        sequences = sorted(path.name for path in (folder / "sequences").iterdir())
        frames[folder.name] = list_frames(folder, "semantickitti", sequences)
    frames = {name: refs for name, refs in frames.items() if refs}
    if not frames:
        raise ValueError("no training frames: name sources in --config, or --simulated folders")
    return frames


def thresholds_table(
    names: list[str],
    tried: dict[Config, list[Result]],
    means: dict[Config, float],
    best: Config,
) -> str:
    """Every setting with its PQ in percent, by class and data set; the best marked."""
    classes = "/".join(best.class_names)
    head = ["seed_threshold", "score_threshold", "min_height_m", f"min_points {classes}"]
    rows = [[*head, "mean PQ", *(f"{name} {classes}" for name in names), "best"]]
    for config, results in tried.items():
        c = config.cluster
        row = [str(c.seed_threshold), str(c.score_threshold), str(c.min_height_m)]
        row.append("/".join(str(kind.min_points) for kind in config.classes))
        row.append(table_cell(means[config]))
        for result in results:
            row.append("/".join(table_cell(measures.pq) for measures in result.per_class.values()))
        rows.append([*row, "*" if config == best else ""])
    return markdown_table(rows)


def reliability_table(before: Predictions, after: Predictions) -> str:
    """Ten bins of scores: how many, their mean and the part that is right (percent); the error."""
    rows = [["score", "mean seed: count", "mean", "right", "probability: count", "mean", "right"]]
    sides = [reliability(p.scores, p.right, p.weights) for p in (before, after)]
    for i in range(BINS):
        row = [f"{i / BINS:.1f}..{(i + 1) / BINS:.1f}"]
        for bins in sides:
            row += [
                str(bins.count[i]),
                table_cell(float(bins.score[i])),
                table_cell(float(bins.right[i])),
            ]
        rows.append(row)
    errors = " -> ".join(table_cell(bins.error) for bins in sides)
    return f"{markdown_table(rows)}\nexpected calibration error: {errors} %"


def write(path: Path, config: Config, num_frames: dict[str, int]) -> None:
    """What was found, as YAML over the weights' own configuration."""
    cluster = config.cluster
    tree = {
        "cluster": {
            "seed_threshold": cluster.seed_threshold,
            "min_height_m": cluster.min_height_m,
            "calibration": [list(triple) for triple in cluster.calibration],
            "score_threshold": cluster.score_threshold,
        },
        "classes": [{"name": c.name, "min_points": c.min_points} for c in config.classes],
    }
    counts = ", ".join(f"{count} of {name}" for name, count in num_frames.items())
    text = f"# bev-instseg calibrate, from frames: {counts}\n" + yaml.safe_dump(
        tree, default_flow_style=None, sort_keys=False
    )
    write_atomic(path, text.encode())


def parse_arguments(argv: list[str] | None, prog: str) -> argparse.Namespace:
    """The command line."""
    parser = new_parser(__doc__, prog)
    parser.add_argument(
        "--data",
        required=True,
        type=Path,
        metavar="DIR",
        help="folder that the paths of the configuration's sources start from",
    )
    parser.add_argument(
        "--simulated",
        nargs="+",
        default=[],
        type=Path,
        metavar="DIR",
        help="folders of bev-instseg simulate",
    )
    add_network_arguments(parser)
    parser.add_argument(
        "--out", required=True, type=Path, metavar="YAML", help="where what was found goes"
    )
    parser.add_argument(
        "--save",
        type=Path,
        metavar="FILE",
        help="write the weights once more, with what was found: a .safetensors and its .json",
    )
    return parser.parse_args(argv)
