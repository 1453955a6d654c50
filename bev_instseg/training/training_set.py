"""Training samples from any mixture of data sets, augmented and cropped."""

import dataclasses
import hashlib
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from bev_instseg.config import Config
from bev_instseg.datasets.frames import FrameRef, list_frames
from bev_instseg.ops.relative_intensity import relative_intensity
from bev_instseg.ops.voxelize import on_grid, point_heights, voxelize
from bev_instseg.structures import Float32, Frame, Pillars
from bev_instseg.training import augment
from bev_instseg.training.cutouts import Cutout, cut_objects, group_by_class, hash_databases
from bev_instseg.training.occlusion import NO_POINTS
from bev_instseg.training.paste import OBSTACLE_M, paste_some
from bev_instseg.training.pieces import cut_into_pieces
from bev_instseg.training.targets import PillarTargets, make_targets


def list_sources(
    config: Config, data: Path, part: Literal["train", "val"]
) -> list[tuple[float, list[FrameRef]]]:
    """Return the weight and the frames of each source of a configuration.

    Args:
        config: Names the sources.
        data: The folder that their paths are relative to.
        part: Which of their frames.

    Raises:
        ScanError: A sequence or frame does not exist.
        KittiError: A split cannot be read.
    """
    return [
        (
            source.weight,
            list_frames(
                data / source.path,
                source.layout,
                source.train if part == "train" else source.val,
                source.unlabelled_is_background,
            ),
        )
        for source in config.data.sources
    ]


def only_sources(config: Config, paths: Sequence[str]) -> Config:
    """Return a configuration with only some of its sources.

    Args:
        config: The configuration.
        paths: The paths of the sources to keep; none keeps all.

    Raises:
        ValueError: No source has such a path.
    """
    sources = config.data.sources
    known = dict.fromkeys(source.path for source in sources)
    if unknown := [path for path in paths if path not in known]:
        raise ValueError(f"--sources {unknown[0]}: the configuration has {', '.join(known)}")
    kept = tuple(source for source in sources if not paths or source.path in paths)
    data = dataclasses.replace(config.data, sources=kept)
    return dataclasses.replace(config, data=data)


def read_frame_on_grid(ref: FrameRef, config: Config) -> tuple[Frame, Float32]:
    """Read the points of a frame that are on the grid.

    Args:
        ref: The frame.
        config: Classes, grid, and whether kinds of background are learned.

    Returns:
        The frame, its name prefixed by the data set's folder to make it unique, and the (N,)
        float32 height of each point above the ground, metres.

    Raises:
        ScanError: A sweep or label file cannot be used.
        KittiError: A calibration or label file cannot be used.
    """
    frame = ref.read(config.classes, config.data)
    frame = dataclasses.replace(
        frame,
        name=frame_name(ref),
        background=frame.background if config.loss.semantic_weight else None,
    )
    height_m = point_heights(frame.points, config.grid)
    return augment.select_points(frame, height_m, np.isfinite(height_m))


def with_relative_intensity(frame: Frame, height_m: Float32) -> Frame:
    """Return a frame with scaled intensities; see `relative_intensity`.

    Args:
        frame: N points.
        height_m: (N,) float32 height of each above the ground, metres.
    """
    return dataclasses.replace(frame, points=relative_intensity(frame.points, height_m))


def frame_name(ref: FrameRef) -> str:
    """Return the name of a frame with that of its data set's folder, as in object files."""
    return f"{Path(ref.root).resolve().name}/{ref.name}"


def hash_names(refs: Sequence[FrameRef]) -> str:
    """Return the SHA-256 hash of the names of frames, in their order."""
    names = "\n".join(ref.name for ref in refs)
    return hashlib.sha256(names.encode(errors="surrogateescape")).hexdigest()


class TrainingSet:
    """An endless sequence of samples.

    Sample ``i`` depends on ``(config, i)`` alone: not on workers, processes or earlier samples.
    Frames are read at first use and kept in memory with each point's height above the ground.

    Attributes:
        config: Classes, grid, augmentation and seed.
        refs: The frames of all sources.
        databases: Objects to paste; empty if the frames' own are pasted.
        objects_sha256: Hash of ``databases``.
        frames_sha256: Hash of the names of ``refs``.
    """

    def __init__(
        self,
        sources: Sequence[tuple[float, Sequence[FrameRef]]],
        config: Config,
        databases: Sequence[Sequence[Cutout]] = (),
    ) -> None:
        """Set up without reading any frame.

        Args:
            sources: Weight and frames of each data set; the weight is how often it is drawn.
            config: Classes, grid, augmentation and seed.
            databases: Objects to paste; those of a sample come from one database, and each
                database is equally likely. If empty, objects of the frames themselves are pasted.

        Raises:
            ValueError: There are no frames, or there are databases although the network takes
                relative intensities.
        """
        sources = [(weight, refs) for weight, refs in sources if refs and weight > 0]
        if not sources:
            raise ValueError("no frames to train on; check train and weight of data.sources")
        if databases and config.model.relative_intensity:
            raise ValueError(
                "intensities of object files are absolute and do not fit "
                "model.relative_intensity; leave out one of the two"
            )
        self.config = config
        self.refs = [ref for _, refs in sources for ref in refs]
        self.databases = databases
        self.objects_sha256 = hash_databases(databases)
        self.frames_sha256 = hash_names(self.refs)
        probability = np.concatenate([np.full(len(refs), w / len(refs)) for w, refs in sources])
        self._probability = probability / probability.sum()
        self._frames: list[tuple[Frame, Float32]] = []
        self._banks: list[list[list[Cutout]]] = []

    def load(self) -> None:
        """Read all frames and cut out the objects to paste, unless done already.

        Raises:
            ScanError: A sweep or label file cannot be used.
            KittiError: A calibration or label file cannot be used.
        """
        if self._frames:
            return
        frames = [read_frame_on_grid(ref, self.config) for ref in self.refs]
        if self.config.model.relative_intensity:
            frames = [(with_relative_intensity(*pair), pair[1]) for pair in frames]
        databases = self.databases or [
            [cutout for frame, height_m in frames for cutout in cut_objects(frame, height_m)]
        ]
        self._banks = [group_by_class(cutouts, len(self.config.classes)) for cutouts in databases]
        self._frames = frames

    def __getitem__(self, index: int) -> tuple[Pillars, PillarTargets]:
        """Return sample ``index``, any number from 0 up.

        Args:
            index: Number of the sample.

        Returns:
            The pillars of the sample and what the network should predict for them.
        """
        self.load()
        config, train = self.config, self.config.train
        rng = np.random.default_rng([train.seed, index])
        frame, height_m = self._frames[rng.choice(len(self._frames), p=self._probability)]
        if config.augment.enabled:
            frame, height_m = augment.turn_flip_scale(frame, height_m, config.augment, rng)
        grid, outside = config.grid, NO_POINTS
        if train.window_cells:
            grid = augment.random_window(frame, grid, train, config.model.stride, rng)
            inside = on_grid(frame.points, grid)
            outside = frame.points.compress(~inside & (height_m > OBSTACLE_M), axis=0)
            frame, height_m = augment.select_points(frame, height_m, inside)
        if config.augment.enabled:
            max_pastes = (*config.augment.paste, config.augment.distractors)
            bank = self._banks[rng.integers(len(self._banks))]
            frame, _ = paste_some(frame, height_m, bank, max_pastes, rng, outside)
            frame = augment.thin_beams(frame, config.augment, rng)
            frame = augment.jitter(frame, config.augment, rng)
        pillars = voxelize(frame.points, grid)
        targets = make_targets(frame, pillars, train.min_object_points)
        lengths = np.array([kind.piece_m for kind in config.classes])
        return pillars, cut_into_pieces(targets, pillars.centres_m, lengths, rng)
