"""From a sweep to its instances: voxelize, infer, cluster, assemble."""

import copy
import os
import time
import warnings
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from bev_instseg.config import (
    GROUND_LABEL,
    UNKNOWN_CLASS,
    ClassConfig,
    Config,
    check_same_network,
)
from bev_instseg.engines.choose import engine_for_export, engine_for_network, pretrained_file
from bev_instseg.engines.engine import Device, Engine, RuntimeChoice, SparseBackendChoice, TtaChoice
from bev_instseg.model_files import EXPORTED_SUFFIXES, read_exported
from bev_instseg.ops.assemble import assemble
from bev_instseg.ops.course import with_courses
from bev_instseg.ops.ground_points import find_ground
from bev_instseg.ops.off_grid import off_grid_notice
from bev_instseg.ops.unknown import add_unknown
from bev_instseg.stages import assembly_rules, cluster_pillars, make_pillars
from bev_instseg.structures import (
    UNKNOWN,
    Clusters,
    Float32,
    Instances,
    PillarEmbeddings,
    Pillars,
    Segmentation,
)
from bev_instseg.tta import check_count, infer_averaged

if TYPE_CHECKING:  # torch, which exported models do not need
    from bev_instseg.models.network import BEVNet
    from bev_instseg.models.sparse import SparseBackend


class Segmenter:
    """Segments sweeps with a trained network; several threads may share one.

    A segmenter is never modified: `with_config`, `with_extras`, `with_tta` and
    `with_sparse_backend` return a new one. A forked child may use its parent's segmenter on a CPU
    (PyTorch then computes with one thread), but not on a GPU.

    Attributes:
        weights_sha256: Hash of the weights or exported model; empty for a network made in memory.
        engine: Computes the network.
        unknown: Whether it also groups other objects that stand on the ground.
        ground: Whether it also finds the points on the ground.
        tta: How often it runs the network on each sweep; see `with_tta`.
    """

    engine: Engine
    unknown: bool
    ground: bool
    tta: TtaChoice

    def __init__(
        self,
        model: "BEVNet",
        config: Config,
        device: Device = "auto",
        weights_sha256: str = "",
        sparse_backend: SparseBackendChoice = "auto",
        runtime: RuntimeChoice = "auto",
    ) -> None:
        """Copy a network and fold it for inference.

        Args:
            model: A network built for ``config``; it is not changed.
            config: Grid, classes and thresholds.
            device: ``auto`` takes a GPU if there is one.
            weights_sha256: Hash of the weights, recorded in results.
            sparse_backend: PyTorch's library for the sparse convolutions. ``auto`` takes torch on a
                CPU, where it is faster; on a GPU, if spconv is installed, it times both.
            runtime: What computes the network. ``auto`` is torch here; the others get the network
                in float32 and compute on the CPU.

        Raises:
            ValueError: A device, library or runtime is not available, its name is unknown, or they
                do not go together.
        """
        engine = engine_for_network(model, config.grid, device, sparse_backend, runtime)
        self._set(engine, config, weights_sha256)

    def _set(self, engine: Engine, config: Config, weights_sha256: str) -> None:
        self.engine = engine
        self._config = config
        self.weights_sha256 = weights_sha256
        self.unknown = self.ground = False
        self.tta = 1

    @property
    def config(self) -> Config:
        """Grid, classes and thresholds in use; `with_config` changes them."""
        return self._config

    @property
    def classes(self) -> tuple[ClassConfig, ...]:
        """The classes of instances: those of the network, and `unknown` if requested."""
        return (*self.config.classes, UNKNOWN_CLASS) if self.unknown else self.config.classes

    @property
    def class_names(self) -> tuple[str, ...]:
        """The names of `classes`."""
        return tuple(c.name for c in self.classes)

    @classmethod
    def from_pretrained(
        cls,
        name: str = "default",
        device: Device = "auto",
        sparse_backend: SparseBackendChoice = "auto",
        runtime: RuntimeChoice = "auto",
        unknown: bool = False,
        ground: bool = False,
    ) -> "Segmenter":
        """Load a shipped network for vehicles, pedestrians and cyclists, or one for lane lines.

        It comes as float weights for PyTorch and as an 8-bit model for the other runtimes.

        Args:
            name: ``default``, for non-commercial use; ``clean``, trained only on data that allows
                commercial use; or ``lanes``, for lane markings and kerbs, also trained only on such
                data. See the model card.
            device: As for `Segmenter`.
            sparse_backend: As for `Segmenter`.
            runtime: ``auto`` is torch on a GPU; on a CPU the fastest that is installed: openvino,
                torch, onnxruntime.
            unknown: As for `with_extras`.
            ground: As for `with_extras`.

        Raises:
            CheckpointError: The weights are damaged.
            ValueError: There is no such network; or as for `Segmenter`.
        """
        path = pretrained_file(name, device, sparse_backend, runtime)
        return cls.from_checkpoint(path, device, sparse_backend, runtime, unknown, ground)

    @classmethod
    def from_checkpoint(
        cls,
        path: str | os.PathLike[str],
        device: Device = "auto",
        sparse_backend: SparseBackendChoice = "auto",
        runtime: RuntimeChoice = "auto",
        unknown: bool = False,
        ground: bool = False,
    ) -> "Segmenter":
        """Load weights ``.safetensors``, a checkpoint ``.pt`` or an exported ``.onnx`` or ``.xml``.

        Args:
            path: The file; all but checkpoints have their ``.json`` next to them.
            device: As for `Segmenter`.
            sparse_backend: As for `Segmenter`.
            runtime: As for `Segmenter`; ``auto`` takes openvino for an exported model if it is
                installed, else onnxruntime.
            unknown: As for `with_extras`.
            ground: As for `with_extras`.

        Raises:
            CheckpointError: The file cannot be read, is damaged or is not a checkpoint.
            ValueError: As for `Segmenter`.
        """
        if Path(path).suffix in EXPORTED_SUFFIXES:
            exported = read_exported(Path(path))
            segmenter = cls.__new__(cls)
            engine = engine_for_export(exported, device, sparse_backend, runtime)
            segmenter._set(engine, exported.config, exported.sha256)
        else:
            from bev_instseg.checkpoint import load_model

            model, config, sha256 = load_model(Path(path))
            segmenter = cls(model, config, device, sha256, sparse_backend, runtime)
        return segmenter.with_extras(unknown, ground)

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
        return other.with_extras(self.unknown, self.ground).with_tta(self.tta)  # checks both

    def with_extras(self, unknown: bool = False, ground: bool = False) -> "Segmenter":
        """Return a segmenter with the same network that also finds unknown objects or the ground.

        Args:
            unknown: Whether to group other objects that stand on the ground; see `add_unknown`.
            ground: Whether to find the points on the ground, `Instances.ground`.

        Raises:
            ValueError: A class of the network has the same name or label.
        """
        for c in self.config.classes:
            if unknown and (c.name == UNKNOWN or c.label == UNKNOWN_CLASS.label):
                raise ValueError(
                    f"class {c.name} has the name or the label {UNKNOWN_CLASS.label} of unknown "
                    "objects; change it in the configuration, or leave out unknown"
                )
            if ground and c.label == GROUND_LABEL:
                raise ValueError(
                    f"class {c.name} has the label {GROUND_LABEL} of the ground; change it in the "
                    "configuration, or leave out ground"
                )
        other = copy.copy(self)
        other.unknown, other.ground = unknown, ground
        return other

    def with_tta(self, count: TtaChoice) -> "Segmenter":
        """Return a segmenter with the same network and test-time augmentation.

        It runs the network several times, on rotated and mirrored copies of the sweep, and averages
        its maps.

        Args:
            count: How often the network runs on a sweep: 1, 2, 4 or 8.

        Raises:
            ValueError: It is a different number, or 8 and the grid is not square.
        """
        check_count(count, self.config.grid)
        other = copy.copy(self)
        other.tta = count
        return other

    def with_sparse_backend(self, sparse_backend: "SparseBackend") -> "Segmenter":
        """Return a segmenter with a copy of the network that uses the given sparse library.

        Args:
            sparse_backend: ``torch`` or ``spconv``.

        Raises:
            ValueError: ``spconv`` is not installed, the name is unknown, or the runtime is not
                torch.
        """
        engine: Any = self.engine
        if engine.runtime != "torch":
            raise ValueError(f"{engine.runtime} has no sparse backends; use runtime='torch'")
        other = copy.copy(self)
        other.engine = engine.with_sparse_backend(sparse_backend)
        return other

    def segment(self, points: Float32) -> Instances:
        """Find the instances of one sweep.

        Args:
            points: (N, 4) float32 x, y, z in metres (x forward, y left, z up) and intensity 0..1.
                Points outside the grid and points that are NaN or infinite get label 0; if many
                are outside the grid, or intensities are above 1, there is a warning.

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
        pillars = make_pillars(points, self.config)
        clock.append(time.perf_counter())
        embeddings = self.infer(pillars)
        clock.append(time.perf_counter())
        clusters = cluster_pillars(embeddings, pillars, self.config)
        clock.append(time.perf_counter())
        instances = self.assemble(points, pillars, clusters)
        clock.append(time.perf_counter())
        stages = ("voxelize", "network", "cluster", "assemble")
        timing_ms = dict(zip(stages, (1000 * np.diff(clock)).tolist(), strict=True))
        return Segmentation(pillars, embeddings, clusters, instances, timing_ms)

    def assemble(self, points: Float32, pillars: Pillars, clusters: Clusters) -> Instances:
        """Go back from clustered pillars to points; see `assemble`, `add_unknown`, `find_ground`.

        Args:
            points: (N, 4) float32 points of the sweep.
            pillars: The pillars of these points.
            clusters: Instance of each pillar.
        """
        rules = assembly_rules(self.config)
        instances = assemble(points, pillars, clusters, rules)
        if any(rules.in_pieces):
            instances = with_courses(instances, points, rules.in_pieces)
        if self.unknown:
            instances = add_unknown(instances, points, pillars)
        if self.ground:
            instances = replace(instances, ground=find_ground(pillars, instances.labels))
        return instances

    def infer(self, pillars: Pillars) -> PillarEmbeddings:
        """Run the network, `tta` times.

        Args:
            pillars: The P pillars of a sweep.

        Returns:
            Their embeddings, in the same order.

        Raises:
            RuntimeError: This process was forked from the one that made the segmenter, which uses a
                GPU, or OpenVINO without another runtime that could replace it.
        """
        if self.tta == 1:
            return self.engine.infer(pillars)
        return infer_averaged(self.engine.infer, pillars, self.tta)

    def warm_up(self) -> None:
        """Compile the kernels and allocate memory now rather than during the first sweep."""
        self.segment(np.zeros((1, 4), np.float32))
