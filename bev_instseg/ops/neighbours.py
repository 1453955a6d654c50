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
    # The row of each cell of grids with a border of empty cells, in which every tap can be read.
    width = ny + 2
    number = np.full(batch * (nx + 2) * width, rows, np.int32)
    place = np.empty(count, np.uint64)  # of each cell in there
    slot = np.zeros(rows, np.int32)  # the parent's cell instead of the parent for now
    occupied = np.zeros((batch * nx * ny // QUARTERS + 7) // 8 * 8, np.uint8)  # parents
    row, start, above, border = 0, 0, 0, width + 1
    for p in range(count):
        if not start <= cells[p] < start + ny:  # rarely, as cells mostly come row by row
            row = cells[p] // ny  # row = sweep * nx + ix, and nx is even
            start, above = row * ny, row // 2 * (ny // 2)
            border = (row + 2 * (row // nx) + 1) * width + 1
        iy = cells[p] - start
        place[p] = border + iy
        number[place[p]] = p
        parent = above + (iy >> 1)
        occupied[np.uint32(parent)] = 1
        slot[p] = QUARTERS * parent + 2 * (row & 1) + (iy & 1)
    parent_number, parents = _number(occupied, occupied.view(np.uint64), count)
    neighbours = np.empty((rows, TAPS), np.int32)
    neighbours[count:] = rows
    children = np.full(((len(parents) + step - 1) // step * step, QUARTERS), rows, np.int32)
    for p in range(count):
        for dx in range(3):
            first = place[p] + np.uint64(dx * width) - np.uint64(width + 1)
            for dy in range(3):
                neighbours[p, 3 * dx + dy] = number[first + np.uint64(dy)]
        parent = parent_number[np.uint32(slot[p] // QUARTERS)]
        quarter = slot[p] % QUARTERS
        children[np.uint32(parent), np.uint32(quarter)] = p
        slot[p] = parent * QUARTERS + quarter
    return neighbours, slot, children, parents


@kernel
def _number(occupied, eight_occupied, max_count):  # type: ignore[no-untyped-def]
    """Return the number of each occupied cell (arbitrary for empty cells), and these cells.

    Most eights of cells are empty. Inside the others there are no branches: each cell overwrites
    the next entry until an occupied one keeps it.
    """
    number, cells = np.empty(len(occupied), np.int32), np.empty(max_count + 1, np.int32)
    count = 0
    for eight in range(len(eight_occupied)):
        if eight_occupied[eight]:
            for c in range(8 * eight, 8 * eight + 8):
                number[c] = count
                cells[count] = c
                count += occupied[c]
    return number, cells[:count].copy()
