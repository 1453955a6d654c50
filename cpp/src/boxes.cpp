#include "boxes.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

namespace bev_instseg {
namespace {

constexpr int kHeadings = 90;
constexpr int kAxes = 2 * kHeadings;
constexpr double kRadiansPerDegree = 3.141592653589793 / 180;
constexpr double kInfinity = std::numeric_limits<double>::infinity();

/// The axes of all rectangles: number h is along heading h degrees, number h + 90 across it.
struct Axes {
  std::array<double, kAxes> x, y;

  Axes() {
    for (int h = 0; h < kHeadings; ++h) {
      const double cos = std::cos(h * kRadiansPerDegree), sin = std::sin(h * kRadiansPerDegree);
      x[h] = cos, y[h] = sin;
      x[h + kHeadings] = -sin, y[h + kHeadings] = cos;
    }
  }
};

/// The bounds of an instance along each axis, and the sum of its points' distances to the nearest
/// edge of the rectangle of each heading.
struct Extent {
  std::array<double, kAxes> low, high;
  double z_low = kInfinity, z_high = -kInfinity;
  std::array<double, kHeadings> edge_distance{};

  Extent() {
    low.fill(kInfinity);
    high.fill(-kInfinity);
  }

  void widen(const Point& point, const Axes& axes) {
    const double x = point.x, y = point.y, z = point.z;
    z_low = std::min(z_low, z);
    z_high = std::max(z_high, z);
    for (int a = 0; a < kAxes; ++a) {
      const double at = x * axes.x[a] + y * axes.y[a];
      low[a] = at < low[a] ? at : low[a];
      high[a] = at > high[a] ? at : high[a];
    }
  }

  void add_edge_distance(const Point& point, const Axes& axes) {
    const double x = point.x, y = point.y;
    for (int along = 0; along < kHeadings; ++along) {
      const int across = along + kHeadings;
      const double u = x * axes.x[along] + y * axes.y[along];
      const double v = x * axes.x[across] + y * axes.y[across];
      const double u_low = u - low[along], u_high = high[along] - u;
      const double v_low = v - low[across], v_high = high[across] - v;
      const double end = u_low < u_high ? u_low : u_high;
      const double side = v_low < v_high ? v_low : v_high;
      edge_distance[along] += end < side ? end : side;
    }
  }

  Box box(const Axes& axes) const {
    const auto best = std::min_element(edge_distance.begin(), edge_distance.end());
    const int along = static_cast<int>(best - edge_distance.begin());  // the smaller of equals
    const int across = along + kHeadings;
    const double length = high[along] - low[along], width = high[across] - low[across];
    const double u = (low[along] + high[along]) / 2, v = (low[across] + high[across]) / 2;
    const double cos = axes.x[along], sin = axes.y[along];
    const int heading = length >= width ? along : along - kHeadings;
    return {static_cast<float>(u * cos - v * sin),
            static_cast<float>(u * sin + v * cos),
            static_cast<float>((z_low + z_high) / 2),
            static_cast<float>(std::max(length, width)),
            static_cast<float>(std::min(length, width)),
            static_cast<float>(z_high - z_low),
            static_cast<float>(heading * kRadiansPerDegree)};
  }
};

}  // namespace

std::vector<Box> oriented_boxes(const Point* points, const std::vector<std::int32_t>& labels,
                                std::size_t num_instances) {
  static const Axes axes;
  std::vector<Extent> extents(num_instances);
  for (std::size_t i = 0; i < labels.size(); ++i) {
    if (labels[i] > 0) extents[labels[i] - 1].widen(points[i], axes);
  }
  for (std::size_t i = 0; i < labels.size(); ++i) {
    if (labels[i] > 0) extents[labels[i] - 1].add_edge_distance(points[i], axes);
  }
  std::vector<Box> boxes;
  for (const Extent& extent : extents) boxes.push_back(extent.box(axes));
  return boxes;
}

}  // namespace bev_instseg
