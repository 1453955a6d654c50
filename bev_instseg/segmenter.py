"""From a sweep to its instances: NumPy at both ends, torch in between."""

import copy
import os
import time
import warnings
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import torch

from bev_instseg.checkpoint import default_weights, load_model
from bev_instseg.config import Config, check_same_network
from bev_instseg.models.network import BEVNet, native_dtype
from bev_instseg.models.pillar_batch import PillarBatch
from bev_instseg.models.sparse import SparseBackend, has_spconv
from bev_instseg.ops.assemble import AssemblyRules, assemble
from bev_instseg.ops.cluster import cluster
from bev_instseg.ops.off_grid import off_grid_notice
from bev_instseg.ops.voxelize import voxelize
from bev_instseg.structures import (
    Clusters,
    Float32,
    Instances,
    PillarEmbeddings,
    Pillars,
    Segmentation,
)

Device = Literal["auto", "cpu", "cuda"]
SparseBackendChoice = Literal["auto", "torch", "spconv"]


class Segmenter:
    """Segments sweeps with a trained network; several threads may share one.

    A segmenter is never modified: `with_config` and `with_sparse_backend` return a new one. A
    forked child may use its parent's segmenter: on a CPU with one thread, with CUDA not at all.

    Attributes:
        weights_sha256: Hash of the weights; empty for a network made in memory.
        device: The torch device that the network runs on.
        sparse_backend: The library that computes the sparse convolutions.
        network: The network, folded for inference.
    """

    def __init__(
        self,
        model: BEVNet,
        config: Config,
        device: Device = "auto",
        weights_sha256: str = "",
        sparse_backend: SparseBackendChoice = "auto",
    ) -> None:
        """Copy a network and fold it for inference.

        Args:
            model: A network built for ``config``; it is not changed.
            config: Grid, classes and thresholds.
            device: ``auto`` takes a GPU if there is one.
            weights_sha256: Hash of the weights, recorded in results.
            sparse_backend: Library for the sparse convolutions. ``auto`` takes torch on a CPU,
                where it is faster; on a GPU, if spconv is installed, it times both.

        Raises:
            ValueError: ``cuda`` or ``spconv`` is not available, or the name is unknown.
        """
        _check_sparse_backend(sparse_backend, get_args(SparseBackendChoice))
        if device not in get_args(Device):
            raise ValueError(f"device must be one of {', '.join(get_args(Device))}, got {device!r}")
        if device == "cuda" and not torch.cuda.is_available():
            raise ValueError("device cuda: no CUDA device found; use --device cpu or auto")
        use_cuda = device == "cuda" or (device == "auto" and torch.cuda.is_available())
        self._config = config
        self.weights_sha256 = weights_sha256
        self.device = torch.device("cuda" if use_cuda else "cpu")
        self.network = model.folded(native_dtype(self.device)).to(self.device)
        self.sparse_backend: SparseBackend = "torch" if sparse_backend == "auto" else sparse_backend
        if sparse_backend == "auto" and use_cuda and has_spconv():
            self.sparse_backend = self._faster_sparse_backend()
        self.network.set_sparse_backend(self.sparse_backend)

    @property
    def config(self) -> Config:
        """Grid, classes and thresholds in use; `with_config` changes them."""
        return self._config

    @classmethod
    def from_pretrained(
        cls, device: Device = "auto", sparse_backend: SparseBackendChoice = "auto"
    ) -> "Segmenter":
        """Load the network that comes with the package: vehicles, pedestrians and cyclists.

        Args:
            device: As for `Segmenter`.
            sparse_backend: As for `Segmenter`.

        Raises:
            CheckpointError: The weights are damaged.
            ValueError: As for `Segmenter`.
        """
        return cls.from_checkpoint(default_weights(), device, sparse_backend)

    @classmethod
    def from_checkpoint(
        cls,
        path: str | os.PathLike[str],
        device: Device = "auto",
        sparse_backend: SparseBackendChoice = "auto",
    ) -> "Segmenter":
        """Load a network from ``.safetensors`` weights or from a training checkpoint ``.pt``.

        Args:
            path: The file; a ``.safetensors`` has its ``.json`` beside it.
            device: As for `Segmenter`.
            sparse_backend: As for `Segmenter`.

        Raises:
            CheckpointError: The file cannot be read, is damaged or is not a checkpoint.
            ValueError: As for `Segmenter`.
        """
        model, config, sha256 = load_model(Path(path))
        return cls(model, config, device, sha256, sparse_backend)

    def with_config(self, config: Config) -> "Segmenter":
        """Return a segmenter with the same network and different thresholds, names or range.

        Args:
            config: A configuration of the same network.

        Raises:
            ValueError: The configuration is for a different network.
        """
        check_same_network(self.config, config)
        other = copy.copy(self)
        other._config = config
        return other

    def with_sparse_backend(self, sparse_backend: SparseBackend) -> "Segmenter":
        """Return a segmenter with a copy of the network that uses the given sparse library.

        Args:
            sparse_backend: ``torch`` or ``spconv``.

        Raises:
            ValueError: ``spconv`` is not installed, or the name is unknown.
        """
        _check_sparse_backend(sparse_backend, get_args(SparseBackend))
        other = copy.copy(self)
        other.network = copy.deepcopy(self.network)
        other.network.set_sparse_backend(sparse_backend)
        other.sparse_backend = sparse_backend
        return other

    def segment(self, points: Float32) -> Instances:
        """Find the instances of one sweep.

        Args:
            points: (N, 4) float32 x, y, z in metres (x forward, y left, z up) and intensity 0..1.
                Points outside the grid and points that are NaN or infinite get label 0; if many
                are outside the grid, there is a warning.

        Returns:
            The instances by descending score, with a label for each of the N points.

        Raises:
            ValueError: The array has the wrong shape or dtype.
        """
        segmentation = self.segment_with_maps(points)
        if notice := off_grid_notice(points, segmentation.pillars):
            warnings.warn(f"{notice}; segment_tiles segments them too", stacklevel=2)
        return segmentation.instances

    def segment_with_maps(self, points: Float32) -> Segmentation:
        """Find the instances of one sweep and return everything computed on the way.

        Args:
            points: (N, 4) float32, as for `segment`.

        Returns:
            Pillars, embeddings, clusters, instances, and the time that each stage took.

        Raises:
            ValueError: The array has the wrong shape or dtype.
        """
        clock = [time.perf_counter()]
        pillars = voxelize(points, self.config.grid)
        clock.append(time.perf_counter())
        embeddings = self.infer(pillars)
        clock.append(time.perf_counter())
        clusters = cluster_pillars(embeddings, self.config)
        clock.append(time.perf_counter())
        instances = assemble(points, pillars, clusters, assembly_rules(self.config))
        clock.append(time.perf_counter())
        stages = ("voxelize", "network", "cluster", "assemble")
        timing_ms = dict(zip(stages, (1000 * np.diff(clock)).tolist(), strict=True))
        return Segmentation(pillars, embeddings, clusters, instances, timing_ms)

    def infer(self, pillars: Pillars) -> PillarEmbeddings:
        """Run the network.

        Args:
            pillars: The P pillars of a sweep.

        Returns:
            Their embeddings, in the same order.

        Raises:
            RuntimeError: The segmenter uses a GPU and this process was forked from its maker.
        """
        if self.device.type == "cuda" and not torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
            raise RuntimeError(
                "CUDA cannot be used in a forked process: start processes with "
                "multiprocessing.get_context('spawn') and make the Segmenter there, "
                "or make it with device='cpu'"
            )
        return self.network.infer(PillarBatch.from_pillars([pillars]).to(self.device))

    def warm_up(self) -> None:
        """Compile the kernels and allocate memory now rather than during the first sweep."""
        self.segment(np.zeros((1, 4), np.float32))

    def _faster_sparse_backend(self) -> SparseBackend:
        """Return the faster sparse backend, timed on input of a sweep's size.

        Returns torch if spconv is installed but does not work.
        """
        rng = np.random.default_rng(0)
        points = rng.uniform((-40, -40, -1, 0), (40, 40, 1, 1), (16_000, 4)).astype(np.float32)
        pillars = voxelize(points, self.config.grid)
        seconds: dict[SparseBackend, float] = {}
        for backend in get_args(SparseBackend):
            self.network.set_sparse_backend(backend)
            samples = []
            for _ in range(6):
                start = time.perf_counter()
                try:
                    self.infer(pillars)
                except (ImportError, OSError, RuntimeError):
                    if backend == "torch":
                        raise
                    return "torch"
                samples.append(time.perf_counter() - start)
            seconds[backend] = min(samples)
        return min(seconds, key=seconds.__getitem__)


def _check_sparse_backend(sparse_backend: str, choices: tuple[str, ...]) -> None:
    if sparse_backend not in choices:
        names = ", ".join(choices)
        raise ValueError(f"sparse_backend must be one of {names}, got {sparse_backend!r}")
    if sparse_backend == "spconv" and not has_spconv():
        raise ValueError("spconv is not installed: pip install 'bev-instseg[gpu]'")


def cluster_pillars(embeddings: PillarEmbeddings, config: Config) -> Clusters:
    """Group pillars into instances with the thresholds of a configuration; see `cluster`.

    Args:
        embeddings: Embeddings of P pillars.
        config: Configuration with the thresholds.
    """
    thresholds = config.cluster
    return cluster(
        embeddings,
        thresholds.seed_threshold,
        thresholds.member_threshold,
        thresholds.min_free,
    )


def assembly_rules(config: Config) -> AssemblyRules:
    """Return the rules of a configuration for assembling instances.

    Args:
        config: Configuration with the classes and thresholds.
    """
    return AssemblyRules(
        class_names=config.class_names,
        min_height_m=config.cluster.min_height_m,
        max_height_m=tuple(c.max_height_m for c in config.classes),
        min_points=tuple(c.min_points for c in config.classes),
        calibration=config.cluster.calibration,
        score_threshold=config.cluster.score_threshold,
    )
