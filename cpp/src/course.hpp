/// The course of a long instance; as bev_instseg/ops/course.py, which explains the method.
#pragma once

#include <vector>

#include "bev_instseg/segmenter.hpp"

namespace bev_instseg {

/// Return the longest path through the points of an instance, from end to end.
///
/// @param points Its points; at least one.
std::vector<Vertex> course(const std::vector<Point>& points);

}  // namespace bev_instseg
