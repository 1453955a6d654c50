#pragma once

#include <cstddef>

namespace bev_instseg {

/// The network's prediction for P pillars, in the network's memory and valid until its next run.
struct Embeddings {
  std::size_t num_pillars, num_classes;
  const float* centre_m;   // (P, 2) where each pillar points to, metres
  const float* precision;  // (P, 3) entries (xx, xy, yy) of the inverse covariance, 1/m^2
  const float* seed;       // (P, C) seed map of each class, 0..1
};

}  // namespace bev_instseg
