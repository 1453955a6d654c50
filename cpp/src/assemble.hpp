/// From clustered pillars back to points; as bev_instseg/ops/assemble.py and score.py.
#pragma once

#include "bev_instseg/segmenter.hpp"
#include "cluster.hpp"
#include "config.hpp"
#include "voxelize.hpp"

namespace bev_instseg {

/// Give each point the instance of its pillar, if its height above the ground allows; drop
/// instances with few points or a low score, and the ego vehicle.
/// Instances of classes in pieces may contain it, and have a course.
Result assemble(const Point* points, const Pillars& pillars, const Clusters& clusters,
                const Config& config);

}  // namespace bev_instseg
