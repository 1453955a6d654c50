"""Pictures of instances: a bird's-eye PNG, an Open3D window, a training run, an error study.

Matplotlib and Open3D are imported by the functions that draw with them.
"""

from bev_instseg.visualize.bev import draw_bev
from bev_instseg.visualize.errors import draw_errors, draw_reliability
from bev_instseg.visualize.shapes import box_corners, instance_colours
from bev_instseg.visualize.training import draw_training
from bev_instseg.visualize.window import view

__all__ = [
    "box_corners",
    "draw_bev",
    "draw_errors",
    "draw_reliability",
    "draw_training",
    "instance_colours",
    "view",
]
