"""Instance segmentation of LiDAR sweeps from the bird's-eye view, learned bandwidth included.

>>> from bev_instseg import Segmenter, read_scan, view
>>> points = read_scan("sweep.bin")
>>> instances = Segmenter.from_pretrained().segment(points)
>>> instances.labels  # (N,) int32: 0 = no object, 1..K = instance, by falling score
>>> [(i.name, i.score, i.box) for i in instances]
>>> view(points, instances)
"""

from typing import TYPE_CHECKING

from bev_instseg.grid import BEVGrid
from bev_instseg.structures import Float32, Frame, Instance, Instances, PillarEmbeddings, Pillars

if TYPE_CHECKING:
    from bev_instseg.io.sweep import read_scan
    from bev_instseg.segmenter import Segmenter

__version__ = "0.1.0"
__all__ = [
    "BEVGrid",
    "Frame",
    "Instance",
    "Instances",
    "PillarEmbeddings",
    "Pillars",
    "Segmenter",
    "read_scan",
    "view",
]


def view(points: Float32, instances: Instances, name: str = "sweep") -> bool:
    """Show a sweep in an Open3D window until it is closed; the keys are printed.

    Args:
        points: (N, 4) float32 x, y, z in metres and intensity 0..1.
        instances: the objects among these points.
        name: what to call the sweep.

    Returns:
        True once the window was closed; False, with one line on stderr, if there is no display.
    """
    from bev_instseg.visualize import view_sweeps

    return view_sweeps([name], lambda _: (points, instances))


def __getattr__(name: str) -> object:
    """Load the parts that need torch only when somebody asks for them."""
    if name == "Segmenter":
        from bev_instseg.segmenter import Segmenter

        return Segmenter
    if name == "read_scan":
        from bev_instseg.io.sweep import read_scan

        return read_scan
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
