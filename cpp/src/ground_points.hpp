/// Which points are on the ground; as bev_instseg/ops/ground_points.py.
#pragma once

#include <cstdint>
#include <vector>

#include "voxelize.hpp"

namespace bev_instseg {

/// @param labels (N,) instance of each point, 0 for none.
/// @return (N,) 1 on the ground, else 0; 0 outside the grid.
std::vector<std::uint8_t> find_ground(const Pillars& pillars,
                                      const std::vector<std::int32_t>& labels);

}  // namespace bev_instseg
