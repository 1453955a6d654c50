/// Clustering with a learned bandwidth; as bev_instseg/ops/cluster.py, which explains the method.
#pragma once

#include <cstddef>
#include <cstdint>
#include <vector>

#include "config.hpp"
#include "embeddings.hpp"

namespace bev_instseg {

/// Pillars grouped into K instances.
struct Clusters {
  std::vector<std::int32_t> labels;  // (P,) 0 for none, 1..K in the order of opening
  std::vector<int> classes;          // (K,)
  std::vector<float> scores;         // (K,) mean seed, 0..1
  std::vector<std::size_t> openers;  // (K,) pillar whose seed and margin opened each instance
};

/// Group pillars. Distances and sums are float64, sums in the order of the pillars; thresholds
/// apply to the float32 seeds.
Clusters cluster(const Embeddings& embeddings, const Config& config);

}  // namespace bev_instseg
