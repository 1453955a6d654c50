"""Pictures of instances: from above and in 3D, as files, in an Open3D window or in a browser.

Matplotlib, Open3D and viser are imported by the functions that draw with them.
"""

from bev_instseg.visualize.bev import (
    AROUND_SENSOR,
    bev_png,
    draw_bev,
    draw_comparison,
    square_around,
)
from bev_instseg.visualize.box_corners import box_corners
from bev_instseg.visualize.maps import draw_maps, maps_png
from bev_instseg.visualize.play import play_page
from bev_instseg.visualize.played import PlayedSweep
from bev_instseg.visualize.render import Renderer, draw_3d
from bev_instseg.visualize.rerun_file import write_rrd
from bev_instseg.visualize.training_curves import draw_training
from bev_instseg.visualize.web import web_page, write_html
from bev_instseg.visualize.window import no_window, view_sweeps

__all__ = [
    "AROUND_SENSOR",
    "PlayedSweep",
    "Renderer",
    "bev_png",
    "box_corners",
    "draw_3d",
    "draw_bev",
    "draw_comparison",
    "draw_maps",
    "draw_training",
    "maps_png",
    "no_window",
    "play_page",
    "square_around",
    "view_sweeps",
    "web_page",
    "write_html",
    "write_rrd",
]
