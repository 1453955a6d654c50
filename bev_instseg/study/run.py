"""One run of a study: a variant trained with one seed and scored on every validation source."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tqdm import tqdm

from bev_instseg.config import Config
from bev_instseg.config_files import load_config
from bev_instseg.datasets.frames import FrameRef
from bev_instseg.evaluation.buckets import LENGTHS, length_m, quality_by_bucket
from bev_instseg.evaluation.score_frames import score_frames
from bev_instseg.evaluation.threshold_search import (
    SEED_THRESHOLDS,
    infer_frames,
    score_inferred,
    with_cluster,
)
from bev_instseg.exceptions import TrainingError
from bev_instseg.file_io import write_atomic
from bev_instseg.segmenter import Segmenter
from bev_instseg.training.run_folder import RunFolder
from bev_instseg.training.trainer import Trainer
from bev_instseg.training.training_set import TrainingSet, hash_names, list_sources

Scores = dict[str, Any]  # of one run, as in its scores.json


@dataclass(frozen=True)
class Run:
    """A variant with one of its seeds.

    Attributes:
        variant: Name of the variant.
        config: Its configuration, with the seed.
        out: Folder of the run.
        data: Folder that the sources' paths are relative to.
    """

    variant: str
    config: Config
    out: Path
    data: Path

    @property
    def scores_path(self) -> Path:
        """The file that marks a finished run."""
        return self.out / "scores.json"

    def train(self) -> int:
        """Train, or go on where an earlier call stopped.

        A run that has been scored is not trained again, even if its weights are gone.

        Returns:
            0, or the number of the signal that stopped it.

        Raises:
            TrainingError: As for `Trainer`, or it was trained with a different configuration.
            ValueError: The first source has fewer than two validation frames.
        """
        folder = RunFolder(self.out)
        if folder.config.exists() and load_config(folder.config) != self.config:
            raise TrainingError(
                f"{folder.config}: the run has a different configuration; choose a different --out"
            )
        if self.scores_path.exists() or folder.weights.exists():
            return 0
        first, refs = next(iter(self._validation().items()))
        if len(refs) < 2:
            raise ValueError(
                f"{self.data / first}: only one val frame; a study needs two of its first source, "
                "one for the threshold and one for the scores: add frames"
            )
        training_set = TrainingSet(list_sources(self.config, self.data, "train"), self.config)
        resume = folder.last.exists()
        trainer = Trainer(self.config, training_set, (), self.out, resume)
        trainer.run()
        return trainer.stopped_by

    def score(self) -> Scores:
        """Score the trained network, or read the scores of an earlier call.

        The seed threshold is chosen for each network: the one of `SEED_THRESHOLDS` with the highest
        mean PQ on every second frame of the first source. These frames do not count for the scores.

        Raises:
            ScanError: A frame cannot be read.
            KittiError: A frame in KITTI layout cannot be read.
            TrainingError: An earlier call scored other frames.
        """
        if self.scores_path.exists():
            scores: Scores = json.loads(self.scores_path.read_text())
            self._require_same_frames(scores)
            return scores
        segmenter = Segmenter.from_checkpoint(RunFolder(self.out).weights)
        sources = self._validation()
        (first, refs), *others = sources.items()
        trial = infer_frames(segmenter, tqdm(refs[::2], desc="thresholds", unit="frame"))
        choices = {
            seed: with_cluster(segmenter.config, seed_threshold=seed) for seed in SEED_THRESHOLDS
        }
        threshold = max(choices, key=lambda seed: score_inferred(trial, choices[seed]).mean_pq)
        segmenter = segmenter.with_config(choices[threshold])
        scores = {"variant": self.variant, "seed_threshold": threshold, "sources": {}}
        for name, own in ((first, refs[1::2]), *others):
            scores["sources"][name] = {
                "frames_sha256": hash_names(sources[name]),
                **_score(segmenter, name, own),
            }
        write_atomic(self.scores_path, (json.dumps(scores, indent=1) + "\n").encode())
        return scores

    def _require_same_frames(self, scores: Scores) -> None:
        """Raise TrainingError for scores of other frames; older files do not say which they are."""
        known = {name: one.get("frames_sha256") for name, one in scores["sources"].items()}
        if not any(known.values()):
            return
        now = {name: hash_names(refs) for name, refs in self._validation().items()}
        if known != now:
            raise TrainingError(
                f"{self.scores_path}: the run was scored on other frames; restore those, or choose "
                "a different --out"
            )

    def _validation(self) -> dict[str, list[FrameRef]]:
        """Return the validation frames by the path of their source; one path may have several."""
        frames: dict[str, list[FrameRef]] = {}
        listed = list_sources(self.config, self.data, "val")
        for source, (_, refs) in zip(self.config.data.sources, listed, strict=True):
            if refs:
                frames.setdefault(source.path, []).extend(refs)
        return frames


def _score(segmenter: Segmenter, name: str, refs: Sequence[FrameRef]) -> Scores:
    """Return the measures by class and by size."""
    frames = tqdm(refs, desc=name, unit="frame")
    evaluator = score_frames(segmenter, frames, segmenter.config)
    sides = evaluator.objects, evaluator.predictions
    sizes = quality_by_bucket(sides, length_m, LENGTHS)
    by_class = evaluator.result().to_dict()
    by_size = {label: quality.to_dict() for label, quality in sizes.items()}
    return {"frames": len(refs), **by_class, "per_size": by_size}
