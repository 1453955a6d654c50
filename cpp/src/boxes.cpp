#include "boxes.hpp"

#include <algorithm>
#include <array>
#include <cmath>
#include <limits>

namespace bev_instseg {
namespace {

constexpr int kHeadings = 90;
constexpr int kAxes = 2 * kHeadings;
constexpr double kPi = 3.141592653589793;
constexpr double kRadiansPerDegree = kPi / 180, kDegreesPerRadian = 180 / kPi;
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

const Axes& all_axes() {
  static const Axes axes;
  return axes;
}

/// The interval that points cover along an axis.
struct Span {
  double low = kInfinity, high = -kInfinity;

  void widen(double value) {
    low = std::min(low, value);
    high = std::max(high, value);
  }

  double size() const { return high - low; }
  double middle() const { return (low + high) / 2; }
};

/// Return the box with these spans along a heading of 0..179 degrees, across it and along z.
Box make_box(int heading, const Span& along, const Span& across, const Span& z) {
  const double cos = all_axes().x[heading], sin = all_axes().y[heading];
  const double u = along.middle(), v = across.middle();
  const int of_length = along.size() >= across.size() ? heading : heading + 90;
  return {static_cast<float>(u * cos - v * sin),
          static_cast<float>(u * sin + v * cos),
          static_cast<float>(z.middle()),
          static_cast<float>(std::max(along.size(), across.size())),
          static_cast<float>(std::min(along.size(), across.size())),
          static_cast<float>(z.size()),
          static_cast<float>(((of_length + 90) % 180 - 90) * kRadiansPerDegree)};
}

/// The bounds of an instance along each axis, and the sum of its points' distances to the nearest
/// edge of the rectangle of each heading.
struct Extent {
  std::array<double, kAxes> low, high;
  Span z;
  std::array<double, kHeadings> edge_distance{};

  Extent() {
    low.fill(kInfinity);
    high.fill(-kInfinity);
  }

  void widen(const Point& point, const Axes& axes) {
    const double x = point.x, y = point.y;
    z.widen(point.z);
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

  Box box() const {
    const auto best = std::min_element(edge_distance.begin(), edge_distance.end());
    const int along = static_cast<int>(best - edge_distance.begin());  // the first if equal
    const int across = along + kHeadings;
    return make_box(along, {low[along], high[along]}, {low[across], high[across]}, z);
  }
};

/// The number of a group's points and the sums of their x, y, x^2, xy and y^2.
struct Moments {
  double n = 0, x = 0, y = 0, xx = 0, xy = 0, yy = 0;

  void add(double px, double py) {
    n += 1;
    x += px, y += py;
    xx += px * px, xy += px * py, yy += py * py;
  }

  /// Return the heading of the principal axis, 0..179 degrees.
  int heading() const {
    const double axis =
        0.5 * std::atan2(2 * (xy - x * y / n), (xx - x * x / n) - (yy - y * y / n));
    return static_cast<int>(std::lrint(axis * kDegreesPerRadian) + 180) % 180;
  }
};

}  // namespace

std::vector<Box> oriented_boxes(const Point* points, const std::vector<std::int32_t>& labels,
                                std::size_t num_instances) {
  const Axes& axes = all_axes();
  std::vector<Extent> extents(num_instances);
  for (std::size_t i = 0; i < labels.size(); ++i) {
    if (labels[i] > 0) extents[labels[i] - 1].widen(points[i], axes);
  }
  for (std::size_t i = 0; i < labels.size(); ++i) {
    if (labels[i] > 0) extents[labels[i] - 1].add_edge_distance(points[i], axes);
  }
  std::vector<Box> boxes;
  for (const Extent& extent : extents) boxes.push_back(extent.box());
  return boxes;
}

std::vector<Box> principal_boxes(const Point* points, const std::vector<std::int32_t>& labels,
                                 std::int32_t before, std::size_t num_groups) {
  const Axes& axes = all_axes();
  std::vector<Moments> moments(num_groups);
  for (std::size_t i = 0; i < labels.size(); ++i) {
    if (labels[i] > before) moments[labels[i] - before - 1].add(points[i].x, points[i].y);
  }
  struct Spans {
    int heading;
    Span along, across, z;
  };
  std::vector<Spans> spans;
  for (const Moments& each : moments) spans.push_back({each.heading(), {}, {}, {}});
  for (std::size_t i = 0; i < labels.size(); ++i) {
    if (labels[i] <= before) continue;
    Spans& own = spans[labels[i] - before - 1];
    const double cos = axes.x[own.heading], sin = axes.y[own.heading];
    const double x = points[i].x, y = points[i].y;
    own.along.widen(x * cos + y * sin);
    own.across.widen(y * cos - x * sin);
    own.z.widen(points[i].z);
  }
  std::vector<Box> boxes;
  for (const Spans& own : spans) {
    boxes.push_back(make_box(own.heading, own.along, own.across, own.z));
  }
  return boxes;
}

}  // namespace bev_instseg
