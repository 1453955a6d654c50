"""The files that a segmented sweep is written as, and the way back.

====================  ==============================================================
``STEM.label``        SemanticKITTI: class and instance of each point
``STEM.ply, .pcd``    points with intensity, instance, class, score and colour
``STEM.laz``          the same, compressed, in the columns of LAS
``STEM.txt``          boxes in a camera's image, as KITTI's object benchmark wants them
``STEM.json``         instances with scores and boxes; written last
====================  ==============================================================
"""

from bev_instseg.export.instances_json import instances_to_dict
from bev_instseg.export.points import Cloud
from bev_instseg.export.read_back import read_instances
from bev_instseg.export.result import (
    PICTURES,
    POINT_FORMATS,
    is_result,
    result_paths,
    write_result,
)
from bev_instseg.export.semantickitti import semantickitti_labels

__all__ = [
    "PICTURES",
    "POINT_FORMATS",
    "Cloud",
    "instances_to_dict",
    "is_result",
    "read_instances",
    "result_paths",
    "semantickitti_labels",
    "write_result",
]
