"""Instance segmentation of LiDAR sweeps from the bird's-eye view, learned bandwidth included.

>>> from bev_instseg import Segmenter, read_scan
>>> instances = Segmenter.from_pretrained().segment(read_scan("sweep.bin"))
>>> instances.labels  # (N,) int32: 0 = no object, 1..K = instance, by falling score
"""

from typing import TYPE_CHECKING

from bev_instseg.grid import BEVGrid
from bev_instseg.structures import Frame, Instances, PillarEmbeddings, Pillars

if TYPE_CHECKING:
    from bev_instseg.datasets.scan_io import read_scan
    from bev_instseg.segmenter import Segmenter

__version__ = "0.1.0"
__all__ = [
    "BEVGrid",
    "Frame",
    "Instances",
    "PillarEmbeddings",
    "Pillars",
    "Segmenter",
    "read_scan",
]


def __getattr__(name: str) -> object:
    """Load the parts that need torch only when somebody asks for them."""
    if name == "Segmenter":
        from bev_instseg.segmenter import Segmenter

        return Segmenter
    if name == "read_scan":
        from bev_instseg.datasets.scan_io import read_scan

        return read_scan
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
