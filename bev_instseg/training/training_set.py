"""Training samples: any mixture of sources, augmented and cropped, a pure function of a number."""

import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from bev_instseg.config import Config
from bev_instseg.datasets.frames import FrameRef, list_frames
from bev_instseg.ops.voxelize import on_grid, point_heights, voxelize
from bev_instseg.structures import Float32, Frame, Pillars
from bev_instseg.training import augment
from bev_instseg.training.cutouts import Cutout, by_class, cut_objects, fingerprint
from bev_instseg.training.paste import NOTHING, OBSTACLE_M, paste_some
from bev_instseg.training.targets import PillarTargets, make_targets


def list_sources(
    config: Config, data: Path, part: Literal["train", "val"]
) -> list[tuple[float, list[FrameRef]]]:
    """Weight and frames of each source of a configuration.

    Args:
        config: names the sources.
        data: the folder that their paths start from.
        part: which of their frames.

    Raises:
        ScanError, KittiError: a sequence, frame or split that is not there.
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


def read_frame(ref: FrameRef, config: Config) -> tuple[Frame, Float32]:
    """The points of a frame that lie on the grid, and their heights above the ground.

    The frame is named after its data set's folder too, so that no two frames are named alike.
    """
    frame = ref.read(config.classes, config.data)
    frame = dataclasses.replace(frame, name=f"{Path(ref.root).name}/{ref.name}")
    height_m = point_heights(frame.points, config.grid)
    return augment.keep(frame, height_m, np.isfinite(height_m))


class TrainingSet:
    """Sample ``i`` depends on ``(config, i)`` alone: not on workers, processes or earlier samples.

    Frames are read at first use and kept in memory with each point's height above the ground.
    """

    def __init__(
        self,
        sources: Sequence[tuple[float, Sequence[FrameRef]]],
        config: Config,
        databases: Sequence[Sequence[Cutout]] = (),
    ) -> None:
        """Nothing is read yet.

        Args:
            sources: (weight, frames) of each data set; a source is drawn as often as its weight
                says.
            config: classes, grid, augmentation and seed.
            databases: what is pasted, into each sample from one of them, drawn evenly; none: the
                objects of the frames themselves.

        Raises:
            ValueError: no frames at all.
        """
        sources = [(weight, refs) for weight, refs in sources if refs and weight > 0]
        if not sources:
            raise ValueError("no frames to train on")
        self.config = config
        self.refs = [ref for _, refs in sources for ref in refs]
        chance = np.concatenate([np.full(len(refs), w / len(refs)) for w, refs in sources])
        self.chance = chance / chance.sum()
        self.databases = databases
        self.objects_sha256 = fingerprint(databases)
        self._frames: list[tuple[Frame, Float32]] = []
        self._banks: list[list[list[Cutout]]] = []

    def load(self) -> None:
        """Read all frames and cut out what is pasted, unless that is done.

        Raises:
            ScanError, KittiError: a file that cannot be used.
        """
        if self._frames:
            return
        frames = [read_frame(ref, self.config) for ref in self.refs]
        databases = self.databases or [
            [cutout for frame, height_m in frames for cutout in cut_objects(frame, height_m)]
        ]
        self._banks = [by_class(cutouts, len(self.config.classes)) for cutouts in databases]
        self._frames = frames

    def __getitem__(self, index: int) -> tuple[Pillars, PillarTargets]:
        """Sample ``index``: any number >= 0; there is no end.

        Returns:
            The pillars of the sample and what the network should say of each.
        """
        self.load()
        config, train = self.config, self.config.train
        rng = np.random.default_rng([train.seed, index])
        frame, height_m = self._frames[rng.choice(len(self._frames), p=self.chance)]
        if config.augment.enabled:
            frame, height_m = augment.turn_flip_scale(frame, height_m, config.augment, rng)
        grid, around = config.grid, NOTHING
        if train.window_cells:
            grid = augment.random_window(frame, grid, train, config.model.stride, rng)
            inside = on_grid(frame.points, grid)
            around = frame.points.compress(~inside & (height_m > OBSTACLE_M), axis=0)
            frame, height_m = augment.keep(frame, height_m, inside)
        if config.augment.enabled:
            most = (*config.augment.paste, config.augment.distractors)
            bank = self._banks[rng.integers(len(self._banks))]
            frame, _ = paste_some(frame, height_m, bank, most, rng, around)
            frame = augment.thin_beams(frame, config.augment, rng)
            frame = augment.jitter(frame, config.augment, rng)
        pillars = voxelize(frame.points, grid)
        return pillars, make_targets(frame, pillars, train.min_object_points)
