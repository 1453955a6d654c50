/// Intensities relative to those of the ground; as bev_instseg/ops/relative_intensity.py.
#pragma once

#include <cstddef>
#include <vector>

#include "bev_instseg/segmenter.hpp"
#include "voxelize.hpp"

namespace bev_instseg {

/// Return the points with intensities scaled so that those of the ground nearby have a fixed mean;
/// unchanged if there is no ground nearby, or one without intensity.
///
/// @param pillars The pillars of these points, for their heights.
std::vector<Point> with_relative_intensity(const Point* points, std::size_t num_points,
                                           const Pillars& pillars);

}  // namespace bev_instseg
