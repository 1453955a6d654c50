/// What the network needs of the pillars of a sweep; as bev_instseg/ops/network_input.py.
#pragma once

#include <array>
#include <cstdint>
#include <vector>

#include "config.hpp"
#include "voxelize.hpp"

namespace bev_instseg {

constexpr int kTaps = 9;      // of a 3 x 3 kernel
constexpr int kQuarters = 4;  // of a cell of twice the side

/// Neighbours and parents of the occupied cells of a grid; as bev_instseg/ops/neighbours.py.
/// Rows beyond the occupied cells are padding; "no cell" is the number of rows.
struct CellNeighbours {
  std::vector<std::int32_t> neighbours;  // (P', 9) row of the cell at each tap
  std::vector<std::int32_t> slot;        // (P',) 4 * parent + quarter
  std::vector<std::int32_t> children;    // (Q', 4) row of the cell at each quarter of a parent
  std::vector<std::int32_t> parents;     // (Q,) flat cells of the grid of half the sides, ascending
};

struct NetworkInput {
  std::vector<Features> features;                   // (P',) 0 in the padding
  std::vector<std::array<float, 2>> centres_m;      // (P',) x, y of the cells' centres
  std::vector<CellNeighbours> levels;               // one for each sparse level
  std::vector<std::int32_t> rows;   // (mx, my) row of each cell of the maps after them
  std::vector<std::int32_t> cells;  // (R',) cell of each row, flat index into `rows`
};

NetworkInput make_network_input(const Pillars& pillars, const Grid& grid, int sparse_levels);

}  // namespace bev_instseg
