"""Instance segmentation of LiDAR sweeps from the bird's-eye view, with a learned bandwidth.

>>> from bev_instseg import Segmenter, read_scan, view
>>> points = read_scan("sweep.bin")
>>> instances = Segmenter.from_pretrained().segment(points)
>>> instances.labels  # (N,) int32: 0 for no object, 1..K for an instance, by descending score
>>> [(i.name, i.score, i.box) for i in instances]
>>> view(points, instances)

The names in ``__all__`` are the public interface; everything else may move. Importing the package
only loads NumPy: torch and other libraries are loaded with the first name that needs them.
"""

import importlib
from typing import TYPE_CHECKING

from bev_instseg.exceptions import (
    BevInstsegError,
    CheckpointError,
    ConfigError,
    KittiError,
    ObjectsError,
    ScanError,
    TrainingError,
)
from bev_instseg.grid import BEVGrid
from bev_instseg.structures import (
    Clusters,
    Float32,
    Frame,
    Instance,
    Instances,
    PillarEmbeddings,
    Pillars,
    Segmentation,
)

if TYPE_CHECKING:
    from bev_instseg.config import Config
    from bev_instseg.config_files import load_config, override_config, save_config
    from bev_instseg.datasets.semantickitti import write_frame
    from bev_instseg.evaluation.metrics import Evaluator
    from bev_instseg.export.points import Cloud
    from bev_instseg.export.provenance import Provenance
    from bev_instseg.export.read_back import read_instances
    from bev_instseg.export.result import ResultFiles, write_result
    from bev_instseg.export.sweep_result import SweepResult
    from bev_instseg.io.labels import read_labels, write_labels
    from bev_instseg.io.recordings.point_cloud2 import StampedSweep
    from bev_instseg.io.recordings.recording import read_recording
    from bev_instseg.io.sensor_setup import SensorSetup, sensor_rotation
    from bev_instseg.io.survey import Reading, Survey, survey_sweeps
    from bev_instseg.io.sweep import Sweep, read_scan, read_sweep
    from bev_instseg.model_files import pretrained_weights
    from bev_instseg.segmenter import Segmenter
    from bev_instseg.tiles import segment_tiles
    from bev_instseg.tracking.tracked import TrackedInstance, TrackedInstances, Tracks
    from bev_instseg.tracking.tracker import Tracker
    from bev_instseg.visualize.bev import draw_bev, draw_comparison
    from bev_instseg.visualize.maps import draw_maps
    from bev_instseg.visualize.render import draw_3d
    from bev_instseg.visualize.web import write_html

__version__ = "0.1.0"
__all__ = [
    "BEVGrid",
    "BevInstsegError",
    "CheckpointError",
    "Cloud",
    "Clusters",
    "Config",
    "ConfigError",
    "Evaluator",
    "Frame",
    "Instance",
    "Instances",
    "KittiError",
    "ObjectsError",
    "PillarEmbeddings",
    "Pillars",
    "Provenance",
    "Reading",
    "ResultFiles",
    "ScanError",
    "Segmentation",
    "Segmenter",
    "SensorSetup",
    "StampedSweep",
    "Survey",
    "Sweep",
    "SweepResult",
    "TrackedInstance",
    "TrackedInstances",
    "Tracker",
    "Tracks",
    "TrainingError",
    "draw_3d",
    "draw_bev",
    "draw_comparison",
    "draw_maps",
    "load_config",
    "override_config",
    "pretrained_weights",
    "read_instances",
    "read_labels",
    "read_recording",
    "read_scan",
    "read_sweep",
    "save_config",
    "segment_tiles",
    "sensor_rotation",
    "survey_sweeps",
    "view",
    "write_frame",
    "write_html",
    "write_labels",
    "write_result",
]
# The module of each name that is loaded at first use.
_LAZY = {
    "model_files": ("pretrained_weights",),
    "config": ("Config",),
    "config_files": ("load_config", "override_config", "save_config"),
    "datasets.semantickitti": ("write_frame",),
    "evaluation.metrics": ("Evaluator",),
    "export.points": ("Cloud",),
    "export.provenance": ("Provenance",),
    "export.read_back": ("read_instances",),
    "export.result": ("ResultFiles", "write_result"),
    "export.sweep_result": ("SweepResult",),
    "io.labels": ("read_labels", "write_labels"),
    "io.recordings.point_cloud2": ("StampedSweep",),
    "io.recordings.recording": ("read_recording",),
    "io.sensor_setup": ("SensorSetup", "sensor_rotation"),
    "io.survey": ("Reading", "Survey", "survey_sweeps"),
    "io.sweep": ("Sweep", "read_scan", "read_sweep"),
    "segmenter": ("Segmenter",),
    "tiles": ("segment_tiles",),
    "tracking.tracked": ("TrackedInstance", "TrackedInstances", "Tracks"),
    "tracking.tracker": ("Tracker",),
    "visualize.bev": ("draw_bev", "draw_comparison"),
    "visualize.maps": ("draw_maps",),
    "visualize.render": ("draw_3d",),
    "visualize.web": ("write_html",),
}
_MODULE_OF = {name: module for module, names in _LAZY.items() for name in names}


def view(points: Float32, instances: Instances, name: str = "sweep") -> bool:
    """Show a sweep in an Open3D window until it is closed; its keyboard shortcuts are printed.

    Args:
        points: (N, 4) float32 x, y, z in metres and intensity 0..1.
        instances: The objects among these points.
        name: Title of the sweep.

    Returns:
        True once the window was closed; False, with a message on stderr, if there is no display.
    """
    from bev_instseg.visualize import view_sweeps

    return view_sweeps([name], lambda _: (points, instances))


def __getattr__(name: str) -> object:
    """Load a public name from its module at first use."""
    if name in _MODULE_OF:
        return getattr(importlib.import_module(f"bev_instseg.{_MODULE_OF[name]}"), name)
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
