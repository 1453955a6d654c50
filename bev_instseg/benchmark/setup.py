"""The input that all parts of the benchmark share."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bev_instseg.benchmark.measure import Machine
from bev_instseg.models.network import BEVNet
from bev_instseg.segmenter import Segmenter


@dataclass(frozen=True)
class Setup:
    """What to measure, and where.

    Attributes:
        segmenter: The segmenter, warmed up.
        weights: File of its weights.
        sweeps: ``.bin`` files, at least one.
        truth: A labelled data set, for the quality of decoders and runtimes.
        sequences: Which sequences or frames of it, see `list_labelled_frames`.
        repeats: Calls per measurement; slow parts make fewer.
        machine: The rates that lower bounds are computed from.
        growth_plot: PNG file for the plot of growth; None for no plot.
    """

    segmenter: Segmenter
    weights: Path
    sweeps: Sequence[Path]
    truth: Path
    sequences: Sequence[str]
    repeats: int
    machine: Machine
    growth_plot: Path | None

    def torch_segmenter(self) -> Segmenter:
        """Return a segmenter with the same layers that runs in PyTorch.

        For an exported model the weights are random, which does not change the time.
        """
        if self.segmenter.engine.runtime == "torch":
            return self.segmenter
        config = self.segmenter.config
        return Segmenter(BEVNet(config), config)
