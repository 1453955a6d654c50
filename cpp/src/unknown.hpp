/// Unknown objects; as bev_instseg/ops/unknown.py, which explains the method.
#pragma once

#include "bev_instseg/segmenter.hpp"
#include "config.hpp"
#include "voxelize.hpp"

namespace bev_instseg {

/// Group points above the ground that belong to no instance, and add the groups to the instances,
/// the largest first.
void add_unknown(Result& result, const Point* points, const Pillars& pillars, const Config& config);

}  // namespace bev_instseg
