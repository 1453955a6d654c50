#include "ground.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

namespace bev_instseg {
namespace {

constexpr int kTileCells = 8;       // a tile is 8 x 8 cells
constexpr double kOutlierM = 0.4;   // a tile this far below its neighbours' median is a ghost
constexpr double kSlope = 0.15;     // the ground rises at most this much per metre
constexpr double kInfinity = std::numeric_limits<double>::infinity();

/// A value for each tile.
struct Tiles {
  int tx, ty;
  std::vector<double> values;

  double& operator()(int i, int j) { return values[static_cast<std::size_t>(i) * ty + j]; }
  double operator()(int i, int j) const { return values[static_cast<std::size_t>(i) * ty + j]; }
};

/// Return the value at index k in sorted order; the values are reordered.
template <typename Iterator>
double kth_smallest(Iterator first, Iterator last, std::size_t k) {
  std::nth_element(first, first + k, last);
  return first[k];
}

/// Return the lower quartile of each tile's heights, infinite without pillars.
Tiles quartiles(const std::vector<std::int32_t>& cells, const std::vector<float>& z_min,
                const Grid& grid) {
  const int tx = (grid.nx + kTileCells - 1) / kTileCells;
  const int ty = (grid.ny + kTileCells - 1) / kTileCells;
  const std::size_t num_tiles = static_cast<std::size_t>(tx) * ty;
  std::vector<std::size_t> start(num_tiles + 1);
  std::vector<std::size_t> tile_of(cells.size());
  for (std::size_t p = 0; p < cells.size(); ++p) {
    const int row = cells[p] / grid.ny, column = cells[p] % grid.ny;
    tile_of[p] = static_cast<std::size_t>(row / kTileCells) * ty + column / kTileCells;
    ++start[tile_of[p] + 1];
  }
  for (std::size_t t = 0; t < num_tiles; ++t) start[t + 1] += start[t];
  std::vector<std::size_t> fill(start.begin(), start.end() - 1);
  std::vector<float> by_tile(cells.size());
  for (std::size_t p = 0; p < cells.size(); ++p) by_tile[fill[tile_of[p]]++] = z_min[p];

  Tiles low{tx, ty, std::vector<double>(num_tiles, kInfinity)};
  for (std::size_t t = 0; t < num_tiles; ++t) {
    const std::size_t n = start[t + 1] - start[t];
    if (n == 0) continue;
    const auto first = by_tile.begin() + start[t];
    low.values[t] = kth_smallest(first, first + n, (n - 1) / 4);
  }
  return low;
}

/// Return the heights with tiles far below the median around them raised to it.
Tiles raise_ghosts(const Tiles& low) {
  Tiles ground = low;
  std::array<double, 25> around;
  for (int i = 0; i < low.tx; ++i) {
    for (int j = 0; j < low.ty; ++j) {
      if (low(i, j) == kInfinity) continue;
      int n = 0, above = 0;
      for (int u = std::max(i - 2, 0); u < std::min(i + 3, low.tx); ++u) {
        for (int v = std::max(j - 2, 0); v < std::min(j + 3, low.ty); ++v) {
          if (low(u, v) == kInfinity) continue;
          around[n++] = low(u, v);
          above += low(i, j) < low(u, v) - kOutlierM;
        }
      }
      if (above >= n - n / 2) {  // then the median is that far above too
        ground(i, j) = kth_smallest(around.begin(), around.begin() + n, n / 2);
      }
    }
  }
  return ground;
}

/// Lower each tile to at most a neighbour's height plus the rise between them.
void lower_envelope(Tiles& ground, double rise) {
  const double diagonal = rise * std::sqrt(2.0);
  const auto lower = [&](int i, int j, int u, int v, double by) {
    if (u >= 0 && u < ground.tx && v >= 0 && v < ground.ty) {
      ground(i, j) = std::min(ground(i, j), ground(u, v) + by);
    }
  };
  const auto pass = [&](int i, int j, int step) {  // from the neighbours that are visited before
    lower(i, j, i - step, j, rise);
    lower(i, j, i - step, j - 1, diagonal);
    lower(i, j, i - step, j + 1, diagonal);
    lower(i, j, i, j - step, rise);
  };
  for (int i = 0; i < ground.tx; ++i) {
    for (int j = 0; j < ground.ty; ++j) pass(i, j, 1);
  }
  for (int i = ground.tx - 1; i >= 0; --i) {
    for (int j = ground.ty - 1; j >= 0; --j) pass(i, j, -1);
  }
}

/// Return the ground at a cell: its own tile's, plus the others' weighted mean difference.
float interpolate(int row, int column, const Tiles& low, const Tiles& ground) {
  const double own = ground(row / kTileCells, column / kTileCells);
  const double x = std::clamp((row + 0.5) / kTileCells - 0.5, 0.0, ground.tx - 1.0);
  const double y = std::clamp((column + 0.5) / kTileCells - 0.5, 0.0, ground.ty - 1.0);
  const int i = static_cast<int>(x), j = static_cast<int>(y);
  const int i1 = std::min(i + 1, ground.tx - 1), j1 = std::min(j + 1, ground.ty - 1);
  const double u = x - i, v = y - j;
  const auto known = [&](int s, int t) { return low(s, t) < kInfinity ? 1.0 : 0.0; };
  const double a = (1 - u) * (1 - v) * known(i, j), b = (1 - u) * v * known(i, j1);
  const double c = u * (1 - v) * known(i1, j), d = u * v * known(i1, j1);
  double total = a * (ground(i, j) - own) + b * (ground(i, j1) - own);
  total += c * (ground(i1, j) - own);
  total += d * (ground(i1, j1) - own);
  return static_cast<float>(own + total / (a + b + c + d));
}

}  // namespace

std::vector<float> estimate_ground(const std::vector<std::int32_t>& cells,
                                   const std::vector<float>& z_min_m, const Grid& grid) {
  const Tiles low = quartiles(cells, z_min_m, grid);
  Tiles ground = raise_ghosts(low);
  lower_envelope(ground, kSlope * kTileCells * grid.cell_m);
  std::vector<float> ground_m(cells.size());
  for (std::size_t p = 0; p < cells.size(); ++p) {
    ground_m[p] = interpolate(cells[p] / grid.ny, cells[p] % grid.ny, low, ground);
  }
  return ground_m;
}

}  // namespace bev_instseg
