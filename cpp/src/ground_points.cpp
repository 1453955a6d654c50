#include "ground_points.hpp"

namespace bev_instseg {
namespace {

constexpr float kGroundM = 0.25f;  // lower points are ground, as grass is
constexpr float kTallM = 0.5f;     // in a pillar that reaches higher than this, something stands:
constexpr float kFootM = 0.1f;     // there only points lower than this are ground

}  // namespace

std::vector<std::uint8_t> find_ground(const Pillars& pillars,
                                      const std::vector<std::int32_t>& labels) {
  std::vector<std::uint8_t> ground(labels.size());
  for (std::size_t i = 0; i < labels.size(); ++i) {
    const std::int32_t p = pillars.point_to_pillar[i];
    if (p < 0 || labels[i] != 0) continue;
    const bool is_tall = pillars.features[p].height_max_m > kTallM;
    ground[i] = pillars.point_height_m[i] < (is_tall ? kFootM : kGroundM);
  }
  return ground;
}

}  // namespace bev_instseg
