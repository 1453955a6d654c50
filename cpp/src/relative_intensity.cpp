#include "relative_intensity.hpp"

#include <cmath>

namespace bev_instseg {
namespace {

constexpr double kGroundLevel = 0.25;  // mean intensity of the ground afterwards
constexpr float kFlatM = 0.25f;  // ground points are this close to the estimated ground
constexpr double kNearM = 30;
constexpr double kDarkest = 1e-4;  // a darker ground says nothing: intensity is missing

/// Return the mean intensity of the ground nearby, 0 if there is none.
double mean_of_ground(const Point* points, const Pillars& pillars) {
  double total = 0;
  std::size_t count = 0;
  for (std::size_t i = 0; i < pillars.point_height_m.size(); ++i) {
    const double x = points[i].x, y = points[i].y;
    if (std::abs(pillars.point_height_m[i]) < kFlatM && x * x + y * y < kNearM * kNearM &&
        std::isfinite(points[i].intensity)) {
      total += points[i].intensity;
      ++count;
    }
  }
  return count ? total / static_cast<double>(count) : 0;
}

}  // namespace

std::vector<Point> with_relative_intensity(const Point* points, std::size_t num_points,
                                           const Pillars& pillars) {
  std::vector<Point> scaled(points, points + num_points);
  const double mean = mean_of_ground(points, pillars);
  if (mean < kDarkest) return scaled;
  const auto factor = static_cast<float>(kGroundLevel / mean);
  for (Point& point : scaled) {
    point.intensity = std::isfinite(point.intensity) ? point.intensity * factor : 0;
    if (point.intensity > 1) point.intensity = 1;
  }
  return scaled;
}

}  // namespace bev_instseg
