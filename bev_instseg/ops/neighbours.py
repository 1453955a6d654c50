"""Indices for sparse convolutions: neighbours of occupied cells, and cells of the coarser grid."""

from dataclasses import dataclass

import numpy as np

from bev_instseg.ops.kernel import kernel
from bev_instseg.structures import Int32

Shape = tuple[int, int, int]  # (B, nx, ny)
TAPS = 9  # of a 3 x 3 kernel, row by row: (-1, -1), (-1, 0), .. (1, 1)
QUARTERS = 4  # of a cell of twice the side: 2 * (ix % 2) + iy % 2


@dataclass(frozen=True, eq=False)
class CellNeighbours:
    """Neighbours and parents of the P occupied cells in a stack of B grids.

    Rows beyond the occupied cells are padding: they have no neighbours, and nothing refers to them.
    "No cell" is the number of rows, so that it refers to a row of zeros appended to features.

    Attributes:
        neighbours: (P', 9) int32 row of the occupied cell at each tap of a 3 x 3 kernel, P' if that
            cell is empty or outside its grid; tap 4 is the cell itself.
        slot: (P',) int32 ``4 * parent + quarter``, where the parent is a row of ``children``; 0 in
            the padding.
        children: (Q', 4) int32 row of the occupied cell at each quarter of a parent, P' if empty.
        parents: (Q,) int32 occupied cells of the grids of (nx / 2) x (ny / 2) cells, ascending.
    """

    neighbours: Int32
    slot: Int32
    children: Int32
    parents: Int32


def find_neighbours(cells: Int32, shape: Shape, step: int = 1) -> CellNeighbours:
    """Find the occupied neighbours and the parent of each occupied cell.

    Args:
        cells: (P,) int32 distinct flat indices into (B, nx, ny), in any order.
        shape: (B, nx, ny); nx and ny are even.
        step: The numbers of rows, P' and Q', are rounded up to multiples of this.

    Returns:
        Neighbours and parents, in the order of ``cells``.
    """
    return CellNeighbours(*_find_neighbours(cells, *shape, step))


@kernel
def _find_neighbours(cells, batch, nx, ny, step):  # type: ignore[no-untyped-def]
    count = len(cells)
    rows = (count + step - 1) // step * step
    number = np.full(batch * nx * ny, rows, np.int32)
    for p in range(count):
        number[cells[p]] = p
    parent_number = np.full(batch * nx * ny // QUARTERS, -1, np.int32)
    neighbours = np.full((rows, TAPS), rows, np.int32)
    slot = np.zeros(rows, np.int32)
    for p in range(count):
        row, iy = cells[p] // ny, cells[p] % ny  # row = sweep * nx + ix, and nx is even
        ix = row % nx
        for dx in range(-1, 2):
            for dy in range(-1, 2):
                if 0 <= ix + dx < nx and 0 <= iy + dy < ny:
                    neighbours[p, 3 * dx + dy + 4] = number[cells[p] + dx * ny + dy]
        slot[p] = row // 2 * (ny // 2) + iy // 2  # the parent's cell for now
        parent_number[slot[p]] = 0
    num_parents = 0
    for c in range(len(parent_number)):
        if parent_number[c] == 0:
            parent_number[c] = num_parents
            num_parents += 1
    parents = np.empty(num_parents, np.int32)
    children = np.full(((num_parents + step - 1) // step * step, QUARTERS), rows, np.int32)
    for p in range(count):
        parent = parent_number[slot[p]]
        parents[parent] = slot[p]
        row, iy = cells[p] // ny, cells[p] % ny
        quarter = row % 2 * 2 + iy % 2
        children[parent, quarter] = p
        slot[p] = parent * QUARTERS + quarter
    return neighbours, slot, children, parents
