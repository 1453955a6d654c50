/// Joining the pieces of long objects; as bev_instseg/ops/join.py, which explains the rules.
#pragma once

#include <array>
#include <vector>

#include "cluster.hpp"
#include "config.hpp"
#include "embeddings.hpp"

namespace bev_instseg {

/// Join clusters of classes whose objects come in pieces, and number the objects in the order of
/// their first pieces.
///
/// @param clusters The clusters of the pillars.
/// @param embeddings What was clustered.
/// @param centres_m (P or more) x, y of the pillars' centres, metres.
/// @param config Names the classes.
Clusters join_pieces(const Clusters& clusters, const Embeddings& embeddings,
                     const std::vector<std::array<float, 2>>& centres_m, const Config& config);

}  // namespace bev_instseg
