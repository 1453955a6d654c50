"""A sweep in, its instances out: NumPy at both ends, torch in between."""

import os
import threading
import time
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import torch

from bev_instseg.checkpoint import default_weights, load_model
from bev_instseg.config import Config, check_same_network
from bev_instseg.models.network import BEVNet, native_dtype
from bev_instseg.models.pillar_batch import PillarBatch
from bev_instseg.models.sparse import Sparse, has_spconv
from bev_instseg.ops.assemble import assemble
from bev_instseg.ops.cluster import Clusters, cluster
from bev_instseg.ops.voxelize import voxelize
from bev_instseg.structures import Float32, Instances, PillarEmbeddings, Pillars

Device = Literal["auto", "cpu", "cuda"]
SparseChoice = Literal["auto", "torch", "spconv"]


class Segmenter:
    """Segments sweeps with a trained network; fit to be used by several threads at once.

    Attributes:
        config: grid, classes and thresholds in use; may be set to one for the same network.
        weights_sha256: hash of the weights, empty for a network made in memory.
        device: what the network runs on.
        network: what is computed with, folded for inference.
    """

    def __init__(
        self,
        model: BEVNet,
        config: Config,
        device: Device = "auto",
        weights_sha256: str = "",
        sparse: SparseChoice = "auto",
    ) -> None:
        """Args:
            model: a network built for ``config``; what is used is a copy, folded for inference.
            config: see `bev_instseg.config`.
            device: ``auto`` takes a GPU where there is one.
            weights_sha256: passed on to the results.
            sparse: who computes the sparse convolutions. ``auto`` is plain torch on a CPU, where it
                is faster, and on a GPU whichever is measured to be, if spconv is installed.

        Raises:
            ValueError: ``cuda`` or ``spconv`` asked for and not to be had, or another name.
        """
        if sparse not in get_args(SparseChoice):
            names = ", ".join(get_args(SparseChoice))
            raise ValueError(f"sparse must be one of {names}, got {sparse!r}")
        if sparse == "spconv" and not has_spconv():
            raise ValueError("sparse spconv: not installed; pip install 'bev-instseg[gpu]'")
        if device not in get_args(Device):
            raise ValueError(f"device must be one of {', '.join(get_args(Device))}, got {device!r}")
        if device == "cuda" and not torch.cuda.is_available():
            raise ValueError("device cuda: no CUDA device here; use --device cpu or auto")
        use_cuda = device == "cuda" or (device == "auto" and torch.cuda.is_available())
        self.device = torch.device("cuda" if use_cuda else "cpu")
        self._config = config
        self.weights_sha256 = weights_sha256
        self._timing = threading.local()
        self.network = model.folded(native_dtype(self.device)).to(self.device)
        self.sparse = "torch" if sparse == "auto" else sparse
        if sparse == "auto" and use_cuda and has_spconv():
            self.sparse = self._fastest()

    @property
    def config(self) -> Config:
        """Grid, classes and thresholds in use.

        Raises:
            ValueError: when set to one for another network.
        """
        return self._config

    @config.setter
    def config(self, config: Config) -> None:
        check_same_network(self._config, config)
        self._config = config

    @classmethod
    def from_pretrained(cls, device: Device = "auto", sparse: SparseChoice = "auto") -> "Segmenter":
        """The network that comes with the package: vehicles, pedestrians and cyclists.

        Args:
            device, sparse: as for `Segmenter`.

        Raises:
            CheckpointError: its weights are damaged.
            ValueError: as for `Segmenter`.
        """
        return cls.from_checkpoint(default_weights(), device, sparse)

    @classmethod
    def from_checkpoint(
        cls,
        path: str | os.PathLike,
        device: Device = "auto",
        sparse: SparseChoice = "auto",
    ) -> "Segmenter":
        """A network from ``.safetensors`` weights or from a training checkpoint ``.pt``.

        Args:
            path: the file; a ``.safetensors`` has its ``.json`` beside it.
            device, sparse: as for `Segmenter`.

        Raises:
            CheckpointError: unreadable, damaged or foreign file.
            ValueError: as for `Segmenter`.
        """
        model, config, sha256 = load_model(Path(path))
        return cls(model, config, device, sha256, sparse)

    def warm_up(self) -> None:
        """Compile and allocate now what the first sweep would otherwise wait for."""
        self.segment(np.zeros((1, 4), np.float32))

    def infer(self, pillars: Pillars) -> PillarEmbeddings:
        """What the network says of the P pillars of a sweep, in their order."""
        return self.network.infer(PillarBatch.from_pillars([pillars]).to(self.device))

    @property
    def timing_ms(self) -> dict[str, float]:
        """Milliseconds of each stage of the last `segment` in this thread; empty before it.

        The stages are ``voxelize``, ``network``, ``cluster`` and ``assemble``.
        """
        return getattr(self._timing, "ms", {})

    @property
    def sparse(self) -> Sparse:
        """Who computes the sparse convolutions."""
        return self._sparse

    @sparse.setter
    def sparse(self, sparse: Sparse) -> None:
        self.network.compute_sparse_with(sparse)
        self._sparse = sparse

    def _fastest(self) -> Sparse:
        """Who computes the sparse convolutions sooner here, by about as many pillars as a sweep's.

        Plain torch where spconv is installed but does not work.
        """
        rng = np.random.default_rng(0)
        points = rng.uniform((-40, -40, -1, 0), (40, 40, 1, 1), (16_000, 4)).astype(np.float32)
        pillars = voxelize(points, self.config.grid)
        seconds: dict[Sparse, float] = {}
        for sparse in get_args(Sparse):
            self.sparse = sparse
            samples = []
            for _ in range(6):
                start = time.perf_counter()
                try:
                    self.infer(pillars)
                except (ImportError, OSError, RuntimeError):
                    if sparse == "torch":
                        raise
                    return "torch"
                samples.append(time.perf_counter() - start)
            seconds[sparse] = min(samples)
        return min(seconds, key=seconds.__getitem__)

    def segment(self, points: Float32) -> Instances:
        """The instances of one sweep.

        Args:
            points: (N, 4) float32 x, y, z in metres (x forward, y left, z up) and intensity 0..1.
                Points outside the grid, NaN and infinite ones are in no instance.

        Returns:
            Its instances by falling score, with a label for each of the N points.

        Raises:
            ValueError: another shape or type.
        """
        clock = [time.perf_counter()]
        pillars = voxelize(points, self.config.grid)
        clock.append(time.perf_counter())
        embeddings = self.infer(pillars)
        clock.append(time.perf_counter())
        clusters = self.cluster(embeddings)
        clock.append(time.perf_counter())
        instances = self.assemble(points, pillars, clusters)
        clock.append(time.perf_counter())
        stages = ("voxelize", "network", "cluster", "assemble")
        self._timing.ms = dict(zip(stages, (1000 * np.diff(clock)).tolist(), strict=True))
        return instances

    def cluster(self, embeddings: PillarEmbeddings) -> Clusters:
        """The P pillars that `infer` spoke of, grouped into instances."""
        thresholds = self.config.cluster
        return cluster(
            embeddings,
            thresholds.seed_threshold,
            thresholds.member_threshold,
            thresholds.min_free,
        )

    def assemble(self, points: Float32, pillars: Pillars, clusters: Clusters) -> Instances:
        """The instances of clustered pillars, by the heights, sizes and scores that are allowed.

        Args:
            points: (N, 4) float32, as for `segment`.
            pillars: of these points.
            clusters: instance of each of the pillars.
        """
        config = self.config
        return assemble(
            points,
            pillars,
            clusters,
            config.class_names,
            config.cluster.min_height_m,
            [c.max_height_m for c in config.classes],
            [c.min_points for c in config.classes],
            config.cluster.calibration,
            config.cluster.score_threshold,
        )
