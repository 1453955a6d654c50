"""Open3D geometries of a scene, for the window and for 3D pictures.

Open3D is imported by the functions that need it.
"""

import functools
from typing import Any

import numpy as np
from numpy.typing import NDArray

from bev_instseg.visualize.box_corners import Float
from bev_instseg.visualize.camera import Camera, place_above_boxes
from bev_instseg.visualize.scene3d import EDGE_WIDTH_M, Scene3d

Ints = NDArray[np.integer]
Triangles = tuple[Float, Ints, Float]  # (V, 3) vertices, (T, 3) vertex indices, (V, 3) RGB 0..1

TEXT_PX, PADDING_PX = 19.0, 4.0  # height of a text including its padding; the padding
LETTER_UNITS = 14.0  # height of Open3D's letters
TEXT_DEPTH_M = 0.8  # distance of texts from the camera, in front of everything else
FIRST_POINTS_M = np.array([(-50.0, -50.0, -3.0), (50.0, 50.0, 3.0)])
WHITE, INK = np.ones(3), np.full(3, 0.15)
BEAM_TRIANGLES = np.array(
    [(i, j, i + 4) for i, j in ((0, 1), (1, 2), (2, 3), (3, 0))]
    + [(j, j + 4, i + 4) for i, j in ((0, 1), (1, 2), (2, 3), (3, 0))]
)  # (8, 3): the four sides of a beam with four vertices at each end


def configure_visualizer(vis: Any, point_px: float) -> None:
    """Set up a visualizer: white background, unlit so that colours are exact, both faces visible.

    Open3D accepts a camera only after it has shown a geometry, whose extent then sets the step of
    the mouse wheel; hence `FIRST_POINTS_M`.

    Args:
        vis: An Open3D visualizer with an open window.
        point_px: Size of the points.
    """
    from open3d.geometry import PointCloud
    from open3d.utility import Vector3dVector

    vis.add_geometry(PointCloud(Vector3dVector(FIRST_POINTS_M)))
    vis.clear_geometries()
    options = vis.get_render_option()
    options.background_color = WHITE
    options.light_on = False
    options.mesh_show_back_face = True
    options.point_size = point_px
    vis.get_view_control().set_constant_z_near(0.1)
    vis.get_view_control().set_constant_z_far(500.0)


def set_camera(vis: Any, camera: Camera) -> None:
    """Make a visualizer use this camera, whose picture must have the size of the window."""
    from open3d.camera import PinholeCameraIntrinsic, PinholeCameraParameters

    (width, height), focal = camera.size_px, camera.focal_px
    parameters = PinholeCameraParameters()
    parameters.extrinsic = camera.world_to_camera
    parameters.intrinsic = PinholeCameraIntrinsic(
        width, height, focal, focal, width / 2 - 0.5, height / 2 - 0.5
    )
    vis.get_view_control().convert_from_pinhole_camera_parameters(parameters, True)


def get_camera(vis: Any) -> Camera:
    """Return the current camera of a visualizer."""
    parameters = vis.get_view_control().convert_to_pinhole_camera_parameters()
    intrinsic = parameters.intrinsic
    return Camera(
        parameters.extrinsic, intrinsic.get_focal_length()[1], (intrinsic.width, intrinsic.height)
    )


def point_cloud(scene: Scene3d) -> Any:
    """Return the points as an ``open3d.geometry.PointCloud``."""
    from open3d.geometry import PointCloud
    from open3d.utility import Vector3dVector

    points = PointCloud(Vector3dVector(scene.xyz_m.astype(np.float64)))
    points.colors = Vector3dVector(scene.rgb / 255)
    return points


def box_mesh(scene: Scene3d) -> Any:
    """Return boxes and courses as a mesh of thin beams: lines are a pixel wide on most machines."""
    ends = scene.edges_m.astype(np.float64)
    along = ends[:, 1] - ends[:, 0]
    along /= np.maximum(np.linalg.norm(along, axis=1, keepdims=True), 1e-6)
    side = np.cross(along, np.where(np.abs(along[:, 2:]) > 0.5, (1, 0, 0), (0, 0, 1)))
    other = np.cross(along, side)
    ring = np.stack([side + other, side - other, -side - other, other - side], axis=1)
    ends += EDGE_WIDTH_M / 2 * along[:, None] * np.array([[-1], [1]])  # close the corners
    vertices = ends[:, :, None] + EDGE_WIDTH_M / 2 * ring[:, None]
    triangles = BEAM_TRIANGLES + 8 * np.arange(len(ends))[:, None, None]
    rgb = np.repeat(scene.edge_rgb / 255, 8, axis=0)
    return _mesh((vertices.reshape(-1, 3), triangles.reshape(-1, 3), rgb))


def text_mesh(scene: Scene3d, camera: Camera, title: str = "") -> Any:
    """Return the texts as a mesh that faces the camera, in front of everything else.

    Args:
        scene: Its texts are written in white on plates in the colours of their boxes.
        camera: The camera that the texts face.
        title: Text for the upper left corner of the picture.
    """
    sizes = np.array([_size_px(text) for text in scene.texts]).reshape(-1, 2)
    parts = [_plate(title, np.full(2, TEXT_PX / 2), INK, WHITE, camera)]
    for k, place in place_above_boxes(scene.corners_m, sizes, camera).items():
        parts.append(_plate(scene.texts[k], place, WHITE, scene.box_rgb[k] / 255, camera))
    vertices, triangles, rgb = zip(*parts, strict=True)
    first = np.cumsum([0, *map(len, vertices[:-1])])
    indices = [part + i for part, i in zip(triangles, first, strict=True)]
    return _mesh((np.concatenate(vertices), np.concatenate(indices), np.concatenate(rgb)))


def _plate(text: str, place: Float, ink: Float, paper: Float, camera: Camera) -> Triangles:
    """Return a text on a plate with its upper left corner at this pixel; no text, no plate."""
    if not text:
        return np.zeros((0, 3)), np.zeros((0, 3), int), np.zeros((0, 3))
    letters, triangles = _letters(text)
    plate = _size_px(text) * np.array([(0, 0), (0, 1), (1, 1), (1, 0)])
    letters_px = (PADDING_PX, TEXT_PX - PADDING_PX) + letters * (1, -1)
    vertices = [
        camera.to_world(place + plate, TEXT_DEPTH_M),
        camera.to_world(place + letters_px, 0.99 * TEXT_DEPTH_M),
    ]
    rgb = np.repeat([paper, ink], [len(plate), len(letters)], axis=0)
    both = np.concatenate([[(0, 1, 2), (0, 2, 3)], triangles + len(plate)])
    return np.concatenate(vertices), both, rgb


def _size_px(text: str) -> Float:
    return np.array([_letters(text)[0][:, 0].max(initial=0) + 2 * PADDING_PX, TEXT_PX])


@functools.lru_cache(maxsize=1000)
def _letters(text: str) -> tuple[Float, Ints]:
    """Return (V, 2) vertices in pixels, right and up from the baseline, and (T, 3) triangles."""
    from open3d.t.geometry import TriangleMesh

    ascii_text = text.encode("ascii", "replace").decode()  # Open3D's font has only ASCII
    mesh = TriangleMesh.create_text(ascii_text, depth=0)
    if mesh.is_empty():  # only spaces
        return np.zeros((0, 2)), np.zeros((0, 3), int)
    scale = (TEXT_PX - 2 * PADDING_PX) / LETTER_UNITS
    return scale * mesh.vertex.positions.numpy()[:, :2], mesh.triangle.indices.numpy()


def _mesh(parts: Triangles) -> Any:
    from open3d.geometry import TriangleMesh
    from open3d.utility import Vector3dVector, Vector3iVector

    vertices, triangles, rgb = parts
    mesh = TriangleMesh(Vector3dVector(vertices), Vector3iVector(triangles.astype(np.int32)))
    mesh.vertex_colors = Vector3dVector(rgb)
    return mesh
