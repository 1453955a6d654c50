"""The files of a segmented sweep: writing them, and reading instances back.

====================  ==============================================================
``NAME.label``        SemanticKITTI: class and instance of each point
``NAME.ply, .pcd``    points with intensity, instance, class, score and colour
``NAME.laz``          the same in LAS columns, compressed
``NAME.txt``          boxes in a camera's image, in the format of KITTI's object benchmark
``NAME.png, .html``   pictures; see `Picture`
``NAME.json``         instances with scores and boxes, and the list of the other files
====================  ==============================================================
"""

from bev_instseg.export.instance_record import InstanceRecord
from bev_instseg.export.mark import has_mark
from bev_instseg.export.picture import Picture
from bev_instseg.export.points import POINT_FORMATS, Cloud
from bev_instseg.export.provenance import Provenance
from bev_instseg.export.read_back import read_instances
from bev_instseg.export.replace import require_replaceable
from bev_instseg.export.result import ResultFiles, result_paths, write_result
from bev_instseg.export.semantickitti import semantickitti_labels
from bev_instseg.export.sweep_result import OwnJson, SweepResult

__all__ = [
    "POINT_FORMATS",
    "Cloud",
    "InstanceRecord",
    "OwnJson",
    "Picture",
    "Provenance",
    "ResultFiles",
    "SweepResult",
    "has_mark",
    "read_instances",
    "require_replaceable",
    "result_paths",
    "semantickitti_labels",
    "write_result",
]
