/// From points to pillars, the occupied cells of the grid; as bev_instseg/ops/voxelize.py.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "bev_instseg/segmenter.hpp"
#include "config.hpp"

namespace bev_instseg {

constexpr int kNumSlices = 10;  // height slices

/// Statistics of a pillar, in the order of the network's input.
struct Features {
  float count;
  float slices[kNumSlices];  // number of points by height above the ground
  float height_min_m, height_max_m, height_mean_m, height_std_m;
  float x_mean_m, y_mean_m;  // mean position relative to the cell's centre
  float intensity_mean, intensity_max;
  float range_m;  // from the sensor to the cell's centre
};
constexpr std::size_t kNumFeatures = sizeof(Features) / sizeof(float);

/// The P pillars of N points, in ascending order of their cells.
struct Pillars {
  std::vector<std::int32_t> cells;            // (P,) flat index of each pillar's cell
  std::vector<Features> features;             // (P,) raw statistics
  std::vector<std::int32_t> point_to_pillar;  // (N,) -1 outside the grid
  std::vector<float> point_height_m;          // (N,) above the ground, NaN outside the grid
};

/// Rasterize a sweep. Sums are float64 in the order of the points; heights are above
/// `estimate_ground`; an intensity that is not finite counts as 0.
Pillars voxelize(const Point* points, std::size_t num_points, const Grid& grid);

}  // namespace bev_instseg
