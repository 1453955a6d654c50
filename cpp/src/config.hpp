/// The part of bev_instseg's configuration that segmenting needs.
#pragma once

#include <algorithm>
#include <array>
#include <string>
#include <vector>

#include "json.hpp"

namespace bev_instseg {

/// A grid of square cells in the sensor frame, as `BEVGrid` in Python: cell (ix, iy) covers
/// [x_min + ix * cell, x_min + (ix + 1) * cell) x [y_min + iy * cell, ...), its flat index is
/// ix * ny + iy, and points outside [z_min, z_max) are outside the grid.
struct Grid {
  double x_min, y_min, z_min, z_max, cell_m;  // metres
  int nx, ny;                                 // cells along x and y
};

struct ClassConfig {
  std::string name;
  int label;           // in .label files
  int min_points;      // instances with fewer points are dropped
  float max_height_m;  // points higher than this above the ground are left out
  bool in_pieces;      // whether its objects are learned in pieces, to be joined
};

struct Config {
  Grid grid;
  bool relative_intensity;  // whether the network expects intensities relative to the ground's
  int sparse_levels;        // of the network; the grid's sides are multiples of its coarsest stride
  std::vector<ClassConfig> classes;
  float seed_threshold, member_threshold;
  double min_free;
  float min_height_m;  // points lower than this above the ground are left out
  float score_threshold;
  std::vector<std::array<double, 3>> calibration;  // (a, b, c) of each class, or empty

  /// Whether the objects of any class are learned in pieces.
  bool has_pieces() const {
    return std::any_of(classes.begin(), classes.end(),
                       [](const ClassConfig& each) { return each.in_pieces; });
  }
};

/// Read the configuration of a model.
///
/// @param sidecar The .json beside the model.
/// @throws std::runtime_error A key is missing or unknown, or has a wrong value; the message names
///     it.
Config read_config(const Json& sidecar);

}  // namespace bev_instseg
