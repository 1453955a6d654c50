#include "ground_points.hpp"

namespace bev_instseg {
namespace {

constexpr float kGroundM = 0.25f;  // lower points are ground, as grass is
constexpr float kTallM = 0.5f;     // in a pillar that reaches higher than this, something stands:
constexpr float kFootM = 0.1f;     // there only points lower than this are ground

}  // namespace

std::vector<std::uint8_t> find_ground(const Pillars& pillars,
                                      const std::vector<std::int32_t>& labels) {
  std::vector<float> limit_m;  // of each pillar
  for (const Features& pillar : pillars.features) {
    limit_m.push_back(pillar.height_max_m > kTallM ? kFootM : kGroundM);
  }
  std::vector<std::uint8_t> ground(labels.size());
  for (std::size_t i = 0; i < labels.size(); ++i) {
    const std::int32_t p = pillars.point_to_pillar[i];
    if (p >= 0) ground[i] = (labels[i] == 0) & (pillars.point_height_m[i] < limit_m[p]);
  }
  return ground;
}

}  // namespace bev_instseg
