#include "network_input.hpp"

namespace bev_instseg {
namespace {

// Rows are padded to multiples of this, as in Python: with other shapes OpenVINO may round
// differently. It also compiles code for each number of rows that it meets.
constexpr std::size_t kStepRows = 512;

std::size_t padded(std::size_t count) { return (count + kStepRows - 1) / kStepRows * kStepRows; }

void find_taps(const std::vector<std::int32_t>& cells, int nx, int ny, CellNeighbours& found) {
  const std::size_t num_rows = padded(cells.size());
  const auto none = static_cast<std::int32_t>(num_rows);
  std::vector<std::int32_t> number(static_cast<std::size_t>(nx) * ny, none);
  for (std::size_t p = 0; p < cells.size(); ++p) number[cells[p]] = static_cast<std::int32_t>(p);
  found.neighbours.assign(num_rows * kTaps, none);
  for (std::size_t p = 0; p < cells.size(); ++p) {
    const int ix = cells[p] / ny, iy = cells[p] % ny;
    std::int32_t* taps = &found.neighbours[p * kTaps];
    for (int dx = -1; dx <= 1; ++dx) {
      for (int dy = -1; dy <= 1; ++dy) {
        if (ix + dx >= 0 && ix + dx < nx && iy + dy >= 0 && iy + dy < ny) {
          taps[3 * dx + dy + 4] = number[cells[p] + dx * ny + dy];
        }
      }
    }
  }
}

void find_parents(const std::vector<std::int32_t>& cells, int nx, int ny, CellNeighbours& found) {
  found.slot.assign(padded(cells.size()), 0);
  std::vector<std::int32_t> parent_number(static_cast<std::size_t>(nx / 2) * (ny / 2), -1);
  for (std::size_t p = 0; p < cells.size(); ++p) {
    found.slot[p] = cells[p] / ny / 2 * (ny / 2) + cells[p] % ny / 2;  // the parent's cell for now
    parent_number[found.slot[p]] = 0;
  }
  for (std::size_t c = 0; c < parent_number.size(); ++c) {
    if (parent_number[c] < 0) continue;
    parent_number[c] = static_cast<std::int32_t>(found.parents.size());
    found.parents.push_back(static_cast<std::int32_t>(c));
  }
  const auto none = static_cast<std::int32_t>(padded(cells.size()));
  found.children.assign(padded(found.parents.size()) * kQuarters, none);
  for (std::size_t p = 0; p < cells.size(); ++p) {
    const int quarter = cells[p] / ny % 2 * 2 + cells[p] % ny % 2;
    found.slot[p] = parent_number[found.slot[p]] * kQuarters + quarter;
    found.children[found.slot[p]] = static_cast<std::int32_t>(p);
  }
}

}  // namespace

NetworkInput make_network_input(const Pillars& pillars, const Grid& grid, int sparse_levels) {
  NetworkInput input;
  input.features = pillars.features;
  input.features.resize(padded(pillars.cells.size()), Features{});
  input.centres_m.resize(input.features.size());
  for (std::size_t p = 0; p < pillars.cells.size(); ++p) {
    const int ix = pillars.cells[p] / grid.ny, iy = pillars.cells[p] % grid.ny;
    input.centres_m[p] = {static_cast<float>(grid.x_min + (ix + 0.5) * grid.cell_m),
                          static_cast<float>(grid.y_min + (iy + 0.5) * grid.cell_m)};
  }
  const std::vector<std::int32_t>* cells = &pillars.cells;
  int nx = grid.nx, ny = grid.ny;
  input.levels.resize(static_cast<std::size_t>(sparse_levels));
  for (CellNeighbours& level : input.levels) {
    find_taps(*cells, nx, ny, level);
    find_parents(*cells, nx, ny, level);
    cells = &level.parents;
    nx /= 2, ny /= 2;
  }
  const std::size_t num_rows = padded(cells->size());
  input.rows.assign(static_cast<std::size_t>(nx) * ny, static_cast<std::int32_t>(num_rows));
  for (std::size_t r = 0; r < cells->size(); ++r) {
    input.rows[(*cells)[r]] = static_cast<std::int32_t>(r);
  }
  input.cells = *cells;
  input.cells.resize(num_rows, 0);
  return input;
}

}  // namespace bev_instseg
