"""BEVGrid against hand-computed edges."""

import warnings

import numpy as np
import pytest

from bev_instseg import BEVGrid

# Cells of 0.25 m, which floating point holds exactly: ix 0..7 along x, iy 0..3 along y.
EXACT = BEVGrid((-1.0, 1.0), (-0.5, 0.5), (-2.0, 1.0), 0.25)


def below(value: float) -> float:
    """Return the largest float32 below ``value``."""
    return float(np.nextafter(np.float32(value), np.float32(-np.inf)))


@pytest.mark.parametrize(
    ("x", "y", "z", "ix", "iy"),
    [
        (-1.0, -0.5, 0.0, 0, 0),
        (below(-0.75), -0.5, 0.0, 0, 0),
        (-0.75, -0.5, 0.0, 1, 0),
        (-1.0, below(-0.25), 0.0, 0, 0),
        (-1.0, -0.25, 0.0, 0, 1),
        (below(0.25), below(0.25), 0.0, 4, 2),
        (0.0, 0.0, 0.0, 4, 2),
        (-0.0, -0.0, 0.0, 4, 2),
        (below(1.0), below(0.5), 0.0, 7, 3),
        (0.0, 0.0, -2.0, 4, 2),
        (0.0, 0.0, below(1.0), 4, 2),
    ],
)
def test_cells_are_half_open(x: float, y: float, z: float, ix: int, iy: int) -> None:
    assert EXACT.cell_of(np.array([[x, y, z]], np.float32)).tolist() == [ix * 4 + iy]


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize(
    "point",
    [
        (1.0, 0.0, 0.0),
        (below(-1.0), 0.0, 0.0),
        (0.0, 0.5, 0.0),
        (0.0, below(-0.5), 0.0),
        (0.0, 0.0, 1.0),
        (0.0, 0.0, below(-2.0)),
        (np.nan, 0.0, 0.0),
        (0.0, np.nan, 0.0),
        (0.0, 0.0, np.nan),
        (np.inf, 0.0, 0.0),
        (0.0, -np.inf, 0.0),
        (0.0, 0.0, np.inf),
        (1e30, 0.0, 0.0),
        (0.0, -1e30, 0.0),
        (3e38, -3e38, 3e38),
    ],
)
def test_points_outside_are_minus_one_without_a_warning(
    point: tuple[float, float, float], dtype: type
) -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert EXACT.cell_of(np.array([point], dtype)).tolist() == [-1]


def test_a_bad_point_does_not_affect_others() -> None:
    points = np.array([[-1, -0.5, 0, 9], [np.nan, 0, 0, 9], [0, 0, 0, np.nan]], np.float32)
    cells = EXACT.cell_of(points)
    assert cells.dtype == np.int64
    assert cells.tolist() == [0, -1, 18]


def test_empty_inputs() -> None:
    assert EXACT.cell_of(np.empty((0, 3), np.float32)).shape == (0,)
    assert EXACT.centres_m(np.empty(0, np.int32)).shape == (0, 2)


def test_points_near_the_upper_bound_are_in_the_last_cell() -> None:
    # 51.19 m rounded instead of floored would be cell 512 of 512.
    grid = BEVGrid()
    assert grid.shape == (512, 512)
    points = np.array([[51.19, -51.2, 0], [51.2, -51.2, 0], [-51.2, 51.19, 0]])
    assert grid.cell_of(points).tolist() == [511 * 512, -1, 511]


def test_hand_computed_centres() -> None:
    centres = EXACT.centres_m(np.array([0, 3, 4, 31], np.int32))
    assert centres.dtype == np.float32
    assert centres.tolist() == [[-0.875, -0.375], [-0.875, 0.375], [-0.625, -0.375], [0.875, 0.375]]


@pytest.mark.parametrize(
    "grid",
    [
        EXACT,
        BEVGrid(),
        BEVGrid(cell_m=0.4),
        BEVGrid((0.0, 70.4), (-40.0, 40.0), (-3.0, 1.0), 0.16),
        BEVGrid((3.3, 3.4), (-7.0, -6.3), (0.0, 1.0), 0.1),
    ],
    ids=str,
)
def test_each_centre_is_in_its_own_cell(grid: BEVGrid) -> None:
    cells = np.arange(grid.shape[0] * grid.shape[1])
    z = np.full(len(cells), sum(grid.z_range_m) / 2, np.float32)
    points = np.column_stack([grid.centres_m(cells), z])
    np.testing.assert_array_equal(grid.cell_of(points), cells)


@pytest.mark.parametrize("corner", [(0, 0), (2, 1), (5, 2), (-2, -1), (7, 3)])
def test_window_counts_cells_from_its_corner(corner: tuple[int, int]) -> None:
    # Every edge and centre of the grid, all exactly representable.
    x, y = np.meshgrid(np.arange(-1.0, 1.0, 0.125), np.arange(-0.5, 0.5, 0.125), indexing="ij")
    points = np.column_stack([x.ravel(), y.ravel(), np.zeros(x.size)]).astype(np.float32)
    check_window(EXACT, corner, (3, 2), points)


@pytest.mark.parametrize("corner", [(0, 0), (128, 301), (256, 256), (-40, 500), (400, -200)])
def test_window_of_the_default_grid(corner: tuple[int, int]) -> None:
    points = np.random.default_rng(0).uniform(-55, 55, (50_000, 3)).astype(np.float32)
    check_window(BEVGrid(), corner, (256, 256), points)


def check_window(
    grid: BEVGrid, corner: tuple[int, int], size: tuple[int, int], points: np.ndarray
) -> None:
    """Check that points have the same cell in grid and window, counted from its corner."""
    window = grid.window(*corner, *size)
    assert window.shape == size
    assert (window.cell_m, window.z_range_m) == (grid.cell_m, grid.z_range_m)
    cells = grid.cell_of(points)
    points, cells = points[cells >= 0], cells[cells >= 0]
    ix, iy = (
        part - start for part, start in zip(divmod(cells, grid.shape[1]), corner, strict=True)
    )
    inside = (ix >= 0) & (ix < size[0]) & (iy >= 0) & (iy < size[1])
    assert inside.any()
    np.testing.assert_array_equal(window.cell_of(points), np.where(inside, ix * size[1] + iy, -1))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"x_range_m": (1.0, 1.0)}, "x_range_m must be finite and increasing"),
        ({"y_range_m": (2.0, -2.0)}, "y_range_m must be finite and increasing"),
        ({"z_range_m": (0.0, np.nan)}, "z_range_m must be finite and increasing"),
        ({"z_range_m": (-np.inf, 0.0)}, "z_range_m must be finite and increasing"),
        ({"x_range_m": (0.0, np.inf)}, "x_range_m must be finite and increasing"),
        ({"x_range_m": (0.0, 10.1)}, "x_range_m 0.0..10.1 m is not a whole number of 0.2 m cells"),
        ({"y_range_m": (0.0, 0.1)}, "y_range_m 0.0..0.1 m is not a whole number of 0.2 m cells"),
        ({"cell_m": 0.0}, "cell_m must be positive and finite"),
        ({"cell_m": -0.2}, "cell_m must be positive and finite"),
        ({"cell_m": np.nan}, "cell_m must be positive and finite"),
        ({"cell_m": np.inf}, "cell_m must be positive and finite"),
    ],
)
def test_invalid_grids_raise(change: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        BEVGrid(**change)
