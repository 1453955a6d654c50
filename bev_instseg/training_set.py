"""Training samples: any mixture of sources, augmented and cropped, a pure function of a number."""

from collections.abc import Sequence

import numpy as np

from bev_instseg.config import Config
from bev_instseg.datasets import augment
from bev_instseg.datasets.sources import FrameRef
from bev_instseg.ops.voxelize import voxelize
from bev_instseg.structures import Float32, Frame, Pillars
from bev_instseg.targets import PillarTargets, make_targets

MIN_CUTOUT_POINTS = 15


class TrainingSet:
    """Sample ``i`` depends on ``(config, i)`` alone: not on workers, processes or earlier samples.

    Frames are read at first use and kept in memory with each point's height above the ground.
    """

    def __init__(self, sources: Sequence[tuple[float, Sequence[FrameRef]]], config: Config) -> None:
        """Args:
        sources: (weight, frames) of each data set; a source is drawn as often as its weight says.
        config: classes, grid, augmentation and seed.

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
        self._frames: list[tuple[Frame, Float32]] = []
        self._bank: list[list[augment.Cutout]] = []

    def load(self) -> None:
        """Read all frames and cut out their objects, unless that is done."""
        if self._frames:
            return
        frames: list[tuple[Frame, Float32]] = []
        bank: list[list[augment.Cutout]] = [[] for _ in self.config.classes]
        for ref in self.refs:
            frame = ref.read(self.config.classes, self.config.data)
            height_m = voxelize(frame.points, self.config.grid).point_height_m
            frame, height_m = augment.keep(frame, height_m, np.isfinite(height_m))
            frames.append((frame, height_m))
            for cutout in augment.cut_objects(frame, height_m, MIN_CUTOUT_POINTS):
                bank[cutout.class_index].append(cutout)
        self._frames, self._bank = frames, bank

    def __getitem__(self, index: int) -> tuple[Pillars, PillarTargets]:
        """Sample ``index``: any number >= 0; there is no end."""
        self.load()
        config, train = self.config, self.config.train
        rng = np.random.default_rng([train.seed, index])
        frame, height_m = self._frames[rng.choice(len(self._frames), p=self.chance)]
        if config.augment.enabled:
            frame, height_m = augment.turn_flip_scale(frame, height_m, config.augment, rng)
        grid = config.grid
        if train.window_cells:
            grid = augment.random_window(frame, grid, train.window_cells, config.model.stride, rng)
            frame, height_m = augment.keep(frame, height_m, grid.cell_of(frame.points) >= 0)
        if config.augment.enabled:
            frame, _ = augment.paste_some(frame, height_m, self._bank, config.augment.paste, rng)
            frame = augment.jitter(frame, config.augment, rng)
        pillars = voxelize(frame.points, grid)
        return pillars, make_targets(frame, pillars, train.min_object_points)
