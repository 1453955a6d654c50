"""Pictures of instances: from above and in 3D, as files, in an Open3D window or in a browser.

Matplotlib, Open3D and viser are imported by the functions that draw with them.
"""

from bev_instseg.visualize.bev import draw_bev, draw_comparison
from bev_instseg.visualize.box_corners import box_corners
from bev_instseg.visualize.maps import draw_maps
from bev_instseg.visualize.render import Renderer, draw_3d
from bev_instseg.visualize.training_curves import draw_training
from bev_instseg.visualize.web import write_html
from bev_instseg.visualize.window import view_sweeps

__all__ = [
    "Renderer",
    "box_corners",
    "draw_3d",
    "draw_bev",
    "draw_comparison",
    "draw_maps",
    "draw_training",
    "view_sweeps",
    "write_html",
]
