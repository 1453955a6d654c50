"""Measure one runtime and print JSON; `runtimes` starts a process for each."""

import json
import sys
from dataclasses import astuple
from pathlib import Path

from bev_instseg.benchmark.decoders import list_labelled_frames
from bev_instseg.benchmark.stages import WHOLE, time_stages
from bev_instseg.evaluation.score_frames import score_frames
from bev_instseg.segmenter import Segmenter


def main(runtime: str, file: str, truth: str, sequences: str, repeats: str, *sweeps: str) -> None:
    """Time all sweeps and score the labelled frames.

    Args:
        runtime: The runtime.
        file: Weights or exported model.
        truth: Folder of labelled frames.
        sequences: Which of its sequences, separated by commas; all if empty.
        repeats: Repeats of each sweep.
        *sweeps: Files of sweeps.
    """
    segmenter = Segmenter.from_checkpoint(file, "cpu", runtime=runtime)  # type: ignore[arg-type]
    timings, _ = time_stages(segmenter, [Path(sweep) for sweep in sweeps], int(repeats))
    refs = list_labelled_frames(Path(truth), sequences.split(",") if sequences else ())
    scores = score_frames(segmenter, refs, segmenter.config).result().per_class
    found = {
        "network": astuple(timings["network"]),
        "whole": astuple(timings[WHOLE]),
        "pq": {name: 100 * score.pq for name, score in scores.items()},
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main(*sys.argv[1:])
