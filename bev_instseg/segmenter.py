"""A sweep in, its instances out: NumPy at both ends, torch in between."""

import os
import time
from pathlib import Path
from typing import Literal, get_args

import numpy as np
import torch

from bev_instseg.checkpoint import default_weights, load_model
from bev_instseg.config import Config, check_same_network
from bev_instseg.models.batch import PillarBatch
from bev_instseg.models.network import BEVNet
from bev_instseg.ops.assemble import assemble
from bev_instseg.ops.cluster import cluster
from bev_instseg.ops.voxelize import voxelize
from bev_instseg.structures import Float32, Instances

Device = Literal["auto", "cpu", "cuda"]


class Segmenter:
    """Segments sweeps with a trained network.

    Attributes:
        config: grid, classes and thresholds in use; may be set to one for the same network.
        weights_sha256: hash of the weights, empty for a network made in memory.
        timing_ms: milliseconds of each stage of the last `segment`.
    """

    def __init__(
        self, model: BEVNet, config: Config, device: Device = "auto", weights_sha256: str = ""
    ) -> None:
        """Args:
            model: a network built for ``config``; what is used is a copy, folded for inference.
            config: see `bev_instseg.config`.
            device: ``auto`` takes a GPU where there is one.
            weights_sha256: passed on to the results.

        Raises:
            ValueError: ``cuda`` asked for and not to be had, or another name.
        """
        if device not in get_args(Device):
            raise ValueError(f"device must be one of {', '.join(get_args(Device))}, got {device!r}")
        if device == "cuda" and not torch.cuda.is_available():
            raise ValueError("device cuda: no CUDA device here; use --device cpu or auto")
        use_cuda = device == "cuda" or (device == "auto" and torch.cuda.is_available())
        self.device = torch.device("cuda" if use_cuda else "cpu")
        self._config = config
        self.weights_sha256 = weights_sha256
        self.timing_ms: dict[str, float] = {}
        dtype = torch.bfloat16 if computes_bf16(self.device) else torch.float32
        self._model = model.folded(dtype).to(self.device)

    @property
    def config(self) -> Config:
        """Grid, classes and thresholds in use."""
        return self._config

    @config.setter
    def config(self, config: Config) -> None:
        check_same_network(self._config, config)
        self._config = config

    @classmethod
    def from_pretrained(cls, device: Device = "auto") -> "Segmenter":
        """The network that comes with the package."""
        return cls.from_checkpoint(default_weights(), device)

    @classmethod
    def from_checkpoint(cls, path: str | os.PathLike, device: Device = "auto") -> "Segmenter":
        """A network from ``.safetensors`` weights or from a training checkpoint ``.pt``.

        Raises:
            CheckpointError: unreadable, damaged or foreign file.
        """
        model, config, sha256 = load_model(Path(path))
        return cls(model, config, device, sha256)

    def warm_up(self) -> None:
        """Compile and allocate now what the first sweep would otherwise wait for."""
        self.segment(np.zeros((1, 4), np.float32))

    def segment(self, points: Float32) -> Instances:
        """The instances of one sweep.

        Args:
            points: (N, 4) float32 x, y, z in metres (x forward, y left, z up) and intensity 0..1.

        Raises:
            ValueError: another shape or type.
        """
        config = self.config
        clock = [time.perf_counter()]
        pillars = voxelize(points, config.grid)
        clock.append(time.perf_counter())
        embeddings = self._model.infer(PillarBatch.from_pillars([pillars]).to(self.device))
        clock.append(time.perf_counter())
        thresholds = config.cluster
        clusters = cluster(
            embeddings,
            thresholds.seed_threshold,
            thresholds.member_threshold,
            thresholds.min_free,
        )
        clock.append(time.perf_counter())
        instances = assemble(
            points,
            pillars,
            clusters,
            config.class_names,
            thresholds.min_height_m,
            [c.max_height_m for c in config.classes],
            [c.min_points for c in config.classes],
        )
        clock.append(time.perf_counter())
        stages = ("voxelize", "network", "cluster", "assemble")
        self.timing_ms = dict(zip(stages, (1000 * np.diff(clock)).tolist(), strict=True))
        return instances


def computes_bf16(device: torch.device) -> bool:
    """Whether the device multiplies bfloat16 itself; where it does not, float32 is faster."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    has = torch.cpu.get_capabilities() if hasattr(torch.cpu, "get_capabilities") else {}
    return bool(has.get("avx512_bf16") or has.get("amx_bf16"))
