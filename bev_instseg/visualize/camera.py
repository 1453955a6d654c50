"""Where the camera of the 3D viewers stands, and where in its picture a text finds room."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Float = NDArray[np.floating]

EYE_M, TARGET_M = (-15.0, 0.0, 10.5), (11.0, 0.0, -2.0)  # when a viewer opens
VIEW_RAD = 0.85  # from the lower to the upper edge of the picture
NEAR_M = 1.0  # a box nearer than this has no text
LIFTS = 4  # so many lines above its place a text may go


@dataclass(frozen=True, eq=False)
class Camera:
    """A pinhole camera, x right, y down, z ahead.

    Attributes:
        world_to_camera: (4, 4) rigid motion.
        focal_px: focal length.
        size_px: width and height of the picture.
    """

    world_to_camera: Float
    focal_px: float
    size_px: tuple[int, int]

    def to_pixels(self, xyz_m: Float) -> tuple[Float, Float]:
        """(..., 3) points -> (..., 2) pixels right and down from the upper left, (...) depth (m).

        What is less than `NEAR_M` ahead has no pixel: NaN.
        """
        seen = xyz_m @ self.world_to_camera[:3, :3].T + self.world_to_camera[:3, 3]
        depth_m = seen[..., 2]
        ahead_m = np.where(depth_m < NEAR_M, np.nan, depth_m)
        return self.focal_px * seen[..., :2] / ahead_m[..., None] + self._middle_px, depth_m

    def to_world(self, pixels: Float, depth_m: float) -> Float:
        """(N, 2) pixels -> (N, 3) points at this depth."""
        xy = (pixels - self._middle_px) / self.focal_px * depth_m
        seen = np.column_stack([xy, np.full(len(xy), depth_m)])
        return (seen - self.world_to_camera[:3, 3]) @ self.world_to_camera[:3, :3]

    def sees_as(self, other: "Camera") -> bool:
        """Whether the pictures of both are the same."""
        mine, others = (self.focal_px, self.size_px), (other.focal_px, other.size_px)
        return mine == others and np.array_equal(self.world_to_camera, other.world_to_camera)

    @property
    def _middle_px(self) -> Float:
        return np.array(self.size_px) / 2


def start_camera(size_px: tuple[int, int]) -> Camera:
    """Behind and above the sensor, looking ahead."""
    ahead = np.subtract(TARGET_M, EYE_M) / np.linalg.norm(np.subtract(TARGET_M, EYE_M))
    right = np.cross(ahead, (0, 0, 1))
    right /= np.linalg.norm(right)
    motion = np.eye(4)
    motion[:3, :3] = right, np.cross(ahead, right), ahead
    motion[:3, 3] = -motion[:3, :3] @ EYE_M
    return Camera(motion, size_px[1] / 2 / np.tan(VIEW_RAD / 2), size_px)


def place_texts(corners_m: Float, sizes_px: Float, camera: Camera) -> dict[int, Float]:
    """Where the texts of boxes go: above them, none on another; the nearest box chooses first.

    Args:
        corners_m: (K, 8, 3) corners of the boxes.
        sizes_px: (K, 2) width and height of the texts.
        camera: that of the picture.

    Returns:
        The upper left corner of each text in pixels by the number of its box, without those whose
        box is out of the picture and those that find no room.
    """
    pixels, depth_m = camera.to_pixels(corners_m)
    middle = pixels.mean(axis=1)  # NaN if a corner is not ahead
    shown = ((middle > 0) & (middle < camera.size_px)).all(axis=1)
    nearest_first = np.argsort(depth_m.mean(axis=1), kind="stable")
    places: dict[int, Float] = {}
    for k in nearest_first[shown[nearest_first]].tolist():
        width, height = sizes_px[k]
        for lift in range(1, LIFTS + 1):
            spot = middle[k, 0] - width / 2, pixels[k, :, 1].min() - lift * (height + 2)
            place = np.clip(spot, 0, np.subtract(camera.size_px, sizes_px[k]))
            if not any(_overlap(place, sizes_px[k], p, sizes_px[j]) for j, p in places.items()):
                places[k] = place
                break
    return places


def _overlap(a: Float, size_a: Float, b: Float, size_b: Float) -> bool:
    """Whether two rectangles, given by their upper left corners and sizes, share a place."""
    return bool(((a < b + size_b) & (b < a + size_a)).all())
