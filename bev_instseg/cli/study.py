r"""Train variants of a configuration in the same way, with several seeds each, and compare them.

Examples:
  %(prog)s --config configs/study/claims.yaml --data ~/data --out runs/claims \
      --variants configs/study/scalar.yaml configs/study/fixed.yaml
  %(prog)s --config mine.yaml --data ~/data --out runs/mine --seeds 5

Every variant is a YAML file that overrides the configuration; the configuration itself is the
variant `base`. All variants see the same training windows in the same order, and are scored on the
validation frames of the configuration's sources. For each network, the best seed threshold is
chosen on every second frame of the first of these sources; the table counts the other frames.

You can interrupt it at any time: the same command continues where it left off. When all runs are
done, it only prints the table again. To use several cores or GPUs, start the same command several
times: each process takes runs that no other is working on.

Files in --out:
  VARIANT-SEED/   the run, as written by bev-instseg train, and its scores.json
  study.json      the scores of all runs
  study.md        the tables: mean and standard deviation over the seeds, also of the difference
                  from base with the same seed
  study.png       quality by object size, one dot per run
"""

import argparse
import json
import secrets
from collections.abc import Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from bev_instseg.cli.arguments import (
    add_data_arguments,
    new_parser,
    positive,
    run,
    to_folder,
    to_path,
)
from bev_instseg.config import Config, DataConfig
from bev_instseg.config_files import load_config
from bev_instseg.file_io import reserved, write_atomic

if TYPE_CHECKING:
    from bev_instseg.study.run import Run, Scores  # imports torch, which --help does not need

BASE = "base"


def main(argv: list[str] | None = None, prog: str = "python tools/study.py") -> int:
    """Run the command and return its exit code."""
    arguments = parse_arguments(argv, prog)
    return run(arguments.program, partial(study, arguments))


def study(arguments: argparse.Namespace) -> int:
    """Train and score every run, write the report and return the exit code."""
    runs = list(list_runs(arguments))
    mine = secrets.token_hex(8)
    for number, one in enumerate(runs, 1):
        print(f"{number} of {len(runs)}: {one.out.name}", flush=True)
        one.out.mkdir(parents=True, exist_ok=True)
        try:
            with reserved(one.out, mine):
                if stopped_by := one.train():
                    print("stopped; repeat the command to continue")
                    return 128 + stopped_by
                one.score()
        except BlockingIOError:
            print("  another process is working on it")
    if pending := sum(not one.scores_path.exists() for one in runs):
        print(f"{pending} run(s) are left to other processes; repeat the command for the table")
        return 0
    scores: dict[str, list[Scores]] = {}
    for one in runs:
        scores.setdefault(one.variant, []).append(one.score())
    report(scores, arguments.out)
    return 0


def list_runs(arguments: argparse.Namespace) -> "Iterator[Run]":
    """Yield the runs, all variants of a seed before the next seed.

    Raises:
        ConfigError: A file is not a configuration.
        ValueError: Two variants have the same name, a variant is scored on other objects than the
            base, or no source has validation frames.
    """
    from bev_instseg.study.run import Run

    names = [BASE, *(path.stem for path in arguments.variants)]
    if len(set(names)) < len(names):
        raise ValueError(f"--variants: names must differ from each other and from {BASE}")
    configs = [load_config(*arguments.config)]
    configs += [load_config(*arguments.config, path) for path in arguments.variants]
    for name, config in zip(names, configs, strict=True):
        require_same_scoring(name, config, configs[0])
    if not any(source.val for source in configs[0].data.sources):
        raise ValueError(f"{arguments.config[0]}: no source has val frames to compare variants on")
    for seed in range(arguments.seeds):
        for name, config in zip(names, configs, strict=True):
            yield Run(
                name, with_seed(config, seed), arguments.out / f"{name}-{seed}", arguments.data
            )


def require_same_scoring(name: str, config: Config, base: Config) -> None:
    """Raise an error if a variant is scored on other objects than the base.

    Args:
        name: Name of the variant.
        config: Its configuration.
        base: The configuration of the base.

    Raises:
        ValueError: The classes, the void kinds or the validation sources differ.
    """
    kinds, base_kinds = (
        [(c.name, c.kitti, c.semantickitti) for c in one.classes] for one in (config, base)
    )
    if kinds != base_kinds:
        what = "names or kinds of classes"
    elif without_training(config.data) != without_training(base.data):
        what = "void kinds, boxes or validation frames"
    else:
        return
    raise ValueError(
        f"--variants: {name} has other {what} than {BASE}, so their scores cannot be compared; "
        "use those of the configuration"
    )


def without_training(data: DataConfig) -> DataConfig:
    """Return settings of the data without what only training uses."""
    sources = tuple(replace(source, train=(), weight=1.0) for source in data.sources if source.val)
    return replace(data, sources=sources)


def with_seed(config: Config, seed: int) -> Config:
    """Return the configuration with a different seed."""
    return replace(config, train=replace(config.train, seed=seed))


def report(scores: "dict[str, list[Scores]]", out: Path) -> None:
    """Print the tables, and write them, the plot and all scores.

    Args:
        scores: By variant, the scores of each seed.
        out: The study's folder.
    """
    from bev_instseg.study.report import draw_study, quality_table, size_table

    text = f"{quality_table(scores)}\n\nBy length of the object:\n\n{size_table(scores)}\n"
    if len(scores) > 1:
        text += f"\nDifference from {BASE} with the same seed:\n\n{quality_table(scores, BASE)}\n"
        text += f"\n{size_table(scores, BASE)}\n"
    print(f"\n{text}")
    write_atomic(out / "study.md", text.encode())
    write_atomic(out / "study.json", (json.dumps(scores, indent=1) + "\n").encode())
    draw_study(scores, out / "study.png")


def parse_arguments(argv: list[str] | None, prog: str) -> argparse.Namespace:
    """Parse the command line."""
    parser = new_parser(__doc__, prog)
    add_data_arguments(parser)
    parser.add_argument(
        "--variants",
        nargs="+",
        default=[],
        type=to_path,
        metavar="YAML",
        help="overrides of the configuration; each file is a variant named like the file",
    )
    parser.add_argument("--out", required=True, type=to_folder, metavar="DIR", help="output folder")
    parser.add_argument(
        "--seeds", type=positive, default=3, help="runs of each variant (default: %(default)s)"
    )
    return parser.parse_args(argv)
