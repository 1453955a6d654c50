"""The bird's-eye grid: metric ranges, a cell size, and the formulas that relate points and cells.

`ops.voxelize` repeats these formulas in its kernels for speed; tests check that both agree.
"""

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
from numpy.typing import NDArray

MAX_RANGE_M = 9e3  # no LiDAR sees farther; -9999 and 1e30 stand for missing returns in some files


@dataclass(frozen=True)
class BEVGrid:
    """A horizontal grid of square cells in the sensor frame (x forward, y left, z up, metres).

    Cell ``(ix, iy)`` covers the half-open square
    ``[x_min + ix * cell, x_min + (ix + 1) * cell) x [y_min + iy * cell, ...)``; maps on the grid
    have the shape ``(channels, nx, ny)`` and the flat index of a cell is ``ix * ny + iy``.
    Points outside the half-open ``z_range_m`` are outside the grid.

    Raises:
        ValueError: A range is empty, not finite or not a whole number of cells, or the cell size
            is not positive and finite.
    """

    # As part of the configuration: refuse unknown keys, describe keys by the text below them.
    __pydantic_config__: ClassVar = {"extra": "forbid", "use_attribute_docstrings": True}

    x_range_m: tuple[float, float] = (-51.2, 51.2)
    """Range along x (forward): from and to, metres; a whole number of cells."""
    y_range_m: tuple[float, float] = (-51.2, 51.2)
    """Range along y (left): from and to, metres; a whole number of cells."""
    z_range_m: tuple[float, float] = (-10.0, 10.0)
    """Range along z (up): from and to, metres; points outside are ignored."""
    cell_m: float = 0.2
    """Side of a cell, metres."""

    def __post_init__(self) -> None:
        if not (np.isfinite(self.cell_m) and self.cell_m > 0):
            raise ValueError(f"cell_m must be positive and finite, got {self.cell_m}")
        for name in ("x_range_m", "y_range_m", "z_range_m"):
            low, high = getattr(self, name)
            if not (np.isfinite(low) and np.isfinite(high) and low < high):
                raise ValueError(f"{name} must be finite and increasing, got ({low}, {high})")
        for name in ("x_range_m", "y_range_m"):
            low, high = getattr(self, name)
            with np.errstate(over="ignore"):
                cells = (high - low) / self.cell_m
            if not np.isfinite(cells) or abs(cells - round(cells)) > 1e-6:
                raise ValueError(
                    f"{name} {low}..{high} m is not a whole number of {self.cell_m} m cells"
                )

    @property
    def shape(self) -> tuple[int, int]:
        """Number of cells along x and y, ``(nx, ny)``."""
        (x0, x1), (y0, y1) = self.x_range_m, self.y_range_m
        return round((x1 - x0) / self.cell_m), round((y1 - y0) / self.cell_m)

    def cell_of(self, xyz: NDArray[np.floating]) -> NDArray[np.int64]:
        """Return the flat cell index of each point, -1 outside the grid.

        Args:
            xyz: (N, >=3) coordinates in metres; NaN and infinite ones are outside the grid.

        Returns:
            (N,) int64 flat indices ``ix * ny + iy``, computed in float64.
        """
        nx, ny = self.shape
        x, y, z = (xyz[:, axis].astype(np.float64) for axis in range(3))
        with np.errstate(invalid="ignore", over="ignore"):
            fx = np.floor((x - self.x_range_m[0]) / self.cell_m)
            fy = np.floor((y - self.y_range_m[0]) / self.cell_m)
            inside = (fx >= 0) & (fx < nx) & (fy >= 0) & (fy < ny)
            inside &= (z >= self.z_range_m[0]) & (z < self.z_range_m[1])
        return np.where(inside, np.where(inside, fx, 0) * ny + np.where(inside, fy, 0), -1).astype(
            np.int64
        )

    def centres_m(self, cells: NDArray[np.integer]) -> NDArray[np.float32]:
        """Return the centres of cells.

        Args:
            cells: (P,) flat cell indices.

        Returns:
            (P, 2) float32 x, y in metres.
        """
        ix, iy = np.divmod(np.asarray(cells, dtype=np.int64), self.shape[1])
        x = self.x_range_m[0] + (ix + 0.5) * self.cell_m
        y = self.y_range_m[0] + (iy + 0.5) * self.cell_m
        return np.stack([x, y], axis=1).astype(np.float32)

    def window(self, ix: int, iy: int, nx: int, ny: int) -> "BEVGrid":
        """Return a grid of ``nx x ny`` cells of this one; it may extend beyond this grid.

        Args:
            ix: First cell along x, counted in this grid; may be negative.
            iy: First cell along y, counted in this grid; may be negative.
            nx: Number of cells along x.
            ny: Number of cells along y.
        """
        x0 = self.x_range_m[0] + ix * self.cell_m
        y0 = self.y_range_m[0] + iy * self.cell_m
        return BEVGrid(
            (x0, x0 + nx * self.cell_m), (y0, y0 + ny * self.cell_m), self.z_range_m, self.cell_m
        )
