/// Oriented boxes around instances; as bev_instseg/ops/boxes.py, which explains the method.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "bev_instseg/segmenter.hpp"

namespace bev_instseg {

/// Fit an upright box around the points of each instance.
///
/// @param labels (N,) instance of each point: 0 none, 1..K; each instance has a point.
/// @param num_instances K.
std::vector<Box> oriented_boxes(const Point* points, const std::vector<std::int32_t>& labels,
                                std::size_t num_instances);

/// Fit an upright box around the points of each group, along the principal axis seen from above.
///
/// @param labels (N,) label of each point; those of the groups are before + 1..before + num_groups,
///     and each group has a point.
std::vector<Box> principal_boxes(const Point* points, const std::vector<std::int32_t>& labels,
                                 std::int32_t before, std::size_t num_groups);

}  // namespace bev_instseg
