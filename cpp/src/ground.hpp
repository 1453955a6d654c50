/// Local ground height under each pillar; as bev_instseg/ops/ground.py, which explains the method.
#pragma once

#include <cstdint>
#include <vector>

#include "config.hpp"

namespace bev_instseg {

/// @param cells (P,) flat cell indices, ascending.
/// @param z_min_m (P,) lowest point of each pillar, metres; finite.
/// @return (P,) ground height at each pillar's centre, metres in the sensor frame.
std::vector<float> estimate_ground(const std::vector<std::int32_t>& cells,
                                   const std::vector<float>& z_min_m, const Grid& grid);

}  // namespace bev_instseg
