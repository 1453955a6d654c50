#include "check_points.hpp"

#include <algorithm>
#include <cmath>
#include <cstdio>

namespace bev_instseg {
namespace {

constexpr std::size_t kMaxSample = 1000;  // intensities that are looked at
constexpr double kMaxOffGrid = 0.25;  // of a sweep's points; of real sweeps up to 18 % are outside
constexpr double kUndoubted = 0.05;   // below it, the points need not be looked at
constexpr double kMinReturns = 0.05;  // if a smaller share is in range, the rest count as returns
constexpr float kMaxRangeM = 9e3f;    // no LiDAR sees farther; such points are missing returns

bool is_measured(const Point& point) {
  const bool is_finite =
      std::isfinite(point.x) && std::isfinite(point.y) && std::isfinite(point.z);
  return is_finite && (point.x != 0 || point.y != 0 || point.z != 0);
}

bool is_possible(const Point& point) {
  return std::abs(point.x) < kMaxRangeM && std::abs(point.y) < kMaxRangeM &&
         std::abs(point.z) < kMaxRangeM;
}

/// Return the share of the returns that are outside the grid; 0 if it is certainly small.
double share_outside(const Point* points, const std::vector<std::int32_t>& point_to_pillar) {
  const auto outside = std::count_if(point_to_pillar.begin(), point_to_pillar.end(),
                                     [](std::int32_t pillar) { return pillar < 0; });
  const auto num_points = static_cast<double>(point_to_pillar.size());
  if (static_cast<double>(outside) <= kUndoubted * num_points) return 0;
  double num_measured = 0, num_far = 0, num_returns = 0, num_outside = 0;
  for (std::size_t i = 0; i < point_to_pillar.size(); ++i) {
    if (!is_measured(points[i])) continue;
    num_measured += 1;
    num_far += point_to_pillar[i] < 0;
    if (!is_possible(points[i])) continue;
    num_returns += 1;
    num_outside += point_to_pillar[i] < 0;
  }
  if (num_returns < kMinReturns * num_measured) return num_far / num_measured;  // of a map, say
  return num_returns > 0 ? num_outside / num_returns : 0;
}

}  // namespace

std::vector<std::string> find_warnings(const Point* points, const Pillars& pillars,
                                       const Grid& grid) {
  std::vector<std::string> found;
  const std::size_t num_points = pillars.point_to_pillar.size();
  for (std::size_t i = 0; i < num_points && found.empty(); i += 1 + num_points / kMaxSample) {
    if (points[i].intensity > 1) found.push_back("intensities are above 1: scale them to 0..1");
  }
  const double share = share_outside(points, pillars.point_to_pillar);
  if (share > kMaxOffGrid) {
    char text[200];
    std::snprintf(text, sizeof text,
                  "%.0f%% of the points are outside the %.0f x %.0f x %.0f m around the sensor "
                  "that the network sees, and get no label",
                  100 * share, grid.nx * grid.cell_m, grid.ny * grid.cell_m,
                  grid.z_max - grid.z_min);
    found.push_back(text);
  }
  return found;
}

}  // namespace bev_instseg
