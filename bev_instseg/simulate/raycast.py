"""Casting the sensor's rays into a scene of triangles."""

import numpy as np
from numpy.typing import NDArray

from bev_instseg.simulate.street_builder import StreetScene


def cast_rays(
    scene: StreetScene, origins: NDArray[np.float32], directions: NDArray[np.float32]
) -> tuple[NDArray[np.float32], NDArray[np.int64], NDArray[np.float32]]:
    """Find the first triangle that each ray hits.

    Args:
        scene: Triangles and the pose of the sensor.
        origins: (R, 3) float32 starts of the rays relative to the sensor, z up, metres.
        directions: (R, 3) float32 unit vectors in the same frame.

    Returns:
        distance_m: (R,) float32 distances along the rays, infinite without a hit.
        triangle: (R,) int64 indices of the triangles hit, valid where the distance is finite.
        cosine: (R,) float32 cosines of the angles of incidence, 0..1.
    """
    import open3d as o3d  # slow to import

    caster = o3d.t.geometry.RaycastingScene()
    caster.add_triangles(
        o3d.core.Tensor.from_numpy(scene.mesh.vertices.astype(np.float32)),
        o3d.core.Tensor.from_numpy(scene.mesh.triangles.astype(np.uint32)),
    )
    c, s = np.cos(scene.yaw_rad), np.sin(scene.yaw_rad)
    rays = np.empty((len(directions), 6), dtype=np.float32)  # origin, direction
    for part, vectors in ((rays[:, :3], origins), (rays[:, 3:], directions)):
        part[:, 0] = c * vectors[:, 0] - s * vectors[:, 1]
        part[:, 1] = s * vectors[:, 0] + c * vectors[:, 1]
        part[:, 2] = vectors[:, 2]
    rays[:, :3] += scene.origin
    hits = caster.cast_rays(o3d.core.Tensor.from_numpy(rays))
    cosine = np.abs(np.einsum("ri,ri->r", hits["primitive_normals"].numpy(), rays[:, 3:]))
    return hits["t_hit"].numpy(), hits["primitive_ids"].numpy().astype(np.int64), cosine
