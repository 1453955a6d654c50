#include "voxelize.hpp"

#include <algorithm>
#include <cmath>
#include <limits>

#include "ground.hpp"

namespace bev_instseg {
namespace {

constexpr double kSliceM = 0.3;
constexpr double kFirstSliceEdgeM = 0.15;  // above the ground
constexpr float kInfinity = std::numeric_limits<float>::infinity();

struct Sums {
  double height = 0, height_squared = 0, intensity = 0, x = 0, y = 0, count = 0;
};

/// Return the cell of a point, -1 outside the grid. Truncation equals floor from 0 on.
std::int32_t find_cell(const Point& point, const Grid& grid) {
  const double x = (static_cast<double>(point.x) - grid.x_min) / grid.cell_m;
  const double y = (static_cast<double>(point.y) - grid.y_min) / grid.cell_m;
  const double z = point.z;
  const bool inside = x >= 0 && x < grid.nx && y >= 0 && y < grid.ny && z >= grid.z_min &&
                      z < grid.z_max;  // false for NaN
  return inside ? static_cast<std::int32_t>(x) * grid.ny + static_cast<std::int32_t>(y) : -1;
}

/// Fill in cells, and the pillar of each point; return the lowest point of each pillar, metres.
std::vector<float> find_pillars(const Point* points, std::size_t num_points, const Grid& grid,
                                Pillars& pillars) {
  auto& point_to_pillar = pillars.point_to_pillar;  // cells at first
  point_to_pillar.resize(num_points);
  std::vector<std::uint8_t> occupied(static_cast<std::size_t>(grid.nx) * grid.ny);
  for (std::size_t i = 0; i < num_points; ++i) {
    point_to_pillar[i] = find_cell(points[i], grid);
    if (point_to_pillar[i] >= 0) occupied[point_to_pillar[i]] = 1;
  }
  std::vector<std::int32_t> pillar_of_cell(occupied.size());
  pillars.cells.resize(occupied.size() + 1);
  std::int32_t count = 0;
  for (std::size_t c = 0; c < occupied.size(); ++c) {  // an occupied cell keeps its entry
    pillar_of_cell[c] = count;
    pillars.cells[count] = static_cast<std::int32_t>(c);
    count += occupied[c];
  }
  pillars.cells.resize(count);
  std::vector<float> z_min(count, kInfinity);
  for (std::size_t i = 0; i < num_points; ++i) {
    if (point_to_pillar[i] < 0) continue;
    const std::int32_t p = point_to_pillar[i] = pillar_of_cell[point_to_pillar[i]];
    z_min[p] = std::min(z_min[p], points[i].z);
  }
  return z_min;
}

void add_point(const Point& point, float height, Features& out, Sums& sums) {
  const float intensity = std::isfinite(point.intensity) ? point.intensity : 0.0f;
  sums.height += height;
  sums.height_squared += static_cast<double>(height) * static_cast<double>(height);
  sums.intensity += intensity;
  sums.x += point.x;
  sums.y += point.y;
  sums.count += 1;
  out.height_min_m = std::min(out.height_min_m, height);
  out.height_max_m = std::max(out.height_max_m, height);
  out.intensity_max = std::max(out.intensity_max, intensity);
  const double slice = (static_cast<double>(height) - kFirstSliceEdgeM) / kSliceM;
  out.slices[slice < 0 ? 0 : 1 + static_cast<int>(std::min(slice, kNumSlices - 2.0))] += 1;
}

void finish(std::int32_t cell, const Grid& grid, const Sums& sums, Features& out) {
  const double n = sums.count;
  const double x = grid.x_min + (cell / grid.ny + 0.5) * grid.cell_m;
  const double y = grid.y_min + (cell % grid.ny + 0.5) * grid.cell_m;
  const double mean = sums.height / n;
  out.count = static_cast<float>(n);
  out.height_mean_m = static_cast<float>(mean);
  const double variance = sums.height_squared / n - mean * mean;
  out.height_std_m = static_cast<float>(std::sqrt(std::max(variance, 0.0)));
  out.x_mean_m = static_cast<float>(sums.x / n - x);
  out.y_mean_m = static_cast<float>(sums.y / n - y);
  out.intensity_mean = static_cast<float>(sums.intensity / n);
  out.range_m = static_cast<float>(std::sqrt(x * x + y * y));
}

}  // namespace

Pillars voxelize(const Point* points, std::size_t num_points, const Grid& grid) {
  Pillars pillars;
  const std::vector<float> z_min_m = find_pillars(points, num_points, grid, pillars);
  const std::vector<float> ground_m = estimate_ground(pillars.cells, z_min_m, grid);
  Features none{};
  none.height_min_m = kInfinity;
  none.height_max_m = none.intensity_max = -kInfinity;
  pillars.features.assign(pillars.cells.size(), none);
  pillars.point_height_m.assign(num_points, std::numeric_limits<float>::quiet_NaN());
  std::vector<Sums> sums(pillars.cells.size());
  for (std::size_t i = 0; i < num_points; ++i) {
    const std::int32_t p = pillars.point_to_pillar[i];
    if (p < 0) continue;
    pillars.point_height_m[i] = points[i].z - ground_m[p];
    add_point(points[i], pillars.point_height_m[i], pillars.features[p], sums[p]);
  }
  for (std::size_t p = 0; p < pillars.cells.size(); ++p) {
    finish(pillars.cells[p], grid, sums[p], pillars.features[p]);
  }
  return pillars;
}

}  // namespace bev_instseg
