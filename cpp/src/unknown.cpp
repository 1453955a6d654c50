#include "unknown.hpp"

#include <algorithm>
#include <limits>

#include "boxes.hpp"
#include "groups.hpp"

namespace bev_instseg {
namespace {

constexpr float kMinHeightM = 0.3f;  // lower points are ground, grass and kerbs
constexpr float kClearanceM = 2.5f;  // a pillar without standing points below hangs over free space
constexpr int kMinPoints = 10;       // smaller groups are dropped
constexpr double kReachM = 0.2;      // cells this near to each other are connected;
constexpr double kMaxRangeM = 100.0;  // no farther than at this distance
constexpr double kReachPerM = 0.005;  // this much more per metre of distance from the sensor

bool stands(const Result& result, const Pillars& pillars, std::size_t point) {
  return result.labels[point] == 0 &&
         pillars.point_height_m[point] >= kMinHeightM;  // false for NaN: outside the grid
}

/// The standing points of a pillar.
struct Standing {
  int count = 0;
  float lowest_m = std::numeric_limits<float>::infinity();
};

std::vector<Standing> count_standing(const Result& result, const Pillars& pillars) {
  std::vector<Standing> found(pillars.cells.size());
  for (std::size_t i = 0; i < result.labels.size(); ++i) {
    if (!stands(result, pillars, i)) continue;
    Standing& pillar = found[pillars.point_to_pillar[i]];
    ++pillar.count;
    pillar.lowest_m = std::min(pillar.lowest_m, pillars.point_height_m[i]);
  }
  return found;
}

/// Connect the standing pillars; two are connected if one of them reaches the other.
Groups connect(const Pillars& pillars, const std::vector<std::int32_t>& standing,
               const Grid& grid) {
  std::vector<std::int32_t> pillar_at(static_cast<std::size_t>(grid.nx) * grid.ny, -1);
  for (const std::int32_t p : standing) pillar_at[pillars.cells[p]] = p;
  Groups groups(pillars.cells.size());
  for (const std::int32_t p : standing) {
    const double range_m = std::min(static_cast<double>(pillars.features[p].range_m), kMaxRangeM);
    const double reach_m = kReachM + kReachPerM * range_m;
    const int reach = static_cast<int>(std::max(reach_m / grid.cell_m, 1.0));
    const int ix = pillars.cells[p] / grid.ny, iy = pillars.cells[p] % grid.ny;
    const int first = std::max(iy - reach, 0), last = std::min(iy + reach, grid.ny - 1);
    for (int x = std::max(ix - reach, 0); x <= std::min(ix + reach, grid.nx - 1); ++x) {
      const std::int32_t* row = &pillar_at[static_cast<std::size_t>(x) * grid.ny];
      for (int y = first; y <= last; ++y) {
        if (row[y] >= 0) groups.join(p, row[y]);
      }
    }
  }
  return groups;
}

/// The pillars of the groups that are large enough.
struct Grouped {
  std::vector<std::int32_t> labels;  // (P,) 0 for none, 1..G by descending number of points
  std::vector<int> num_points;       // (G,)
};

Grouped group_pillars(const std::vector<Standing>& found, const Pillars& pillars,
                      const Grid& grid) {
  std::vector<std::int32_t> standing;
  for (std::size_t p = 0; p < found.size(); ++p) {
    if (found[p].lowest_m <= kClearanceM) standing.push_back(static_cast<std::int32_t>(p));
  }
  Groups groups = connect(pillars, standing, grid);
  std::vector<int> size(found.size());  // of each group, at its root
  for (const std::int32_t p : standing) size[groups.find(p)] += found[p].count;
  std::vector<std::int32_t> roots;
  for (const std::int32_t p : standing) {
    if (groups.find(p) == p && size[p] >= kMinPoints) roots.push_back(p);
  }
  std::stable_sort(roots.begin(), roots.end(),
                   [&](std::int32_t p, std::int32_t q) { return size[p] > size[q]; });
  Grouped grouped{std::vector<std::int32_t>(found.size()), {}};
  for (const std::int32_t root : roots) {
    grouped.num_points.push_back(size[root]);
    grouped.labels[root] = static_cast<std::int32_t>(grouped.num_points.size());
  }
  for (const std::int32_t p : standing) grouped.labels[p] = grouped.labels[groups.find(p)];
  return grouped;
}

}  // namespace

void add_unknown(Result& result, const Point* points, const Pillars& pillars,
                 const Config& config) {
  const std::vector<Standing> found = count_standing(result, pillars);
  const Grouped grouped = group_pillars(found, pillars, config.grid);
  const auto num_known = static_cast<std::int32_t>(result.instances.size());
  for (std::size_t i = 0; i < result.labels.size(); ++i) {
    if (!stands(result, pillars, i)) continue;
    const std::int32_t group = grouped.labels[pillars.point_to_pillar[i]];
    if (group > 0) result.labels[i] = num_known + group;
  }
  const std::vector<Box> boxes =
      principal_boxes(points, result.labels, num_known, grouped.num_points.size());
  for (std::size_t g = 0; g < boxes.size(); ++g) {
    const int number = num_known + static_cast<int>(g) + 1;
    const int class_index = static_cast<int>(config.classes.size());
    result.instances.push_back({number, class_index, kUnknownLabel, kUnknownName, 0.0f,
                                grouped.num_points[g], boxes[g], {}});
  }
}

}  // namespace bev_instseg
