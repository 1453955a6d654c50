/// Signs that the points of a sweep are not as the network expects them; as
/// bev_instseg/ops/off_grid.py and Segmenter.segment in Python.
#pragma once

#include <string>
#include <vector>

#include "voxelize.hpp"

namespace bev_instseg {

/// @return A sentence without its full stop for each sign, in one line.
std::vector<std::string> find_warnings(const Point* points, const Pillars& pillars,
                                       const Grid& grid);

}  // namespace bev_instseg
